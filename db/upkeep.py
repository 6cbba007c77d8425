"""What a clock starts: partitions made ahead and retired, derived data recounted."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from uuid import UUID

from db.named_sql import load_statements
from db.tenant import Connection, Database

_SQL = load_statements("upkeep")


async def read_time(database: Database) -> datetime:
    """The server's time of this moment, aware; raises DatabaseUnavailable."""
    async with database.worker_statements() as connection:
        now: datetime = await connection.fetchval(_SQL["read_time"])
    return now


async def make_partitions(connection: Connection) -> int:
    """Makes the partitions of the coming days where they are missing; gives back how many."""
    return int(await connection.fetchval(_SQL["make_partitions"]))


async def retire_partitions(connection: Connection, table: str, keep: timedelta) -> int:
    """Drops a table's partitions that ended longer ago than ``keep`` (at least 30 days).

    Children first: raises asyncpg's ForeignKeyViolationError while other tables' rows refer to rows in one, and nothing
    is dropped.
    """
    return int(await connection.fetchval(_SQL["retire_partitions"], table, keep))


async def delete_orphans(connection: Connection, keep: timedelta, batch: int) -> int:
    """Deletes up to ``batch`` rows of each table whose retired message they belonged to; gives back how many."""
    return int(await connection.fetchval(_SQL["delete_orphans"], keep, batch))


async def list_tenants(connection: Connection, after: UUID, limit: int) -> list[UUID]:
    """The next tenants' ids, in order."""
    return [row["id"] for row in await connection.fetch(_SQL["list_tenants"], after, limit)]


async def list_lapsed_customers(connection: Connection, now: datetime, limit: int) -> list[UUID]:
    """Customers of the tenant whose status is no longer true at ``now``."""
    return [row["id"] for row in await connection.fetch(_SQL["list_lapsed_customers"], now, limit)]


async def refresh_customers(connection: Connection, customer_ids: Sequence[UUID], now: datetime) -> None:
    """Recounts customers' orders, spending and status. Locks the customers until the transaction ends."""
    await connection.execute(_SQL["refresh_customers"], list(customer_ids), now)


async def refresh_usage(connection: Connection, month: date, now: datetime) -> None:
    """Recounts what the tenant used in the month that begins with ``month`` (UTC)."""
    await connection.execute(_SQL["refresh_usage"], month, now)


async def refresh_ai_usage(connection: Connection, since: datetime, now: datetime) -> None:
    """Recounts the tenant's calls of models and engines, by hour, from the hour of ``since`` on."""
    await connection.execute(_SQL["refresh_ai_usage"], since, now)
