"""Channel accounts by id, before a tenant is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from db.named_sql import load_statements
from db.sealing import Sealer
from db.tenant import Connection

_SQL = load_statements("accounts")


@dataclass(frozen=True, slots=True)
class AccountRow:
    """A channel account; its credentials are sealed with ``seal_context``."""

    id: UUID
    distributor_id: UUID
    channel: str
    provider: str
    address: str
    credentials_sealed: bytes
    settings: dict[str, Any]
    updated_at: datetime


def seal_context(distributor_id: UUID, account_id: UUID) -> str:
    """What an account's sealed credentials are bound to."""
    return f"channel_accounts:{distributor_id}:{account_id}"


async def check_keys(connection: Connection, sealer: Sealer) -> None:
    """Raises SealBroken where the sealer's keys do not open what this database holds; takes a worker's connection."""
    row = await connection.fetchrow(_SQL["find_any_sealed"])
    if row is not None:
        sealer.open(row["credentials_sealed"], seal_context(row["distributor_id"], row["id"]))


async def find_account(connection: Connection, account_id: UUID) -> AccountRow | None:
    """The account, unless it is unknown or deleted; takes a worker's connection."""
    row = await connection.fetchrow(_SQL["find_account"], account_id)
    return AccountRow(**row) if row else None


async def list_accounts_at(connection: Connection, channel: str, address: str) -> Sequence[AccountRow]:
    """Every tenant's account with that address, the oldest first; takes a worker's connection."""
    return [AccountRow(**row) for row in await connection.fetch(_SQL["list_accounts_at"], channel, address)]


async def list_accounts_by_route(connection: Connection, provider: str, route: str) -> Sequence[AccountRow]:
    """Every tenant's account that the provider calls so, the oldest first; takes a worker's connection."""
    rows = await connection.fetch(_SQL["list_accounts_by_route"], provider, route)
    return [AccountRow(**row) for row in rows]
