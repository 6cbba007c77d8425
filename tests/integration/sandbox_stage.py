"""A sandbox, a gateway's URL and an adapter between them, for the tests of both."""

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import aiohttp
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestClient, TestServer

from channels.base import (
    Channel,
    InboundRequest,
    OutboundMessage,
)
from channels.twilio import TwilioAdapter
from gateway.dev.sandbox import STATE, build_sandbox
from tests.fakes import FakeClock
from tests.unit.channels.twilio_cases import ACCOUNT_SID, OUR_MESSAGE, TOKEN

MESSAGES = "/2010-04-01/Accounts/{AccountSid}/Messages.json"
SERVICE = "MG" + "ef" * 16
SHORT = aiohttp.ClientTimeout(total=0.3, connect=0.2, sock_connect=0.2)
CUSTOMER = "+14155550123"


@dataclass
class Stage:
    """A sandbox, a gateway's URL that keeps what it is posted, and an adapter between them."""

    sandbox: TestClient[web.Request, web.Application]
    gateway: BaseTestServer
    adapter: TwilioAdapter
    clock: FakeClock
    posts: list[InboundRequest] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)

    @property
    def state(self):
        return self.sandbox.app[STATE]

    def url(self, path: str) -> str:
        return str(self.gateway.make_url(path))

    def message(self, text="2 cases are on their way", channel=Channel.SMS, files=()):
        return OutboundMessage(
            OUR_MESSAGE, channel, CUSTOMER, text, self.url("/in/twilio/x/status"), tuple(files)
        )

    async def fault(self, name: str, times: int = 1, **more: Any) -> None:
        answer = await self.sandbox.post("/sandbox/faults", json={"fault": name, "times": times, **more})
        assert answer.status == 200

    async def inbound(self, **order: Any) -> dict[str, Any]:
        order = {
            "url": self.url("/in/twilio/x"),
            "account_sid": ACCOUNT_SID,
            "from": CUSTOMER,
            "to": "+15550002222",
            **order,
        }
        answer = await self.sandbox.post("/sandbox/inbound", json=order)
        assert answer.status == 200, await answer.text()
        said: dict[str, Any] = await answer.json()
        return said


def basic(login: str, password: str) -> dict[str, str]:
    return {"Authorization": aiohttp.encode_basic_auth(login, password)}


@asynccontextmanager
async def staged(limits: aiohttp.ClientTimeout | None = None):
    clock = FakeClock()
    posts: list[InboundRequest] = []
    answers: list[int] = []
    requests: list[tuple[str, str, bytes]] = []

    async def take(request: web.Request) -> web.Response:
        url = f"http://{request.host}{request.raw_path}"
        posts.append(InboundRequest(request.method, url, request.headers, await request.read()))
        return web.Response(status=answers.pop(0) if answers else 200, text="<Response></Response>")

    @web.middleware
    async def record(request: web.Request, handler: Any) -> web.StreamResponse:
        requests.append((request.method, request.path_qs, await request.read()))
        answer: web.StreamResponse = await handler(request)
        return answer

    gateway_app = web.Application()
    gateway_app.router.add_route("*", "/in/{rest:.*}", take)
    numbers = iter(range(1, 1_000_000))
    app = build_sandbox({ACCOUNT_SID: TOKEN}, new_id=lambda: UUID(int=next(numbers)), clock=clock)
    app.middlewares.append(record)
    async with TestServer(gateway_app) as gateway, TestClient(TestServer(app)) as sandbox:
        api_url = str(sandbox.make_url("/"))
        adapter = TwilioAdapter(api_url, timeout=limits) if limits else TwilioAdapter(api_url)
        yield Stage(sandbox, gateway, adapter, clock, posts, answers, requests)
        await adapter.aclose()
