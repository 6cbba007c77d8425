"""What a clock starts: partitions made ahead and retired, derived data recounted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

import asyncpg

from db.delivery_lane import EndpointKey
from db.errors import PartitionReferenced
from db.named_sql import load_statements
from db.tenant import Connection, Database

_SQL = load_statements("upkeep")


async def read_time(database: Database) -> datetime:
    """The server's time of this moment, aware; raises DatabaseUnavailable."""
    async with database.worker_statements() as connection:
        now: datetime = await connection.fetchval(_SQL["read_time"])
    return now


async def make_partition(connection: Connection) -> bool:
    """Makes one partition of the coming days, if one is missing; raises DatabaseBusy where somebody holds a lock."""
    return bool(await connection.fetchval(_SQL["make_partition"]))


async def list_partitioned(connection: Connection) -> list[str]:
    """The partitioned tables, children before the tables they refer to."""
    return [row["parent"] for row in await connection.fetch(_SQL["list_partitioned"])]


async def retire_partition(connection: Connection, table: str) -> bool:
    """Drops the table's oldest partition if all of it is past its time; gives back whether.

    Raises DatabaseBusy where somebody holds a lock, PartitionReferenced while other tables' rows refer to it.
    """
    try:
        return bool(await connection.fetchval(_SQL["retire_partition"], table))
    except asyncpg.ForeignKeyViolationError as error:
        raise PartitionReferenced from error


async def delete_orphans(connection: Connection, batch: int) -> int:
    """Deletes up to ``batch`` rows of each table whose retired message they belonged to; gives back how many."""
    return int(await connection.fetchval(_SQL["delete_orphans"], batch))


async def list_tenants(connection: Connection, after: UUID, limit: int) -> list[UUID]:
    """The next tenants' ids, in order."""
    return [row["id"] for row in await connection.fetch(_SQL["list_tenants"], after, limit)]


async def list_endpoints(connection: Connection, tenant: UUID) -> list[UUID]:
    """The ids of a tenant's endpoints, deleted ones too."""
    return [row["id"] for row in await connection.fetch(_SQL["list_endpoints"], tenant)]


@dataclass(frozen=True, slots=True)
class ExpiryBatch:
    """What a batch met: rows looked at, those that still held something, those that lost it, and where to go on."""

    looked: int
    held: int
    expired: int
    last_id: UUID | None
    last_number: int = 0


async def expire_payloads(connection: Connection, tenant: UUID, below: UUID, batch: int) -> ExpiryBatch:
    """Empties payloads of a tenant's events that are past their time, the newest first, in up to ``batch`` events."""
    row = await connection.fetchrow(_SQL["expire_payloads"], tenant, below, batch)
    assert row is not None
    return ExpiryBatch(**row)


async def expire_evidence(
    connection: Connection, tenant: UUID, endpoint: UUID, below: tuple[UUID, int], batch: int
) -> ExpiryBatch:
    """The same for evidence and excerpts of an endpoint's attempts; ``below`` is (event, number)."""
    row = await connection.fetchrow(_SQL["expire_evidence"], tenant, endpoint, *below, batch)
    assert row is not None
    return ExpiryBatch(**row)


async def list_lapsed_customers(connection: Connection, now: datetime, limit: int) -> list[UUID]:
    """Customers of the tenant whose status is no longer true at ``now``."""
    return [row["id"] for row in await connection.fetch(_SQL["list_lapsed_customers"], now, limit)]


async def refresh_customers(connection: Connection, customer_ids: Sequence[UUID], now: datetime) -> None:
    """Recounts customers' orders, spending and status. Locks the customers until the transaction ends."""
    await connection.execute(_SQL["refresh_customers"], list(customer_ids), now)


async def refresh_usage(connection: Connection, month: date, now: datetime) -> None:
    """Recounts what the tenant used in the month that begins with ``month`` (UTC)."""
    await connection.execute(_SQL["refresh_usage"], month, now)


async def refresh_ai_usage(connection: Connection, now: datetime) -> None:
    """Recounts the tenant's calls of models and engines, by hour, since the last recount."""
    await connection.execute(_SQL["refresh_ai_usage"], now)


async def make_missing_states(connection: Connection, now: datetime) -> int:
    """Gives endpoints that have none their states; how many."""
    count: int = await connection.fetchval(_SQL["make_missing_states"], now)
    return count


async def list_endpoint_states(connection: Connection, after: EndpointKey, limit: int) -> list[EndpointKey]:
    """The next endpoints of all tenants, in order."""
    rows = await connection.fetch(_SQL["list_endpoint_states"], *after, limit)
    return [EndpointKey(**row) for row in rows]


async def mend_endpoint_states(
    connection: Connection, endpoints: Sequence[EndpointKey], now: datetime
) -> int:
    """Counts what the endpoints have under way anew, and when their retries are due; how many it had to mend."""
    return int(await connection.fetchval(_SQL["mend_endpoint_states"], *_columns(endpoints), now))


async def release_stuck_heads(connection: Connection, endpoints: Sequence[EndpointKey], now: datetime) -> int:
    """Lets conversations go on that wait for nothing; how many."""
    return int(await connection.fetchval(_SQL["release_stuck_heads"], *_columns(endpoints), now))


async def cancel_forgotten(connection: Connection, endpoints: Sequence[EndpointKey], now: datetime) -> int:
    """Ends what waits for endpoints that were deleted while it was being stored; how much."""
    return int(await connection.fetchval(_SQL["cancel_forgotten"], *_columns(endpoints), now))


def _columns(endpoints: Sequence[EndpointKey]) -> tuple[list[UUID], list[UUID]]:
    return [key.distributor_id for key in endpoints], [key.endpoint_id for key in endpoints]
