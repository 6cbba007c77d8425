"""Asks clamd whether a file holds malware (man page clamd(8), command INSTREAM)."""

import asyncio
import contextlib
import struct

from channels.errors import ScannerUnavailable

_PIECE = 64 * 1024
_CLEAN = b"stream: OK"
_FOUND = b" FOUND"
_LONGEST_ANSWER = 4096


class ClamdScanner:
    """A ``MediaScanner`` over TCP; one connection a file, as clamd has it."""

    def __init__(self, host: str, port: int, seconds: float = 30.0) -> None:
        self._host = host
        self._port = port
        self._seconds = seconds

    async def is_clean(self, content: bytes) -> bool:
        """Raises ScannerUnavailable for no answer in time, and for any that is neither OK nor FOUND: a file over
        clamd's own StreamMaxLength was not looked at.
        """
        try:
            async with asyncio.timeout(self._seconds):
                answer = await self._ask(content)
        except (OSError, TimeoutError, asyncio.LimitOverrunError):
            raise ScannerUnavailable from None
        if answer == _CLEAN:
            return True
        if answer.endswith(_FOUND):
            return False
        raise ScannerUnavailable("The scanner gave no verdict.")

    async def _ask(self, content: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            with contextlib.suppress(
                ConnectionError
            ):  # over its limit it answers and hangs up while we still write
                await _send(writer, content)
            return (await reader.read(_LONGEST_ANSWER)).rstrip(b"\0\n")
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _send(writer: asyncio.StreamWriter, content: bytes) -> None:
    """The command, the file in pieces with their lengths before them, and an empty piece."""
    writer.write(b"zINSTREAM\0")
    for start in range(0, len(content), _PIECE):
        piece = content[start : start + _PIECE]
        writer.write(struct.pack("!I", len(piece)) + piece)
        await writer.drain()
    writer.write(struct.pack("!I", 0))
    await writer.drain()
