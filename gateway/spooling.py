"""Keeps posts on disk while they cannot be stored, and stores them when they can."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

import structlog

from channels.base import ChannelAccount, ChannelAdapter, InboundRequest
from channels.errors import Temporary
from db.errors import DatabaseUnavailable
from gateway.accounts import AccountDirectory
from gateway.batching import QueueFullError
from gateway.intake import Intake, check
from gateway.metrics import REPLAYED, SPOOL_ASIDE, SPOOL_WAITING, SPOOLED
from gateway.spool import Spool, SpoolBroken, SpooledPost, credentials_proof

RETRY_SECONDS: Final = 2.0
STORED_WITHIN: Final = 30.0
_NOT_YET = (DatabaseUnavailable, QueueFullError, TimeoutError, Temporary)
_log = structlog.get_logger("waystation.spool")


class Result(StrEnum):
    """What became of a post from disk."""

    STORED = "stored"
    SET_ASIDE = "set_aside"


class Spooling:
    """The spool of one application and its replay, in the order in which posts came."""

    def __init__(
        self,
        spool: Spool,
        adapters: Mapping[str, ChannelAdapter],
        accounts: AccountDirectory,
        intake: Intake,
    ) -> None:
        self._spool = spool
        self._adapters = adapters
        self._accounts = accounts
        self._intake = intake
        self._round = asyncio.Lock()

    async def keep(self, account: ChannelAccount, request: InboundRequest, received_at: datetime) -> None:
        """Returns once the verified post is safe on disk; raises SpoolFull."""
        proof = credentials_proof(account.credentials)
        post = SpooledPost(account.provider, account.id, request, received_at, proof)
        await self._spool.put(post)
        SPOOLED.labels(provider=account.provider).inc()
        SPOOL_WAITING.inc()
        _log.warning("kept on disk", account=str(account.id))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Replays while the block runs; raises SettingsError where the folder cannot be used."""
        await asyncio.to_thread(self._spool.open)
        task = asyncio.create_task(self._run(), name="spool")
        try:
            yield
        finally:
            task.cancel()  # at worst between a commit and the end of its file: the dedupe knows the post
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def replay(self) -> None:
        """One round: stores what waits until the database is away again; returns at once where another process
        replays.
        """
        async with self._round:
            await self._replay()

    async def _replay(self) -> None:
        with self._spool.alone() as alone:
            waiting = await asyncio.to_thread(self._spool.waiting) if alone else ()
            for path in waiting:
                if not await self._is_done(path):
                    break
        count, aside = await asyncio.to_thread(self._spool.measure)
        SPOOL_WAITING.set(count)
        SPOOL_ASIDE.set(aside)

    async def _run(self) -> None:
        while True:
            try:
                await self.replay()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next round may pass
                _log.error("replay failed", error=type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)

    async def _is_done(self, path: Path) -> bool:
        """Whether the next one may follow: this one is stored or set aside, or cannot even be read."""
        try:
            post = await asyncio.to_thread(self._spool.read, path)
        except SpoolBroken:
            self._set_aside(path, "unknown", "cannot be opened")
            return True
        except OSError as error:
            _log.error("cannot be read", file=path.name, error=error.strerror)
            return True
        try:
            reason = await self._fault_of(post)
        except _NOT_YET:
            return False
        except Exception as error:  # noqa: BLE001 - one post's fault must not hold up the others
            reason = type(error).__name__
        if reason:
            self._set_aside(path, post.provider, reason)
        else:
            await asyncio.to_thread(self._spool.finish, path)
            REPLAYED.labels(provider=post.provider, result=Result.STORED).inc()
        return True

    async def _fault_of(self, post: SpooledPost) -> str | None:
        """Stores a post; why it cannot be stored, or None: it is."""
        account = await self._accounts.read(post.account_id)
        adapter = self._adapters.get(post.provider)
        if account is None or adapter is None:
            return "the account is gone"
        if credentials_proof(account.credentials) != post.proof:
            # They were changed before or while the database was away: only what today's secrets sign counts.
            await check(adapter, account, post.request)
        async with asyncio.timeout(STORED_WITHIN):
            await self._intake.take(account, post.request, post.received_at)
        return None

    def _set_aside(self, path: Path, provider: str, reason: str) -> None:
        self._spool.set_aside(path)
        REPLAYED.labels(provider=provider, result=Result.SET_ASIDE).inc()
        _log.error("set aside", file=path.name, provider=provider, reason=reason)
