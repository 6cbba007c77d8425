"""PostgreSQL servers for the session: the embedded one and, for tests of the schema, the oldest version that may
run it, where this machine has that.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, TypeVar

import asyncpg

from db.embedded import EmbeddedPostgres, remove_data_dir
from db.embedded_binaries import OLDEST_MAJOR, find_binaries
from db.errors import PostgresNotFoundError
from db.migrate import migrate

MASTER_KEY = bytes(range(32))
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "100"}
TEMPLATE = "waystation_template"

T = TypeVar("T")


def majors_here() -> list[int | None]:
    """The versions that tests of the schema run on: None is the embedded server's, whichever that is."""
    try:
        find_binaries(OLDEST_MAJOR)
    except PostgresNotFoundError:
        return [None]
    return [None] if find_binaries().major == OLDEST_MAJOR else [None, OLDEST_MAJOR]


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Runs ``work`` in a loop of its own, for fixtures that outlive a test's loop."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(work)


async def execute(dsn: str, statement: str) -> None:
    """One statement on a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


class Servers:
    """Servers by version, each started when it is first asked for and stopped at the end of the session."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._migrated: dict[int | None, EmbeddedPostgres] = {}
        self._stack = ExitStack()
        # Not the thread's loop: that is the running test's.
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)

    def __enter__(self) -> Self:
        self._stack.enter_context(self._runner)
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def with_template(self, major: int | None) -> EmbeddedPostgres:
        """The server with a migrated database to make copies of."""
        if major not in self._migrated:
            server = self.without_schema(major, "migrated")
            self._runner.run(_make_template(server))
            self._migrated[major] = server
        return self._migrated[major]

    def apart(self, purpose: str) -> EmbeddedPostgres:
        """An embedded server with a template of its own, for tests that a crash of it may be the failure of."""
        server = self.without_schema(None, purpose)
        self._runner.run(_make_template(server))
        return server

    def without_schema(self, major: int | None, purpose: str) -> EmbeddedPostgres:
        """A server on which nobody has ever migrated anything, so that none of our roles exists."""
        server = EmbeddedPostgres(self._folder / f"{purpose}-{major}", settings=FAST, major=major)
        self._stack.callback(self._remove, server)
        self._runner.run(server.start())
        return server

    def _remove(self, server: EmbeddedPostgres) -> None:
        self._runner.run(server.stop())
        if server.data_dir.exists():
            remove_data_dir(server.data_dir)


async def _make_template(server: EmbeddedPostgres) -> None:
    await execute(server.dsn, f"create database {TEMPLATE}")
    await migrate(server.dsn_for(TEMPLATE), [MASTER_KEY])
