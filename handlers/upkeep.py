"""What is done by the clock rather than for a message: partitions, retention, recounts. Every part may run twice, and
several at once; what one run could not do, the next one does.
"""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import UUID

from db import upkeep
from handlers.runtime import Runtime

# How long rows are kept, children before the tables they refer to; one period for all tenants, since a partition goes
# as a whole. What is stored for evidence and repetition goes early, conversations after two years, audits after seven.
RETENTION: Final[tuple[tuple[str, timedelta], ...]] = (
    ("webhook_delivery_attempts", timedelta(days=90)),
    ("webhook_deliveries", timedelta(days=90)),
    ("webhook_events", timedelta(days=90)),
    ("message_status_events", timedelta(days=730)),
    ("messages", timedelta(days=730)),
    ("inbound_events", timedelta(days=90)),
    ("data_access_audit", timedelta(days=2557)),
    ("security_audit_log", timedelta(days=2557)),
)
_MESSAGES_KEPT: Final = dict(RETENTION)["messages"]
_BATCH: Final = 1_000
_NOBODY: Final = UUID(int=0)


async def make_partitions(runtime: Runtime) -> int:
    """Makes partitions ahead of time; gives back how many were missing."""
    async with runtime.database.worker_statements() as connection:
        return await upkeep.make_partitions(connection)


async def retire_old_rows(runtime: Runtime) -> int:
    """Drops partitions that are past their retention, and what belonged to the messages in them."""
    retired = 0
    async with runtime.database.worker_statements() as connection:
        for table, keep in RETENTION:
            retired += await upkeep.retire_partitions(connection, table, keep)
        while await upkeep.delete_orphans(connection, _MESSAGES_KEPT, _BATCH):
            pass
    return retired


async def review_silent_customers(runtime: Runtime) -> int:
    """Customers who have not ordered for long become AT_RISK, then STOPPED_ORDERING; gives back how many changed."""
    changed = 0
    async for tenant in _tenants(runtime):
        while batch := await _review_batch(runtime, tenant):
            changed += batch
    return changed


async def _review_batch(runtime: Runtime, tenant: UUID) -> int:
    now = runtime.clock()
    async with runtime.database.tenant(tenant) as connection:
        lapsed = await upkeep.list_lapsed_customers(connection, now, _BATCH)
        await upkeep.refresh_customers(connection, lapsed, now)
    return len(lapsed)


async def recount_usage(runtime: Runtime) -> int:
    """Recounts each tenant's month and its calls of engines since the last hour but one; on a month's first day the
    month before, too. Gives back the number of tenants.
    """
    tenants = 0
    now = runtime.clock()
    async for tenant in _tenants(runtime):
        async with runtime.database.tenant(tenant) as connection:
            for month in open_months(now):
                await upkeep.refresh_usage(connection, month, now)
            await upkeep.refresh_ai_usage(connection, now - timedelta(hours=2), now)
        tenants += 1
    return tenants


def open_months(now: datetime) -> tuple[date, ...]:
    """The months (their first days, UTC) whose counts may still change at ``now``."""
    today = now.astimezone(UTC).date()
    this = today.replace(day=1)
    last = (this - timedelta(days=1)).replace(day=1)
    return (last, this) if today == this else (this,)


async def _tenants(runtime: Runtime) -> AsyncIterator[UUID]:
    last = _NOBODY
    while True:
        async with runtime.database.worker_statements() as connection:
            page = await upkeep.list_tenants(connection, last, _BATCH)
        for last in page:
            yield last
        if len(page) < _BATCH:
            return
