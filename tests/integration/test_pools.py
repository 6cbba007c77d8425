"""How many connections a process opens, and that the embedded database has room for a machine full of them."""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import asyncpg

from db.embedded import GENTLE_SETTINGS
from db.tenant import QUEUE_CONNECTIONS, open_database
from gateway.services import APP_CONNECTIONS, WORKER_CONNECTIONS
from handlers.runtime import new_uuid7

SUPERUSERS_OWN = 3  # PostgreSQL's superuser_reserved_connections
LISTENING = 1  # a worker's, for wake-ups; a gateway's, for those who wait to pull
SERVING = APP_CONNECTIONS + WORKER_CONNECTIONS
WORKING = SERVING + QUEUE_CONNECTIONS


async def test_a_process_opens_no_more_connections_than_it_says(runtime_dsn: str, admin_dsn: str):
    database = await open_database(runtime_dsn, app=APP_CONNECTIONS, worker=WORKER_CONNECTIONS)
    busy = asyncio.Barrier(WORKING + 1)

    async def use(door: AbstractAsyncContextManager[Any]) -> None:
        async with door:
            await busy.wait()

    doors = [database.tenant(new_uuid7()) for _ in range(APP_CONNECTIONS)]
    doors += [database.worker() for _ in range(WORKER_CONNECTIONS)]
    doors += [database.queue_statements() for _ in range(QUEUE_CONNECTIONS)]
    tasks = [asyncio.create_task(use(door)) for door in doors]
    waiting = [asyncio.create_task(use(door)) for door in (database.tenant(new_uuid7()), database.worker())]
    async with asyncio.timeout(10):
        while busy.n_waiting < WORKING:  # noqa: ASYNC110 - a barrier has no event for it
            await asyncio.sleep(0)
    admin = await asyncpg.connect(admin_dsn)
    opened = await admin.fetchval(
        "select count(*) from pg_stat_activity"
        " where datname = current_database() and application_name in ('waystation_app', 'waystation_worker')"
    )
    for task in waiting:
        task.cancel()
    await busy.wait()
    await asyncio.gather(*tasks, *waiting, return_exceptions=True)
    await admin.close()
    await database.close()

    assert opened == WORKING


def test_a_gateway_with_four_workers_and_a_command_fit_the_embedded_database():
    needed = SERVING + LISTENING + 4 * (WORKING + LISTENING) + SERVING + SUPERUSERS_OWN

    assert needed <= int(GENTLE_SETTINGS["max_connections"])
