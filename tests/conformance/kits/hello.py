"""The channel to be copied, with the kit to be copied."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from aiohttp import web
from aiohttp.test_utils import TestServer

from channels.base import Channel
from channels.hello import SIGNATURE, HelloAdapter, hello_signature
from gateway.dev.stand_ins.base import FaultKind, StandInState, with_faults
from handlers.runtime import new_uuid7, utc_now
from tests.conformance.kit import ChannelKit, Post, ProviderSide, SendFault
from tests.conformance.sides import impatient_session
from tests.factories import CUSTOMER_NUMBER, OUR_NUMBER


def sign(post: Post, credentials: Mapping[str, Any], _url: str, _at: datetime) -> Post:
    signature = hello_signature(credentials["secrets"][0], post.body)
    return replace(post, headers={**post.headers, SIGNATURE: signature})


def message(word: str, text: str) -> Post:
    return _json({"type": "message", "id": f"m-{word}", "from": CUSTOMER_NUMBER, "text": text})


def status(_message_id: UUID, provider_id: str, word: str) -> Post:
    return _json({"type": "status", "id": provider_id, "status": word})


def with_unknown_field(post: Post) -> Post:
    return _json({**json.loads(post.body), "field_of_next_year": {"a": [1]}})


def _json(document: Any) -> Post:
    return Post(json.dumps(document).encode(), {"Content-Type": "application/json"})


@asynccontextmanager
async def side(
    _kit: ChannelKit, make_adapter: type[HelloAdapter] = HelloAdapter
) -> AsyncIterator[ProviderSide]:
    """A stand-in of a few lines; a provider of the registry has its own in gateway/dev/stand_ins."""
    state = StandInState("hello", new_uuid7, utc_now)

    async def take(request: web.Request) -> web.StreamResponse:
        taken = state.take(request, f"h-{new_uuid7()}", await request.json())
        return web.json_response({"id": taken.id})

    app = web.Application()
    app.router.add_post("/messages", with_faults(state, take))

    async def release(_app: web.Application) -> None:
        state.stopped.set()

    app.on_shutdown.append(release)
    async with TestServer(app) as server, impatient_session() as session:
        adapter = make_adapter(str(server.make_url("")).rstrip("/"), session)
        yield ProviderSide(
            {"hello": adapter},
            lambda fault: state.faults.append(_FAULTS[fault]),
            lambda: len(state.taken),
        )


_FAULTS = {
    SendFault.THROTTLED: FaultKind.THROTTLED,
    SendFault.SERVER_ERROR: FaultKind.SERVER_ERROR,
    SendFault.HANG: FaultKind.HANG,
}

KIT = ChannelKit(
    provider="hello",
    channel=Channel.SMS,
    address=OUR_NUMBER,
    credentials={"secrets": ["hello-secret-1"], "api_key": "hello-key-1"},
    other={"secrets": ["hello-secret-2"], "api_key": "hello-key-2"},
    sign=sign,
    message=message,
    status=status,
    delivered="delivered",
    unknown_event=_json({"type": "typing", "from": CUSTOMER_NUMBER}),
    malformed=(
        Post(b"{"),
        Post(b""),
        _json([]),
        _json({"type": "message"}),
        _json({"type": "message", "id": 1, "from": 2, "text": 3}),
    ),
    with_unknown_field=with_unknown_field,
    rotated={"secrets": ["hello-secret-new", "hello-secret-1"], "api_key": "hello-key-1"},
    secrets=frozenset({"hello-secret-1", "hello-secret-new", "hello-key-1"}),
    side=side,
)
