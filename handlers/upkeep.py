"""What is done by the clock rather than for a message: partitions, retention, recounts. Every part may run twice, and
several at once; what one run could not do, the next one does.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

from db import statuses, upkeep
from db.delivery_lane import EndpointKey
from db.errors import DatabaseBusy, PartitionReferenced
from db.tenant import Connection
from handlers.runtime import Runtime
from handlers.statuses import apply_parked

_BATCH: Final = 1_000
_ENDPOINTS: Final = 200  # whose deliveries one statement looks through
_PARKED_FOR: Final = timedelta(hours=24)
_NOBODY: Final = UUID(int=0)
_OPEN_DAYS: Final = 7  # a machine that was off over a month's end still closes the month
_TRIES: Final = 5  # for a lock that somebody holds; each waits 0.2 s and gives way
_PAUSE_SECONDS: Final = (0.05, 0.3)

Step = Callable[[Connection], Awaitable[bool]]


async def make_partitions(runtime: Runtime) -> int:
    """Makes partitions ahead of time; gives back how many were missing. Raises DatabaseBusy."""
    made = 0
    while await _patiently(runtime, upkeep.make_partition):
        made += 1
    return made


async def retire_old_rows(runtime: Runtime) -> int:
    """Drops partitions that are past their time, and gives back how many.

    A table that is in use (a backup reads it, say) is left for the next hour and does not hold up the others.
    """
    retired, failed = 0, None
    async with runtime.database.worker_statements() as connection:
        tables = await upkeep.list_partitioned(connection)
    for table in tables:
        try:
            while await _patiently(runtime, partial(upkeep.retire_partition, table=table)):
                retired += 1
        except (DatabaseBusy, PartitionReferenced) as error:
            failed = error
    if failed:
        raise failed
    return retired


async def delete_orphans(runtime: Runtime) -> int:
    """Deletes what belonged to messages that were retired; gives back how many rows."""
    deleted = 0
    async with runtime.database.worker_statements() as connection:
        while batch := await upkeep.delete_orphans(connection, _BATCH):
            deleted += batch
    return deleted


async def settle_parked(runtime: Runtime) -> int:
    """Gives statuses up whose message nobody came to know within a day, and applies those of messages that are known,
    where a worker stopped before it did so; gives back how many.
    """
    settled = 0
    before = runtime.clock() - _PARKED_FOR
    async with runtime.database.worker_statements() as connection:
        while batch := await statuses.drop_parked(connection, before, _BATCH):
            settled += batch
        found = await statuses.list_found(connection, _BATCH)
    for key in found:
        settled += await apply_parked(runtime, *key)
    return settled


async def _patiently(runtime: Runtime, step: Step) -> bool:
    """One step in a transaction of its own; where somebody holds a lock it lets them finish and tries again."""
    for _ in range(_TRIES - 1):
        with contextlib.suppress(DatabaseBusy):
            async with runtime.database.worker_statements() as connection:
                return await step(connection)
        await asyncio.sleep(runtime.random.uniform(*_PAUSE_SECONDS))
    async with runtime.database.worker_statements() as connection:
        return await step(connection)


async def review_silent_customers(runtime: Runtime) -> int:
    """Customers who have not ordered for long become AT_RISK, then STOPPED_ORDERING; gives back how many were recounted."""
    changed = 0
    async for tenant in each_tenant(runtime):
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
    """Recounts each tenant's month and its calls of engines since the last recount; gives back the number of tenants.
    In a month's first days the month before is counted, too.
    """
    tenants = 0
    now = runtime.clock()
    async for tenant in each_tenant(runtime):
        async with runtime.database.tenant(tenant) as connection:
            for month in open_months(now):
                await upkeep.refresh_usage(connection, month, now)
            await upkeep.refresh_ai_usage(connection, now)
        tenants += 1
    return tenants


def open_months(now: datetime) -> tuple[date, ...]:
    """The months (their first days, UTC) whose counts may still change at ``now``."""
    today = now.astimezone(UTC).date()
    this = today.replace(day=1)
    last = (this - timedelta(days=1)).replace(day=1)
    return (last, this) if today.day <= _OPEN_DAYS else (this,)


async def each_tenant(runtime: Runtime) -> AsyncIterator[UUID]:
    """Every tenant's id, in order."""
    last = _NOBODY
    while True:
        async with runtime.database.worker_statements() as connection:
            page = await upkeep.list_tenants(connection, last, _BATCH)
        for last in page:
            yield last
        if len(page) < _BATCH:
            return


async def mend_deliveries(runtime: Runtime) -> int:
    """Looks whether each endpoint's state says what its deliveries do, and whether each conversation that waits has
    something to wait for; gives back how many were mended. None are, unless something went wrong that should not have.
    """
    last, now = EndpointKey(_NOBODY, _NOBODY), runtime.clock()
    async with runtime.database.worker_statements() as connection:
        mended = await upkeep.make_missing_states(connection, now)
    while True:
        async with runtime.database.worker_statements() as connection:
            page = await upkeep.list_endpoint_states(connection, last, _ENDPOINTS)
            mended += await upkeep.mend_endpoint_states(connection, page, now)
            mended += await upkeep.release_stuck_heads(connection, page, now)
            await upkeep.cancel_forgotten(connection, page, now)  # which is no fault
        if len(page) < _ENDPOINTS:
            return mended
        last = page[-1]
