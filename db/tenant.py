"""The only door to a connection: a tenant's transaction, or the worker's narrow rights across tenants."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import orjson
from pgqueuer.adapters.persistence.queries import Queries

from db.connecting import CONNECT_ERRORS, CONNECT_SECONDS, connect_error
from db.errors import DatabaseBusy, DatabaseUnavailable
from db.jobs import pool_jobs
from db.named_sql import load_statements

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

_SQL = load_statements("audit")
APP_ROLE = "waystation_app"
WORKER_ROLE = "waystation_worker"
QUEUE_CONNECTIONS = 3  # claims, settlements, and one for whoever looks at the same time
# No plan that reads all that waits in order to sort it: a queue that was empty when it was counted may hold a million.
_BY_INDEX: Mapping[str, str] = MappingProxyType(
    {
        "enable_seqscan": "off",
        "enable_bitmapscan": "off",
        "enable_sort": "off",
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
        "plan_cache_mode": "force_generic_plan",
        "jit": "off",
    }
)
_NOTHING_MORE: Mapping[str, str] = MappingProxyType({})

# An escaped NUL, told apart from the letters "u0000" behind an escaped backslash.
_ESCAPED_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")

# What asyncpg raises when the server cannot be reached, goes away, or is starting up or shutting down.
_AWAY = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ConnectionDoesNotExistError,
    # A server that answers and cannot store: a standby after a failover, a full disk, a time limit of the host's.
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.DiskFullError,
    asyncpg.OutOfMemoryError,
    asyncpg.QueryCanceledError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what the driver says when its connection is cut at the wrong moment
    asyncpg.InvalidAuthorizationSpecificationError,  # the login is being changed by a migration
)


class Database:
    """Connections of the run-time login: a pool for each role, and one of the worker's for work queues.

    All pools skip the driver's session reset on release: every setting made here is local to a transaction.
    """

    def __init__(self, app: Pool, worker: Pool, queue: Pool) -> None:
        self._app = app
        self._worker = worker
        self._queue = queue

    @asynccontextmanager
    async def tenant(self, distributor_id: UUID) -> AsyncIterator[Connection]:
        """A transaction in which row-level security shows one tenant's rows and nothing else.

        Commits at the end, rolls back on any error. Raises DatabaseUnavailable where the server is away.
        """
        # One round trip begins and sets the tenant. The UUID type is what makes the text safe.
        begin = f"begin; select set_config('app.current_distributor_id', '{UUID(str(distributor_id))}', true)"
        try:
            async with _transaction(self._app, begin) as connection:
                yield connection
        except asyncpg.InsufficientPrivilegeError as error:
            await self._record_refusal(begin, error)
            raise

    async def _record_refusal(self, begin: str, error: asyncpg.InsufficientPrivilegeError) -> None:
        """In a transaction of its own, for the refused one is rolled back. The server's words name tables, no values."""
        with contextlib.suppress(asyncpg.PostgresError):  # a tenant that is not there has no log
            async with _transaction(self._app, begin) as connection:
                await connection.execute(_SQL["record_refusal"], f"{error.sqlstate} {error}")

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Connection]:
        """A transaction across tenants, with the rights that the migrations grant to the worker role."""
        async with _transaction(self._worker, "begin") as connection:
            yield connection

    @asynccontextmanager
    async def worker_statements(self) -> AsyncIterator[Connection]:
        """A worker's connection whose statements commit one by one; for single set-based statements.

        Besides accept and claim, the worker's role answers the lookups that come before a tenant is known, a
        closed list: a channel account by id, by what its provider calls it in a post to several accounts or (for
        the operator's ``simulate``) by address, a stored post by id (for the operator's ``replay``), the owner
        of an API key by the key's hash, and the public keys of a webhook endpoint by its id.
        """
        async with _borrowed(self._worker) as connection:
            yield connection

    @asynccontextmanager
    async def queue_statements(self) -> AsyncIterator[Connection]:
        """As ``worker_statements``, for statements that read a few rows off the front of an index: planned once, by what
        indexes exist and not by statistics, which in a queue are from before or after the burst.
        """
        async with _borrowed(self._queue) as connection:
            yield connection

    def jobs(self) -> Queries:
        """The job library's statements, in the worker's role; they know jobs and schedules, no tenant's rows."""
        return pool_jobs(self._worker)

    async def close(self) -> None:
        await asyncio.gather(self._app.close(), self._worker.close(), self._queue.close())


async def open_database(dsn: str, *, app: int = 8, worker: int = 8) -> Database:
    """Opens both pools with a run-time login's DSN; ``app`` and ``worker`` are the most connections that each
    role's may have. Raises DatabaseUnavailable or DatabaseRefused.
    """
    try:
        app_pool = await _open_pool(dsn, APP_ROLE, app)
        worker_pool = await _open_pool(dsn, WORKER_ROLE, worker)
        queue_pool = await _open_pool(dsn, WORKER_ROLE, QUEUE_CONNECTIONS, at_once=0, more=_BY_INDEX)
    except CONNECT_ERRORS as error:
        raise connect_error(dsn, error) from None
    return Database(app_pool, worker_pool, queue_pool)


async def _open_pool(
    dsn: str, role: str, size: int, *, at_once: int = 1, more: Mapping[str, str] = _NOTHING_MORE
) -> Pool:
    return await asyncpg.create_pool(
        dsn,
        min_size=at_once,
        max_size=size,
        timeout=CONNECT_SECONDS,
        init=_set_up_connection,
        reset=_keep_session,
        server_settings={
            "role": role,
            "application_name": role,
            "idle_in_transaction_session_timeout": "30000",
            "timezone": "UTC",
            **more,
        },
    )


async def _keep_session(_connection: Any) -> None:
    """Nothing outlives a transaction, so there is nothing to reset (the driver's reset costs a round
    trip).
    """


async def _set_up_connection(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", format="text", encoder=_encode_json, decoder=orjson.loads
    )


def _encode_json(value: Any) -> str:
    """JSON text for jsonb. NUL cannot be stored by PostgreSQL, so it becomes U+FFFD."""
    text = orjson.dumps(value, default=str).decode()
    return _ESCAPED_NUL.sub("\\1\ufffd", text) if "\\u0000" in text else text


@asynccontextmanager
async def _borrowed(pool: Pool) -> AsyncIterator[Connection]:
    try:
        async with pool.acquire(timeout=10) as connection:
            yield connection  # type: ignore[misc]  # the pool's proxy has the connection's methods
    except asyncpg.LockNotAvailableError as error:
        raise DatabaseBusy from error  # the driver counts it among the errors of a server that cannot store
    except asyncpg.DataError:
        raise  # a value that cannot be stored; the driver counts its own among the interface's errors
    except _AWAY as error:
        raise DatabaseUnavailable from error


@asynccontextmanager
async def _transaction(pool: Pool, begin: str) -> AsyncIterator[Connection]:
    async with _borrowed(pool) as connection:
        await connection.execute(begin)
        try:
            yield connection
        except BaseException:
            if not connection.is_closed():
                await connection.execute("rollback")
            raise
        await connection.execute("commit")
