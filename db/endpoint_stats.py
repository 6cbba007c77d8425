"""How an endpoint does: its recent attempts in figures, its state, what waits for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("endpoint_stats")


@dataclass(frozen=True, slots=True)
class EndpointStats:
    """Figures of attempts. Times are the 50th, 95th and 99th percentile in ms: ``total_ms`` of those that were answered.

    ``failures`` counts by class of error. ``is_sample``: there may be more than were looked at.
    """

    attempts: int
    successes: int
    unfinished: int
    total_ms: Sequence[float] | None
    first_byte_ms: Sequence[float] | None
    failures: Mapping[str, int]
    is_sample: bool


@dataclass(frozen=True, slots=True)
class EndpointCondition:
    """An endpoint's state, and what waits for it, each part of that counted up to a limit."""

    breaker: str
    breaker_until: datetime | None
    consecutive_failures: int
    failed_attempts: int
    failing_since: datetime | None
    concurrency: int
    learned_rate: Decimal | None
    blocked_until: datetime | None
    paced_until: datetime | None
    in_flight: int
    last_success_at: datetime | None
    due: int
    later: int
    waiting: int
    transport: str


async def read_stats(connection: Connection, endpoint_id: UUID, since: datetime, looks: int) -> EndpointStats:
    """Of the attempts begun since then; the newest ``looks`` are looked at."""
    row = await connection.fetchrow(_SQL["read_stats"], endpoint_id, since, looks)
    assert row is not None
    return EndpointStats(**row)


async def read_condition(
    connection: Connection, endpoint_id: UUID, now: datetime, most: int
) -> EndpointCondition | None:
    """None for an endpoint that is not the tenant's, or deleted; each kind of waiting delivery is counted up to ``most``."""
    row = await connection.fetchrow(_SQL["read_condition"], endpoint_id, now, most)
    return EndpointCondition(**row) if row else None
