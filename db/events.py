"""Events and what their receivers' state does to deliveries."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("events")


async def record_events(connection: Connection, events: Sequence[dict[str, Any]]) -> int:
    """Stores events with one delivery per matching endpoint, in the caller's transaction; the number of
    deliveries.
    """
    if not events:
        return 0
    count: int = await connection.fetchval(_SQL["record_events"], list(events))
    return count


async def disable_endpoint(
    connection: Connection, endpoint_id: UUID, reason: str, now: datetime
) -> tuple[str, str] | None:
    """Disables an endpoint and cancels what waits for it; its name and URL, or None if it was disabled
    already.
    """
    row = await connection.fetchrow(_SQL["disable_endpoint"], endpoint_id, reason, now)
    if row is None:
        return None
    await connection.execute(_SQL["cancel_waiting_deliveries"], endpoint_id, now)
    return row["name"], row["url"]
