"""A tenant's channel accounts as it manages them; deleted ones stay as rows and are seen by nobody."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from db.conflicts import unique_or_conflict
from db.named_sql import load_statements
from db.rows import AccountRecord
from db.tenant import Connection

_SQL = load_statements("accounts_admin")
_ADDRESS_TAKEN = "A channel account with this provider, channel and address exists already."


async def list_accounts(
    connection: Connection, before: UUID, *, channel: str | None, provider: str | None, limit: int
) -> Sequence[AccountRecord]:
    """Newest first."""
    rows = await connection.fetch(_SQL["list_accounts"], before, channel, provider, limit)
    return [AccountRecord(**row) for row in rows]


async def read_account(connection: Connection, account_id: UUID) -> AccountRecord | None:
    row = await connection.fetchrow(_SQL["read_account"], account_id)
    return AccountRecord(**row) if row else None


async def lock_account(connection: Connection, account_id: UUID) -> AccountRecord | None:
    """The account, locked against other changes until the transaction ends."""
    row = await connection.fetchrow(_SQL["lock_account"], account_id)
    return AccountRecord(**row) if row else None


async def insert_account(connection: Connection, account: AccountRecord) -> None:
    """Stores a new account; raises Conflict where its address is taken."""
    with unique_or_conflict(_ADDRESS_TAKEN):
        await connection.execute(
            _SQL["insert_account"],
            account.id,
            account.channel,
            account.provider,
            account.address,
            account.credentials_sealed,
            account.settings,
            account.created_at,
            account.updated_at,
            account.route,
        )


async def update_account(connection: Connection, account: AccountRecord) -> None:
    """Writes what may change; raises Conflict where the new address is taken."""
    with unique_or_conflict(_ADDRESS_TAKEN):
        await connection.execute(
            _SQL["update_account"],
            account.id,
            account.address,
            account.credentials_sealed,
            account.settings,
            account.updated_at,
            account.route,
        )


async def delete_account(connection: Connection, account_id: UUID, now: datetime) -> bool:
    """Whether there was such an account."""
    return await connection.fetchval(_SQL["delete_account"], account_id, now) is not None
