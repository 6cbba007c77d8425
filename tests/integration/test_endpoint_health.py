"""How batches of attempts are folded into an endpoint's state: breaker, pace, silence, warnings."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from db.delivery_lane import ClaimedDeliveryRow, EndpointProgress, settle_deliveries
from db.lanes import ClaimTerms
from gateway.delivery_claims import DeliveryClaims
from handlers.deliveries import settle
from handlers.endpoints import enable_endpoint, patch_endpoint
from handlers.runtime import Runtime
from handlers.webhooks.health import DISABLE_AFTER, POLICY
from tests.delivery_world import Answer, Endpoint, Receiver, World
from tests.fakes import START, FakeClock

TERMS = ClaimTerms(batch=20, share=10, lease=timedelta(seconds=40))
OK, BROKEN, LIMITED = Answer(), Answer(500), Answer(429)


def later(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@dataclass
class Stage:
    """One endpoint, told facts at given seconds."""

    world: World
    endpoint: Endpoint

    async def fold(self, at: float, **facts: Any) -> EndpointProgress:
        row = {
            "distributor_id": self.endpoint.tenant,
            "endpoint_id": self.endpoint.id,
            "successes": 0,
            "succeeded_at": None,
            "failures": 0,
            "failed_ids": [],
            "limited_ids": [],
            "failing_from": None,
            "probe_failed": False,
            "throttled_from": None,
            "rate_limited": False,
            "blocked_until": None,
            "next_due_at": None,
            "finished_at": later(at),
            **facts,
        }
        async with self.world.runtime.database.queue_statements() as connection:
            (progress,) = await settle_deliveries(connection, [], [row], POLICY.as_row())
        return progress

    async def fails(self, at: float, *events: int, **more: Any) -> EndpointProgress:
        ids = [UUID(int=event) for event in events]
        return await self.fold(at, failures=len(ids), failed_ids=ids, failing_from=later(at), **more)

    async def limits(self, at: float, *events: int) -> EndpointProgress:
        ids = [UUID(int=event) for event in events]
        known = {"failures": len(ids), "limited_ids": ids, "failing_from": later(at)}
        return await self.fold(at, throttled_from=later(at), rate_limited=True, **known)

    async def succeeds(self, at: float, count: int = 1) -> EndpointProgress:
        return await self.fold(at, successes=count, succeeded_at=later(at))

    async def state(self) -> dict[str, Any]:
        return await self.world.state(self.endpoint)

    async def claim(self) -> Sequence[ClaimedDeliveryRow]:
        return await DeliveryClaims(self.world.runtime, 1.0).claim(TERMS)

    async def answer(self, rows: Sequence[ClaimedDeliveryRow], answer: Answer) -> None:
        self.endpoint.receiver.answer = lambda _at, _event: answer
        finished = [await self.world.deliver(row) for row in rows]
        self.world.clock.now = max(item.result.ended_at for item in finished)
        await settle(self.world.runtime, finished)


@pytest.fixture
async def stage(runtime: Runtime, clock: FakeClock) -> Stage:
    world = World(runtime, clock)
    return Stage(world, await world.open_endpoint(Receiver()))


async def opened(stage: Stage) -> Stage:
    """Its breaker opened at second 0."""
    await stage.fails(0, *range(10))
    return stage


async def test_the_tenth_event_that_fails_in_a_row_opens_the_breaker(stage: Stage):
    for event in range(9):
        assert (await stage.fails(event, event)).breaker == ""
    assert (await stage.fails(9, 9)).breaker == "opens"

    state = await stage.state()
    assert (state["breaker"], state["consecutive_failures"], state["probes"]) == ("OPEN", 10, 0)
    assert state["breaker_until"] == state["ready_at"] == later(9 + 30)
    assert state["failing_since"] == later(0)


@pytest.mark.parametrize("events", [[1], [1, 2], list(range(9))], ids=len)
async def test_fewer_events_never_do_however_often_they_fail(stage: Stage, events: list[int]):
    said = [await stage.fails(turn, event) for turn in range(5) for event in events]

    assert {progress.breaker for progress in said} == {""}
    assert (await stage.state())["failed_attempts"] == 5 * len(events)


async def test_a_success_between_them_begins_a_new_row(stage: Stage):
    await stage.fails(1, *range(9))
    await stage.succeeds(2)
    assert (await stage.fails(3, *range(9))).breaker == ""

    state = await stage.state()
    assert (state["consecutive_failures"], state["failed_attempts"], state["failing_since"]) == (
        9,
        9,
        later(3),
    )


async def test_too_many_posts_open_no_breaker_while_there_can_be_fewer(stage: Stage):
    for turn in range(3):
        assert (await stage.limits(turn / 10, *range(10 * turn, 10 * turn + 10))).breaker == ""
    assert (await stage.state())["learned_rate"] == Decimal("1.000")

    assert (await stage.limits(3, *range(100, 110))).breaker == "opens"


async def test_failures_of_attempts_that_began_before_it_opened_move_nothing(stage: Stage):
    await opened(stage)
    before = await stage.state()
    progress = await stage.fails(5, 20, 21)

    after = await stage.state()
    assert progress.breaker == ""
    assert (after["breaker"], after["breaker_until"], after["probes"]) == ("OPEN", before["breaker_until"], 0)


async def test_a_success_of_one_that_began_before_it_opened_closes_it(stage: Stage):
    """What it took, it took: it is not down."""
    await opened(stage)

    assert (await stage.succeeds(5)).breaker == "closes"
    assert (await stage.state())["breaker"] == "CLOSED"


async def test_each_failed_probe_doubles_the_pause_up_to_the_longest(stage: Stage):
    await opened(stage)
    pauses = []
    for turn in range(6):
        progress = await stage.fails(1_000 * turn, 1, probe_failed=True)
        state = await stage.state()
        pauses.append((state["breaker_until"] - later(1_000 * turn)).total_seconds())
        assert (progress.breaker, state["breaker"], state["probes"]) == ("stays open", "OPEN", turn + 1)

    assert pauses == [60, 120, 240, 300, 300, 300]


async def test_it_closes_to_a_slow_start(stage: Stage):
    await opened(stage)
    progress = await stage.succeeds(30)
    closed = await stage.state()
    concurrencies = []
    for turn in range(12):
        await stage.succeeds(31 + turn)
        concurrencies.append((await stage.state())["concurrency"])

    assert (progress.breaker, progress.give_back_from) == ("closes", later(0))
    assert (closed["breaker"], closed["breaker_until"], closed["concurrency"], closed["probes"]) == (
        "CLOSED",
        None,
        1,
        0,
    )
    assert (closed["failing_since"], closed["consecutive_failures"], closed["failed_attempts"]) == (
        None,
        0,
        0,
    )
    assert concurrencies == [2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10, 10]


async def test_an_outage_is_given_back_until_somebody_did_so(stage: Stage):
    await opened(stage)
    await stage.succeeds(30)
    assert (await stage.succeeds(31)).give_back_from == later(0), "the first worker was killed in between"
    stage.world.clock.now = later(32)
    await stage.world.tell(stage.endpoint.tenant)
    await stage.answer(await stage.claim(), OK)

    assert (await stage.state())["give_back_from"] is None
    assert (await stage.succeeds(33)).give_back_from is None


async def test_posts_under_way_are_halved_once_a_second(stage: Stage):
    concurrencies = []
    for at in (0, 0.3, 0.9, 1.0, 1.5, 2.0, 3.0, 4.0):
        await stage.fold(at, throttled_from=later(at))
        concurrencies.append((await stage.state())["concurrency"])

    assert concurrencies == [5, 5, 5, 2, 2, 1, 1, 1]
    assert (await stage.state())["learned_rate"] is None, "only a 429 speaks of a rate"


async def test_answers_to_posts_from_before_the_cut_do_not_cut_again(stage: Stage):
    await stage.fold(5, throttled_from=later(4))
    await stage.fold(7, throttled_from=later(5.5))
    assert (await stage.state())["concurrency"] == 5

    await stage.fold(8, throttled_from=later(6))
    assert (await stage.state())["concurrency"] == 2


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ([], 1.0),  # nothing is known of what it takes
        ([(0.5, 20)], 18),
        ([(0.1, 10), (0.9, 10)], 18),
        ([(-0.5, 20), (0.1, 3)], 18),  # the second before was a whole one
        ([(-1.5, 20), (0.1, 3)], 2.7),
        ([(0.5, 5_000)], 900),  # at most nine tenths of the highest
    ],
)
async def test_the_rate_is_learned_from_what_was_taken(
    stage: Stage, taken: list[tuple[float, int]], expected: float
):
    for at, count in taken:
        await stage.succeeds(60 + at, count)
    await stage.limits(60.95, 1)

    assert float((await stage.state())["learned_rate"]) == pytest.approx(expected)


async def test_the_rate_grows_hardly_at_first_and_fast_later_until_it_is_forgotten(stage: Stage):
    await stage.succeeds(0.1, 20)
    await stage.limits(0.2, 1)
    rates = {}
    for at in range(1, 121):
        await stage.succeeds(at)
        rates[at] = (await stage.state())["learned_rate"]

    assert [rates[at] is None or float(rates[at]) for at in (10, 25, 50, 120)] == [
        pytest.approx(18 * 1.008, rel=0.01),
        pytest.approx(18 * 1.133, rel=0.01),
        pytest.approx(18 * 2.718, rel=0.02),
        True,
    ]


async def test_silence_that_was_asked_for_is_the_longest_and_no_shorter_later(stage: Stage):
    await stage.fold(0, blocked_until=later(60))
    await stage.fold(1, blocked_until=later(20))
    await stage.succeeds(2)

    state = await stage.state()
    assert (state["blocked_until"], state["ready_at"]) == (later(60), later(60))


@pytest.mark.parametrize("retry_after", ["60", "Mon, 06 Jul 2026 15:01:00 GMT"])
async def test_retry_after_is_for_all_that_waits_for_the_endpoint(
    stage: Stage, clock: FakeClock, retry_after: str
):
    await stage.world.tell(stage.endpoint.tenant, 15)
    claimed = await stage.claim()
    await stage.answer(claimed[:1], Answer(503, {"Retry-After": retry_after}))
    await stage.answer(claimed[1:], OK)

    clock.now = later(59.5)
    assert await stage.claim() == []
    clock.now = later(60.1)
    assert await stage.claim() != []


@pytest.mark.parametrize(
    ("answer", "events", "columns", "change"),
    [
        (Answer(503, {"Retry-After": "86400"}), 1, {}, {"url": "https://other.example.test/hook"}),
        (BROKEN, POLICY.breaker_failures, {}, {"url": "https://other.example.test/hook"}),
        (OK, 2, {"rate_limit_per_second": Decimal("0.001")}, {"rate_limit_per_second": Decimal(100)}),
    ],
)
async def test_what_was_wrong_with_a_receiver_is_not_held_against_the_next(
    runtime: Runtime,
    clock: FakeClock,
    answer: Answer,
    events: int,
    columns: dict[str, Any],
    change: dict[str, Any],
):
    world = World(runtime, clock)
    endpoint = await world.open_endpoint(Receiver(lambda _at, _event: answer), **columns)
    await world.tell(endpoint.tenant, events)
    claims = DeliveryClaims(world.runtime, 1.0)
    for row in await claims.claim(TERMS):
        await settle(world.runtime, [await world.deliver(row)])
        claims.finished(row)
    await world.tell(endpoint.tenant)
    clock.advance(10)
    assert not await claims.claim(TERMS)

    await patch_endpoint(world.runtime, endpoint.tenant, endpoint.id, change)

    assert await claims.claim(TERMS)


async def test_a_probe_is_one_post_the_oldest_and_costs_no_place(stage: Stage, clock: FakeClock):
    await opened(stage)
    told = await stage.world.tell(stage.endpoint.tenant, 5)
    assert await stage.claim() == []
    clock.advance(30)
    (probe,) = await stage.claim()
    assert await stage.claim() == []
    await stage.answer([probe], BROKEN)

    attempts = await stage.world.rows(
        stage.endpoint.tenant, "select probe, next_attempt_at from webhook_delivery_attempts"
    )
    (row,) = await stage.world.rows(
        stage.endpoint.tenant, "select * from webhook_deliveries where event_id = $1", probe.event_id
    )
    assert (probe.event_id, probe.probes) == (told[0], 0)
    assert attempts == [{"probe": True, "next_attempt_at": row["due_at"]}]
    assert (row["status"], row["schedule_position"], row["due_at"]) == (
        "RETRYING",
        0,
        clock() + timedelta(seconds=60),
    )
    clock.advance(60)
    assert [row.event_id for row in await stage.claim()] == [told[1]], (
        "a failed one goes to the back of the line"
    )


async def test_a_probe_whose_worker_is_gone_is_followed_by_another(stage: Stage, clock: FakeClock):
    await opened(stage)
    await stage.world.tell(stage.endpoint.tenant, 5)
    clock.advance(30)
    (lost,) = await stage.claim()
    clock.advance(39)
    assert await stage.claim() == []
    clock.advance(1)
    (again,) = await stage.claim()
    await stage.answer([again], OK)

    assert again.event_id == lost.event_id
    assert (await stage.state())["breaker"] == "CLOSED"
    assert (await stage.state())["in_flight"] == 0


async def test_what_failed_on_the_way_to_the_opening_has_lost_nothing(stage: Stage, clock: FakeClock):
    """Each of the first ones failed twice by then; one that failed before the outage keeps that."""
    tenant = stage.endpoint.tenant
    await stage.world.tell(tenant)
    await stage.answer(await stage.claim(), BROKEN)
    await stage.world.tell(tenant)
    await stage.answer([row for row in await stage.claim() if row.number == 1], OK)
    clock.advance(0.5)
    await stage.world.tell(tenant, 8)
    await stage.answer(await stage.claim(), BROKEN)
    clock.advance(6.5)
    await stage.answer(await stage.claim(), BROKEN)
    await stage.world.tell(tenant, 3)
    clock.advance(0.5)
    await stage.answer(await stage.claim(), BROKEN)
    before = await stage.world.rows(
        tenant, "select schedule_position from webhook_deliveries where due_at is not null"
    )
    assert (await stage.state())["breaker"] == "OPEN"
    clock.advance(31)
    (probe,) = await stage.claim()
    await stage.answer([probe], OK)

    after = await stage.world.rows(
        tenant,
        "select status, schedule_position, due_at = created_at as at_once from webhook_deliveries where due_at is not null",
    )
    assert {row["schedule_position"] for row in before} == {1, 2}
    assert {tuple(row.values()) for row in after} == {("PENDING", 0, True), ("PENDING", 1, True)}
    assert sum(row["schedule_position"] for row in after) == 1


async def test_warnings_come_once_each_and_then_it_is_disabled(stage: Stage, clock: FakeClock):
    tenant = stage.endpoint.tenant
    listener = await stage.world.open_endpoint(tenant=tenant)
    async with stage.world.runtime.database.tenant(tenant) as connection:
        await connection.execute(
            "update webhook_endpoints set event_types = '{endpoint.failing,endpoint.disabled}' where id = $1",
            listener.id,
        )
    await stage.fails(0, 1)
    await stage.fold(1, failures=40)
    for _ in range(21):
        clock.advance(DISABLE_AFTER.total_seconds() / 20)
        await stage.world.tell(tenant)
        mine = [row for row in await stage.claim() if row.endpoint_id == stage.endpoint.id]
        if mine:
            await stage.answer(mine, BROKEN)
    told = await stage.world.rows(
        tenant, "select type, body from webhook_events where type <> 'endpoint.test' order by id"
    )

    assert [(row["type"], row["body"]["data"].get("percent")) for row in told] == [
        ("endpoint.failing", 50),
        ("endpoint.failing", 70),
        ("endpoint.failing", 90),
        ("endpoint.disabled", None),
    ]
    assert told[0]["body"]["data"]["disabled_from"] == told[2]["body"]["data"]["disabled_from"]
    assert told[3]["body"]["data"]["reason"] == "failing"
    assert (await stage.state())["in_flight"] == 0

    await enable_endpoint(stage.world.runtime, tenant, stage.endpoint.id)
    await stage.world.tell(tenant)
    await stage.answer([row for row in await stage.claim() if row.endpoint_id == stage.endpoint.id], BROKEN)
    rows = await stage.world.rows(
        tenant, "select enabled from webhook_endpoints where id = $1", stage.endpoint.id
    )
    assert rows == [{"enabled": True}], "it begins anew"
