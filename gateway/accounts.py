"""Channel accounts with their secrets opened, kept for a moment: every post of a provider needs one."""

import time
from collections.abc import Callable
from uuid import UUID

from channels.base import Channel, ChannelAccount
from db.accounts import AccountRow, find_account, seal_context
from handlers.runtime import Runtime

KEPT_SECONDS = 1.0
_MOST_ENTRIES = 10_000


class AccountDirectory:
    """Finds accounts by id. An entry is kept for a second, so that a changed token or a deletion counts
    almost at once; changes made through this process count at once (``forget``).
    """

    def __init__(self, runtime: Runtime, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._runtime = runtime
        self._monotonic = monotonic
        self._entries: dict[UUID, tuple[float, ChannelAccount | None]] = {}

    async def find(self, account_id: UUID) -> ChannelAccount | None:
        """The account, or None for an unknown or deleted one; raises DatabaseUnavailable."""
        now = self._monotonic()
        known = self._entries.get(account_id)
        if known is not None and known[0] > now:
            return known[1]
        account = await self._read(account_id)
        if len(self._entries) >= _MOST_ENTRIES:  # somebody tries ids: start afresh rather than grow
            self._entries.clear()
        self._entries[account_id] = (now + KEPT_SECONDS, account)
        return account

    def forget(self, account_id: UUID) -> None:
        """The account was changed or deleted."""
        self._entries.pop(account_id, None)

    async def _read(self, account_id: UUID) -> ChannelAccount | None:
        async with self._runtime.database.worker_statements() as connection:
            row = await find_account(connection, account_id)
        return self._opened(row) if row else None

    def _opened(self, row: AccountRow) -> ChannelAccount:
        context = seal_context(row.distributor_id, row.id)
        return ChannelAccount(
            id=row.id,
            distributor_id=row.distributor_id,
            channel=Channel(row.channel),
            provider=row.provider,
            address=row.address,
            credentials=self._runtime.sealer.open_json(row.credentials_sealed, context),
            settings=row.settings,
        )
