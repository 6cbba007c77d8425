"""Runs what is due by the clock in every worker: PgQueuer's schedules see to it that each run is one worker's."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import structlog
from pgqueuer.core.sm import SchedulerManager
from pgqueuer.domain.models import Schedule

from db.errors import DatabaseUnavailable
from gateway.metrics import WORK
from handlers import upkeep
from handlers.runtime import Runtime

Job = Callable[[Runtime], Awaitable[int]]

# Minutes apart, so that they do not meet; times are UTC.
SCHEDULES: Final[Mapping[str, tuple[str, Job]]] = {
    "make_partitions": ("7 * * * *", upkeep.make_partitions),
    "recount_usage": ("17 * * * *", upkeep.recount_usage),
    "retire_old_rows": ("27 3 * * *", upkeep.retire_old_rows),
    "review_silent_customers": ("47 3 * * *", upkeep.review_silent_customers),
}
_AWAY_SECONDS: Final = 5.0
_log = structlog.get_logger("waystation.schedules")


def build_scheduler(
    runtime: Runtime, schedules: Mapping[str, tuple[str, Job]] = SCHEDULES
) -> SchedulerManager:
    """The library's scheduler with our jobs; a changed time replaces the old one."""
    scheduler = SchedulerManager(runtime.database.jobs())
    for name, (expression, job) in schedules.items():
        scheduler.schedule(name, expression, clean_old=True)(_told(name, job, runtime))
    return scheduler


def _told(name: str, job: Job, runtime: Runtime) -> Callable[[Schedule], Awaitable[None]]:
    async def run(_schedule: Schedule) -> None:
        try:
            count = await job(runtime)
        except Exception as error:
            WORK.labels(lane=name, result="error").inc()
            _log.error("scheduled work failed", job=name, error=type(error).__name__)
            raise
        WORK.labels(lane=name, result="done").inc()
        _log.info("scheduled work", job=name, count=count)

    return run


@asynccontextmanager
async def keeping_schedules(runtime: Runtime) -> AsyncIterator[None]:
    """Runs schedules beside the block; what is under way at its end is finished."""
    stop = asyncio.Event()
    task = asyncio.create_task(_keep(runtime, stop), name="schedules")
    try:
        yield
    finally:
        stop.set()
        await task


async def _keep(runtime: Runtime, stop: asyncio.Event) -> None:
    """Until the stop; while the database is away it waits."""
    while not stop.is_set():
        scheduler = build_scheduler(runtime)
        scheduler.shutdown = stop
        try:
            await scheduler.run()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, DatabaseUnavailable) as error:
            _log.warning("schedules wait for the database", error=type(error).__name__)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _AWAY_SECONDS)
