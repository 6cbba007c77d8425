"""An integrator's receiver on this machine: keeps what it is sent, answers as a script says."""

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Script = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Posted:
    """One post, as it came."""

    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Hook:
    """``script`` answers, one after the other, then 204s."""

    server: TestServer
    posts: list[Posted] = field(default_factory=list)
    script: list[Script | int] = field(default_factory=list)

    def url(self, path: str = "/hook") -> str:
        return str(self.server.make_url(path))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.posts.append(Posted(headers, await request.read()))
        said = self.script.pop(0) if self.script else 204
        return web.Response(status=said) if isinstance(said, int) else await said(request)


async def open_hook() -> Hook:
    """A receiver that listens; its server must be closed."""
    app = web.Application()
    hook = Hook(TestServer(app, host="127.0.0.1"))
    app.router.add_post("/{tail:.*}", hook.handle)
    await hook.server.start_server()
    return hook


def answers(body: Any = b"", status: int = 200, **headers: str) -> Script:
    """Bytes as they are, anything else as JSON."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        if isinstance(body, bytes):
            return web.Response(status=status, body=body, headers=headers)
        return web.json_response(body, status=status, headers=headers)

    return answer


def verifies_v1a(public_key: str, headers: dict[str, str], body: bytes) -> bool:
    """As a receiver without a library would: any ``v1a`` entry that the key (`whpk_…`) made."""
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key.removeprefix("whpk_")))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    for entry in headers["webhook-signature"].split(" "):
        version, _, signature = entry.partition(",")
        try:
            if version == "v1a":
                public.verify(base64.b64decode(signature), signed)
                return True
        except InvalidSignature:
            continue
    return False
