"""The delivery lane's work: open the seals, make one attempt, decide, settle many attempts in one statement, and look
after endpoints that fail.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import Any

import orjson

from channels.errors import DeliveryFault, FaultClass, InvalidInput, LookupsBusy
from db import delivery_lane, endpoints
from db.delivery_lane import ClaimedDeliveryRow, EndpointKey, EndpointProgress
from db.errors import SealBroken
from db.rows import EndpointRecord
from handlers.endpoint_rules import PayloadForm
from handlers.endpoints import disable
from handlers.runtime import Runtime
from handlers.webhooks.delivery import (
    AttemptResult,
    ClaimedDelivery,
    DeliveryStatus,
    DisableReason,
    FinishedDelivery,
    Outcome,
    Settlement,
    attempt,
    decide,
    decide_probe,
)
from handlers.webhooks.delivery_tools import DeliveryTools
from handlers.webhooks.event_types import EventType
from handlers.webhooks.events import thin_body
from handlers.webhooks.health import (
    DISABLE_AFTER,
    DISABLED,
    POLICY,
    Verdict,
    facts_of,
    verdict,
    warning_due,
    way_to_disabling,
)
from handlers.webhooks.outbox import tell

_INTERRUPTIONS_PER_WAIT = 3


async def deliver(runtime: Runtime, tools: DeliveryTools, row: ClaimedDeliveryRow) -> FinishedDelivery:
    """Makes one attempt at a claimed delivery, whose attempt is on record already. A failure is a result, not an
    error; so is an endpoint whose secrets cannot be opened, or whose token server gives no token. One whose attempts
    end with their workers, far more often in a row than the schedule has waits, is given up and not posted: it may be
    what ends them.
    """
    if row.interruptions >= _INTERRUPTIONS_PER_WAIT * len(runtime.webhook_schedule.waits):
        result = _not_posted(runtime, FaultClass.INTERRUPTED)
        return FinishedDelivery(
            row, result, Settlement(DeliveryStatus.EXHAUSTED, None, row.schedule_position)
        )
    try:
        result = await _attempt(runtime, tools, row)
    except (SealBroken, InvalidInput):
        result = _not_posted(runtime, FaultClass.CONFIGURATION)
    except (DeliveryFault, LookupsBusy) as fault:
        result = _not_posted(runtime, fault.error_class)
    return FinishedDelivery(row, result, _decide(runtime, row, result))


async def _attempt(runtime: Runtime, tools: DeliveryTools, row: ClaimedDeliveryRow) -> AttemptResult:
    """A token that the receiver refuses is replaced for the next attempt: this one is on record as it was."""
    opened, auth = _open(tools, row), row.auth_sealed
    authorisation = await tools.authoriser.authorise(tools.egress, *row.endpoint, auth)
    result = await attempt(tools.egress, replace(opened, authorisation=authorisation), runtime.clock)
    if result.status_code == HTTPStatus.UNAUTHORIZED:
        tools.authoriser.refuse(*row.endpoint, auth, authorisation)
    return result


def _not_posted(runtime: Runtime, error_class: FaultClass) -> AttemptResult:
    now = runtime.clock()
    return AttemptResult(Outcome.FAILURE, now, now, error_class=error_class)


def _decide(runtime: Runtime, row: ClaimedDeliveryRow, result: AttemptResult) -> Settlement:
    is_probe = row.probes is not None and result.disable_reason is None and not result.is_aborted
    if is_probe and verdict(result) is Verdict.FAILURE:
        return decide_probe(result, row.schedule_position, POLICY.pause((row.probes or 0) + 1))
    return decide(result, runtime.webhook_schedule, row.schedule_position, result.ended_at, runtime.random)


def _open(tools: DeliveryTools, row: ClaimedDeliveryRow) -> ClaimedDelivery:
    if row.body is None:
        raise InvalidInput("The event's payload is not kept any more.", field="body")
    headers: Mapping[str, str] = {}
    if row.headers_sealed is not None:
        headers = tools.headers.open(row.headers_sealed, *row.endpoint)
    return ClaimedDelivery(
        distributor_id=row.distributor_id,
        event_id=row.event_id,
        url=row.url,
        body=_body(row, row.body),
        keys=tools.keys.open(row.secrets_sealed, *row.endpoint),
        headers=headers,
    )


def _body(row: ClaimedDeliveryRow, text: str) -> bytes:
    """What is posted, byte for byte the same at every try: events never change, and a thin form is made in one way."""
    return text.encode() if row.payload == PayloadForm.FULL else orjson.dumps(thin_body(orjson.loads(text)))


async def settle(runtime: Runtime, finished: Sequence[FinishedDelivery]) -> list[None]:
    """Records attempts, moves their deliveries on and folds them into the endpoints' states, all in one statement.
    Then looks after the endpoints that it concerns: what is left of that after a crash, the next settlement does.

    An answer that disables the endpoint does so in one transaction with its delivery: a crash before it leaves a
    delivery that is tried again, and answered so again.
    """
    progress = await _settle(runtime, finished)
    disabling: dict[EndpointKey, list[FinishedDelivery]] = {}
    for item in finished:
        if item.settlement.disable_reason is not None:
            disabling.setdefault(item.claimed.endpoint, []).append(item)
    for items in disabling.values():
        await _settle_and_disable(runtime, items)
    for endpoint in progress:
        if endpoint.give_back_from is not None or endpoint.failing_since is not None:
            await _look_after(runtime, endpoint)
    return [None] * len(finished)


async def _settle(runtime: Runtime, finished: Sequence[FinishedDelivery]) -> list[EndpointProgress]:
    rows = [_settled_row(item) for item in finished]
    async with runtime.database.queue_statements() as connection:
        return await delivery_lane.settle_deliveries(connection, rows, facts_of(finished), POLICY.as_row())


def _settled_row(item: FinishedDelivery) -> dict[str, Any]:
    claimed, result, settlement = item.claimed, item.result, item.settlement
    return {
        "distributor_id": claimed.distributor_id,
        "endpoint_id": claimed.endpoint_id,
        "event_id": claimed.event_id,
        "attempt_id": claimed.attempt_id,
        "lease_token": claimed.lease_token,
        "ordering_key": claimed.ordering_key,
        "finished_at": result.ended_at.isoformat(),
        "outcome": result.outcome,
        "status_code": result.status_code,
        "error_class": result.error_class,
        "duration_ms": result.duration_ms,
        "response_excerpt": result.excerpt,
        "evidence": result.evidence,
        "status": settlement.status,
        "due_at": settlement.due_at.isoformat() if settlement.due_at else None,
        "schedule_position": settlement.schedule_position,
        "disables": settlement.disable_reason is not None,
    }


async def _settle_and_disable(runtime: Runtime, items: Sequence[FinishedDelivery]) -> None:
    """Moves deliveries of one endpoint on, before what else waits for it is cancelled with it.

    In the order of their conversations, which each settlement locks: whoever else takes several does so in that order.
    """
    items = sorted(items, key=lambda item: str(item.claimed.ordering_key))
    claimed = items[0].claimed
    async with runtime.database.tenant(claimed.distributor_id) as connection:
        endpoint = await endpoints.lock_endpoint(connection, claimed.endpoint_id)
        settled = [_counted(runtime, endpoint, item) for item in items]
        for item, settlement in zip(items, settled, strict=True):
            await delivery_lane.settle_delivery(
                connection,
                item.claimed,
                status=settlement.status,
                due_at=settlement.due_at,
                schedule_position=settlement.schedule_position,
                now=item.result.ended_at,
            )
        reasons = [settlement.disable_reason for settlement in settled if settlement.disable_reason]
        if endpoint is not None and endpoint.enabled and reasons:
            await disable(runtime, connection, claimed.distributor_id, endpoint, reasons[0])


def _counted(runtime: Runtime, endpoint: EndpointRecord | None, item: FinishedDelivery) -> Settlement:
    """What follows from an answer, now that the endpoint is known as it is.

    An answer of an old URL, or from before the endpoint was enabled again, is a failure like any other.
    """
    if endpoint is None or not endpoint.enabled:
        return item.settlement
    if endpoint.url == item.claimed.url and endpoint.updated_at <= item.result.started_at:
        return item.settlement
    return _decide(runtime, item.claimed, replace(item.result, disable_reason=None))


async def _look_after(runtime: Runtime, progress: EndpointProgress) -> None:
    """What follows for an endpoint: an outage that is over costs nothing, one that lasts is told of and then ends it."""
    key = EndpointKey(progress.distributor_id, progress.endpoint_id)
    now = runtime.clock()
    if progress.give_back_from is not None:
        async with runtime.database.queue_statements() as connection:
            await delivery_lane.give_back_attempts(connection, key, progress.give_back_from, now)
    percent = way_to_disabling(progress.failing_since, progress.failed_attempts, now)
    if percent >= DISABLED:
        await _give_up(runtime, key)
    elif mark := warning_due(percent, progress.warned_percent):
        await _warn(runtime, key, mark, now)


async def _give_up(runtime: Runtime, key: EndpointKey) -> None:
    async with runtime.database.tenant(key.distributor_id) as connection:
        endpoint = await endpoints.lock_endpoint(connection, key.endpoint_id)
        if endpoint is not None and endpoint.enabled:
            await disable(runtime, connection, key.distributor_id, endpoint, DisableReason.FAILING)


async def _warn(runtime: Runtime, key: EndpointKey, percent: int, now: datetime) -> None:
    """Tells the tenant, once for each mark, that an endpoint is going to be disabled."""
    async with runtime.database.tenant(key.distributor_id) as connection:
        endpoint = await endpoints.read_endpoint(connection, key.endpoint_id)
        failure = await delivery_lane.warn_endpoint(connection, key.endpoint_id, percent, now)
        if endpoint is None or not endpoint.enabled or failure is None:
            return
        data = {
            "endpoint_id": endpoint.id,
            "name": endpoint.name,
            "percent": percent,
            "failing_since": failure.failing_since,
            "failed_attempts": failure.failed_attempts,
            "disabled_from": failure.failing_since + DISABLE_AFTER,
        }
        await tell(connection, runtime, key.distributor_id, EventType.ENDPOINT_FAILING, data)
