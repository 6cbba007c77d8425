"""Bodies that are broken, cut short or never come: the client's fault is told as such, and the end waits for nobody."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from gateway.app import build_app
from gateway.bodies import DRAIN_SECONDS, OPEN_READS
from gateway.dev.observing import observe
from gateway.ports import free_port
from gateway.processes import listening_app
from handlers.runtime import Runtime
from handlers.tenants import create_tenant
from tests.factories import make_account
from tests.gateways import services_of

GARBAGE = b"no gzip"
MALFORMED = {
    "gzip": b"Content-Encoding: gzip\r\nContent-Length: 7\r\n\r\n" + GARBAGE,
    "deflate": b"Content-Encoding: deflate\r\nContent-Length: 7\r\n\r\n" + GARBAGE,
    "chunks": b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n" + GARBAGE,
}


class Site:
    """A gateway as `serve` runs it, spoken to byte by byte."""

    def __init__(self, app: web.Application, port: int, account_path: str, api_key: str) -> None:
        self.port = port
        self._reads = app[OPEN_READS]
        self.paths = {"/in": account_path, "/status": f"{account_path}/status", "/v1": "/v1/products"}
        self._key = api_key.encode()

    async def send(self, kind: str, rest: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = (
            f"POST {self.paths[kind]} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ".encode()
            + self._key
            + b"\r\n"
        )
        writer.write(head + rest)
        await writer.drain()
        return reader, writer

    async def reads(self) -> None:
        """Until somebody waits for a body."""

        async def count() -> int:
            return len(self._reads)

        await observe(count, bool, "a body to be read")

    async def status_of(self, kind: str, rest: bytes) -> bytes:
        reader, writer = await self.send(kind, rest)
        line = await reader.readline()
        writer.close()
        return line.split()[1]


@asynccontextmanager
async def site_of(runtime: Runtime) -> AsyncIterator[Site]:
    tenant = await create_tenant(runtime, "Norte")
    account = await make_account(runtime, tenant.distributor_id)
    with TemporaryDirectory() as home:
        async with services_of(runtime, Path(home)) as services:
            app = build_app(services)
            async with listening_app(app, "127.0.0.1", free_port()) as port:
                yield Site(app, port, f"/in/twilio/{account.id}", tenant.api_key)


@pytest.mark.parametrize("rest", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_body_is_400_everywhere(runtime: Runtime, rest: bytes):
    async with site_of(runtime) as site:
        with capture_logs() as logs:
            answers = {kind: await site.status_of(kind, rest) for kind in site.paths}

    assert answers == dict.fromkeys(site.paths, b"400")
    assert [line for line in logs if line["log_level"] == "error"] == []


@pytest.mark.parametrize("kind", ["/in", "/status", "/v1"])
async def test_a_client_that_hangs_up_is_no_error(runtime: Runtime, kind: str):
    async with site_of(runtime) as site:
        with capture_logs() as logs:

            async def events() -> list[str]:
                return [line["event"] for line in logs]

            _, writer = await site.send(kind, b"Content-Length: 1000\r\n\r\nhalf of it")
            await site.reads()
            writer.transport.abort()
            await observe(events, lambda seen: "client left" in seen, "the hang-up to be told")

    assert {line["log_level"] for line in logs} <= {"info"}


async def test_the_end_waits_for_no_body(runtime: Runtime):
    async with site_of(runtime) as site:
        reader, writer = await site.send("/v1", b"Content-Length: 1000\r\n\r\nhalf of it")
        await site.reads()
        began = time.monotonic()
    ended = time.monotonic() - began

    assert (await reader.readline()).split()[1] == b"503"
    writer.close()
    assert ended < DRAIN_SECONDS + 1


async def test_the_end_waits_for_no_rest_of_a_body_that_was_refused(runtime: Runtime):
    async with site_of(runtime) as site:
        reader, writer = await site.send(
            "/v1", b"Authorization: Basic x\r\nContent-Length: 1000\r\n\r\nhalf of it"
        )
        assert (await reader.readline()).split()[1] == b"401"
        began = time.monotonic()
    ended = time.monotonic() - began

    writer.close()
    assert ended < DRAIN_SECONDS + 1


async def test_what_has_arrived_is_finished_meanwhile(runtime: Runtime):
    """Slower than a body may be: its work is waited for."""
    arrived, answered = asyncio.Event(), web.Response(text="done")

    async def slow(_request: web.Request) -> web.Response:
        arrived.set()
        await asyncio.sleep(DRAIN_SECONDS + 0.5)
        return answered

    app = web.Application()
    app.router.add_get("/slow", slow)
    async with listening_app(app, "127.0.0.1", free_port()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await arrived.wait()

    answer: Any = await reader.read()
    writer.close()
    assert answer.endswith(b"done")
