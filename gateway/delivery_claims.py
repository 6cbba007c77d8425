"""What a worker claims of the deliveries: round the endpoints that have work, as many as there is room for."""

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
    """One worker's claims. It remembers where the walk ended and how much each tenant has under way here, which is a
    matter of fairness and of nothing else.
    """

    def __init__(self, runtime: Runtime, poll: float) -> None:
        self._runtime = runtime
        self._poll = poll
        self._after = BEGINNING
        self._under_way: Counter[UUID] = Counter()
        self.pause = poll  # seconds until the next look is worth it
        self.is_held_up = False  # whether endpoints wait for posts that are under way

    async def claim(self, terms: ClaimTerms) -> Sequence[ClaimedDeliveryRow]:
        """Deliveries under lease, their attempts on record; none where nothing may be sent now."""
        async with self._runtime.database.queue_statements() as connection:
            now = self._runtime.clock()
            found = await self._find(connection, terms, now)
            able = taking_turns(
                endpoint.key for endpoint in found if endpoint.able and self._room(terms, endpoint.key) > 0
            )
            claimed = await self._claim(connection, terms, able, now) if able else []
        self._under_way.update(row.distributor_id for row in claimed)
        asked = frozenset(able)
        self.is_held_up = any(
            endpoint.able or endpoint.busy for endpoint in found if endpoint.key not in asked
        )
        # Somebody holds them for a moment, or there are more to look at, behind those that may take nothing now.
        again = (able and not claimed) or self._after != BEGINNING
        self.pause = _SOONEST if again else self._until_ready(found, now)
        return claimed

    def finished(self, row: ClaimedDeliveryRow) -> None:
        """A claimed delivery is under way no more."""
        self._under_way[row.distributor_id] -= 1
        if not self._under_way[row.distributor_id]:
            del self._under_way[row.distributor_id]

    def _room(self, terms: ClaimTerms, endpoint: EndpointKey) -> int:
        """How many its tenant may be given of what is free here, so that the rule holds afterwards."""
        return ceil((_OF_FREE * terms.batch - self._under_way[endpoint.distributor_id]) / (1 + _OF_FREE))

    async def _find(
        self, connection: Connection, terms: ClaimTerms, now: datetime
    ) -> Sequence[FoundEndpoint]:
        """The next endpoints of the walk; from the beginning, where it has come to the end."""
        found = await delivery_lane.find_endpoints(connection, terms, self._after, now, WALK)
        walked = [endpoint.key for endpoint in found if endpoint.walked]
        if len(walked) < WALK and self._after != BEGINNING:
            self._after = BEGINNING
            return await self._find(connection, terms, now)
        self._after = walked[-1] if len(walked) == WALK else BEGINNING
        return found

    async def _claim(
        self, connection: Connection, terms: ClaimTerms, able: Sequence[EndpointKey], now: datetime
    ) -> Sequence[ClaimedDeliveryRow]:
        endpoints = able[: terms.batch]  # each has one at least
        return await delivery_lane.claim_deliveries(
            connection,
            terms,
            endpoints,
            [self._room(terms, endpoint) for endpoint in endpoints],
            now,
            token=self._runtime.new_id(),
            attempt_ids=[self._runtime.new_id() for _ in range(terms.batch)],
            ahead=AHEAD,
        )

    def _until_ready(self, found: Iterable[FoundEndpoint], now: datetime) -> float:
        waits = [
            (endpoint.ready_at - now).total_seconds() for endpoint in found if endpoint.ready_at is not None
        ]
        return max(_SOONEST, min(waits, default=self._poll))


def taking_turns(endpoints: Iterable[EndpointKey]) -> list[EndpointKey]:
    """One endpoint of each tenant, then each one's second, and so on."""
    tenants: dict[UUID, list[EndpointKey]] = {}
    for endpoint in endpoints:
        tenants.setdefault(endpoint.distributor_id, []).append(endpoint)
    rounds = zip_longest(*tenants.values())
    return [endpoint for endpoint in chain.from_iterable(rounds) if endpoint is not None]
