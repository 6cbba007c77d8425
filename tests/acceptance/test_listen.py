"""`waystation listen` from outside: a real gateway, a receiver that verifies with the public library, a terminal's output."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from standardwebhooks import Webhook

from db.embedded import remove_data_dir
from gateway.dev.children import Child, Surroundings, run_command
from gateway.dev.management import Management
from gateway.dev.observing import observe
from gateway.ports import LOOPBACK
from tests.acceptance.test_simulate import quiet_port

ENDPOINTS = "/v1/webhook-endpoints"
WITHIN = 30.0
pytestmark = pytest.mark.timeout(180)


class LocalReceiver:
    """What a developer works on: takes posts that verify, answers ``statuses`` first and 204 then."""

    def __init__(self) -> None:
        self.port = quiet_port()
        self.secret = ""
        self.statuses: list[int] = []
        self.taken: list[dict[str, Any]] = []
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/hook?shop=1"

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/hook", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, self.port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        event = Webhook(self.secret).verify(body.decode(), dict(request.headers))
        if self.statuses:
            return web.Response(status=self.statuses.pop(0), headers={"Location": "http://192.0.2.1/"})
        self.taken.append({"id": request.headers["webhook-id"], **event})
        return web.Response(status=204)


class Bench:
    """A folder with a gateway, a tenant, a receiver; `listen` runs beside."""

    def __init__(self, folder: Path, session: aiohttp.ClientSession) -> None:
        self.port = quiet_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.receiver = LocalReceiver()
        self._folder = folder
        self._session = session
        self._gateway: Child | None = None
        self._listens = 0
        self.key = ""

    @property
    def api(self) -> Management:
        return Management(self._session, self.url, self.key)

    def surroundings(self, **settings: str) -> Surroundings:
        return Surroundings(self._folder, {"WAYSTATION_PORT": str(self.port), **settings})

    async def start(self) -> None:
        made = await run_command(["tenants", "create", "--name", "Norte", "--json"], self.surroundings())
        self.key = json.loads(made.output)["api_key"]
        await self.start_gateway()
        await self.receiver.start()

    async def start_gateway(self) -> None:
        self._gateway = await Child.start("serve", ["serve"], self.surroundings())

        async def is_ready() -> bool:
            try:
                async with self._session.get(f"{self.url}/ready") as answer:
                    return answer.status == 200
            except aiohttp.ClientError:
                return False

        await observe(is_ready, bool, "a gateway that is ready", WITHIN)

    async def stop_gateway(self) -> None:
        if self._gateway is not None:
            await self._gateway.stop()
            self._gateway = None

    async def listen(self, *more: str) -> "Listening":
        self._listens += 1
        name = f"listen-{self._listens}"
        arguments = ["listen", "--forward-to", self.receiver.url, "--json", *more]
        child = await Child.start(name, arguments, self.surroundings(WAYSTATION_API_KEY=self.key))
        listening = Listening(child, self._folder / f"{name}.log")
        ready = await listening.wait_for("listening")
        self.receiver.secret = ready["secret"]
        return listening

    async def endpoints(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.api.get(ENDPOINTS))["data"]
        return found

    async def tell(self, **body: str) -> str:
        """A test event of the only endpoint; its id."""
        (endpoint,) = await self.endpoints()
        status, delivery = await self.api.call("POST", f"{ENDPOINTS}/{endpoint['id']}/test", body)
        assert status == 202
        return str(delivery["event_id"])

    async def until_taken(self, *ids: str) -> None:
        """Until the receiver has taken exactly these, in this order."""

        async def look() -> list[str]:
            return [event["id"] for event in self.receiver.taken]

        await observe(look, lambda seen: len(seen) >= len(ids), f"{len(ids)} events", WITHIN)
        assert await look() == list(ids)


class Listening:
    """A `listen` that runs, and the lines that it printed."""

    def __init__(self, child: Child, log: Path) -> None:
        self.child = child
        self._log = log

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]

    async def wait_for(self, event: str, **fields: object) -> dict[str, Any]:
        wanted: Mapping[str, object] = {"event": event, **fields}

        async def look() -> list[dict[str, Any]]:
            assert self.child.exit_code is None, self.child.last_lines()
            return [line for line in self.lines() if wanted.items() <= line.items()]

        return (await observe(look, bool, f"a line with {wanted}", WITHIN))[0]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        bench = Bench(tmp_path, session)
        stack.callback(remove_data_dir, tmp_path / ".waystation" / "postgres")
        stack.push_async_callback(bench.stop_gateway)
        stack.push_async_callback(bench.receiver.stop)
        await bench.start()
        yield bench


async def test_events_come_in_order_over_failures_and_restarts_of_both_sides(bench: Bench) -> None:
    listening = await bench.listen("--events", "order.*, endpoint.*")
    (endpoint,) = await bench.endpoints()
    assert (endpoint["transport"], endpoint["event_types"]) == ("pull", ["order.*", "endpoint.*"])

    first = await bench.tell()
    await bench.until_taken(first)
    line = await listening.wait_for("forwarded", id=first)
    assert (line["type"], line["status"], line["problem"]) == ("endpoint.test", 204, None)

    # The receiver refuses, redirects (which nobody follows), and is then not there.
    bench.receiver.statuses = [500, 302]
    second, third = await bench.tell(), await bench.tell(event_type="order.created")
    await bench.until_taken(first, second, third)
    assert [line["status"] for line in listening.lines() if line.get("id") == second] == [500, 302, 204]
    assert bench.receiver.taken[-1]["data"]["example"]["type"] == "order.created"
    await bench.receiver.stop()
    fourth = await bench.tell()
    await listening.wait_for("forwarded", id=fourth, problem="nothing listens there")
    await bench.receiver.start()
    await bench.until_taken(first, second, third, fourth)

    await bench.stop_gateway()
    await listening.wait_for("notice")
    await bench.start_gateway()
    await listening.wait_for("notice", text="The server is back.")
    fifth = await bench.tell()
    await bench.until_taken(first, second, third, fourth, fifth)

    _, page = await bench.api.call("GET", f"/v1/webhook-deliveries?endpoint_id={endpoint['id']}")
    assert await listening.child.stop() == 0, listening.child.last_lines()
    assert await bench.endpoints() == []
    assert {delivery["status"] for delivery in page["data"][1:]} == {"SUCCESS"}


async def test_what_a_killed_one_left_is_used_again_with_another_secret(bench: Bench) -> None:
    killed = await bench.listen()
    await killed.child.kill()
    missed = await bench.tell()

    again = await bench.listen()
    await bench.until_taken(missed)

    first, second = killed.lines()[0], again.lines()[0]
    assert first["endpoint_id"] == second["endpoint_id"]
    assert first["secret"] != second["secret"]
    await again.child.stop()
    assert await bench.endpoints() == []


async def test_an_endpoint_that_somebody_deletes_ends_it(bench: Bench) -> None:
    listening = await bench.listen()
    (endpoint,) = await bench.endpoints()
    await bench.api.call("DELETE", f"{ENDPOINTS}/{endpoint['id']}")

    async def exit_code() -> int | None:
        return listening.child.exit_code

    # A poll that waits notices with the next commit, or when it is over.
    assert await observe(exit_code, lambda code: code is not None, "an end", 60.0) == 1
    assert "deleted the endpoint" in " ".join(listening.child.last_lines())


async def test_a_person_reads_a_line_an_event_and_errors_that_say_what_to_do(bench: Bench) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "listen", "--forward-to", bench.receiver.url,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=bench.surroundings().folder,
        env=bench.surroundings(WAYSTATION_API_KEY=bench.key).environment,
    )  # fmt: skip
    assert process.stdout is not None
    shown = [(await process.stdout.readline()).decode() for _ in range(4)]
    bench.receiver.secret = shown[2].split()[1]
    event = await bench.tell()
    async with asyncio.timeout(WITHIN):
        line = (await process.stdout.readline()).decode()
    process.send_signal(signal.SIGINT)
    await process.communicate()

    assert process.returncode == 0
    assert shown[0] == f"Listening to * of {bench.url}\n"
    assert line.split()[1:4] == ["endpoint.test", event, "204"]
    assert line.endswith(" ms\n")
    assert "\x1b" not in line  # colours are for terminals

    elsewhere = bench.receiver.url.removesuffix("/hook?shop=1")
    for arguments, words in (
        (("--api-key", "wst_wrong"), "does not know this API key (401)"),
        (("--api-key", "wst wrong"), "holds characters that no key has"),
        (("--api-key", "wst_x", "--url", elsewhere), "is no Waystation"),
        (("--api-key", "wst_x", "--url", "http://127.0.0.1:1"), "Nothing answers at http://127.0.0.1:1"),
        ((), "An API key is needed"),
        (("--events", "order.nothing", "--api-key", bench.key), "422"),
    ):
        done = await run_command(
            ["listen", "--forward-to", bench.receiver.url, *arguments], bench.surroundings()
        )
        assert (done.exit_code, words in done.errors, "Traceback" in done.errors) == (1, True, False), done
