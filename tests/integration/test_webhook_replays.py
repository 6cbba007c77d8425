"""Replays on a real database: what they cover, in which order and at which pace it goes, and what a crash leaves."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from channels.errors import InvalidInput, NotFound, WrongState
from db import webhook_replays
from gateway.schedules import SCHEDULES, keeping_schedules
from handlers.endpoints import delete_endpoint, disable_endpoint, enable_endpoint, patch_endpoint
from handlers.runtime import Runtime
from handlers.webhooks.replay import (
    MAX_EVENT_IDS,
    ReplayRequest,
    Selection,
    cancel_replay,
    run_batch,
    run_replays,
    start_replay,
    validate_request,
)
from tests.fakes import START, FakeClock
from tests.integration.replay_stage import EVER, Stage, make_conversations, open_stage

MISSING, FAILED, ALL = Selection.MISSING, Selection.FAILED, Selection.ALL


@pytest.fixture
async def stage(runtime: Runtime, clock: FakeClock) -> Stage:
    return await open_stage(runtime, clock)


async def switch_off(stage: Stage) -> None:
    stage.clock.advance(1)
    await disable_endpoint(stage.runtime, stage.tenant, stage.endpoint)


async def switch_on(stage: Stage) -> None:
    stage.clock.advance(1)
    await enable_endpoint(stage.runtime, stage.tenant, stage.endpoint)


async def one_of_each(stage: Stage) -> dict[str, UUID]:
    """An event in each state that one can be in for an endpoint."""
    made = {"delivered": await stage.event()}
    await stage.work()
    made["exhausted"] = await stage.event()
    await stage.work(succeeds=False)
    made["cancelled untried"] = await stage.event(after=0)
    made["cancelled tried"] = await stage.event()
    await stage.execute(
        "update webhook_deliveries set status = 'RETRYING', attempt_count = 1 where event_id = $1",
        made["cancelled tried"],
    )
    await switch_off(stage)
    made["while disabled"] = await stage.event()
    made["other type"] = await stage.event("message.received")
    await switch_on(stage)
    made["waiting"] = await stage.event()
    made["retrying"] = await stage.event()
    await stage.execute(
        "update webhook_deliveries set status = 'RETRYING', attempt_count = 1, due_at = $2 where event_id = $1",
        made["retrying"], stage.clock() + timedelta(hours=1),
    )  # fmt: skip
    return made


COVERED = [
    (MISSING, {"cancelled untried", "while disabled"}),
    (FAILED, {"exhausted", "cancelled tried"}),
    (ALL, {"delivered", "exhausted", "cancelled untried", "cancelled tried", "while disabled"}),
]


@pytest.mark.parametrize(("only", "expected"), COVERED, ids=[case[0] for case in COVERED])
async def test_what_a_replay_covers(stage: Stage, only: Selection, expected: set[str]):
    made = await one_of_each(stage)
    before = await stage.deliveries()

    dry = await stage.replay(only, dry_run=True)
    assert (dry.replay_id, dry.count.matched) == (None, len(expected))
    assert await stage.deliveries() == before
    assert await stage.fetch("select 1 from webhook_replays") == []

    started = await stage.replay(only)
    after = await stage.deliveries()
    replayed = {
        name for name, event in made.items() if event in after and after[event]["trigger"] == "replay"
    }
    assert replayed == expected
    assert started.count.matched == len(expected)
    for name in expected:
        row, old = after[made[name]], before.get(made[name], {})
        assert (row["status"], row["schedule_position"], row["replay_id"]) == (
            "PENDING",
            0,
            started.replay_id,
        )
        assert row["due_at"] <= stage.clock()
        assert row["attempt_count"] == old.get("attempt_count", 0)
        assert row["id"] == old.get("id", row["id"])
    left = {made[name] for name in made.keys() - expected if made[name] in before}
    assert {event: after[event] for event in left} == {event: before[event] for event in left}


async def test_a_replay_ends_and_sends_each_event_once(stage: Stage):
    made = await one_of_each(stage)
    await stage.work()
    await stage.replay(ALL)
    first = await stage.work()
    assert await stage.run_all() == 0

    progress = await stage.progress()
    assert set(first) == {made[name] for name in made if name != "other type"} - {made["retrying"]}
    assert (progress["status"], progress["matched"], progress["replayed"], progress["due_at"]) == (
        "DONE",
        6,
        6,
        None,
    )


async def test_a_new_delivery_is_as_the_event_would_have_made_it(stage: Stage):
    await switch_off(stage)
    event = await stage.event()
    await switch_on(stage)
    await stage.replay()
    row = (await stage.deliveries())[event]
    twin = await stage.event()
    other = (await stage.deliveries())[twin]

    made = await stage.fetch("select md5($1::text || $2::text)::uuid as id", str(stage.endpoint), str(event))
    assert row["id"] == made[0]["id"]
    told = ("status", "ordering_key", "sequence", "attempt_count", "schedule_position")
    assert [row[name] for name in told] == [other[name] for name in told]
    (at,) = await stage.fetch("select occurred_at from webhook_events where id = $1", event)
    assert row["created_at"] == at["occurred_at"]


SCOPES: list[tuple[str, dict[str, Any], list[int]]] = [
    ("since", {"since": 2}, [2, 3, 4]),
    ("until is exclusive", {"since": 1, "until": 3}, [1, 2]),
    ("types", {"since": 0, "event_types": ["order.updated"]}, [1, 3]),
    ("a family", {"since": 0, "event_types": ["order.*"]}, [0, 1, 2, 3, 4]),
    ("another family", {"since": 0, "event_types": ["customer.*"]}, []),
    ("ids", {"since": None, "event_ids": [3, 0, 0]}, [0, 3]),
    ("ids and since", {"since": 1, "event_ids": [3, 0]}, [3]),
    ("ids and type", {"since": None, "event_ids": [3, 2], "event_types": ["order.updated"]}, [3]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "expected"), [case[1:] for case in SCOPES], ids=[case[0] for case in SCOPES]
)
async def test_what_is_asked_for_bounds_it(stage: Stage, asked: dict[str, Any], expected: list[int]):
    await switch_off(stage)
    kinds = ("order.created", "order.updated")
    events, times = [], []
    for number in range(5):
        events.append(await stage.event(kinds[number % 2], after=600))
        times.append(stage.clock())
    await switch_on(stage)
    request = dict(asked)
    for name in ("since", "until"):
        if request.get(name) is not None:
            request[name] = times[request[name]]
    if "event_ids" in request:
        request["event_ids"] = [*(events[number] for number in request["event_ids"]), stage.runtime.new_id()]

    started = await stage.replay(**request)
    assert started.count.matched == len(expected)
    assert list(await stage.deliveries()) == [events[number] for number in expected]


async def test_it_covers_what_matches_the_endpoint_as_it_is_now(runtime: Runtime, clock: FakeClock):
    stage = await open_stage(runtime, clock, ["order.created"])
    events = [await stage.event("customer.created", {"n": number}) for number in range(3)]
    tests = await stage.event("endpoint.test", {"n": 2})
    change = {"event_types": ["*"], "filter": {"data.n": {"$gte": 1}}}
    await patch_endpoint(stage.runtime, stage.tenant, stage.endpoint, change)
    await stage.replay()

    assert list(await stage.deliveries()) == events[1:]
    assert tests not in await stage.deliveries()


async def test_who_was_disabled_is_not_told_of_it(runtime: Runtime, clock: FakeClock):
    """But of others that were."""
    stage = await open_stage(runtime, clock, ["*"])
    other = await open_stage(runtime, clock)
    await stage.execute("update webhook_endpoints set name = 'first'")
    await switch_off(stage)
    told = await stage.event("endpoint.disabled", {"endpoint_id": str(other.endpoint)})
    await switch_on(stage)
    await stage.replay()

    assert list(await stage.deliveries()) == [told]


async def test_a_payload_that_is_gone_is_skipped_and_counted(
    runtime: Runtime, clock: FakeClock, admin_dsn: str
):
    stage = await open_stage(runtime, clock, filter_={"data.n": 1})
    await switch_off(stage)
    gone, kept = await stage.event(data={"n": 1}), await stage.event(data={"n": 1})
    await switch_on(stage)
    admin = await asyncpg.connect(admin_dsn)
    await admin.execute("update webhook_events set body = null where id = $1", gone)
    await admin.close()
    started = await stage.replay()

    assert (started.count.matched, started.count.skipped) == (1, 1)
    assert list(await stage.deliveries()) == [kept]
    assert (await stage.progress())["skipped"] == 1


class TestOrder:
    async def test_the_oldest_is_due_first(self, stage: Stage):
        await switch_off(stage)
        events = await stage.events(5)
        await switch_on(stage)
        await stage.replay()

        rows = await stage.fetch("select event_id from webhook_deliveries order by due_at")
        assert [row["event_id"] for row in rows] == events

    async def test_a_conversations_events_go_one_by_one_in_their_order(
        self, runtime: Runtime, clock: FakeClock, admin_dsn: str
    ):
        stage = await open_stage(runtime, clock, ordering="conversation")
        talk, other = await make_conversations(stage, admin_dsn, 2)
        await switch_off(stage)
        events = [await stage.event(conversation=talk) for _ in range(3)]
        apart = await stage.event(conversation=other)
        free = await stage.event()
        await switch_on(stage)
        later = await stage.event(conversation=talk)
        await stage.replay()

        order = []
        while batch := await stage.work_once():
            order.append(batch)
        # The one that is on its way already is let be; behind it, the oldest first.
        assert order == [sorted([apart, free, later]), [events[0]], [events[1]], [events[2]]]
        await stage.run_all()
        assert (await stage.progress())["status"] == "DONE"

    async def test_what_is_pulled_waits_to_be_fetched(self, runtime: Runtime, clock: FakeClock):
        stage = await open_stage(runtime, clock, transport="pull", url=None)
        await switch_off(stage)
        await stage.events(3)
        await switch_on(stage)
        await stage.replay()

        assert await stage.fetch("select distinct due_at = 'infinity' as waits from webhook_deliveries") == [
            {"waits": True}
        ]


class TestPace:
    async def missed(self, stage: Stage, number: int) -> None:
        await switch_off(stage)
        await stage.events(number)
        await switch_on(stage)

    async def test_only_so_many_go_at_once_and_in_a_second(self, stage: Stage):
        await self.missed(stage, 450)
        started = await stage.replay()
        assert started.count.matched == 450
        batches = []
        for _ in range(9):
            batches.append(len(await stage.work()))
            stage.clock.advance(1)
            await run_replays(stage.runtime)

        # 200 at once, then four seconds' worth every four seconds.
        assert batches == [200, 0, 0, 0, 200, 0, 0, 0, 50]

    async def test_nothing_is_added_to_what_an_endpoint_does_not_take(self, stage: Stage):
        await self.missed(stage, 450)
        await stage.replay()
        for _ in range(5):
            stage.clock.advance(60)
            await run_replays(stage.runtime)

        assert len(await stage.deliveries()) == 200
        assert (await stage.progress())["status"] == "RUNNING"

    @pytest.mark.parametrize(
        "where", ["webhook_endpoints set rate_limit_per_second", "webhook_endpoint_state set learned_rate"]
    )
    async def test_what_an_endpoint_is_known_to_take_bounds_it(self, stage: Stage, where: str):
        await stage.execute(f"update {where} = 5")
        await self.missed(stage, 30)
        await stage.replay()

        assert len(await stage.work()) == 10
        stage.clock.advance(1.9)
        assert await run_replays(stage.runtime) == 0
        stage.clock.advance(0.2)
        assert await run_replays(stage.runtime) == 10

    async def test_a_new_event_does_not_wait_behind_a_long_replay(self, stage: Stage):
        await self.missed(stage, 600)
        await stage.replay()
        stage.clock.advance(1)
        new = await stage.event()
        ahead = await stage.fetch(
            "select count(*) as number from webhook_deliveries where due_at < (select due_at from webhook_deliveries where event_id = $1)",
            new,
        )

        assert ahead[0]["number"] == 200

    async def test_a_long_way_without_a_match_is_gone_in_steps(
        self, runtime: Runtime, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("handlers.webhooks.replay._MOST_LOOKED_AT", 20)
        stage = await open_stage(runtime, clock, ["customer.created"])
        await stage.events(95, "order.created")
        await switch_off(stage)
        wanted = await stage.event("customer.created")
        await switch_on(stage)
        await stage.replay()
        stage.clock.advance(301)
        assert wanted not in await stage.deliveries()
        await run_replays(stage.runtime)

        assert list(await stage.deliveries()) == [wanted]
        assert (await stage.progress())["status"] == "DONE"


async def test_workers_do_the_batches_by_the_clock(stage: Stage):
    """With nobody asking: as the schedules of a worker run."""
    await switch_off(stage)
    await stage.events(250)
    await switch_on(stage)
    await stage.replay()
    await stage.work()
    stage.clock.advance(60)
    async with (
        asyncio.timeout(30),
        keeping_schedules(stage.runtime, {"run_replays": SCHEDULES["run_replays"]}),
    ):
        while (await stage.progress())["status"] != "DONE":  # noqa: ASYNC110 - another task writes
            await asyncio.sleep(0.05)

    assert len(await stage.deliveries()) == 250


class TestEnds:
    async def running(self, stage: Stage) -> UUID:
        await switch_off(stage)
        await stage.events(300)
        await switch_on(stage)
        started = await stage.replay()
        assert started.replay_id is not None
        return started.replay_id

    async def test_a_cancelled_one_sends_no_more(self, stage: Stage):
        replay = await self.running(stage)
        cancelled = await cancel_replay(stage.runtime, stage.tenant, replay)
        assert (cancelled.status, cancelled.end_reason, cancelled.replayed) == ("CANCELLED", "asked", 200)
        with pytest.raises(WrongState):
            await cancel_replay(stage.runtime, stage.tenant, replay)
        with pytest.raises(NotFound):
            await cancel_replay(stage.runtime, stage.tenant, stage.runtime.new_id())
        await stage.work()
        stage.clock.advance(60)

        assert await run_replays(stage.runtime) == 0
        assert len(await stage.deliveries()) == 200

    @pytest.mark.parametrize("end", [disable_endpoint, delete_endpoint], ids=["disabled", "deleted"])
    async def test_it_ends_with_its_endpoint(self, stage: Stage, end: Any):
        """Also where the endpoint is back before the next batch: what waited of it was cancelled."""
        await self.running(stage)
        await end(stage.runtime, stage.tenant, stage.endpoint)

        progress = await stage.progress()
        assert (progress["status"], progress["due_at"]) == ("CANCELLED", None)
        assert progress["end_reason"] == (
            "endpoint_disabled" if end is disable_endpoint else "endpoint_deleted"
        )

    async def test_a_batch_that_meets_a_disabled_endpoint_ends_it(self, stage: Stage):
        await self.running(stage)
        await stage.work()
        await stage.execute("update webhook_endpoints set enabled = false, disabled_reason = 'manual'")
        stage.clock.advance(60)

        assert await run_replays(stage.runtime) == 0
        assert (await stage.progress())["end_reason"] == "endpoint_disabled"

    async def test_none_begins_for_a_disabled_or_deleted_one(self, stage: Stage):
        await switch_off(stage)
        await stage.event()
        assert (await stage.replay(dry_run=True)).count.matched == 1
        with pytest.raises(WrongState):
            await stage.replay()
        await delete_endpoint(stage.runtime, stage.tenant, stage.endpoint)
        for dry_run in (True, False):
            with pytest.raises(NotFound):
                await stage.replay(dry_run=dry_run)


REFUSED = [
    (ReplayRequest(MISSING), "since"),
    (ReplayRequest(MISSING, since=START, until=START), "until"),
    (ReplayRequest(MISSING, since=START, event_types=["order.nope"]), "event_types"),
    (ReplayRequest(MISSING, since=START, event_types=[]), "event_types"),
    (ReplayRequest(MISSING, event_ids=[]), "event_ids"),
    (ReplayRequest(MISSING, event_ids=[UUID(int=1)] * (MAX_EVENT_IDS + 1)), "event_ids"),
]


@pytest.mark.parametrize(("request_", "field"), REFUSED)
def test_what_cannot_be_meant_is_refused(request_: ReplayRequest, field: str):
    with pytest.raises(InvalidInput) as refused:
        validate_request(request_)
    assert refused.value.field == field


@pytest.mark.parametrize("since", [START.replace(year=1), START.replace(year=9999)], ids=str)
async def test_no_time_is_out_of_range(stage: Stage, since: Any):
    assert (await stage.replay(since=since, until=since.replace(month=12), dry_run=True)).count.matched == 0


class TestCrashes:
    @pytest.mark.parametrize("step", ["read_page", "send_again", "release_heads", "record_progress"])
    async def test_a_batch_that_is_cut_off_at_any_step_leaves_nothing_and_is_done_again(
        self, runtime: Runtime, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, step: str, admin_dsn: str
    ):
        stage = await open_stage(runtime, clock, ordering="conversation")
        (talk,) = await make_conversations(stage, admin_dsn, 1)
        await switch_off(stage)
        events = await stage.events(300)
        talked = await stage.events(3, conversation=talk)
        await switch_on(stage)
        await stage.replay()
        await stage.work()
        before, stood = await stage.deliveries(), await stage.progress()
        stage.clock.advance(10)

        done = getattr(webhook_replays, step)

        async def crash(*arguments: Any) -> Any:
            await done(*arguments)
            raise RuntimeError("killed")

        with monkeypatch.context() as patch:
            patch.setattr(webhook_replays, step, crash)
            with pytest.raises(RuntimeError, match="killed"):
                await run_replays(stage.runtime)
        assert (await stage.deliveries(), await stage.progress()) == (before, stood)

        await stage.run_all()
        rows = await stage.deliveries()
        assert list(rows) == events + talked
        assert {(row["status"], row["attempt_count"]) for row in rows.values()} == {("SUCCESS", 1)}
        assert (await stage.progress())["replayed"] == 303

    async def test_one_that_fails_holds_up_no_other(
        self, runtime: Runtime, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ):
        stages = [await open_stage(runtime, clock) for _ in range(3)]
        for stage in stages:
            await switch_off(stage)
            await stage.events(250)
            await switch_on(stage)
            await stage.replay()
        for stage in stages:
            await stage.work()
        clock.advance(60)
        poison = stages[0].endpoint
        done = webhook_replays.read_room

        async def fail(connection: Any, endpoint_id: UUID, most: int) -> Any:
            if endpoint_id == poison:
                raise RuntimeError("poison")
            return await done(connection, endpoint_id, most)

        monkeypatch.setattr(webhook_replays, "read_room", fail)
        with pytest.raises(RuntimeError, match="poison"):
            await run_replays(runtime)

        assert [len(await stage.deliveries()) for stage in stages] == [200, 250, 250]

    async def test_two_workers_at_once_send_nothing_twice(self, stage: Stage):
        await switch_off(stage)
        await stage.events(300)
        await switch_on(stage)
        await stage.replay()
        await stage.work()
        stage.clock.advance(60)
        (due,) = await stage.fetch("select distributor_id, endpoint_id, id from webhook_replays")
        sent = await asyncio.gather(
            *(run_batch(stage.runtime, webhook_replays.DueReplay(**due)) for _ in range(4))
        )

        assert sum(sent) == 100
        assert len(await stage.deliveries()) == 300


async def test_an_event_that_was_being_stored_when_it_was_asked_for_is_covered(
    runtime: Runtime, clock: FakeClock, admin_dsn: str
):
    """It met a disabled endpoint, so it made no delivery; it is committed after the replay has passed its place."""
    stage = await open_stage(runtime, clock)
    await switch_off(stage)
    seen = await stage.event()
    late = stage.runtime.new_id()
    after = await stage.event()
    admin = await asyncpg.connect(admin_dsn)
    storing = admin.transaction()
    await storing.start()
    row = "select distributor_id, $1, type, body, conversation_id, occurred_at, null from webhook_events where id = $2"
    await admin.execute(f"insert into webhook_events {row}", late, seen)
    await switch_on(stage)
    await stage.replay()
    await stage.work()
    clock.advance(2)
    await run_replays(stage.runtime)
    assert (await stage.progress())["status"] == "RUNNING"
    assert list(await stage.deliveries()) == [seen, after]
    await storing.commit()
    await admin.close()
    await stage.run_all()

    assert list(await stage.deliveries()) == [seen, late, after]
    assert await stage.statuses() == ["SUCCESS"] * 3
    progress = await stage.progress()
    assert (progress["status"], progress["matched"], progress["replayed"]) == ("DONE", 3, 3)


async def test_more_than_can_be_counted_is_said_to_be_so(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("handlers.webhooks.replay.MOST_COUNTED", 11)  # and one tells of the disabling
    await switch_off(stage)
    await stage.events(12)
    await switch_on(stage)
    started = await stage.replay()
    assert (started.count.matched, started.count.counted_all) == (10, False)
    await stage.run_all()

    assert (await stage.progress())["matched"] == 12


async def test_no_replay_of_anothers_endpoint(runtime: Runtime, clock: FakeClock, stage: Stage):
    other = await open_stage(runtime, clock)
    request = ReplayRequest(ALL, since=EVER)
    with pytest.raises(NotFound):
        await start_replay(stage.runtime, other.tenant, stage.endpoint, request, dry_run=False)
