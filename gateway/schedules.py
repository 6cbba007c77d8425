"""Runs what is due by the clock in every worker: PgQueuer's schedules see to it that each run is one worker's."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import structlog
from pgqueuer.core.sm import SchedulerManager
from pgqueuer.domain.models import Schedule

from gateway.metrics import WORK
from handlers import upkeep
from handlers.media_store import MediaStore
from handlers.media_upkeep import delete_unused_files
from handlers.runtime import Runtime
from handlers.webhooks import retention
from handlers.webhooks.replay import run_replays

Job = Callable[[Runtime], Awaitable[int]]

# Minutes apart, so that they do not meet; times are UTC.
SCHEDULES: Final[Mapping[str, tuple[str, Job]]] = {
    "make_partitions": ("7 * * * *", upkeep.make_partitions),
    "recount_usage": ("17 * * * *", upkeep.recount_usage),
    "retire_old_rows": ("27 * * * *", upkeep.retire_old_rows),
    "mend_deliveries": ("47 * * * *", upkeep.mend_deliveries),
    "settle_parked": ("57 * * * *", upkeep.settle_parked),
    "expire_payloads": ("17 3 * * *", retention.expire_payloads),
    "expire_late_payloads": ("27 4 * * 0", retention.expire_late_payloads),
    "delete_orphans": ("37 3 * * *", upkeep.delete_orphans),
    "review_silent_customers": ("52 3 * * *", upkeep.review_silent_customers),
    # Every other second: a replay's batch is a few seconds' worth of deliveries.
    "run_replays": ("* * * * * */2", run_replays),
}
# What finds nothing to do, unless something went wrong that should not have.
_MENDING: Final = frozenset({"mend_deliveries"})
_FILES_AT: Final = "57 3 * * *"
_AWAY_SECONDS: Final = 5.0
_DRAIN_SECONDS: Final = 10.0
_log = structlog.get_logger("waystation.schedules")


def schedules_with(store: MediaStore) -> Mapping[str, tuple[str, Job]]:
    """All schedules, those of the store of files, too."""

    async def delete_unused(runtime: Runtime) -> int:
        return await delete_unused_files(runtime, store)

    return {**SCHEDULES, "delete_unused_files": (_FILES_AT, delete_unused)}


def build_scheduler(
    runtime: Runtime, schedules: Mapping[str, tuple[str, Job]] = SCHEDULES
) -> SchedulerManager:
    """The library's scheduler with our jobs. A run that was missed is caught up: nothing stored is thrown away."""
    scheduler = SchedulerManager(runtime.database.jobs())
    for name, (expression, job) in schedules.items():
        scheduler.schedule(name, expression)(_told(name, job, runtime))
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
        _log.log(_level(name, count), "scheduled work", job=name, count=count)

    return run


def _level(name: str, count: int) -> int:
    """What runs every other second mostly finds nothing; what mends should."""
    if not count:
        return logging.DEBUG
    return logging.WARNING if name in _MENDING else logging.INFO


async def forget_changed(scheduler: SchedulerManager) -> None:
    """Deletes stored schedules that the code has no more, or at another time: they would never be run or go."""
    known = {(key.entrypoint, key.expression) for key in scheduler.registry}
    stored = await scheduler.queries.peek_schedule()
    gone = {row.id for row in stored if (row.entrypoint, row.expression) not in known}
    if gone:
        await scheduler.queries.delete_schedule(gone, set())


@asynccontextmanager
async def keeping_schedules(
    runtime: Runtime, schedules: Mapping[str, tuple[str, Job]] = SCHEDULES
) -> AsyncIterator[asyncio.Event]:
    """Runs schedules beside the block, which may set the stop that it is given; what is under way at its end is
    finished, or left for its lease to run out.
    """
    stop = asyncio.Event()
    task = asyncio.create_task(_keep(runtime, schedules, stop), name="schedules")
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait({task}, timeout=_DRAIN_SECONDS)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _keep(runtime: Runtime, schedules: Mapping[str, tuple[str, Job]], stop: asyncio.Event) -> None:
    """Until the stop. A fault, whatever it is, must not end the schedules: it is told and waited for."""
    while not stop.is_set():
        scheduler = build_scheduler(runtime, schedules)
        scheduler.shutdown = stop
        try:
            await forget_changed(scheduler)
            await scheduler.run()
        except Exception as error:  # noqa: BLE001 - see above
            _log.warning("schedules wait for the database", error=type(error).__name__)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _AWAY_SECONDS)
