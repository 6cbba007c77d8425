"""What a worker claims of the deliveries: round the endpoints that have work, as many as there is room for."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import chain, zip_longest
from math import ceil
from uuid import UUID

from db import delivery_lane
from db.delivery_lane import ClaimedDeliveryRow, EndpointKey, FoundEndpoint
from db.lanes import ClaimTerms
from db.tenant import Connection
from handlers.runtime import Runtime

BEGINNING = EndpointKey(UUID(int=0), UUID(int=0))
WALK = 256  # endpoints with first tries that one claim looks at; the next goes on behind them
# How many seconds before its rate an endpoint may be: what workers need to look again, so that the rate is reached. In any
# second it is exceeded by that part at most.
AHEAD = 0.05
_SOONEST = 0.005  # seconds; until somebody else's statement on the same endpoint is over


# A tenant may have that many times what is free under way: one whose endpoints all hang takes two thirds of a worker, two
# such tenants take four fifths, and there is always room for others (dynamic thresholds of shared buffers; Choudhury and
# Hahne, IEEE/ACM Transactions on Networking 6(2), 1998).
_OF_FREE = 2


class DeliveryClaims:
    """One worker's claims. It remembers where its walk ended, what it met on the way, and how much each tenant has under way
    here: a matter of fairness and of how long to wait, and of nothing else.
    """

    def __init__(self, runtime: Runtime, poll: float) -> None:
        self._runtime = runtime
        self._poll = poll
        self._after = BEGINNING
        self._is_behind = False  # whether endpoints of this walk could have given something and did not
        self._ready_at: datetime | None = None  # when the first of those that it met may take something
        self._under_way: Counter[UUID] = Counter()
        self.pause = poll  # seconds until the next look is worth it
        self.is_held_up = False  # whether endpoints wait for posts that are under way

    async def claim(self, terms: ClaimTerms) -> Sequence[ClaimedDeliveryRow]:
        """Deliveries under lease, their attempts on record; none where nothing may be sent now."""
        if self._after == BEGINNING:
            self._is_behind, self._ready_at, self.is_held_up = False, None, False
        async with self._runtime.database.queue_statements() as connection:
            now = self._runtime.clock()
            found = await delivery_lane.find_endpoints(connection, terms, self._after, now, WALK)
            asked = self._asked(terms, found)
            claimed = await self._claim(connection, terms, asked, now) if asked else []
        self._under_way.update(row.distributor_id for row in claimed)
        self._remember(found, asked)
        # Somebody holds them for a moment.
        self._is_behind |= bool(asked) and not claimed
        # There may be more to look at, behind those that may take nothing now.
        again = self._is_behind or self._after != BEGINNING
        self.pause = _SOONEST if again else self._until_ready(now)
        return claimed

    def finished(self, row: ClaimedDeliveryRow) -> None:
        """A claimed delivery is under way no more."""
        self._under_way[row.distributor_id] -= 1
        if not self._under_way[row.distributor_id]:
            del self._under_way[row.distributor_id]

    def _room(self, terms: ClaimTerms, endpoint: EndpointKey) -> int:
        """How many its tenant may be given of what is free here, so that the rule holds afterwards."""
        return ceil((_OF_FREE * terms.batch - self._under_way[endpoint.distributor_id]) / (1 + _OF_FREE))

    def _asked(self, terms: ClaimTerms, found: Iterable[FoundEndpoint]) -> Sequence[EndpointKey]:
        """Those that the claim chooses from, each of which has one delivery at least. Where there are more than it has room
        for, chance says who is first: the others would have nothing left for them as long as the first have work.
        """
        able = [endpoint.key for endpoint in found if endpoint.able and self._room(terms, endpoint.key) > 0]
        if len(able) <= terms.batch:
            return able
        return taking_turns(able, self._runtime.random)[: terms.batch]

    def _remember(self, found: Sequence[FoundEndpoint], asked: Sequence[EndpointKey]) -> None:
        walked = [endpoint.key for endpoint in found if endpoint.walked]
        self._after = walked[-1] if len(walked) == WALK else BEGINNING
        known = frozenset(asked)
        self.is_held_up |= any(
            endpoint.able or endpoint.busy for endpoint in found if endpoint.key not in known
        )
        moments = [self._ready_at, *(endpoint.ready_at for endpoint in found)]
        self._ready_at = min((moment for moment in moments if moment is not None), default=None)

    async def _claim(
        self, connection: Connection, terms: ClaimTerms, asked: Sequence[EndpointKey], now: datetime
    ) -> Sequence[ClaimedDeliveryRow]:
        return await delivery_lane.claim_deliveries(
            connection,
            terms,
            asked,
            [self._room(terms, endpoint) for endpoint in asked],
            now,
            token=self._runtime.new_id(),
            attempt_ids=[self._runtime.new_id() for _ in range(terms.batch)],
            ahead=AHEAD,
        )

    def _until_ready(self, now: datetime) -> float:
        if self._ready_at is None:
            return self._poll
        return max(_SOONEST, (self._ready_at - now).total_seconds())


def taking_turns(endpoints: Sequence[EndpointKey], rng: random.Random) -> list[EndpointKey]:
    """One endpoint of each tenant, then each one's second, and so on; which tenant and which endpoint is first is chance."""
    tenants: dict[UUID, list[EndpointKey]] = {}
    for endpoint in rng.sample(endpoints, len(endpoints)):
        tenants.setdefault(endpoint.distributor_id, []).append(endpoint)
    rounds = zip_longest(*rng.sample(list(tenants.values()), len(tenants)))
    return [endpoint for endpoint in chain.from_iterable(rounds) if endpoint is not None]
