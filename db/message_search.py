"""Messages by their words."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("message_search")


@dataclass(frozen=True, slots=True)
class FoundMessage:
    """A message that holds the words."""

    id: UUID
    conversation_id: UUID
    customer_id: UUID | None
    customer_name: str | None
    channel: str
    direction: str
    type: str
    status: str
    text: str
    created_at: datetime


async def search_messages(
    connection: Connection,
    before: UUID,
    *,
    text: str | None,
    customer_id: UUID | None,
    since: datetime,
    until: datetime,
    limit: int,
) -> Sequence[FoundMessage]:
    """Newest first; the time is that in the ids, ``until`` exclusive."""
    rows = await connection.fetch(_SQL["search_messages"], before, since, until, customer_id, text, limit)
    return [FoundMessage(**row) for row in rows]
