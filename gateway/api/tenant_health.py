"""``/v1/health``: whether the tenant's work is done in time."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from http import HTTPMethod
from typing import Literal
from uuid import UUID

from pydantic import Field

from db import tenant_health
from db.tenant_health import EndpointHealth, QueueHealth
from gateway.api.operations import Call, Operation
from gateway.api.schemas import Answer, NoQuery
from handlers.webhooks.payloads import Number

_DAY = timedelta(hours=24)
_MOST_ENDPOINTS = 200
Grade = Literal["IDLE", "HEALTHY", "WARNING", "UNHEALTHY", "CRITICAL"]
_GRADES: tuple[tuple[float, Grade], ...] = ((0.95, "HEALTHY"), (0.8, "WARNING"), (0.5, "UNHEALTHY"))


class Deliveries(Answer):
    """What became of the deliveries of the last 24 hours' events."""

    succeeded: int
    failed: int = Field(description="Tried and not taken yet, or given up.")
    waiting: int = Field(description="Not tried yet.")
    success_rate: Number | None = Field(description="Of those tried; null without any.")
    grade: Grade = Field(description="95 % HEALTHY, 80 % WARNING, 50 % UNHEALTHY, less CRITICAL.")


class EndpointDeliveries(Deliveries):
    """An endpoint's part of them, and how it does now."""

    endpoint_id: UUID
    name: str
    enabled: bool
    disabled_reason: str | None
    breaker: str = Field(description="CLOSED: posts go; OPEN: none, until one is tried; HALF_OPEN: one is.")
    failing_since: datetime | None
    consecutive_failures: int = Field(description="Events that failed in a row.")
    last_success_at: datetime | None


class Queue(Answer):
    """What waits, and what of it is due."""

    queue: Literal["turns", "sends", "deliveries"]
    waiting: int
    due: int
    oldest_due_at: datetime | None
    age_seconds: Number = Field(description="How long the oldest has been due; 0 where nothing is.")


class TenantHealth(Answer):
    """Deliveries and queues of a tenant."""

    deliveries: Deliveries
    endpoints: Sequence[EndpointDeliveries] = Field(description=f"The newest {_MOST_ENDPOINTS}.")
    queues: Sequence[Queue]


async def read_health(call: Call[None, NoQuery]) -> TenantHealth:
    now = call.runtime.clock()
    async with call.transaction() as connection:
        endpoints = await tenant_health.list_endpoint_health(connection, now - _DAY, _MOST_ENDPOINTS)
        queues = await tenant_health.list_queues(connection, now)
    return TenantHealth(
        deliveries=Deliveries.model_validate(_judged(endpoints)),
        endpoints=[_endpoint(row) for row in endpoints],
        queues=[_queue(row, now) for row in queues],
    )


def _endpoint(row: EndpointHealth) -> EndpointDeliveries:
    about = {name: getattr(row, name) for name in EndpointHealth.__slots__}
    return EndpointDeliveries.model_validate({**about, "endpoint_id": row.id, **_judged([row])})


def _judged(rows: Sequence[EndpointHealth]) -> dict[str, object]:
    succeeded, failed = sum(row.succeeded for row in rows), sum(row.failed for row in rows)
    rate = succeeded / (succeeded + failed) if succeeded + failed else None
    return {
        "succeeded": succeeded,
        "failed": failed,
        "waiting": sum(row.waiting for row in rows),
        "success_rate": None if rate is None else round(rate, 4),
        "grade": _grade(rate),
    }


def _grade(rate: float | None) -> Grade:
    if rate is None:
        return "IDLE"
    return next((grade for least, grade in _GRADES if rate >= least), "CRITICAL")


def _queue(row: QueueHealth, now: datetime) -> Queue:
    age = 0.0 if row.oldest_due_at is None else max(0.0, (now - row.oldest_due_at).total_seconds())
    fields = {name: getattr(row, name) for name in QueueHealth.__slots__}
    return Queue.model_validate({**fields, "age_seconds": age})


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path="/v1/health",
        tag="health",
        summary="Read whether deliveries arrive and work is done in time",
        handle=read_health,
        response=TenantHealth,
    ),
)
