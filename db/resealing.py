"""Which master keys seal what a database holds, and sealing it again with the first of them.

Re-sealing goes tenant by tenant in small transactions with the rights of the application, so it may be stopped and
run again at any time, and nobody waits for it. What becomes of a row meanwhile is a change like any other.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

from db.accounts import seal_context
from db.endpoints import auth_context, headers_context, secrets_context
from db.idempotency import answer_context
from db.named_sql import load_statements
from db.sealing import Sealer
from db.tenant import Connection, Database
from db.upkeep import list_tenants

_SQL = load_statements("resealing")
_ANSWERS_KEPT = timedelta(hours=24)  # an older answer is never given again
_BATCH = 100
_TENANTS = 500
_ENDPOINT_SEALS: Mapping[str, Callable[[UUID, UUID], str]] = MappingProxyType(
    {"secrets_sealed": secrets_context, "headers_sealed": headers_context, "auth_sealed": auth_context}
)


@dataclass(frozen=True, slots=True)
class SealedCount:
    """How many values a key seals; ``needed`` unless all of them belong to what was deleted."""

    key_id: bytes
    number: int
    needed: bool


async def count_by_key(connection: Connection) -> list[SealedCount]:
    """What the connection can see: a tenant's values, or everybody's for the owner."""
    return [SealedCount(**row) for row in await connection.fetch(_SQL["count_by_key"], _ANSWERS_KEPT)]


async def count_everywhere(database: Database) -> dict[bytes, int]:
    """How many values each key seals, over all tenants."""
    totals: dict[bytes, int] = {}
    for tenant in await _tenants(database):
        async with database.tenant(tenant) as connection:
            for counted in await count_by_key(connection):
                totals[counted.key_id] = totals.get(counted.key_id, 0) + counted.number
    return totals


async def reseal(database: Database, sealer: Sealer, on_batch: Callable[[int], None]) -> int:
    """Seals with the first key what the others of ``sealer`` seal; gives back how many values.

    ``on_batch`` hears how many of each committed batch. What none of the keys opens is left as it is.
    Raises DatabaseUnavailable, and SealBroken for a value that was tampered with.
    """
    total = 0
    for tenant in await _tenants(database):
        for step in (_reseal_accounts, _reseal_endpoints, _reseal_answers):
            rows = _BATCH
            while rows == _BATCH:
                async with database.tenant(tenant) as connection:
                    rows, values = await step(connection, sealer, tenant)
                on_batch(values)
                total += values
    return total


async def _tenants(database: Database) -> list[UUID]:
    found: list[UUID] = []
    async with database.worker_statements() as connection:
        while page := await list_tenants(connection, found[-1] if found else UUID(int=0), _TENANTS):
            found += page
    return found


async def _reseal_accounts(connection: Connection, sealer: Sealer, tenant: UUID) -> tuple[int, int]:
    """Each step gives back how many rows it took and how many values it sealed."""
    rows = await connection.fetch(_SQL["take_accounts"], sealer.older_ids, _BATCH)
    sealed = [sealer.reseal(row["credentials_sealed"], seal_context(tenant, row["id"])) for row in rows]
    await connection.execute(_SQL["put_accounts"], _column(rows, "id"), sealed)
    return len(rows), len(rows)


async def _reseal_endpoints(connection: Connection, sealer: Sealer, tenant: UUID) -> tuple[int, int]:
    rows = await connection.fetch(_SQL["take_endpoints"], sealer.older_ids, _BATCH)
    columns = [
        [row[name] and sealer.reseal(row[name], context(tenant, row["id"])) for row in rows]
        for name, context in _ENDPOINT_SEALS.items()
    ]
    await connection.execute(_SQL["put_endpoints"], _column(rows, "id"), *columns)
    changed = zip(
        (value for column in columns for value in column),
        (value for name in _ENDPOINT_SEALS for value in _column(rows, name)),
        strict=True,
    )
    return len(rows), sum(new != old for new, old in changed)


async def _reseal_answers(connection: Connection, sealer: Sealer, tenant: UUID) -> tuple[int, int]:
    rows = await connection.fetch(_SQL["take_answers"], sealer.older_ids, _BATCH, _ANSWERS_KEPT)
    sealed = [
        sealer.reseal(row["response_sealed"], answer_context(tenant, row["route"], row["key"]))
        for row in rows
    ]
    await connection.execute(_SQL["put_answers"], _column(rows, "route"), _column(rows, "key"), sealed)
    return len(rows), len(rows)


def _column(rows: Sequence[Any], name: str) -> list[Any]:
    return [row[name] for row in rows]
