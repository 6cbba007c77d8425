"""What there is to say of one event and each endpoint of its tenant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("traces")


@dataclass(frozen=True, slots=True)
class TracedEvent:
    """The event."""

    id: UUID
    type: str
    occurred_at: datetime
    has_payload: bool


@dataclass(frozen=True, slots=True)
class TracedEndpoint:
    """An endpoint with its state and, where there is one, the event's delivery and its last attempt.

    ``filter_matched`` is None where the payload is gone; ``due_at`` where nothing of ours makes it due.
    """

    endpoint_id: UUID
    name: str
    transport: str
    event_types: Sequence[str]
    filter: Mapping[str, Any] | None
    enabled: bool
    disabled_reason: str | None
    disabled_at: datetime | None
    verification: str
    max_in_flight: int
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    filter_matched: bool | None
    delivery_id: UUID | None
    status: str | None
    attempt_count: int | None
    due_at: datetime | None
    lease_until: datetime | None
    behind_event_id: UUID | None
    in_flight: int
    concurrency: int
    breaker: str
    breaker_until: datetime | None
    blocked_until: datetime | None
    paced_until: datetime | None
    outcome: str | None
    error_class: str | None
    status_code: int | None


async def read_event(connection: Connection, event_id: UUID) -> TracedEvent | None:
    row = await connection.fetchrow(_SQL["read_event"], event_id)
    return TracedEvent(**row) if row else None


async def list_endpoints(
    connection: Connection, event_id: UUID, endpoint_id: UUID | None, limit: int
) -> list[TracedEndpoint]:
    """That endpoint, or all that there are, newest first."""
    rows = await connection.fetch(_SQL["list_endpoints"], event_id, endpoint_id, limit)
    return [TracedEndpoint(**row) for row in rows]


async def match_conditions(connection: Connection, event_id: UUID, paths: Sequence[str]) -> list[bool]:
    """Which of these JSON path predicates the event's body meets."""
    return [row["met"] for row in await connection.fetch(_SQL["match_conditions"], event_id, list(paths))]
