"""The receiver of the benchmarks, a process of its own: HTTP/1.1 by hand, so that it does not eat what is measured.

Paths that begin with ``/hang`` are never answered. ``/control/…`` is for the benchmark: ``count``, ``report``, ``reset``.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, cast

import orjson

from gateway.processes import stop_signals

HANG = "/hang"
CONTROL = "/control"
SAMPLE_EVERY = 100  # of the posts one is kept whole, for its signature to be verified
_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ID = re.compile(rb"\r\nwebhook-id: *([^\r]+)", re.IGNORECASE)
_TAKEN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Memory:
    """What came: when (Unix seconds, at the first byte), where, and which; some of it whole."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets all."""
        self.arrivals: list[tuple[float, str, str]] = []
        self.samples: list[dict[str, str]] = []
        self.held = 0

    def take(self, at: float, path: str, head: bytes, body: bytes) -> None:
        """Keeps a post that is going to be answered."""
        found = _ID.search(head)
        self.arrivals.append((at, path, found[1].decode("latin-1") if found else ""))
        if len(self.arrivals) % SAMPLE_EVERY == 1:
            self.samples.append(
                {"path": path, "head": head.decode("latin-1"), "body": body.decode("latin-1")}
            )

    def count(self) -> dict[str, Any]:
        """How many came."""
        return {"count": len(self.arrivals), "held": self.held}

    def report(self) -> dict[str, Any]:
        """All that is known."""
        return {**self.count(), "arrivals": self.arrivals, "samples": self.samples}


class Connection(asyncio.Protocol):
    """One connection: a request, its answer, the next one."""

    def __init__(self, memory: Memory, clock: Callable[[], float]) -> None:
        self._memory = memory
        self._clock = clock
        self._waiting = b""
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if not self._waiting:
            self._began = self._clock()
        self._waiting += data
        while (end := self._waiting.find(_END)) >= 0:
            head = self._waiting[:end]
            length = _LENGTH.search(head)
            whole = end + len(_END) + (int(length[1]) if length else 0)
            if len(self._waiting) < whole:
                return
            body, self._waiting = self._waiting[end + len(_END) : whole], self._waiting[whole:]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        path = head.split(b" ", 2)[1].decode("latin-1")
        if path.startswith(HANG):
            self._memory.held += 1
        elif path.startswith(CONTROL):
            answer = orjson.dumps(_CONTROLS[path.removeprefix(CONTROL)](self._memory))
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
        else:
            self._memory.take(self._began, path, head, body)
            self._transport.write(_TAKEN)


_CONTROLS: Mapping[str, Callable[[Memory], Any]] = MappingProxyType(
    {"/count": Memory.count, "/report": Memory.report, "/reset": Memory.reset}
)


async def run_sink(host: str, port: int) -> None:
    """Listens until a signal."""
    memory = Memory()
    loop = asyncio.get_running_loop()
    async with stop_signals() as stop:
        server = await loop.create_server(lambda: Connection(memory, time.time), host, port, backlog=1024)
        await stop.wait()
        server.close()
