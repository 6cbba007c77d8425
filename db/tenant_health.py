"""Whether a tenant's work is done in time: deliveries by endpoint, and what waits."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("tenant_health")


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """What became of an endpoint's deliveries, and how it does now."""

    id: UUID
    name: str
    enabled: bool
    disabled_reason: str | None
    succeeded: int
    failed: int
    waiting: int
    breaker: str
    failing_since: datetime | None
    consecutive_failures: int
    last_success_at: datetime | None


@dataclass(frozen=True, slots=True)
class QueueHealth:
    """What waits in a queue, and what of it is due."""

    queue: str
    waiting: int
    due: int
    oldest_due_at: datetime | None


async def list_endpoint_health(
    connection: Connection, since: datetime, limit: int
) -> Sequence[EndpointHealth]:
    """Deliveries of the events since then, by endpoint, the newest endpoint first."""
    rows = await connection.fetch(_SQL["list_endpoint_health"], since, limit)
    return [EndpointHealth(**row) for row in rows]


async def list_queues(connection: Connection, now: datetime) -> Sequence[QueueHealth]:
    """Turns, sends and deliveries."""
    return [QueueHealth(**row) for row in await connection.fetch(_SQL["list_queues"], now)]
