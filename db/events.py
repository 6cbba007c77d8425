"""Events, with the deliveries that are born with them."""

from collections.abc import Sequence
from typing import Any

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
