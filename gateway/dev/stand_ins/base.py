"""What every stand-in of a provider's API has: what it took, scripted faults, and a back door to both."""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FaultKind(StrEnum):
    """How the next request to a stand-in goes wrong."""

    THROTTLED = "throttled"  # 429 with Retry-After, nothing taken
    SERVER_ERROR = "server_error"  # 500, nothing taken
    UNAVAILABLE = "unavailable"  # 503, nothing taken
    TAKEN_THEN_500 = "taken_then_500"  # taken, and the answer says it was not
    DROP = "drop"  # the connection breaks, nothing taken
    TAKEN_THEN_DROP = "taken_then_drop"  # taken, and no answer comes
    HANG = "hang"  # nothing taken, and no answer ever
    GARBAGE = "garbage"  # taken, and the answer cannot be read


_TAKES = {FaultKind.TAKEN_THEN_500, FaultKind.TAKEN_THEN_DROP, FaultKind.GARBAGE}
_STATUSES: Mapping[FaultKind, int] = {
    FaultKind.THROTTLED: 429,
    FaultKind.SERVER_ERROR: 500,
    FaultKind.UNAVAILABLE: 503,
    FaultKind.TAKEN_THEN_500: 500,
}
_RETRY_AFTER = {"Retry-After": "2"}
_SECRET_HEADERS = {"authorization", "x-postmark-server-token"}


@dataclass(frozen=True, slots=True)
class TakenRequest:
    """A request that a stand-in took: ``document`` is its body as the provider understands it."""

    id: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    document: Mapping[str, Any]
    at: datetime


@dataclass(slots=True)
class StandInState:
    """What one provider's stand-in knows. ``keys`` are the API keys that it takes; empty: any."""

    provider: str
    new_id: Callable[[], UUID]
    clock: Callable[[], datetime]
    keys: set[str] = field(default_factory=set, repr=False)
    taken: list[TakenRequest] = field(default_factory=list)
    faults: deque[FaultKind] = field(default_factory=deque)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    held: dict[str, Any] = field(
        default_factory=dict
    )  # mails, media and the like that can be asked for, by id

    def take(self, request: web.Request, identifier: str, document: Mapping[str, Any]) -> TakenRequest:
        """Keeps a request; authorisation is left out."""
        headers = {
            name: value for name, value in request.headers.items() if name.lower() not in _SECRET_HEADERS
        }
        taken = TakenRequest(identifier, request.path, headers, dict(document), self.clock())
        self.taken.append(taken)
        return taken


def with_faults(state: StandInState, handler: Handler) -> Handler:
    """The handler, with the next scripted fault before or after it."""

    async def handle(request: web.Request) -> web.StreamResponse:
        fault = state.faults.popleft() if state.faults else None
        if fault is None:
            return await handler(request)
        if fault in _TAKES:
            await handler(request)
        return await _go_wrong(state, request, fault)

    return handle


async def _go_wrong(state: StandInState, request: web.Request, fault: FaultKind) -> web.StreamResponse:
    if status := _STATUSES.get(fault):
        headers = _RETRY_AFTER if fault is FaultKind.THROTTLED else None
        return web.json_response({"error": "scripted fault"}, status=status, headers=headers)
    if fault is FaultKind.GARBAGE:
        return web.Response(body=b'{"id": "', content_type="application/json")
    if fault is FaultKind.HANG:
        await state.stopped.wait()
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def back_door(state: StandInState) -> list[web.RouteDef]:
    """``GET /sandbox/{provider}/taken``, ``POST /sandbox/{provider}/faults`` ({"fault", "times"})."""

    async def show(_request: web.Request) -> web.Response:
        shown = [
            {"id": taken.id, "path": taken.path, "document": taken.document, "at": taken.at.isoformat()}
            for taken in state.taken
        ]
        return web.json_response({"taken": shown}, dumps=lambda value: json.dumps(value, default=str))

    async def script(request: web.Request) -> web.Response:
        asked = await request.json()
        try:
            state.faults.extend([FaultKind(asked["fault"])] * int(asked.get("times", 1)))
        except (KeyError, TypeError, ValueError):
            return web.json_response({"error": "unknown fault, or times is no number"}, status=422)
        return web.json_response({"waiting": len(state.faults)})

    return [
        web.get(f"/sandbox/{state.provider}/taken", show),
        web.post(f"/sandbox/{state.provider}/faults", script),
    ]
