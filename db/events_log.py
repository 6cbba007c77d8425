"""The events of a tenant, as they happened."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from db.named_sql import load_statements
from db.rows import EARLIEST, LATEST, EventRecord
from db.tenant import Connection

_SQL = load_statements("events_log")


async def list_events(
    connection: Connection,
    before: UUID,
    *,
    event_type: str | None,
    conversation_id: UUID | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
) -> Sequence[EventRecord]:
    """Newest first; ``until`` is exclusive."""
    page = (before, max(since or EARLIEST, EARLIEST), min(until or LATEST, LATEST), limit)
    if conversation_id is not None:
        rows = await connection.fetch(_SQL["list_events_of_conversation"], *page, conversation_id, event_type)
    elif event_type is not None:
        rows = await connection.fetch(_SQL["list_events_of_type"], *page, event_type)
    else:
        rows = await connection.fetch(_SQL["list_events"], *page)
    return [EventRecord(**row) for row in rows]


async def read_event(connection: Connection, event_id: UUID) -> EventRecord | None:
    row = await connection.fetchrow(_SQL["read_event"], event_id)
    return EventRecord(**row) if row else None
