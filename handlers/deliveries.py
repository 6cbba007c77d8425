"""The delivery lane's work: open the seals, make one attempt, decide, and settle many attempts in one
statement.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from channels.errors import FaultClass, InvalidInput
from db import delivery_log, endpoints, lanes
from db.endpoints import headers_context, secrets_context
from db.errors import SealBroken
from db.lanes import ClaimedDeliveryRow
from db.rows import EndpointRecord
from db.tenant import Connection
from handlers.endpoints import disable
from handlers.runtime import Runtime
from handlers.webhooks.delivery import (
    AttemptResult,
    ClaimedDelivery,
    DeliveryStatus,
    Egress,
    Outcome,
    Settlement,
    attempt,
    decide,
)
from handlers.webhooks.signing import load_secrets

_INTERRUPTIONS_PER_WAIT = 3


@dataclass(frozen=True, slots=True)
class FinishedDelivery:
    """An attempt that was made, and what follows from it."""

    claimed: ClaimedDeliveryRow
    result: AttemptResult
    settlement: Settlement


async def deliver(runtime: Runtime, egress: Egress, row: ClaimedDeliveryRow) -> FinishedDelivery:
    """Makes one attempt at a claimed delivery, whose attempt is on record already. A failure is a result, not an
    error; so is an endpoint whose secrets cannot be opened. One whose attempts end with their workers, far more
    often in a row than the schedule has waits, is given up and not posted: it may be what ends them.
    """
    if row.interruptions >= _INTERRUPTIONS_PER_WAIT * len(runtime.webhook_schedule.waits):
        result = _not_posted(runtime, FaultClass.INTERRUPTED)
        return FinishedDelivery(
            row, result, Settlement(DeliveryStatus.EXHAUSTED, None, row.schedule_position)
        )
    try:
        result = await attempt(egress, _open(runtime, row), runtime.clock)
    except (SealBroken, InvalidInput):
        result = _not_posted(runtime, FaultClass.CONFIGURATION)
    return FinishedDelivery(row, result, _decide(runtime, row, result))


def _not_posted(runtime: Runtime, error_class: FaultClass) -> AttemptResult:
    now = runtime.clock()
    return AttemptResult(Outcome.FAILURE, now, now, error_class=error_class)


def _decide(runtime: Runtime, row: ClaimedDeliveryRow, result: AttemptResult) -> Settlement:
    return decide(result, runtime.webhook_schedule, row.schedule_position, result.ended_at, runtime.random)


def _open(runtime: Runtime, row: ClaimedDeliveryRow) -> ClaimedDelivery:
    secrets = runtime.sealer.open_json(
        row.secrets_sealed, secrets_context(row.distributor_id, row.endpoint_id)
    )
    headers: dict[str, str] = {}
    if row.headers_sealed is not None:
        headers = runtime.sealer.open_json(
            row.headers_sealed, headers_context(row.distributor_id, row.endpoint_id)
        )
    return ClaimedDelivery(
        distributor_id=row.distributor_id,
        event_id=row.event_id,
        url=row.url,
        body=row.body.encode(),
        secrets=load_secrets(secrets),
        headers=headers,
    )


async def settle(runtime: Runtime, finished: Sequence[FinishedDelivery]) -> list[None]:
    """Records attempts and moves their deliveries on. An answer that disables the endpoint does so in one
    transaction with its delivery: a crash before it leaves a delivery that is tried again, and answered so again.
    """
    async with runtime.database.worker_statements() as connection:
        await lanes.settle_deliveries(connection, [_settled_row(item) for item in finished])
    disabling: dict[UUID, list[FinishedDelivery]] = {}
    for item in finished:
        if item.settlement.disable_reason is not None:
            disabling.setdefault(item.claimed.endpoint_id, []).append(item)
    for items in disabling.values():
        await _settle_and_disable(runtime, items)
    return [None] * len(finished)


def _settled_row(item: FinishedDelivery) -> dict[str, Any]:
    claimed, result, settlement = item.claimed, item.result, item.settlement
    return {
        "distributor_id": claimed.distributor_id,
        "endpoint_id": claimed.endpoint_id,
        "event_id": claimed.event_id,
        "attempt_id": claimed.attempt_id,
        "lease_token": claimed.lease_token,
        "finished_at": result.ended_at.isoformat(),
        "outcome": result.outcome,
        "status_code": result.status_code,
        "error_class": result.error_class,
        "duration_ms": result.duration_ms,
        "response_excerpt": result.excerpt,
        "status": settlement.status,
        "due_at": settlement.due_at.isoformat() if settlement.due_at else None,
        "schedule_position": settlement.schedule_position,
        "disables": settlement.disable_reason is not None,
    }


async def _settle_and_disable(runtime: Runtime, items: Sequence[FinishedDelivery]) -> None:
    """Moves deliveries of one endpoint on, before what else waits for it is cancelled with it."""
    claimed = items[0].claimed
    async with runtime.database.tenant(claimed.distributor_id) as connection:
        endpoint = await endpoints.lock_endpoint(connection, claimed.endpoint_id)
        settled = [_counted(runtime, endpoint, item) for item in items]
        for item, settlement in zip(items, settled, strict=True):
            await _move_on(connection, item, settlement)
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


async def _move_on(connection: Connection, item: FinishedDelivery, settlement: Settlement) -> None:
    await delivery_log.settle_delivery(
        connection,
        item.claimed,
        status=settlement.status,
        due_at=settlement.due_at,
        schedule_position=settlement.schedule_position,
        now=item.result.ended_at,
    )
