"""What engines have to do, did, cost and failed at."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("ai_reads")


@dataclass(frozen=True, slots=True)
class QueueRecord:
    """Messages that await their turn, and the oldest of them."""

    messages: int
    conversations: int
    in_progress: int
    oldest_message_id: UUID | None
    oldest_conversation_id: UUID | None
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Calls of one engine and model in a period."""

    period: datetime
    engine: str
    model: str | None
    requests: int
    failures: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_micro_usd: int
    mean_confidence: Decimal | None
    mean_processing_ms: int


@dataclass(frozen=True, slots=True)
class ErrorRecord:
    """A burst that no engine understood."""

    id: UUID
    message_id: UUID
    conversation_id: UUID
    engine: str
    model: str | None
    error_class: str | None
    processing_ms: int
    cost_micro_usd: int
    request_id: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """How often a kind of failure happened."""

    error_class: str | None
    failures: int
    last_at: datetime


async def read_queue(connection: Connection, now: datetime) -> QueueRecord:
    """``in_progress``: conversations whose turn a worker holds at ``now``."""
    row = await connection.fetchrow(_SQL["read_queue"], now)
    assert row is not None, "it has one row whatever waits"
    return QueueRecord(**row)


async def list_usage(
    connection: Connection, since: datetime, until: datetime, period: str
) -> Sequence[UsageRow]:
    """By ``period`` (hour, day, month; UTC), the newest first; ``until`` is exclusive."""
    return [UsageRow(**row) for row in await connection.fetch(_SQL["list_usage"], since, until, period)]


async def read_counted_at(connection: Connection) -> datetime | None:
    """When the tenant's calls were last counted."""
    counted_at: datetime | None = await connection.fetchval(_SQL["read_counted_at"])
    return counted_at


async def list_errors(
    connection: Connection,
    before: UUID,
    *,
    error_class: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
) -> Sequence[ErrorRecord]:
    """Newest first; ``until`` is exclusive."""
    rows = await connection.fetch(_SQL["list_errors"], before, error_class, since, until, limit)
    return [ErrorRecord(**row) for row in rows]


async def count_errors(connection: Connection, since: datetime, until: datetime) -> Sequence[ErrorCount]:
    """By kind, the most frequent first."""
    return [ErrorCount(**row) for row in await connection.fetch(_SQL["count_errors"], since, until)]


async def count_responses(connection: Connection, since: datetime, until: datetime) -> int:
    """All turns of the time, also those that failed."""
    return int(await connection.fetchval(_SQL["count_responses"], since, until))
