"""The body of a request: read under a cap, and no longer than the process lives; a client's faults are not ours."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiohttp import web

from gateway.api.problems import malformed_body, too_large, unavailable

DRAIN_SECONDS = 1.5  # what a body has left to arrive once the process ends
_CHUNK = 65_536


class ClientLeft(Exception):
    """The client hung up before its request was whole: nobody to answer, and nothing to mend here."""


class OpenReads:
    """The bodies of one application that are being waited for."""

    def __init__(self) -> None:
        self._limits: set[asyncio.Timeout] = set()
        self._draining = False

    def __len__(self) -> int:
        return len(self._limits)

    @asynccontextmanager
    async def limited(self) -> AsyncIterator[None]:
        """Raises TimeoutError in the block, ``DRAIN_SECONDS`` after the process was told to end."""
        async with asyncio.timeout(DRAIN_SECONDS if self._draining else None) as limit:
            self._limits.add(limit)
            try:
                yield
            finally:
                self._limits.discard(limit)

    async def drain(self, _app: web.Application) -> None:
        """From now on nobody waits long for a body; what has arrived is worked on to its end."""
        self._draining = True
        end = asyncio.get_running_loop().time() + DRAIN_SECONDS
        for limit in self._limits:
            limit.reschedule(end)


OPEN_READS = web.AppKey("open_reads", OpenReads)


def watch_reads(app: web.Application) -> None:
    """Lets ``read_body`` know when the application ends; whoever adds routes that read bodies calls it."""
    if OPEN_READS not in app:
        app[OPEN_READS] = OpenReads()
        app.on_shutdown.append(app[OPEN_READS].drain)


class LargeBodies:
    """The memory of one application for large bodies, which anybody may post, and their line: two at once are taken
    apart and stored, for twenty at once would all be late. Small ones are free and wait for none.
    """

    def __init__(self, room: int = 512 * 2**20, at_once: int = 2, large: int = 2**20) -> None:
        self._room = room
        self._line = asyncio.Semaphore(at_once)
        self._large = large

    @contextmanager
    def held(self) -> Iterator[Callable[[int], None]]:
        """For the length of the block, where one body is in memory: gives what is to be called with its size as it grows,
        which raises ApiError 503 where there is no more room.
        """
        taken = 0

        def grow(size: int) -> None:
            nonlocal taken
            if size <= self._large:
                return
            if size - taken > self._room:
                raise unavailable("Too much is being posted at once; try again.")
            self._room -= size - taken
            taken = size

        try:
            yield grow
        finally:
            self._room += taken

    @asynccontextmanager
    async def in_line(self, size: int) -> AsyncIterator[None]:
        """The block is a large body's turn."""
        if size <= self._large:
            yield
            return
        async with self._line:
            yield


LARGE_BODIES = web.AppKey("large_bodies", LargeBodies)


async def read_body(request: web.Request, cap: int, grow: Callable[[int], None] = lambda _: None) -> bytes:
    """The body's bytes; ``grow`` hears of their number as it grows. Raises ApiError 413 beyond ``cap`` without reading on,
    400 where it cannot be unpacked, 503 where it did not come before the process ended, what ``grow`` raises, and
    ClientLeft.
    """
    if (request.content_length or 0) > cap:
        raise too_large(cap)
    try:
        async with request.app[OPEN_READS].limited():
            return await _read_capped(request, cap, grow)
    except web.RequestPayloadError:
        raise malformed_body() from None
    except ConnectionError:
        raise ClientLeft from None
    except TimeoutError:
        raise unavailable("The body did not come before this process ended; try again.") from None


async def _read_capped(request: web.Request, cap: int, grow: Callable[[int], None]) -> bytes:
    raw = bytearray()
    async for chunk in request.content.iter_chunked(_CHUNK):
        raw += chunk
        if len(raw) > cap:
            raise too_large(cap)
        grow(len(raw))
    return bytes(raw)
