"""Lets requests wait until something was committed somewhere, without a connection of their own.

All that wait in this process share one connection that listens, opened when somebody waits for the first time.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from db.wake import listening

POLL_SECONDS = 2.0  # a wake-up may be lost while the listener reconnects
_GATHER_SECONDS = (
    0.05  # under load everybody who waits looks twenty times a second, not once for every commit
)
MAX_WAITING = 20  # requests of one tenant; the next one is answered at once


class Arrivals:
    """Wake-ups for requests that wait. ``dsn`` is a run-time login's."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._next = asyncio.Event()
        self._gathering: asyncio.TimerHandle | None = None
        self._listener: asyncio.Task[None] | None = None
        self._waiting: Counter[UUID] = Counter()
        self.closing = False

    def next(self) -> asyncio.Event:
        """What the next wake-up sets; take it before looking, so that none is missed in between."""
        if self._listener is None and not self.closing:
            self._listener = asyncio.create_task(self._listen(), name="arrivals-listener")
        return self._next

    @asynccontextmanager
    async def waiting(self, distributor_id: UUID) -> AsyncIterator[bool]:
        """Counts a request that waits while the block runs; false where its tenant has too many already."""
        if self.closing or self.count(distributor_id) >= MAX_WAITING:
            yield False
            return
        self._waiting[distributor_id] += 1
        try:
            yield True
        finally:
            self._waiting[distributor_id] -= 1
            self._waiting += Counter()  # drops what is zero

    def count(self, distributor_id: UUID) -> int:
        """How many requests of a tenant wait."""
        return self._waiting[distributor_id]

    def wake(self) -> None:
        """Lets all who wait look, a moment later: what comes meanwhile is one wake-up."""
        if self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._release)

    def _release(self) -> None:
        self._gathering = None
        self._next.set()
        self._next = asyncio.Event()

    async def _listen(self) -> None:
        async with listening(self._dsn, self.wake):
            await asyncio.Event().wait()

    async def stop(self) -> None:
        """Nobody waits any longer: the process ends."""
        self.closing = True
        self._release()
        if self._listener is not None:
            self._listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):  # that is what we asked for
                await self._listener
