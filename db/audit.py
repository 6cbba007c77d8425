"""The log of what was refused and of changed roles; rows are only ever added."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("audit")


@dataclass(frozen=True, slots=True)
class SecurityEvent:
    """One row of the log; ``occurrences`` of one kind between ``first_at`` and ``occurred_at``."""

    id: UUID
    type: str
    subject_id: UUID | None
    detail: str
    occurrences: int
    first_at: datetime
    occurred_at: datetime


async def record_denials(connection: Connection, denials: Sequence[dict[str, Any]]) -> None:
    """Adds rows for the tenant: objects with the fields of SecurityEvent."""
    await connection.execute(_SQL["record_denials"], list(denials))


async def list_security_events(
    connection: Connection, before: UUID, type_: str | None, limit: int
) -> list[SecurityEvent]:
    """Newest first, of one type or of all."""
    rows = await connection.fetch(_SQL["list_security_events"], before, type_, limit)
    return [SecurityEvent(**row) for row in rows]
