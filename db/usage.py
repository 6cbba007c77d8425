"""What a tenant used in a month, as it was last counted."""

from dataclasses import dataclass
from datetime import date, datetime

from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("usage")


@dataclass(frozen=True, slots=True)
class MonthUsage:
    """The counts of the month that begins with ``period`` (UTC); ``customers`` are those at the time of counting."""

    period: date
    customers: int
    messages_in: int
    messages_out: int
    orders: int
    ai_requests: int
    ai_tokens: int
    ai_cost_micro_usd: int
    counted_at: datetime


async def read_usage(connection: Connection, month: date) -> MonthUsage | None:
    """None for a month that was never counted."""
    row = await connection.fetchrow(_SQL["read_usage"], month)
    return MonthUsage(**row) if row else None
