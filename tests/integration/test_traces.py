"""Why an endpoint got an event or did not: one case for each verdict, told of rows as the product leaves them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from channels.errors import NotFound
from handlers.endpoints import delete_endpoint, disable_endpoint, enable_endpoint, patch_endpoint, send_test
from handlers.runtime import Runtime
from handlers.webhooks.events import iso_utc, public_event_id
from handlers.webhooks.trace import CheckName, EndpointTrace, Verdict, trace_event
from tests.factories import make_endpoint
from tests.fakes import FakeClock
from tests.integration.replay_stage import Stage, make_conversations, open_stage

V, C = Verdict, CheckName


async def trace(stage: Stage, event: UUID, endpoint: UUID | None = None) -> EndpointTrace:
    told = await trace_event(stage.runtime, stage.tenant, event, endpoint or stage.endpoint)
    (one,) = told.endpoints
    return one


def check(told: EndpointTrace, name: CheckName) -> tuple[bool | None, str]:
    (found,) = [check for check in told.checks if check.check is name]
    return found.passed, found.detail


async def attempt(stage: Stage, event: UUID, **columns: Any) -> None:
    names = "".join(f", {name}" for name in columns)
    places = "".join(f", ${place}" for place in range(4, 4 + len(columns)))
    async with stage.runtime.database.worker_statements() as connection:
        await connection.execute(
            "insert into webhook_delivery_attempts (distributor_id, id, endpoint_id, event_id, number, started_at"
            f"{names}) select $1, gen_random_uuid(), $2, $3, 1, now(){places}",
            stage.tenant, stage.endpoint, event, *columns.values(),
        )  # fmt: skip


async def delivered(stage: Stage) -> UUID:
    event = await stage.event()
    await stage.work()
    await attempt(stage, event, outcome="success", status_code=204)
    return event


async def under_way(stage: Stage) -> UUID:
    event = await stage.event()
    until = stage.clock() + timedelta(seconds=30)
    await stage.execute("update webhook_deliveries set lease_until = $1, attempt_count = 1", until)
    return event


async def waiting(stage: Stage) -> UUID:
    return await stage.event()


async def exhausted(stage: Stage) -> UUID:
    event = await stage.event()
    await stage.work(succeeds=False)
    await attempt(stage, event, outcome="failure", error_class="status", status_code=503)
    return event


async def blocked(stage: Stage) -> UUID:
    event = await stage.event()
    await stage.work(succeeds=False)
    await attempt(stage, event, outcome="failure", error_class="egress_blocked")
    return event


async def cancelled(stage: Stage) -> UUID:
    event = await stage.event()
    stage.clock.advance(1)
    await disable_endpoint(stage.runtime, stage.tenant, stage.endpoint)
    return event


async def cancelled_by_deletion(stage: Stage) -> UUID:
    event = await stage.event()
    await delete_endpoint(stage.runtime, stage.tenant, stage.endpoint)
    return event


async def anothers_test(stage: Stage) -> UUID:
    other = await make_endpoint(stage.runtime, stage.tenant, ["*"])
    await send_test(stage.runtime, stage.tenant, other)
    (row,) = await stage.fetch("select id from webhook_events")
    return UUID(str(row["id"]))


async def created_later(stage: Stage) -> UUID:
    event = await stage.event()
    await stage.execute("delete from webhook_deliveries")
    await stage.execute(
        "update webhook_endpoints set created_at = $1, updated_at = $1", stage.clock.advance(1)
    )
    return event


async def deleted(stage: Stage) -> UUID:
    await delete_endpoint(stage.runtime, stage.tenant, stage.endpoint)
    return await stage.event()


async def not_subscribed(stage: Stage) -> UUID:
    return await stage.event("customer.created")


async def filtered_out(stage: Stage) -> UUID:
    rules = {"data.n": {"$gte": 3}, "$or": [{"data.a": 1}, {"data.b": 1}], "data.kind": "x", "data.m": 1}
    await patch_endpoint(stage.runtime, stage.tenant, stage.endpoint, {"filter": rules})
    return await stage.event(data={"n": 2, "kind": "x"})


async def payload_gone(stage: Stage) -> UUID:
    event = await filtered_out(stage)
    await stage.execute("update webhook_events set body = null")
    return event


async def disabled(stage: Stage) -> UUID:
    await disable_endpoint(stage.runtime, stage.tenant, stage.endpoint)
    return await stage.event()


async def changed_since(stage: Stage) -> UUID:
    event = await disabled(stage)
    stage.clock.advance(1)
    await enable_endpoint(stage.runtime, stage.tenant, stage.endpoint)
    return event


async def missed(stage: Stage) -> UUID:
    event = await disabled(stage)
    await stage.execute(
        "update webhook_endpoints set enabled = true, disabled_reason = null, disabled_at = null"
    )
    return event


@dataclass(frozen=True, slots=True)
class Case:
    """How it came about, what is said of it, which check says so and with which words in it."""

    happens: Callable[[Stage], Awaitable[UUID]]
    verdict: Verdict
    because: tuple[CheckName, ...]
    words: str
    shown: tuple[CheckName, bool | None, str]


CASES = [
    Case(delivered, V.DELIVERED, (C.DELIVERY,), "took it", (C.LAST_ATTEMPT, True, "Answered 204")),
    Case(under_way, V.UNDER_WAY, (C.DELIVERY,), "Attempt 1 is under way", (C.DELIVERY, True, "PENDING")),
    Case(waiting, V.WAITING, (), "a worker takes it next", (C.DELIVERY, True, "PENDING after 0 attempts, due at")),
    Case(exhausted, V.EXHAUSTED, (C.LAST_ATTEMPT,), "1 attempt", (C.LAST_ATTEMPT, False, "answered 503")),
    Case(blocked, V.EXHAUSTED, (C.LAST_ATTEMPT,), "1 attempt", (C.LAST_ATTEMPT, False, "egress_blocked")),
    Case(cancelled, V.CANCELLED, (C.ENABLED,), "disabled or deleted", (C.ENABLED, False, "after the event")),
    Case(cancelled_by_deletion, V.CANCELLED, (C.NOT_DELETED,), "deleted", (C.NOT_DELETED, False, "Deleted at")),
    Case(anothers_test, V.TEST_OF_ANOTHER, (), "A test goes", (C.DELIVERY, False, "None was made")),
    Case(created_later, V.CREATED_LATER, (C.EXISTED,), "after the event", (C.EXISTED, False, "made at")),
    Case(deleted, V.DELETED, (C.NOT_DELETED,), "was deleted at", (C.NOT_DELETED, False, "Deleted at")),
    Case(not_subscribed, V.NOT_SUBSCRIBED, (C.TYPE,), "customer.created", (C.TYPE, False, "none of order.*")),
    Case(filtered_out, V.FILTERED_OUT, (C.FILTER,), "$or, data.m, data.n.", (C.TYPE, True, "order.* covers")),
    Case(payload_gone, V.PAYLOAD_GONE, (C.PAYLOAD,), "no longer kept", (C.FILTER, None, "cannot be asked")),
    Case(disabled, V.DISABLED, (C.ENABLED,), "was disabled", (C.ENABLED, False, "(manual) since")),
    Case(changed_since, V.CHANGED_SINCE, (C.UNCHANGED,), "A replay", (C.UNCHANGED, False, "after the event")),
    Case(missed, V.MISSED, (), "A replay", (C.UNCHANGED, True, "before the event")),
]  # fmt: skip


@pytest.fixture
async def stage(runtime: Runtime, clock: FakeClock, admin_dsn: str) -> Stage:
    """Whose tests may write what the product writes in other ways."""
    admin = await asyncpg.connect(admin_dsn)
    await admin.execute("grant update on webhook_endpoints, webhook_events to waystation_app")
    await admin.execute("grant delete on webhook_deliveries to waystation_app")
    await admin.close()
    return await open_stage(runtime, clock)


@pytest.mark.parametrize("case", CASES, ids=[case.happens.__name__ for case in CASES])
async def test_verdict(stage: Stage, case: Case):
    told = await trace(stage, await case.happens(stage))

    assert (told.verdict, tuple(told.because)) == (case.verdict, case.because)
    assert case.words in told.detail
    name, passed, words = case.shown
    seen, detail = check(told, name)
    assert seen is passed
    assert words in detail


def test_every_verdict_has_its_case():
    assert {case.verdict for case in CASES} == set(Verdict)


async def test_unmet_conditions_are_named_and_met_ones_not(stage: Stage):
    told = await trace(stage, await filtered_out(stage))

    assert check(told, C.FILTER) == (False, "The filter does not hold: $or, data.m, data.n.")


async def retry(stage: Stage) -> None:
    due = stage.clock() + timedelta(minutes=5)
    await stage.execute(
        "update webhook_deliveries set status = 'RETRYING', due_at = $1, attempt_count = 2", due
    )


def state(change: str) -> Callable[[Stage], Awaitable[None]]:
    """``$1`` is in a minute."""

    async def set_state(stage: Stage) -> None:
        moment = [stage.clock() + timedelta(minutes=1)] if "$1" in change else []
        await stage.execute(f"update webhook_endpoint_state set {change}", *moment)

    return set_state


async def unverified(stage: Stage) -> None:
    await stage.execute("update webhook_endpoints set verification = 'pending'")


async def pulled(stage: Stage) -> None:
    await stage.execute("update webhook_endpoints set transport = 'pull', url = null")
    await stage.execute("update webhook_deliveries set due_at = 'infinity'")


async def being_disabled(stage: Stage) -> None:
    await stage.execute("update webhook_endpoints set enabled = false, disabled_reason = 'manual'")


HOLDING: list[tuple[str, Callable[[Stage], Awaitable[None]], CheckName, str]] = [
    ("retry", retry, C.DUE, "It is due at 2026-07-06T15:05:01"),
    ("breaker", state("breaker = 'OPEN', breaker_until = $1"), C.BREAKER, "next try is at 2026-07-06T15:01:01"),
    ("probe", state("breaker = 'HALF_OPEN'"), C.BREAKER, "one delivery at a time"),
    ("retry-after", state("blocked_until = $1"), C.RETRY_AFTER, "before 2026-07-06T15:01:01"),
    ("paced", state("paced_until = $1"), C.PACE, "allows the next one at 2026-07-06T15:01:01"),
    ("cap", state("in_flight = 10"), C.CONCURRENCY, "10 of 10 are under way"),
    ("learned cap", state("in_flight = 2, concurrency = 2"), C.CONCURRENCY, "2 of 2 are under way"),
    ("unverified", unverified, C.VERIFIED, "challenge"),
    ("pulled", pulled, C.FETCHED, "waits to be fetched"),
    ("disabled meanwhile", being_disabled, C.ENABLED, "disabled (manual)"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("holds", "because", "words"), [case[1:] for case in HOLDING], ids=[case[0] for case in HOLDING]
)
async def test_what_holds_a_waiting_one_back(stage: Stage, holds: Any, because: CheckName, words: str):
    event = await stage.event()
    await holds(stage)
    told = await trace(stage, event)

    assert (told.verdict, told.because) == (Verdict.WAITING, [because])
    assert words in told.detail


async def test_several_things_hold_back_at_once(stage: Stage):
    event = await stage.event()
    await retry(stage)
    await state("blocked_until = $1, breaker = 'OPEN', breaker_until = $1, in_flight = 10")(stage)

    assert (await trace(stage, event)).because == [C.DUE, C.BREAKER, C.RETRY_AFTER, C.CONCURRENCY]


async def test_what_a_waiting_one_waits_for_in_its_conversation(
    runtime: Runtime, clock: FakeClock, admin_dsn: str
):
    stage = await open_stage(runtime, clock, ordering="conversation")
    (talk,) = await make_conversations(stage, admin_dsn, 1)
    first, second, third = [await stage.event(conversation=talk) for _ in range(3)]

    assert (await trace(stage, first)).because == []
    for event in (second, third):
        told = await trace(stage, event)
        assert told.because == [C.ORDER]
        assert public_event_id(first) in told.detail


async def test_without_an_endpoint_each_is_told_of(stage: Stage):
    event = await stage.event()
    other = await make_endpoint(stage.runtime, stage.tenant, ["customer.*"])
    gone = await make_endpoint(stage.runtime, stage.tenant, ["*"])
    await delete_endpoint(stage.runtime, stage.tenant, gone)
    told = await trace_event(stage.runtime, stage.tenant, event, None)

    assert told.complete
    assert {one.endpoint_id: one.verdict for one in told.endpoints} == {
        stage.endpoint: Verdict.WAITING,
        other: Verdict.NOT_SUBSCRIBED,
    }
    assert (await trace(stage, event, gone)).verdict is Verdict.DELETED


async def test_more_endpoints_than_are_told_of(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("handlers.webhooks.trace.MOST_ENDPOINTS", 1)
    event = await stage.event()
    await make_endpoint(stage.runtime, stage.tenant, ["customer.*"])
    told = await trace_event(stage.runtime, stage.tenant, event, None)

    assert (len(told.endpoints), told.complete) == (1, False)


async def test_what_is_unknown_or_anothers_is_not_found(runtime: Runtime, clock: FakeClock, stage: Stage):
    event = await stage.event()
    other = await open_stage(runtime, clock)
    for tenant, event_id, endpoint in (
        (other.tenant, event, None),
        (other.tenant, event, stage.endpoint),
        (stage.tenant, event, other.endpoint),
        (stage.tenant, runtime.new_id(), None),
    ):
        with pytest.raises(NotFound):
            await trace_event(runtime, tenant, event_id, endpoint)


async def test_the_checks_stand_in_one_order(stage: Stage):
    event = await stage.event()
    told = await trace(stage, event)

    assert [check.check for check in told.checks] == [name for name in CheckName if name is not C.FETCHED]
    assert iso_utc(stage.clock()) in check(told, C.DELIVERY)[1]
