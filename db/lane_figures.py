"""What operators watch of the queues, over all tenants: how late the work is, and which endpoints are down."""

from collections.abc import Mapping
from datetime import datetime

from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("lane_figures")


async def list_lanes(connection: Connection, now: datetime) -> Mapping[str, datetime | None]:
    """Since when the oldest work of each lane is due; None where nothing is."""
    rows = await connection.fetch(_SQL["list_lanes"], now)
    return {row["lane"]: row["oldest_due_at"] for row in rows}


async def count_breakers(connection: Connection) -> Mapping[str, int]:
    """How many endpoints' breakers are in which state; states that none is in are left out."""
    return {row["breaker"]: row["endpoints"] for row in await connection.fetch(_SQL["count_breakers"])}
