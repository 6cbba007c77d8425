"""Wake-ups between processes: one coalesced NOTIFY after commits, heard by every worker. A poll is the
safety net.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg

from db.errors import DatabaseUnavailable
from db.tenant import Database

CHANNEL = "waystation_work"
_RECONNECT_SECONDS = 1.0


class Notifier:
    """Tells all workers that there may be work. Pokes that come while one is on its way become the next one.

    A NOTIFY inside the writing transaction would serialise commits (measured: a third of the rate), so it is
    sent after them, on a connection of its own.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._poked = asyncio.Event()

    def poke(self) -> None:
        """Asks for a wake-up; never waits."""
        self._poked.set()

    async def run(self) -> None:
        """Sends wake-ups until cancelled; where the database is away they are dropped, for workers poll as
        well.
        """
        while True:
            await self._poked.wait()
            self._poked.clear()
            with contextlib.suppress(
                DatabaseUnavailable, asyncpg.PostgresError
            ):  # the poll is the safety net
                async with self._database.worker_statements() as connection:
                    await connection.execute("select pg_notify($1, '')", CHANNEL)


@asynccontextmanager
async def listening(dsn: str, on_wake: Callable[[], None]) -> AsyncIterator[None]:
    """Calls ``on_wake`` for every wake-up while the block runs; reconnects by itself when the database was
    away.
    """
    task = asyncio.create_task(_listen_for_ever(dsn, on_wake), name="wake-listener")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):  # that is what we asked for
            await task


async def _listen_for_ever(dsn: str, on_wake: Callable[[], None]) -> None:
    while True:
        with contextlib.suppress(
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError
        ):  # away: tried again below
            await _listen_until_lost(dsn, on_wake)
        await asyncio.sleep(_RECONNECT_SECONDS)


async def _listen_until_lost(dsn: str, on_wake: Callable[[], None]) -> None:
    connection = await asyncpg.connect(dsn, timeout=10)
    lost = asyncio.Event()
    try:
        connection.add_termination_listener(lambda *_: lost.set())
        await connection.add_listener(CHANNEL, lambda *_: on_wake())
        on_wake()  # whatever was told while nobody listened
        await lost.wait()
    finally:
        connection.terminate()
