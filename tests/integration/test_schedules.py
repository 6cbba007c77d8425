"""What is due by the clock runs in one worker of many, again after a fault, and stops when told to."""

import asyncio
from typing import Any

import asyncpg
import pytest
from pgqueuer.core.sm import SchedulerManager

from gateway.schedules import SCHEDULES, build_scheduler, keeping_schedules
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
