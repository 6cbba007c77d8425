"""Accounts whose providers are asked for what they received."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("reconcile")


@dataclass(frozen=True, slots=True)
class DueAccount:
    """An account that is to be asked for."""

    distributor_id: UUID
    id: UUID


@dataclass(frozen=True, slots=True)
class ReconcileRow:
    """An account, its credentials sealed, and up to when its provider was asked."""

    channel_account_id: UUID
    channel: str
    provider: str
    account_address: str
    credentials_sealed: bytes
    account_settings: dict[str, Any]
    reconciled_until: datetime | None
    created_at: datetime


async def list_due_accounts(
    connection: Connection, providers: Sequence[str], asked_before: datetime, now: datetime
) -> list[DueAccount]:
    """Accounts of all tenants that nobody asked for since; takes a worker's connection."""
    rows = await connection.fetch(_SQL["list_due_accounts"], list(providers), asked_before, now)
    return [DueAccount(**row) for row in rows]


async def take_account(
    connection: Connection, account_id: UUID, now: datetime, lease_until: datetime
) -> bool:
    """Whether it is ours to ask for until then."""
    return await connection.fetchval(_SQL["take_account"], account_id, now, lease_until) is not None


async def find_account(connection: Connection, account_id: UUID) -> ReconcileRow | None:
    """The account, unless it is unknown or deleted."""
    row = await connection.fetchrow(_SQL["find_account"], account_id)
    return ReconcileRow(**row) if row else None


async def list_known_keys(connection: Connection, provider: str, keys: Sequence[str]) -> set[str]:
    """Which of these messages' keys some account of the tenant at the provider has."""
    rows = await connection.fetch(_SQL["list_known_keys"], provider, list(keys))
    return {row["provider_key"] for row in rows}


async def settle_account(
    connection: Connection, account_id: UUID, until: datetime | None, *, leased: bool
) -> None:
    """Ends an asking; ``until`` is up to when the provider was asked without a hole, if it was, and ``leased`` whether
    the account had been taken.
    """
    await connection.execute(_SQL["settle_account"], account_id, until, leased)
