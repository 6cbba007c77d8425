"""The delivery lane's work: open the seals, make one attempt, decide, and settle many attempts in one
statement.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from channels.errors import FaultClass, InvalidInput
from db import endpoints, lanes
from db.endpoints import headers_context, secrets_context
from db.errors import SealBroken
from db.lanes import ClaimedDeliveryRow
from handlers.runtime import Runtime
from handlers.webhooks.delivery import (
    AttemptResult,
    ClaimedDelivery,
    DeliveryStatus,
    DisableReason,
    Egress,
    Outcome,
    Settlement,
    attempt,
    decide,
)
from handlers.webhooks.event_types import EventType
from handlers.webhooks.outbox import tell
from handlers.webhooks.signing import load_secrets

_CLAIMS_PER_WAIT = 3


@dataclass(frozen=True, slots=True)
class FinishedDelivery:
    """An attempt that was made, and what follows from it."""

    claimed: ClaimedDeliveryRow
    result: AttemptResult
    settlement: Settlement


async def deliver(runtime: Runtime, egress: Egress, row: ClaimedDeliveryRow) -> FinishedDelivery:
    """Makes one attempt at a claimed delivery, whose attempt is on record already. A failure is a result, not an
    error; so is an endpoint whose secrets cannot be opened. One that was claimed far more often than the
    schedule has waits (its attempts ended with their workers) is given up.
    """
    schedule = runtime.webhook_schedule
    try:
        claimed = _open(runtime, row)
        result = await attempt(egress, claimed, runtime.clock)
    except (SealBroken, InvalidInput):
        now = runtime.clock()
        result = AttemptResult(Outcome.FAILURE, now, now, error_class=FaultClass.CONFIGURATION)
    settlement = decide(result, schedule, row.schedule_position, result.ended_at, runtime.random)
    if row.attempt_number > _CLAIMS_PER_WAIT * len(schedule.waits) and settlement.due_at is not None:
        settlement = Settlement(DeliveryStatus.EXHAUSTED, None, row.schedule_position)
    return FinishedDelivery(row, result, settlement)


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
    """Records attempts and moves their deliveries on, then disables endpoints whose receivers asked for
    it.
    """
    async with runtime.database.worker_statements() as connection:
        await lanes.settle_deliveries(connection, [_settled_row(item) for item in finished])
    for item in finished:
        if item.settlement.disable_reason is not None:
            await _disable(runtime, item.claimed, item.settlement.disable_reason)
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
    }


async def _disable(runtime: Runtime, claimed: ClaimedDeliveryRow, reason: DisableReason) -> None:
    async with runtime.database.tenant(claimed.distributor_id) as connection:
        name = await endpoints.disable_endpoint(connection, claimed.endpoint_id, reason, runtime.clock())
        if name is None:
            return
        data = {"endpoint_id": claimed.endpoint_id, "name": name, "reason": reason}
        await tell(connection, runtime, claimed.distributor_id, EventType.ENDPOINT_DISABLED, data)
