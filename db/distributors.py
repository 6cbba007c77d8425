"""Tenants: their creation, their settings, the version of their catalogue."""

from datetime import datetime
from uuid import UUID

from asyncpg import Record

from db.named_sql import load_statements
from db.rows import Tenant
from db.tenant import Connection

_SQL = load_statements("distributors")


async def insert_distributor(
    connection: Connection,
    distributor_id: UUID,
    *,
    name: str,
    time_zone: str,
    locale: str,
    currency: str,
    now: datetime,
) -> None:
    """Stores a new tenant; the transaction's tenant must be the new id."""
    await connection.execute(
        _SQL["insert_distributor"], distributor_id, name, time_zone, locale, currency, now
    )


async def read_tenant(connection: Connection) -> Tenant:
    """The transaction's own tenant."""
    return _tenant(await connection.fetchrow(_SQL["read_tenant"]))


async def lock_tenant(connection: Connection) -> Tenant:
    """The transaction's own tenant, locked against other changes until the end."""
    return _tenant(await connection.fetchrow(_SQL["lock_tenant"]))


async def update_tenant(connection: Connection, tenant: Tenant) -> None:
    await connection.execute(
        _SQL["update_tenant"],
        tenant.name,
        tenant.time_zone,
        tenant.locale,
        tenant.currency,
        tenant.auto_reply,
        tenant.ai_confidence_threshold,
        tenant.updated_at,
    )


async def bump_catalogue_version(connection: Connection, now: datetime) -> int:
    """The new version; locks the tenant's row, so that changes of one catalogue follow one another."""
    version = await connection.fetchval(_SQL["bump_catalogue_version"], now)
    assert isinstance(version, int)
    return version


def _tenant(row: Record | None) -> Tenant:
    assert row is not None  # a key's tenant exists: api_keys refers to it
    return Tenant(**row)
