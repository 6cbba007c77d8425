"""Whatever several workers, receivers and tenants do in whatever order: what must always hold of deliveries, and that in the
end each has ended.
"""

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from channels.errors import DeliveryFault, FaultClass, LookupsBusy
from db.delivery_lane import ClaimedDeliveryRow
from db.lanes import ClaimTerms
from db.migrate import find_runtime_dsn
from db.sealing import Sealer
from db.tenant import Database, open_database
from gateway.delivery_claims import DeliveryClaims
from handlers.deliveries import settle
from handlers.endpoints import disable_endpoint, enable_endpoint
from handlers.runtime import RetrySchedule, Runtime, new_uuid7
from handlers.webhooks.delivery import FinishedDelivery
from handlers.webhooks.health import POLICY
from handlers.webhooks.redelivery import redeliver
from tests.conftest import PUBLIC_URL
from tests.delivery_world import Answer, Endpoint, Receiver, World
from tests.fakes import FakeClock
from tests.servers import MASTER_KEY

WAITS = (0.0, 5.0, 30.0)
SHARE = 4
LEASE = timedelta(seconds=30)
WORKERS = range(3)
ENDED = {"SUCCESS", "EXHAUSTED", "CANCELLED"}
ANSWERS = {
    "taken": Answer(),
    "broken": Answer(500),
    "limited": Answer(429),
    "limited for long": Answer(429, {"Retry-After": "20"}),
    "down for long": Answer(503, {"Retry-After": "Mon, 06 Jul 2026 15:10:00 GMT"}),
    "too late": Answer(DeliveryFault(FaultClass.TIMEOUT), seconds=20.0),
    "put off": Answer(LookupsBusy()),
    "gone": Answer(410),
    "last one": Answer(200, {"webhook-delivery": "disable"}),
}
USUAL = ("taken", "taken", "broken", "broken", "broken")
# What must always hold. Each finds those of which it does not.
ALWAYS = {
    "in_flight counts leases": """
        select s.endpoint_id, s.in_flight, count(d.lease_token)
        from webhook_endpoint_state s
        left join webhook_deliveries d on d.endpoint_id = s.endpoint_id and d.lease_token is not null
        group by s.distributor_id, s.endpoint_id having s.in_flight <> count(d.lease_token)""",
    "one probe at most is under way": """
        select a.endpoint_id, count(*)
        from webhook_delivery_attempts a
        join webhook_deliveries d using (distributor_id, endpoint_id, event_id)
        where a.probe and a.outcome = 'unknown' and d.lease_until > $1 and a.number = d.attempt_count
        group by a.endpoint_id having count(*) > 1""",
    "one of a conversation at most is on its way, the oldest": """
        select d.endpoint_id, d.ordering_key, count(*) filter (where due_at < 'infinity')
        from webhook_deliveries d
        where due_at is not null and ordering_key is not null
        group by d.endpoint_id, d.ordering_key
        having count(*) filter (where due_at < 'infinity') <> 1
            or min(sequence) <> min(sequence) filter (where due_at < 'infinity')""",
    "retries are looked for in time": """
        select d.endpoint_id, s.next_due_at, d.due_at, d.lease_until
        from webhook_deliveries d
        join webhook_endpoint_state s using (distributor_id, endpoint_id)
        where d.status = 'RETRYING' and d.due_at < 'infinity'
            and coalesce(s.next_due_at, 'infinity') > greatest(d.due_at, d.lease_until, s.updated_at)""",
    "attempts are numbered without a gap": """
        select d.event_id, d.attempt_count, array_agg(a.number order by a.number)
        from webhook_deliveries d
        left join webhook_delivery_attempts a using (distributor_id, endpoint_id, event_id)
        group by d.distributor_id, d.endpoint_id, d.event_id
        having array_agg(a.number order by a.number) filter (where a.number is not null)
            is distinct from nullif(array(select generate_series(1, d.attempt_count)), '{}')""",
    "what has ended is not due": """
        select event_id, status, due_at from webhook_deliveries
        where (due_at is null) <> (status in ('SUCCESS', 'EXHAUSTED', 'CANCELLED'))
            or (due_at is null and lease_token is not null)""",
    "the schedule is not overrun": "select event_id from webhook_deliveries where schedule_position > 3",
}
# An endpoint whose breaker never opened gives nothing back: each failure counts.
COUNTED = """
    select d.event_id, count(*)
    from webhook_deliveries d
    join webhook_delivery_attempts a using (distributor_id, endpoint_id, event_id)
    where not d.endpoint_id = any ($1::uuid[]) and not d.event_id = any ($2::uuid[])
        and a.outcome = 'failure' and a.error_class is distinct from 'deferred'
    group by d.distributor_id, d.endpoint_id, d.event_id having count(*) > 3"""
FEW = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
FORGET = """
    update webhook_deliveries set status = 'CANCELLED', due_at = null, lease_until = null, lease_token = null where due_at is not null;
    update webhook_endpoint_state set in_flight = 0, next_due_at = null, breaker = 'CLOSED', give_back_from = null"""


class Deliveries(RuleBasedStateMachine):
    """Three workers; an unordered endpoint, and two ordered ones of two tenants."""

    def __init__(self, runner: asyncio.Runner, database: Database, admin: Any) -> None:
        super().__init__()
        self.run = runner.run
        self.admin = admin
        self.clock = FakeClock()
        runtime = Runtime(
            database,
            Sealer([MASTER_KEY]),
            self.clock,
            new_uuid7,
            random.Random(1),
            RetrySchedule(WAITS),
            PUBLIC_URL,
        )
        self.world = World(runtime, self.clock)
        self.claims = {worker: DeliveryClaims(runtime, 1.0) for worker in WORKERS}
        self.hands: dict[int, list[ClaimedDeliveryRow]] = {worker: [] for worker in WORKERS}
        self.lost: list[ClaimedDeliveryRow] = []
        self.last: dict[tuple[UUID, UUID], int] = {}
        self.opened: set[UUID] = set()
        self.redelivered: set[UUID] = set()

    @initialize()
    def open(self) -> None:
        self.run(self._open())

    async def _open(self) -> None:
        await self.admin.execute(FORGET)
        self.said = "taken"
        receiver = Receiver(lambda _at, _event: ANSWERS[self.said])
        first = await self.world.open_endpoint(receiver)
        second = await self.world.open_endpoint(
            receiver, first.tenant, ordering="conversation", max_in_flight=2
        )
        third = await self.world.open_endpoint(receiver, ordering="conversation")
        self.endpoints: Sequence[Endpoint] = (first, second, third)
        self.conversations = {
            tenant: await self.world.open_conversations(tenant, 2) for tenant in (first.tenant, third.tenant)
        }
        for tenant, talks in self.conversations.items():
            for about in (None, *talks):
                await self.world.tell(tenant, 3, about)

    @rule(of=st.integers(0, 2), talks=st.sampled_from([None, 0, 1]), count=st.integers(1, 6))
    def something_happens(self, of: int, talks: int | None, count: int) -> None:
        tenant = self.endpoints[of].tenant
        about = None if talks is None else self.conversations[tenant][talks]
        self.run(self.world.tell(tenant, count, about))

    @rule(worker=st.sampled_from(WORKERS), batch=st.integers(1, 6))
    def a_worker_claims(self, worker: int, batch: int) -> None:
        self.run(self._claim(worker, batch))

    async def _claim(self, worker: int, batch: int) -> None:
        claimed = await self.claims[worker].claim(ClaimTerms(batch, SHARE, LEASE))
        self.hands[worker] += claimed
        await self._check_caps({row.endpoint_id for row in claimed})
        await self._check_order(claimed)

    async def _check_caps(self, endpoints: set[UUID]) -> None:
        over = await self.admin.fetch(
            "select s.endpoint_id from webhook_endpoint_state s"
            " join webhook_endpoints w on w.id = s.endpoint_id"
            " join webhook_deliveries d on d.endpoint_id = s.endpoint_id and d.lease_until > $1"
            " where s.endpoint_id = any ($2::uuid[])"
            " group by s.endpoint_id, s.concurrency, w.max_in_flight"
            " having count(*) > least(s.concurrency, w.max_in_flight, $3)",
            self.clock(),
            list(endpoints),
            SHARE,
        )
        assert over == [], "more is under way than may be"

    async def _check_order(self, claimed: Sequence[ClaimedDeliveryRow]) -> None:
        keyed = [row for row in claimed if row.ordering_key is not None]
        places = await self.admin.fetch(
            "select id, sequence from webhook_events where id = any ($1::uuid[])",
            [row.event_id for row in keyed],
        )
        sequences = {place["id"]: place["sequence"] for place in places}
        for row in keyed:
            assert row.ordering_key is not None
            key, sequence = (row.endpoint_id, row.ordering_key), sequences[row.event_id]
            assert sequence >= self.last.get(key, 0), "a conversation goes backwards"
            self.last[key] = sequence

    @rule(worker=st.sampled_from(WORKERS), said=st.sampled_from([*USUAL, *ANSWERS]), count=st.integers(1, 6))
    def its_posts_are_answered(self, worker: int, said: str, count: int) -> None:
        hand = self.hands[worker]
        self.hands[worker] = hand[count:]
        self.run(self._settle(hand[:count], said))
        for row in hand[:count]:
            self.claims[worker].finished(row)

    async def _settle(self, rows: Sequence[ClaimedDeliveryRow], said: str) -> None:
        self.said = said
        finished: list[FinishedDelivery] = [await self.world.deliver(row) for row in rows]
        if finished:
            self.clock.now = max(self.clock(), *(item.result.ended_at for item in finished))
            await settle(self.world.runtime, finished)

    @rule(worker=st.sampled_from(WORKERS), said=st.sampled_from([*USUAL, *ANSWERS]))
    def a_worker_works(self, worker: int, said: str) -> None:
        """Most of the time nothing comes between."""
        self.run(self._claim(worker, 10))
        self.its_posts_are_answered(worker, said, len(self.hands[worker]))

    @rule(worker=st.sampled_from(WORKERS))
    def a_worker_dies(self, worker: int) -> None:
        self.lost += self.hands[worker]
        self.hands[worker] = []
        self.claims[worker] = DeliveryClaims(self.world.runtime, 1.0)

    @rule(said=st.sampled_from(["taken", "broken"]))
    def one_thought_dead_comes_back(self, said: str) -> None:
        back, self.lost = self.lost, []
        self.run(self._settle(back, said))

    @rule(seconds=st.sampled_from([0.5, 6.0, 31.0, 70.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(of=st.integers(0, 2), on=st.booleans())
    def its_tenant_turns_it_off_or_on(self, of: int, on: bool) -> None:
        endpoint = self.endpoints[of]
        self.run(
            (enable_endpoint if on else disable_endpoint)(self.world.runtime, endpoint.tenant, endpoint.id)
        )

    @rule(data=st.data())
    def one_is_asked_for_again(self, data: st.DataObject) -> None:
        """Of the unordered endpoint; replays are held to the order elsewhere."""
        endpoint = self.endpoints[0]
        ended = self.run(
            self.admin.fetch(
                "select d.id, d.event_id from webhook_deliveries d join webhook_endpoints w on w.id = d.endpoint_id and w.enabled"
                " where d.endpoint_id = $1 and d.due_at is null order by d.event_id",
                endpoint.id,
            )
        )
        if ended:
            chosen = ended[data.draw(st.integers(0, len(ended) - 1))]
            self.redelivered.add(chosen["event_id"])
            self.run(redeliver(self.world.runtime, endpoint.tenant, chosen["id"]))

    @invariant()
    def what_must_always_hold(self) -> None:
        self.run(self._check())

    async def _check(self) -> None:
        for name, query in ALWAYS.items():
            arguments = [self.clock()] if "$1" in query else []
            assert [tuple(row) for row in await self.admin.fetch(query, *arguments)] == [], name
        open_now = await self.admin.fetch(
            "select endpoint_id from webhook_endpoint_state where breaker <> 'CLOSED' or give_back_from is not null"
        )
        self.opened |= {row["endpoint_id"] for row in open_now}
        assert await self.admin.fetch(COUNTED, list(self.opened), list(self.redelivered)) == []

    def teardown(self) -> None:
        if hasattr(self, "endpoints"):
            self.run(self._end())

    async def _end(self) -> None:
        """Receivers are well and workers work: after a while nothing waits for endpoints that are on."""
        for worker in WORKERS:
            self.a_worker_dies(worker)
        waits = "select count(*) from webhook_deliveries where due_at is not null"
        for _ in range(100):
            self.clock.advance(45)
            await self._claim(0, 10)
            rows, self.hands[0] = self.hands[0], []
            await self._settle(rows, "taken")
            for row in rows:
                self.claims[0].finished(row)
            await self._check()
            if not await self.admin.fetchval(waits):
                break
        assert await self.admin.fetchval(waits) == 0, "something is forgotten"
        states = await self.admin.fetch("select in_flight from webhook_endpoint_state where in_flight <> 0")
        assert states == []


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def test_whatever_happens_in_whatever_order(
    shared_dsn: str, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
):
    # Two failures open a breaker, so that it is met within few steps.
    monkeypatch.setattr("handlers.deliveries.POLICY", replace(POLICY, breaker_failures=2))
    admin = runner.run(asyncpg.connect(shared_dsn))
    database = runner.run(open_database(runner.run(find_runtime_dsn(shared_dsn, [MASTER_KEY]))))

    class Here(Deliveries):
        def __init__(self) -> None:
            super().__init__(runner, database, admin)

    try:
        run_state_machine_as_test(Here, settings=FEW)
    finally:
        runner.run(admin.close())
        runner.run(database.close())
