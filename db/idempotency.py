"""Idempotency keys, and a database that lets a handler's changes commit together with the stored answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from db.named_sql import load_statements
from db.rows import StoredAnswer
from db.tenant import Connection, Database

_SQL = load_statements("idempotency")


def answer_context(distributor_id: UUID, route: str, key: str) -> str:
    """What a stored answer's seal is bound to."""
    return f"idempotency_keys:{distributor_id}:{route}:{key}"


async def read_answer(connection: Connection, route: str, key: str, oldest: datetime) -> StoredAnswer | None:
    """What stands under the key since ``oldest``; None if nothing does."""
    row = await connection.fetchrow(_SQL["read_answer"], route, key, oldest)
    return StoredAnswer(**row) if row else None


async def claim_key(
    connection: Connection,
    route: str,
    key: str,
    *,
    request_hash: bytes,
    now: datetime,
    oldest: datetime,
) -> bool:
    """Whether the key is this transaction's now; False where an answer stands under it since ``oldest``, or
    another transaction is at it. Does not wait for that one.
    """
    claimed = await connection.fetchval(_SQL["claim_key"], route, key, request_hash, now, oldest)
    return claimed is not None


async def store_answer(connection: Connection, route: str, key: str, *, status: int, sealed: bytes) -> None:
    await connection.execute(_SQL["store_answer"], route, key, status, sealed)


async def forget_expired(connection: Connection, oldest: datetime, limit: int) -> None:
    """Removes up to ``limit`` keys of this tenant from before ``oldest``."""
    await connection.execute(_SQL["forget_expired"], oldest, limit)


class JoinedDatabase(Database):
    """A database whose transactions of one tenant are savepoints of one that is open already.

    What a handler does through it commits when the outer transaction does, or not at all.
    """

    def __init__(self, outer: Database, connection: Connection, distributor_id: UUID) -> None:
        self._outer = outer
        self._connection = connection
        self._distributor_id = distributor_id

    @asynccontextmanager
    async def tenant(self, distributor_id: UUID) -> AsyncIterator[Connection]:
        """A savepoint of the open transaction; raises ValueError for another tenant."""
        if distributor_id != self._distributor_id:
            raise ValueError("the open transaction is another tenant's")
        # The driver's own savepoints need a transaction that the driver began.
        await self._connection.execute("savepoint joined")
        try:
            yield self._connection
        except BaseException:
            if not self._connection.is_closed():
                await self._connection.execute("rollback to savepoint joined; release savepoint joined")
            raise
        await self._connection.execute("release savepoint joined")

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Connection]:
        async with self._outer.worker() as connection:
            yield connection

    @asynccontextmanager
    async def worker_statements(self) -> AsyncIterator[Connection]:
        async with self._outer.worker_statements() as connection:
            yield connection
