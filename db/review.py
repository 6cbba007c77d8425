"""What waits for a person, with the reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("review")


@dataclass(frozen=True, slots=True)
class ReviewRecord:
    """An order, or the message for which a conversation waits for a person."""

    id: UUID
    kind: str
    reasons: Sequence[str]
    error_class: str | None
    conversation_id: UUID | None
    customer_id: UUID | None
    customer_name: str | None
    channel: str
    message_id: UUID | None
    text: str | None
    order_id: UUID | None
    confidence: Decimal | None
    since: datetime


async def list_review(
    connection: Connection,
    position: UUID,
    *,
    oldest_first: bool,
    kind: str | None,
    channel: str | None,
    limit: int,
) -> Sequence[ReviewRecord]:
    """Those after ``position`` where the oldest come first, else those before it."""
    rows = await connection.fetch(_SQL["list_review"], position, oldest_first, kind, channel, limit)
    return [ReviewRecord(**row) for row in rows]
