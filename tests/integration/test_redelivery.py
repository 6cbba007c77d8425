"""A person's redelivery: takes the place of what waits, never puts one delivery on its way twice."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from channels.errors import NotFound, WrongState
from handlers.endpoints import delete_endpoint, disable_endpoint
from handlers.runtime import Runtime
from handlers.webhooks.redelivery import redeliver
from tests.fakes import FakeClock
from tests.integration.replay_stage import Stage, make_conversations, open_stage
from tests.integration.test_concurrency import blocked_by
from tests.integration.test_deliveries import open_outbox

SOON = 10.0


@pytest.fixture
async def stage(runtime: Runtime, clock: FakeClock) -> Stage:
    return await open_stage(runtime, clock)


async def delivery_of(stage: Stage, event: UUID) -> dict[str, Any]:
    return (await stage.deliveries())[event]


async def ask(stage: Stage, event: UUID) -> None:
    await redeliver(stage.runtime, stage.tenant, (await delivery_of(stage, event))["id"])


BEFORE = [
    ("PENDING", 0, timedelta(minutes=5)),
    ("RETRYING", 3, timedelta(hours=5)),
    ("SUCCESS", 1, None),
    ("EXHAUSTED", 11, None),
    ("CANCELLED", 2, None),
]


@pytest.mark.parametrize(("status", "attempts", "wait"), BEFORE, ids=[case[0] for case in BEFORE])
async def test_it_is_due_now_with_the_whole_schedule_and_its_numbers_go_on(
    stage: Stage, status: str, attempts: int, wait: timedelta | None
):
    event = await stage.event()
    due = None if wait is None else stage.clock() + wait
    await stage.execute(
        "update webhook_deliveries set status = $1, attempt_count = $2, schedule_position = $2, due_at = $3",
        status, attempts, due,
    )  # fmt: skip
    before = await delivery_of(stage, event)
    stage.clock.advance(1)
    await ask(stage, event)

    now = stage.clock()
    changed = {
        "status": "PENDING",
        "due_at": now,
        "schedule_position": 0,
        "trigger": "manual",
        "updated_at": now,
    }
    assert await delivery_of(stage, event) == {**before, **changed}
    assert await stage.work() == [event]
    assert await stage.work() == []


async def lease(stage: Stage, seconds: float, in_flight: int = 3) -> None:
    until = stage.clock() + timedelta(seconds=seconds)
    await stage.execute(
        "update webhook_deliveries set lease_until = $1, lease_token = gen_random_uuid(), attempt_count = 1",
        until,
    )
    await stage.execute("update webhook_endpoint_state set in_flight = $1", in_flight)


async def in_flight(stage: Stage) -> int:
    (row,) = await stage.fetch("select in_flight from webhook_endpoint_state")
    return int(row["in_flight"])


async def test_while_an_attempt_runs_it_is_refused(stage: Stage):
    event = await stage.event()
    await lease(stage, 30)
    before = await delivery_of(stage, event)
    with pytest.raises(WrongState, match="under way"):
        await ask(stage, event)

    assert (await delivery_of(stage, event), await in_flight(stage)) == (before, 3)


@pytest.mark.parametrize(("counted", "left"), [(3, 2), (1, 0), (0, 0)])
async def test_a_lease_that_ran_out_is_taken_away_and_not_counted_any_more(
    stage: Stage, counted: int, left: int
):
    event = await stage.event()
    await lease(stage, 0, counted)
    await ask(stage, event)

    row = await delivery_of(stage, event)
    assert (row["lease_until"], row["lease_token"], row["attempt_count"]) == (None, None, 1)
    assert await in_flight(stage) == left


@pytest.mark.parametrize("end", [disable_endpoint, delete_endpoint], ids=["disabled", "deleted"])
async def test_nothing_goes_to_an_endpoint_that_takes_nothing(stage: Stage, end: Any):
    event = await stage.event()
    await end(stage.runtime, stage.tenant, stage.endpoint)
    with pytest.raises(WrongState, match="disabled or deleted"):
        await ask(stage, event)

    assert await stage.statuses() == ["CANCELLED"]


async def test_a_payload_that_is_gone_cannot_be_sent(stage: Stage, admin_dsn: str):
    event = await stage.event()
    admin = await asyncpg.connect(admin_dsn)
    await admin.execute("update webhook_events set body = null")
    await admin.close()
    with pytest.raises(WrongState, match="no longer kept"):
        await ask(stage, event)


async def test_what_is_unknown_or_anothers_is_not_found(runtime: Runtime, clock: FakeClock, stage: Stage):
    event = await stage.event()
    other = await open_stage(runtime, clock)
    for delivery_id in ((await delivery_of(stage, event))["id"], runtime.new_id()):
        with pytest.raises(NotFound):
            await redeliver(other.runtime, other.tenant, delivery_id)


async def test_what_is_pulled_waits_to_be_fetched(runtime: Runtime, clock: FakeClock):
    stage = await open_stage(runtime, clock, transport="pull", url=None)
    event = await stage.event()
    await stage.execute("update webhook_deliveries set status = 'SUCCESS', due_at = null")
    await ask(stage, event)

    assert await stage.fetch("select status, due_at = 'infinity' as waits from webhook_deliveries") == [
        {"status": "PENDING", "waits": True}
    ]


class TestOrder:
    """Of a conversation, one at a time is on its way; what is asked for takes its place among those that wait."""

    @pytest.fixture
    async def ordered(self, runtime: Runtime, clock: FakeClock, admin_dsn: str) -> tuple[Stage, list[UUID]]:
        stage = await open_stage(runtime, clock, ordering="conversation")
        (talk,) = await make_conversations(stage, admin_dsn, 1)
        return stage, [await stage.event(conversation=talk) for _ in range(3)]

    async def on_their_way(self, stage: Stage) -> list[UUID]:
        rows = await stage.fetch("select event_id from webhook_deliveries where due_at < 'infinity'")
        return [row["event_id"] for row in rows]

    async def test_the_head_that_waits_for_its_retry_goes_now(self, ordered: tuple[Stage, list[UUID]]):
        stage, events = ordered
        await stage.work_once(succeeds=False, gives_up=False)
        await ask(stage, events[0])

        assert await self.on_their_way(stage) == [events[0]]
        assert await stage.work_once() == [events[0]]

    async def test_one_that_waits_behind_another_stays_behind_it(self, ordered: tuple[Stage, list[UUID]]):
        stage, events = ordered
        await ask(stage, events[2])
        order = [await stage.work_once() for _ in range(4)]

        assert order == [[events[0]], [events[1]], [events[2]], []]

    async def test_one_that_ended_goes_before_those_that_wait(self, ordered: tuple[Stage, list[UUID]]):
        stage, events = ordered
        await stage.work_once()
        await ask(stage, events[0])

        assert await self.on_their_way(stage) == [events[1]]
        assert [await stage.work_once() for _ in range(4)] == [[events[1]], [events[0]], [events[2]], []]


class TestAtOnce:
    async def test_one_that_is_being_claimed_is_waited_for_and_refused(
        self, runtime: Runtime, admin_dsn: str
    ):
        outbox = await open_outbox(runtime)
        waiting = await outbox.delivery()
        admin = await asyncpg.connect(admin_dsn)
        claiming = admin.transaction()
        await claiming.start()
        await admin.execute(
            "update webhook_deliveries set lease_until = $1, lease_token = gen_random_uuid() where id = $2",
            runtime.clock() + timedelta(seconds=30), waiting["id"],
        )  # fmt: skip
        asked = asyncio.create_task(redeliver(runtime, outbox.tenant, waiting["id"]))
        await blocked_by(admin_dsn)
        await claiming.commit()
        await admin.close()
        with pytest.raises(WrongState, match="under way"):
            await asked

    async def test_an_endpoint_that_is_being_disabled_is_waited_for_and_refused(
        self, stage: Stage, admin_dsn: str
    ):
        event = await stage.event()
        async with stage.runtime.database.tenant(stage.tenant) as connection:
            await connection.execute(
                "update webhook_endpoints set enabled = false, disabled_reason = 'manual' where id = $1",
                stage.endpoint,
            )
            asked = asyncio.create_task(ask(stage, event))
            await blocked_by(admin_dsn)
        with pytest.raises(WrongState, match="disabled"):
            await asked

    async def test_however_many_ask_and_claim_at_once_one_is_on_its_way(self, runtime: Runtime):
        outbox = await open_outbox(runtime)
        waiting = await outbox.delivery()

        async def asking() -> str:
            try:
                await redeliver(runtime, outbox.tenant, waiting["id"])
            except WrongState:
                return "refused"
            return "taken"

        async with asyncio.timeout(SOON):
            answers = await asyncio.gather(*(asking() for _ in range(6)), *(outbox.claim() for _ in range(6)))
        claimed = [row for answer in answers if isinstance(answer, list) for row in answer]
        last = await outbox.claim()

        assert len(claimed) + len(last) == 1
        attempts = await outbox.rows("select number from webhook_delivery_attempts")
        assert [attempt["number"] for attempt in attempts] == [1]
