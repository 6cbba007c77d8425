"""API keys: the one lookup by hash that comes before a tenant is known, and a tenant's list of them."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from db.named_sql import load_statements
from db.rows import ApiKey, KeyOwner
from db.tenant import Connection

_SQL = load_statements("api_keys")


async def find_key_owner(connection: Connection, key_hash: bytes) -> KeyOwner | None:
    """Whose key has this SHA-256, by the worker role; None for an unknown one."""
    row = await connection.fetchrow(_SQL["find_key_owner"], key_hash)
    return KeyOwner(**row) if row else None


async def insert_key(
    connection: Connection, key_id: UUID, *, name: str, prefix: str, key_hash: bytes, now: datetime
) -> ApiKey:
    row = await connection.fetchrow(_SQL["insert_key"], key_id, name, prefix, key_hash, now)
    assert row is not None
    return ApiKey(**row)


async def list_keys(connection: Connection, before: UUID, limit: int) -> Sequence[ApiKey]:
    """Newest first, also the revoked ones."""
    return [ApiKey(**row) for row in await connection.fetch(_SQL["list_keys"], before, limit)]


async def revoke_key(connection: Connection, key_id: UUID, now: datetime) -> bool:
    """Whether there is such a key; one that was revoked before keeps its time."""
    return await connection.fetchval(_SQL["revoke_key"], key_id, now) is not None
