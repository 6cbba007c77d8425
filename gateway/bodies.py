"""The body of a request: read under a cap, and no longer than the process lives; a client's faults are not ours."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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


async def read_body(request: web.Request, cap: int) -> bytes:
    """The body's bytes. Raises ApiError 413 beyond ``cap`` without reading on, 400 where it cannot be unpacked, 503
    where it did not come before the process ended, and ClientLeft.
    """
    if (request.content_length or 0) > cap:
        raise too_large(cap)
    try:
        async with request.app[OPEN_READS].limited():
            return await _read_capped(request, cap)
    except web.RequestPayloadError:
        raise malformed_body() from None
    except ConnectionError:
        raise ClientLeft from None
    except TimeoutError:
        raise unavailable("The body did not come before this process ended; try again.") from None


async def _read_capped(request: web.Request, cap: int) -> bytes:
    raw = bytearray()
    async for chunk in request.content.iter_chunked(_CHUNK):
        raw += chunk
        if len(raw) > cap:
            raise too_large(cap)
    return bytes(raw)
