"""Wake-ups: heard by other connections, coalesced, and found again after a lost connection."""

import asyncio

import asyncpg

from db.tenant import Database
from db.wake import Notifier, listening


async def test_pokes_are_heard_and_coalesced(database: Database, runtime_dsn: str):
    heard = asyncio.Event()
    count = 0

    def on_wake() -> None:
        nonlocal count
        count += 1
        heard.set()

    notifier = Notifier(database)
    task = asyncio.create_task(notifier.run())
    async with listening(runtime_dsn, on_wake), asyncio.timeout(10):
        await heard.wait()  # the one at the start: whatever was told while nobody listened
        heard.clear()
        for _ in range(100):
            notifier.poke()
        await heard.wait()
    task.cancel()

    assert count < 10


async def test_a_lost_listener_comes_back(runtime_dsn: str, admin_dsn: str):
    heard = asyncio.Event()
    async with listening(runtime_dsn, heard.set), asyncio.timeout(10):
        await heard.wait()
        heard.clear()
        admin = await asyncpg.connect(admin_dsn)
        await admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename like 'waystation_login%'"
        )
        await heard.wait()
        await admin.close()
