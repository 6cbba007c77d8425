"""A worker's database whose queue statements the benchmarks look at."""

import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pgqueuer.adapters.persistence.queries import Queries

from db.tenant import Connection, Database

_NAME = re.compile(r"/\* \w+\.(\w+) \*/")


class WatchedDatabase(Database):
    """Passes everything on to ``database``; statements on queue connections go through ``fetch``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def fetch(self, connection: Connection, sql: str, values: Sequence[Any]) -> Any:
        """Runs one statement of a queue."""
        return await connection.fetch(sql, *values)

    @asynccontextmanager
    async def tenant(self, distributor_id: Any) -> AsyncIterator[Connection]:
        async with self._database.tenant(distributor_id) as connection:
            yield connection

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Connection]:
        async with self._database.worker() as connection:
            yield connection

    @asynccontextmanager
    async def worker_statements(self) -> AsyncIterator[Connection]:
        async with self._database.worker_statements() as connection:
            yield connection

    @asynccontextmanager
    async def queue_statements(self) -> AsyncIterator[Connection]:
        async with self._database.queue_statements() as connection:
            yield _Watched(self, connection)  # type: ignore[misc]  # what the lane calls of a connection

    def jobs(self) -> Queries:
        return self._database.jobs()

    async def close(self) -> None:
        await self._database.close()


class _Watched:
    def __init__(self, database: WatchedDatabase, connection: Connection) -> None:
        self._database = database
        self._connection = connection

    async def fetch(self, sql: str, *values: Any) -> Any:
        return await self._database.fetch(self._connection, sql, values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class TimedDatabase(WatchedDatabase):
    """Keeps how long each run of a statement took, in milliseconds, by the statement's name."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.times: dict[str, list[float]] = {}

    async def fetch(self, connection: Connection, sql: str, values: Sequence[Any]) -> Any:
        began = time.perf_counter()
        rows = await super().fetch(connection, sql, values)
        found = _NAME.match(sql)
        self.times.setdefault(found[1] if found else "", []).append((time.perf_counter() - began) * 1000)
        return rows
