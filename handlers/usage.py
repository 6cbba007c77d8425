"""What a tenant uses, never older than a minute where somebody looks; the schedule recounts it anyway."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import UUID

from db import ai_reads, distributors, upkeep, usage
from db.ai_reads import UsageRow
from db.tenant import Connection
from db.usage import MonthUsage
from handlers.runtime import Runtime

FRESH: Final = timedelta(minutes=1)
_LATE: Final = timedelta(days=1)  # after a month's end its count may still be the last one before that end


async def read_month(runtime: Runtime, distributor_id: UUID, month: date | None) -> MonthUsage | None:
    """The month that begins with ``month`` (None: the present one); None for one that the tenant has not seen."""
    now = runtime.clock()
    wanted = month or _month_of(now)
    async with runtime.database.tenant(distributor_id) as connection:
        tenant = await distributors.read_tenant(connection)
        if not _month_of(tenant.created_at) <= wanted <= _month_of(now):
            return None
        counted = await usage.read_usage(connection, wanted)
        if counted is not None and not _is_stale(counted, now):
            return counted
        await upkeep.refresh_usage(connection, wanted, now)
        return await usage.read_usage(connection, wanted)


async def read_calls(
    runtime: Runtime, distributor_id: UUID, since: datetime, until: datetime, period: str
) -> Sequence[UsageRow]:
    """Calls of engines by ``period`` (hour, day, month; UTC)."""
    async with runtime.database.tenant(distributor_id) as connection:
        await _recount_calls(connection, runtime.clock())
        return await ai_reads.list_usage(connection, since, until, period)


async def _recount_calls(connection: Connection, now: datetime) -> None:
    counted_at = await ai_reads.read_counted_at(connection)
    if counted_at is None or now - counted_at > FRESH:
        await upkeep.refresh_ai_usage(connection, now)


def _is_stale(counted: MonthUsage, now: datetime) -> bool:
    """A month that was counted after its end is closed."""
    after_end = datetime.combine(_next_month(counted.period), datetime.min.time(), UTC) + _LATE
    return counted.counted_at < after_end and now - counted.counted_at > FRESH


def _month_of(moment: datetime) -> date:
    return moment.astimezone(UTC).date().replace(day=1)


def _next_month(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)
