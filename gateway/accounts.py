"""Channel accounts with their secrets opened, kept for a moment: every post of a provider needs one."""

import asyncio
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from uuid import UUID

from channels.base import Channel, ChannelAccount
from db.accounts import AccountRow, find_account, list_accounts_by_route, seal_context
from db.errors import DatabaseUnavailable
from handlers.runtime import Runtime

KEPT_SECONDS = 1.0
OUTAGE_SECONDS = 3_600.0
_READ_WITHIN = 4.0  # seconds; a database that hangs leaves a provider's patience for the spool
_MOST_ENTRIES = 10_000

Key = TypeVar("Key", bound=Hashable)
Kept = TypeVar("Kept")


class _Memory(Generic[Key, Kept]):
    """Values that are good for so many seconds. Somebody may try ids: it starts afresh rather than grow."""

    def __init__(self, seconds: float, monotonic: Callable[[], float]) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._entries: dict[Key, tuple[float, Kept]] = {}

    def get(self, key: Key) -> tuple[Kept] | None:
        """The value in a tuple, since it may be None itself."""
        known = self._entries.get(key)
        return (known[1],) if known is not None and known[0] > self._monotonic() else None

    def put(self, key: Key, value: Kept) -> None:
        if len(self._entries) >= _MOST_ENTRIES:
            self._entries.clear()
        self._entries[key] = (self._monotonic() + self._seconds, value)

    def drop(self, key: Key) -> None:
        self._entries.pop(key, None)

    def clear(self) -> None:
        self._entries.clear()


class AccountDirectory:
    """Finds accounts by id. An entry is kept for a second, so that a changed token or a deletion counts
    almost at once; changes made through this process count at once (``forget``). While the database is away, what was
    last read stays good for an hour: a post must be verified before it can be kept for later.
    """

    def __init__(self, runtime: Runtime, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._runtime = runtime
        self._fresh: _Memory[UUID, ChannelAccount | None] = _Memory(KEPT_SECONDS, monotonic)
        self._routes: _Memory[tuple[str, str], tuple[ChannelAccount, ...]] = _Memory(KEPT_SECONDS, monotonic)
        self._last_known: _Memory[UUID, ChannelAccount] = _Memory(OUTAGE_SECONDS, monotonic)

    async def find(self, account_id: UUID) -> ChannelAccount | None:
        """The account, or None for an unknown or deleted one; raises DatabaseUnavailable where it was not read
        for an hour either.
        """
        kept = self._fresh.get(account_id)
        if kept is not None:
            return kept[0]
        try:
            account = await self.read(account_id)
        except DatabaseUnavailable:
            known = self._last_known.get(account_id)
            if known is None:
                raise
            account = known[0]
        self._fresh.put(account_id, account)
        return account

    async def read(self, account_id: UUID) -> ChannelAccount | None:
        """The account as it is in the database now; raises DatabaseUnavailable."""
        try:
            async with (
                asyncio.timeout(_READ_WITHIN),
                self._runtime.database.worker_statements() as connection,
            ):
                row = await find_account(connection, account_id)
        except TimeoutError:
            raise DatabaseUnavailable from None
        if row is None:
            self._last_known.drop(account_id)
            return None
        account = self._opened(row)
        self._last_known.put(account_id, account)
        return account

    async def find_by_route(self, provider: str, route: str) -> tuple[ChannelAccount, ...]:
        """Every tenant's accounts that the provider calls so, the oldest first; raises DatabaseUnavailable."""
        kept = self._routes.get((provider, route))
        if kept is not None:
            return kept[0]
        async with self._runtime.database.worker_statements() as connection:
            rows = await list_accounts_by_route(connection, provider, route)
        accounts = tuple(self._opened(row) for row in rows)
        self._routes.put((provider, route), accounts)
        return accounts

    def forget(self, account_id: UUID) -> None:
        """The account was changed or deleted."""
        self._fresh.drop(account_id)
        self._last_known.drop(account_id)
        self._routes.clear()

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
