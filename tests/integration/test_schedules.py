"""What is due by the clock runs in one worker of many, again after a fault, and stops when told to."""

import asyncio
from typing import Any

import asyncpg
import pytest
from pgqueuer.core.sm import SchedulerManager

from gateway.schedules import SCHEDULES, build_scheduler, forget_changed, keeping_schedules
from handlers.runtime import Runtime

EVERY_SECOND = "* * * * * *"


class Jobs:
    """Remembers runs; the first one may fail."""

    def __init__(self, fails: int = 0) -> None:
        self.runs = 0
        self.fails = fails
        self.done = asyncio.Event()

    async def __call__(self, _runtime: Runtime) -> int:
        self.runs += 1
        if self.runs <= self.fails:
            raise RuntimeError
        self.done.set()
        return 1


async def stop(scheduler: SchedulerManager, task: "asyncio.Task[None]") -> None:
    scheduler.shutdown.set()
    await asyncio.wait_for(task, 10)


@pytest.mark.parametrize("fails", [0, 1], ids=["runs", "runs-again-after-a-fault"])
async def test_a_due_schedule_runs(runtime: Runtime, fails: int):
    job = Jobs(fails)
    scheduler = build_scheduler(runtime, {"job": (EVERY_SECOND, job)})
    task = asyncio.create_task(scheduler.run())
    await asyncio.wait_for(job.done.wait(), 15)
    await stop(scheduler, task)

    assert job.runs == fails + 1


async def stored(admin_dsn: str) -> list[Any]:
    admin = await asyncpg.connect(admin_dsn)
    rows = await admin.fetch("select entrypoint, expression, next_run, last_run from jobs.pgqueuer_schedules")
    await admin.close()
    return list(rows)


async def until_stored(admin_dsn: str, wanted: set[str]) -> None:
    async with asyncio.timeout(10):
        while not wanted <= {row["expression"] for row in await stored(admin_dsn)}:  # noqa: ASYNC110 - another task writes
            await asyncio.sleep(0.02)


async def test_a_run_that_was_missed_is_caught_up(runtime: Runtime, admin_dsn: str):
    """Nobody worked at the time of a nightly job: whoever starts next does it, at once and once."""
    job = Jobs()
    nightly = {"nightly": ("27 3 * * *", job)}
    admin = await asyncpg.connect(admin_dsn)
    await admin.execute(
        "insert into jobs.pgqueuer_schedules (expression, entrypoint, next_run)"
        " values ('27 3 * * *', 'nightly', now() - interval '3 days')"
    )
    await admin.close()
    schedulers = [build_scheduler(runtime, nightly) for _ in range(2)]
    for scheduler in schedulers:
        await forget_changed(scheduler)
    tasks = [asyncio.create_task(scheduler.run()) for scheduler in schedulers]
    await asyncio.wait_for(job.done.wait(), 15)
    for scheduler, task in zip(schedulers, tasks, strict=True):
        await stop(scheduler, task)

    assert job.runs == 1
    assert len(await stored(admin_dsn)) == 1


async def test_a_schedule_that_the_code_has_no_more_is_forgotten(runtime: Runtime, admin_dsn: str):
    job = Jobs()
    for schedules in ({"a": ("1 1 * * *", job), "b": ("2 2 * * *", job)}, {"a": ("3 3 * * *", job)}):
        scheduler = build_scheduler(runtime, schedules)
        await forget_changed(scheduler)
        task = asyncio.create_task(scheduler.run())
        await until_stored(admin_dsn, {expression for expression, _ in schedules.values()})
        await stop(scheduler, task)

    assert [(row["entrypoint"], row["expression"]) for row in await stored(admin_dsn)] == [("a", "3 3 * * *")]


async def test_each_schedule_is_there_once_however_many_workers_start(runtime: Runtime, admin_dsn: str):
    async with keeping_schedules(runtime), keeping_schedules(runtime):
        admin = await asyncpg.connect(admin_dsn)
        rows: list[Any] = []
        async with asyncio.timeout(10):
            while len(rows) < len(SCHEDULES):
                await asyncio.sleep(0.02)
                rows = await admin.fetch("select entrypoint, expression from jobs.pgqueuer_schedules")
        await admin.close()

    assert {row["entrypoint"]: row["expression"] for row in rows} == {
        name: expression for name, (expression, _) in SCHEDULES.items()
    }
    assert len(rows) == len(SCHEDULES)


@pytest.mark.parametrize("name", SCHEDULES)
async def test_every_scheduled_job_runs_on_an_empty_database(runtime: Runtime, name: str):
    _, job = SCHEDULES[name]

    assert await job(runtime) == 0


async def test_the_application_knows_nothing_of_jobs(runtime: Runtime):
    async with runtime.database.tenant(runtime.new_id()) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("select * from jobs.pgqueuer")
