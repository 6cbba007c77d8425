"""The scanner against a clamd on loopback that reads the protocol as its manual has it."""

import asyncio
import struct
from contextlib import asynccontextmanager

import pytest

from channels.errors import ScannerUnavailable
from gateway.media_scan import ClamdScanner

# The EICAR test file, put together so that no scanner takes this source for it.
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


class FakeClamd:
    """Answers OK, or FOUND where EICAR is in the file; ``answer`` overrides, an empty one hangs up."""

    def __init__(self, answer: bytes | None = None, limit: int = 1024 * 1024) -> None:
        self.answer = answer
        self.limit = limit
        self.scanned: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readuntil(b"\0") == b"zINSTREAM\0"
        content = b""
        while size := struct.unpack("!I", await reader.readexactly(4))[0]:
            content += await reader.readexactly(size)
            if len(content) > self.limit:
                writer.write(b"INSTREAM size limit exceeded. ERROR\0")
                writer.close()
                return
        self.scanned.append(content)
        verdict = b"stream: Eicar-Signature FOUND\0" if EICAR in content else b"stream: OK\0"
        writer.write(verdict if self.answer is None else self.answer)
        writer.close()


@asynccontextmanager
async def running(clamd: FakeClamd):
    server = await asyncio.start_server(clamd.serve, "127.0.0.1", 0)
    try:
        yield ClamdScanner("127.0.0.1", server.sockets[0].getsockname()[1], seconds=5)
    finally:
        server.close()


@pytest.mark.parametrize(
    ("content", "clean"),
    [
        (b"", True),
        (b"a picture", True),
        (b"x" * 200_000, True),
        (EICAR, False),
        (b"x" * 200_000 + EICAR, False),
    ],
    ids=["empty", "small", "in pieces", "eicar", "eicar at the end"],
)
async def test_a_file_is_looked_at_whole(content: bytes, clean: bool):
    clamd = FakeClamd()
    async with running(clamd) as scanner:
        assert await scanner.is_clean(content) is clean

    assert clamd.scanned == [content]


@pytest.mark.parametrize(
    "answer", [b"", b"UNKNOWN COMMAND\0", b"stream: Can't allocate memory ERROR\0", b"stream: OKAY\0"]
)
async def test_no_verdict_is_not_clean(answer: bytes):
    async with running(FakeClamd(answer)) as scanner:
        with pytest.raises(ScannerUnavailable):
            await scanner.is_clean(b"a file")


async def test_a_file_over_its_limit_is_not_clean():
    async with running(FakeClamd(limit=1000)) as scanner:
        with pytest.raises(ScannerUnavailable):
            await scanner.is_clean(b"x" * 5_000_000)


async def test_an_absent_scanner_is_a_fault_that_may_pass(unused_tcp_port: int):
    with pytest.raises(ScannerUnavailable):
        await ClamdScanner("127.0.0.1", unused_tcp_port).is_clean(b"a file")


async def test_a_silent_scanner_is_given_up():
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    scanner = ClamdScanner("127.0.0.1", server.sockets[0].getsockname()[1], seconds=0.1)
    with pytest.raises(ScannerUnavailable):
        await scanner.is_clean(b"a file")
    server.close()
