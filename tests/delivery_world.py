"""Workers, receivers and endpoints under a clock that only moves when told: hours of deliveries in seconds, without a sleep.

The claims, attempts and settlements are the product's, on a real database; only the posts and the time are made up.
"""

import heapq
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from channels.egress import EgressResponse, EgressTimeouts
from channels.exchanges import ExchangeTrace
from db.delivery_lane import ClaimedDeliveryRow
from db.endpoints import secrets_context
from db.events import record_events
from db.lanes import ClaimTerms
from gateway.delivery_claims import DeliveryClaims
from gateway.worker import DELIVERIES_AT_ONCE, DELIVERY_LEASE, DELIVERY_SHARE, POLL_SECONDS
from handlers.deliveries import deliver, settle
from handlers.inbound import accept_messages
from handlers.runtime import Runtime
from handlers.webhooks.delivery import FinishedDelivery
from handlers.webhooks.delivery_tools import delivery_tools
from handlers.webhooks.event_types import EventType
from handlers.webhooks.outbox import new_event_row
from handlers.webhooks.signing import EndpointSecret, dump_secrets, new_secret
from tests.factories import accepted_item, inbound, make_account, make_distributor, make_endpoint
from tests.fakes import FakeClock

LATENCY = 0.02  # seconds that a receiver takes
_LEAST_ROOM = DELIVERIES_AT_ONCE // 4


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver does with a post: a status with headers, or an error to raise, after ``seconds``."""

    said: int | Exception = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = LATENCY


@dataclass(frozen=True, slots=True)
class Post:
    """A post that a receiver saw."""

    at: datetime
    event_id: UUID
    said: int | Exception


class Receiver:
    """Answers with what ``answer`` gives for the moment and the event; remembers what it saw."""

    def __init__(self, answer: Callable[[datetime, UUID], Answer] = lambda _at, _event: Answer()) -> None:
        self.answer = answer
        self.posts: list[Post] = []

    def take(self, at: datetime, event_id: UUID) -> Answer:
        answer = self.answer(at, event_id)
        self.posts.append(Post(at, event_id, answer.said))
        return answer

    @property
    def taken(self) -> list[Post]:
        return [post for post in self.posts if post.said == 204]

    def busiest_second(self, since: datetime) -> int:
        """The most posts that it saw in any second, wherever that begins."""
        times = [post.at for post in self.posts if post.at >= since]
        second, first, most = timedelta(seconds=1), 0, 0
        for last, at in enumerate(times):
            while at - times[first] >= second:
                first += 1
            most = max(most, last - first + 1)
        return most


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint of a tenant with its receiver."""

    tenant: UUID
    id: UUID
    receiver: Receiver


class World:
    """Tenants, endpoints, and as many workers as are told to work; it is their egress, too."""

    def __init__(self, runtime: Runtime, clock: FakeClock) -> None:
        self.runtime = runtime
        self.clock = clock
        self.receivers: dict[str, Receiver] = {}
        self.tools = delivery_tools(runtime, self)
        self._numbers = itertools.count(1)

    async def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        party: str,
        timeouts: EgressTimeouts | None = None,
        certificate: Any = None,
    ) -> EgressResponse:
        event_id = UUID(headers["webhook-id"].removeprefix("evt_"))
        answer = self.receivers[url].take(self.clock(), event_id)
        self.clock.advance(answer.seconds)
        if isinstance(answer.said, Exception):
            raise answer.said
        return EgressResponse(answer.said, answer.headers, b"", False, ExchangeTrace(address="203.0.113.9"))

    async def open_endpoint(
        self, receiver: Receiver | None = None, tenant: UUID | None = None, **columns: Any
    ) -> Endpoint:
        """An endpoint that gets test events."""
        tenant = tenant or await make_distributor(self.runtime)
        url = f"https://{next(self._numbers)}.example.test/hook"
        self.receivers[url] = receiver or Receiver()
        endpoint_id = await make_endpoint(self.runtime, tenant, [EventType.ENDPOINT_TEST], url, **columns)
        sealed = self.runtime.sealer.seal_json(
            dump_secrets([EndpointSecret(new_secret(bytes))]), secrets_context(tenant, endpoint_id)
        )
        async with self.runtime.database.tenant(tenant) as connection:
            await connection.execute(
                "update webhook_endpoints set secrets_sealed = $1 where id = $2", sealed, endpoint_id
            )
        return Endpoint(tenant, endpoint_id, self.receivers[url])

    async def open_conversations(self, tenant: UUID, count: int) -> list[UUID]:
        account = await make_account(self.runtime, tenant)
        messages = [inbound(key=f"SM{number}", sender=f"+1555{number:07}") for number in range(count)]
        await accept_messages(self.runtime, [accepted_item(self.runtime, account, each) for each in messages])
        async with self.runtime.database.tenant(tenant) as connection:
            return [row["id"] for row in await connection.fetch("select id from conversations order by id")]

    async def tell(self, tenant: UUID, count: int = 1, conversation: UUID | None = None) -> list[UUID]:
        """Stores so many events; their ids in order."""
        rows = [self._event(tenant, conversation) for _ in range(count)]
        async with self.runtime.database.tenant(tenant) as connection:
            await record_events(connection, rows)
        return [UUID(row["id"]) for row in rows]

    def _event(self, tenant: UUID, conversation: UUID | None) -> dict[str, Any]:
        data = {"endpoint_id": tenant}
        return new_event_row(
            self.runtime, tenant, EventType.ENDPOINT_TEST, data, conversation_id=conversation
        )

    async def state(self, endpoint: Endpoint) -> dict[str, Any]:
        (row,) = await self.rows(
            endpoint.tenant, "select * from webhook_endpoint_state where endpoint_id = $1", endpoint.id
        )
        return row

    async def rows(self, tenant: UUID, query: str, *arguments: Any) -> list[dict[str, Any]]:
        async with self.runtime.database.tenant(tenant) as connection:
            return [dict(row) for row in await connection.fetch(query, *arguments)]

    async def statuses(self, endpoint: Endpoint) -> set[str]:
        query = "select distinct status from webhook_deliveries where endpoint_id = $1"
        return {row["status"] for row in await self.rows(endpoint.tenant, query, endpoint.id)}

    async def deliver(self, row: ClaimedDeliveryRow) -> FinishedDelivery:
        """Makes the attempt; what it took of the time is given back, since others are under way at the same time."""
        now = self.clock.now
        finished = await deliver(self.runtime, self.tools, row)
        self.clock.now = now
        return finished


class SimulatedWorker:
    """Claims, posts and settles as gateway.worker does, at most once in ``cycle`` seconds."""

    def __init__(self, world: World, *, cycle: float = 0.02, poll: float = POLL_SECONDS) -> None:
        self.world = world
        self.cycle = cycle
        self.poll = poll
        self.claims = DeliveryClaims(world.runtime, poll)
        self.next_claim = world.clock()
        self._running: list[tuple[datetime, int, FinishedDelivery]] = []
        self._numbers = itertools.count()

    def wake(self) -> None:
        self.next_claim = self.world.clock()

    @property
    def next_step(self) -> datetime:
        """When there is something to do, as far as is known."""
        due = min(self.next_claim, *(ended for ended, _, _ in self._running[:1]), self.next_claim)
        return max(due, self.world.clock() + timedelta(seconds=self.cycle))

    async def work(self, seconds: float) -> None:
        """Works for so long, alone."""
        await work_together([self], seconds)

    async def step(self) -> None:
        """Settles what has ended, and claims if it is time to."""
        await self._settle()
        room = DELIVERIES_AT_ONCE - len(self._running)
        if self.world.clock() >= self.next_claim and room >= _LEAST_ROOM:
            claimed = await self.claims.claim(ClaimTerms(room, DELIVERY_SHARE, DELIVERY_LEASE))
            await self._start(claimed)
            pause = 0.0 if claimed else min(self.claims.pause, self.poll)
            self.next_claim = self.world.clock() + timedelta(seconds=pause)

    async def _start(self, claimed: Sequence[ClaimedDeliveryRow]) -> None:
        for row in claimed:
            finished = await self.world.deliver(row)
            heapq.heappush(self._running, (finished.result.ended_at, next(self._numbers), finished))

    async def _settle(self) -> None:
        ended = []
        while self._running and self._running[0][0] <= self.world.clock():
            ended.append(heapq.heappop(self._running)[2])
        if ended:
            await settle(self.world.runtime, ended)
            for item in ended:
                self.claims.finished(item.claimed)
            if self.claims.is_held_up:
                self.wake()


async def work_together(workers: Sequence[SimulatedWorker], seconds: float) -> None:
    """Workers beside each other for so long."""
    clock = workers[0].world.clock
    end = clock() + timedelta(seconds=seconds)
    while clock() < end:
        for worker in workers:
            await worker.step()
        clock.now = min(end, *(worker.next_step for worker in workers))
    for worker in workers:
        await worker.step()
