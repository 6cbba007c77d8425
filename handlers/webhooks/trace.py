"""Why an endpoint got an event, did not, or did not yet: everything that was decided on, checked again and told in words.

What is said of the past is what is kept of it: an endpoint's subscription is known as it is now, and when it was last
changed; that it was disabled, and since when, while it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from channels.errors import FaultClass, InvalidInput, NotFound
from db import traces
from db.tenant import Connection
from db.traces import TracedEndpoint, TracedEvent
from handlers.runtime import Runtime
from handlers.webhooks.delivery import DeliveryStatus
from handlers.webhooks.event_types import EVERYTHING, EventType
from handlers.webhooks.events import iso_utc, public_event_id
from handlers.webhooks.subscriptions import compile_filter

MOST_ENDPOINTS: Final = 200
_WAITING: Final = frozenset({DeliveryStatus.PENDING, DeliveryStatus.RETRYING})
_REPLAY: Final = "A replay of missing events sends it."


class Verdict(StrEnum):
    """What became of an event for an endpoint."""

    DELIVERED = "delivered"
    UNDER_WAY = "under_way"
    WAITING = "waiting"
    EXHAUSTED = "exhausted"
    CANCELLED = "cancelled"
    TEST_OF_ANOTHER = "test_of_another"
    CREATED_LATER = "created_later"
    DELETED = "deleted"
    NOT_SUBSCRIBED = "not_subscribed"
    FILTERED_OUT = "filtered_out"
    PAYLOAD_GONE = "payload_gone"
    DISABLED = "disabled"
    CHANGED_SINCE = "changed_since"
    MISSED = "missed"


class CheckName(StrEnum):
    """What is looked at, in this order; from ``verified`` on only of what waits."""

    EXISTED = "existed"
    NOT_DELETED = "not_deleted"
    ENABLED = "enabled"
    UNCHANGED = "unchanged"
    TYPE = "type"
    FILTER = "filter"
    PAYLOAD = "payload"
    DELIVERY = "delivery"
    LAST_ATTEMPT = "last_attempt"
    VERIFIED = "verified"
    FETCHED = "fetched"
    ORDER = "order"
    DUE = "due"
    BREAKER = "breaker"
    RETRY_AFTER = "retry_after"
    PACE = "pace"
    CONCURRENCY = "concurrency"


# What a delivery that is made and waits need not pass: it is sent all the same.
_NO_HINDRANCE: Final = frozenset(
    {CheckName.EXISTED, CheckName.UNCHANGED, CheckName.TYPE, CheckName.FILTER, CheckName.LAST_ATTEMPT}
)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; ``passed`` is None where it does not apply or can no longer be told."""

    check: CheckName
    passed: bool | None
    detail: str


@dataclass(frozen=True, slots=True)
class EndpointTrace:
    """What became of the event for one endpoint; ``because`` names the checks that the verdict rests on."""

    endpoint_id: UUID
    name: str
    verdict: Verdict
    detail: str
    because: Sequence[CheckName]
    delivery_id: UUID | None
    checks: Sequence[Check]


@dataclass(frozen=True, slots=True)
class Trace:
    """An event and what became of it, endpoint by endpoint; not ``complete`` where there are more of them."""

    event: TracedEvent
    endpoints: Sequence[EndpointTrace]
    complete: bool


async def trace_event(
    runtime: Runtime, distributor_id: UUID, event_id: UUID, endpoint_id: UUID | None
) -> Trace:
    """Of that endpoint, or of all. Raises NotFound for an event or endpoint that is not the tenant's."""
    async with runtime.database.tenant(distributor_id) as connection:
        event = await traces.read_event(connection, event_id)
        if event is None:
            raise NotFound
        rows = await traces.list_endpoints(connection, event_id, endpoint_id, MOST_ENDPOINTS + 1)
        if endpoint_id is not None and not rows:
            raise NotFound
        failed = [await _failed_conditions(connection, event, row) for row in rows]
    now = runtime.clock()
    told = [explain(event, row, unmet, now) for row, unmet in zip(rows, failed, strict=True)]
    return Trace(event, told[:MOST_ENDPOINTS], len(told) <= MOST_ENDPOINTS)


async def _failed_conditions(connection: Connection, event: TracedEvent, row: TracedEndpoint) -> list[str]:
    """The paths and operators at the top of a filter that the event does not meet."""
    if row.filter is None or row.filter_matched is not False:
        return []
    names = list(row.filter)
    met = await traces.match_conditions(connection, event.id, [_path_of(row.filter, name) for name in names])
    return [name for name, holds in zip(names, met, strict=True) if not holds]


def _path_of(filter_: Mapping[str, Any], name: str) -> str:
    try:
        return compile_filter({name: filter_[name]})
    except InvalidInput:  # a rule that got stricter since it was stored
        return "false"


def explain(event: TracedEvent, row: TracedEndpoint, unmet: Sequence[str], now: datetime) -> EndpointTrace:
    """All checks of one endpoint, and what they come to. ``unmet``: conditions of its filter that do not hold."""
    waits = row.status in _WAITING and not _is_under_way(row, now)
    checks = [*_checks(event, row, unmet), *(_checks_of_waiting(row, now) if waits else ())]
    verdict, detail, because = (
        _judge_delivery(row, checks, now) if row.status else next(_reasons_of_absence(event, row, unmet))
    )
    return EndpointTrace(row.endpoint_id, row.name, verdict, detail, because, row.delivery_id, checks)


Judgement = tuple[Verdict, str, Sequence[CheckName]]


def _judge_delivery(row: TracedEndpoint, checks: Sequence[Check], now: datetime) -> Judgement:
    match row.status:
        case DeliveryStatus.SUCCESS:
            return Verdict.DELIVERED, "The endpoint took it.", [CheckName.DELIVERY]
        case DeliveryStatus.EXHAUSTED:
            detail = f"Given up after {_times(row.attempt_count)}. A redelivery or a replay of failed events sends it."
            return Verdict.EXHAUSTED, detail, [CheckName.LAST_ATTEMPT]
        case DeliveryStatus.CANCELLED:
            because = CheckName.NOT_DELETED if row.deleted_at else CheckName.ENABLED
            return Verdict.CANCELLED, "Its endpoint was disabled or deleted while it waited.", [because]
    if _is_under_way(row, now):
        return Verdict.UNDER_WAY, f"Attempt {row.attempt_count} is under way.", [CheckName.DELIVERY]
    holding = [check for check in checks if check.passed is False and check.check not in _NO_HINDRANCE]
    detail = " ".join(check.detail for check in holding) or "It is due: a worker takes it next."
    return Verdict.WAITING, detail, [check.check for check in holding]


def _reasons_of_absence(event: TracedEvent, row: TracedEndpoint, unmet: Sequence[str]) -> Iterator[Judgement]:
    """Why no delivery was made; the first is reason enough."""
    if event.type == EventType.ENDPOINT_TEST:
        yield Verdict.TEST_OF_ANOTHER, "A test goes to the endpoint alone that it was asked for.", []
    if row.deleted_at is not None:
        yield (
            Verdict.DELETED,
            f"The endpoint was deleted at {iso_utc(row.deleted_at)}.",
            [CheckName.NOT_DELETED],
        )
    if _pattern(event, row) is None:
        yield Verdict.NOT_SUBSCRIBED, f"The endpoint does not ask for {event.type}.", [CheckName.TYPE]
    if row.filter_matched is False:
        yield Verdict.FILTERED_OUT, _unmet_words(unmet), [CheckName.FILTER]
    if row.filter_matched is None:
        detail = "The payload is no longer kept, so the filter cannot be asked any more."
        yield Verdict.PAYLOAD_GONE, detail, [CheckName.PAYLOAD]
    if row.created_at > event.occurred_at:
        yield Verdict.CREATED_LATER, f"The endpoint was made after the event. {_REPLAY}", [CheckName.EXISTED]
    if row.disabled_at is not None and row.disabled_at <= event.occurred_at:
        detail = (
            "The endpoint was disabled: none is made while it is. Enable it, and have missed events replayed."
        )
        yield Verdict.DISABLED, detail, [CheckName.ENABLED]
    if row.updated_at > event.occurred_at:
        detail = f"It matches the endpoint as it is now. Then it was disabled, or asked for something else. {_REPLAY}"
        yield Verdict.CHANGED_SINCE, detail, [CheckName.UNCHANGED]
    yield Verdict.MISSED, f"The endpoint was being changed while the event was stored. {_REPLAY}", []


def _checks(event: TracedEvent, row: TracedEndpoint, unmet: Sequence[str]) -> Iterator[Check]:
    existed = row.created_at <= event.occurred_at
    yield Check(CheckName.EXISTED, existed, f"The endpoint was made at {iso_utc(row.created_at)}.")
    yield Check(
        CheckName.NOT_DELETED, row.deleted_at is None, _since("Deleted at", row.deleted_at, "It is there.")
    )
    yield Check(CheckName.ENABLED, row.enabled, _enabled_words(event, row))
    unchanged = row.updated_at <= max(event.occurred_at, row.created_at)
    yield Check(
        CheckName.UNCHANGED,
        unchanged,
        f"The endpoint was last changed at {iso_utc(row.updated_at)}"
        + (
            ", before the event."
            if unchanged
            else ", after the event: subscription or state may have been others."
        ),
    )
    pattern = _pattern(event, row)
    asked = ", ".join(row.event_types)
    yield Check(
        CheckName.TYPE,
        pattern is not None,
        f"{pattern} covers {event.type}." if pattern else f"{event.type} is none of {asked}.",
    )
    yield _filter_check(row, unmet)
    kept = "It is kept." if event.has_payload else "Its time is over: it can be sent no more."
    yield Check(CheckName.PAYLOAD, event.has_payload, kept)
    yield _delivery_check(row)
    yield _last_attempt_check(row)


def _enabled_words(event: TracedEvent, row: TracedEndpoint) -> str:
    if row.enabled:
        return "It is enabled."
    if row.disabled_at is None:
        return f"It is disabled ({row.disabled_reason})."
    order = "before" if row.disabled_at <= event.occurred_at else "after"
    return f"It is disabled ({row.disabled_reason}) since {iso_utc(row.disabled_at)}, {order} the event."


def _pattern(event: TracedEvent, row: TracedEndpoint) -> str | None:
    covering = (event.type, f"{event.type.partition('.')[0]}.*", EVERYTHING)
    return next((pattern for pattern in covering if pattern in row.event_types), None)


def _filter_check(row: TracedEndpoint, unmet: Sequence[str]) -> Check:
    if row.filter is None:
        return Check(CheckName.FILTER, None, "It has no filter.")
    if row.filter_matched is None:
        return Check(CheckName.FILTER, None, "The payload is gone: it cannot be asked any more.")
    return Check(
        CheckName.FILTER, row.filter_matched, "It holds." if row.filter_matched else _unmet_words(unmet)
    )


def _unmet_words(unmet: Sequence[str]) -> str:
    return f"The filter does not hold: {', '.join(unmet)}."


def _delivery_check(row: TracedEndpoint) -> Check:
    if row.status is None:
        return Check(CheckName.DELIVERY, False, "None was made.")
    due = f", due at {iso_utc(row.due_at)}" if row.due_at else ""
    return Check(CheckName.DELIVERY, True, f"{row.status} after {_times(row.attempt_count)}{due}.")


def _last_attempt_check(row: TracedEndpoint) -> Check:
    match row.outcome:
        case None:
            return Check(CheckName.LAST_ATTEMPT, None, "None was made.")
        case "success":
            return Check(CheckName.LAST_ATTEMPT, True, f"Answered {row.status_code}.")
        case "failure":
            return Check(CheckName.LAST_ATTEMPT, False, _fault_words(row))
        case _:
            return Check(CheckName.LAST_ATTEMPT, None, "It is under way, or its worker ended before it did.")


def _fault_words(row: TracedEndpoint) -> str:
    if row.error_class == FaultClass.EGRESS_BLOCKED:
        return "egress_blocked: its URL leads to an address that nothing is sent to."
    if row.status_code is not None:
        return f"{row.error_class}: answered {row.status_code}."
    return f"{row.error_class}: no answer."


def _checks_of_waiting(row: TracedEndpoint, now: datetime) -> Iterator[Check]:
    """What may hold back a delivery that is not under way."""
    verified = row.verification != "pending"
    yield Check(
        CheckName.VERIFIED, verified, "" if verified else "Its owner has not answered the challenge yet."
    )
    if row.transport == "pull":
        yield Check(CheckName.FETCHED, False, "It waits to be fetched: the endpoint is pulled.")
        return
    behind = row.behind_event_id
    words = f"It waits for {public_event_id(behind)} of its conversation." if behind else ""
    yield Check(CheckName.ORDER, behind is None, words)
    yield _until(CheckName.DUE, row.due_at, now, "It is due at")
    yield _breaker_check(row, now)
    yield _until(
        CheckName.RETRY_AFTER, row.blocked_until, now, "The receiver asked for nothing (Retry-After) before"
    )
    yield _until(CheckName.PACE, row.paced_until, now, "The endpoint's rate allows the next one at")
    most = min(row.concurrency, row.max_in_flight)
    free = row.in_flight < most
    words = f"{row.in_flight} of {most} are under way."
    yield Check(CheckName.CONCURRENCY, free, words)


def _breaker_check(row: TracedEndpoint, now: datetime) -> Check:
    if row.breaker == "CLOSED":
        return Check(CheckName.BREAKER, True, "")
    if row.breaker_until is not None and row.breaker_until > now:
        return Check(
            CheckName.BREAKER,
            False,
            f"The endpoint kept failing: the next try is at {iso_utc(row.breaker_until)}.",
        )
    return Check(CheckName.BREAKER, False, "The endpoint kept failing: one delivery at a time is tried.")


def _until(check: CheckName, moment: datetime | None, now: datetime, words: str) -> Check:
    if moment is None or moment <= now:
        return Check(check, True, "")
    return Check(check, False, f"{words} {iso_utc(moment)}.")


def _since(words: str, moment: datetime | None, otherwise: str) -> str:
    return f"{words} {iso_utc(moment)}." if moment else otherwise


def _is_under_way(row: TracedEndpoint, now: datetime) -> bool:
    return row.lease_until is not None and row.lease_until > now


def _times(attempts: int | None) -> str:
    return "1 attempt" if attempts == 1 else f"{attempts or 0} attempts"
