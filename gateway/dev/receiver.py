"""A stand-in of an integrator: takes webhooks, verifies them with the public library, fails when told to.

Routes: ``POST /hook[/name]`` takes a webhook; ``GET /received`` lists what came (``?id=`` and ``?type=``
pick), ``DELETE /received`` forgets it; ``POST /faults`` scripts answers, ``DELETE /faults`` drops the rest;
``POST /secret`` sets the secrets. For the demo and development on loopback only: nothing asks who calls.
"""

import asyncio
import base64
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook, WebhookVerificationError

MAX_KEPT = 10_000  # deliveries; the oldest are forgotten beyond it
MAX_BODY_BYTES = 1_048_576
_GRACE_SECONDS = 0.5  # for requests that are still running at the end


class FaultMode(StrEnum):
    """How a scripted answer goes wrong."""

    STATUS = "status"  # this status, with the headers given
    HANG = "hang"  # no answer until ``seconds`` are over or the receiver stops, then 503
    CLOSE = "close"  # the connection is closed without an answer


class Fault(BaseModel):
    """What ``POST /faults`` takes: the next ``times`` verified deliveries are answered so."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    times: int = Field(default=1, ge=1, le=1_000)
    mode: FaultMode = FaultMode.STATUS
    status: int = Field(default=500, ge=200, le=599)
    retry_after: int | str | None = Field(default=None, description="Seconds or an HTTP date.")
    headers: dict[str, str] = Field(default_factory=dict, description="Such as `webhook-delivery`.")
    seconds: float = Field(default=60.0, gt=0, le=600, description="How long to hang.")

    @property
    def answer_headers(self) -> dict[str, str]:
        after = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return self.headers | after


class _Secrets(BaseModel):
    """What ``POST /secret`` takes: one secret, or several of which any may have signed."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    secret: str | None = None
    secrets: list[str] = Field(default_factory=list)

    @property
    def all(self) -> tuple[str, ...]:
        return tuple(([self.secret] if self.secret else []) + self.secrets)


@dataclass(frozen=True, slots=True)
class Received:
    """A webhook as it came; ``answer`` is what we said (a status, ``hang`` or ``close``)."""

    hook: str
    received_at: datetime
    headers: Mapping[str, str]  # names in lower case
    body: bytes = field(repr=False)
    verified: bool
    answer: str

    @property
    def id(self) -> str:
        return self.headers.get("webhook-id", "")

    @property
    def json(self) -> Any:
        """The body's JSON; None if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:  # also not UTF-8: it is kept raw beside this
            return None

    @property
    def type(self) -> str:
        body = self.json
        return str(body.get("type", "")) if isinstance(body, dict) else ""

    def as_json(self) -> dict[str, Any]:
        """The form that ``GET /received`` shows; ``body_base64`` holds the exact bytes."""
        return {
            "id": self.id,
            "type": self.type,
            "hook": self.hook,
            "received_at": self.received_at.isoformat(),
            "verified": self.verified,
            "answer": self.answer,
            "headers": dict(self.headers),
            "json": self.json,
            "body_base64": base64.b64encode(self.body).decode("ascii"),
        }


class Receiver:
    """The receiver's memory: secrets, what came, which faults are scripted."""

    def __init__(self, secrets: Iterable[str], clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._faults: deque[Fault] = deque()
        self.received: deque[Received] = deque(maxlen=MAX_KEPT)
        self.stopping = asyncio.Event()
        self.set_secrets(secrets)

    def set_secrets(self, secrets: Iterable[str]) -> None:
        """Replaces all earlier ones; raises ValueError, naming none, if one is malformed or empty."""
        try:
            self._verifiers = tuple(Webhook(secret) for secret in secrets)
        except (EmptyWebhookSecretError, ValueError):
            raise ValueError("a secret must be whsec_ and base64") from None

    def script(self, fault: Fault) -> None:
        """Adds ``fault.times`` answers to the end of the script."""
        self._faults.extend([fault] * fault.times)

    def clear_faults(self) -> None:
        self._faults.clear()

    def take(self, hook: str, headers: Mapping[str, str], body: bytes) -> tuple[bool, Fault | None]:
        """Keeps a webhook; gives back whether it is genuine and which fault it meets (a forged one: none)."""
        verified = self._verify(headers, body)
        fault = self._faults.popleft() if verified and self._faults else None
        answer = _named(fault) if verified else str(web.HTTPForbidden.status_code)
        kept = {name.lower(): value for name, value in headers.items()}
        self.received.append(Received(hook, self._clock(), kept, body, verified, answer))
        return verified, fault

    def _verify(self, headers: Mapping[str, str], body: bytes) -> bool:
        return any(_accepts(verifier, headers, body) for verifier in self._verifiers)


def _accepts(verifier: Webhook, headers: Mapping[str, str], body: bytes) -> bool:
    try:
        verifier.verify(body, dict(headers), json_parse=False)
    except (
        WebhookVerificationError,
        ValueError,
    ):  # ValueError: a malformed header, or a body that is no UTF-8
        return False
    return True


def _named(fault: Fault | None) -> str:
    if fault is None:
        return str(web.HTTPNoContent.status_code)
    return str(fault.status) if fault.mode is FaultMode.STATUS else fault.mode.value


RECEIVER: web.AppKey[Receiver] = web.AppKey("receiver", Receiver)


def utc_now() -> datetime:
    return datetime.now(UTC)


def build_receiver(secrets: Iterable[str] = (), clock: Callable[[], datetime] = utc_now) -> web.Application:
    """The receiver as an application; without secrets every delivery is refused with 403 until one is set.

    ``app[RECEIVER]`` is its memory. Raises ValueError for a malformed secret.
    """
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app[RECEIVER] = Receiver(secrets, clock)
    app.on_shutdown.append(_stop)
    app.router.add_post("/hook", _hook)
    app.router.add_post("/hook/{name}", _hook)
    app.router.add_get("/received", _list_received)
    app.router.add_delete("/received", _forget_received)
    app.router.add_post("/faults", _add_fault)
    app.router.add_delete("/faults", _clear_faults)
    app.router.add_post("/secret", _set_secrets)
    return app


@asynccontextmanager
async def serve_receiver(
    secrets: Iterable[str] = (), *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[tuple[str, Receiver]]:
    """Runs a receiver on its own port (0: any free one); gives its base URL and its memory."""
    app = build_receiver(secrets)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_GRACE_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield f"http://{host}:{runner.addresses[0][1]}", app[RECEIVER]
    finally:
        await runner.cleanup()


async def _stop(app: web.Application) -> None:
    app[RECEIVER].stopping.set()


async def _hook(request: web.Request) -> web.Response:
    receiver = request.app[RECEIVER]
    body = await request.read()
    verified, fault = receiver.take(request.match_info.get("name", ""), request.headers, body)
    if not verified:
        return web.Response(status=web.HTTPForbidden.status_code, text="The signature is missing or wrong.")
    if fault is None:
        return web.Response(status=web.HTTPNoContent.status_code)
    return await _fail(request, receiver, fault)


async def _fail(request: web.Request, receiver: Receiver, fault: Fault) -> web.Response:
    match fault.mode:
        case FaultMode.STATUS:
            text = "A scripted failure." if fault.status >= web.HTTPBadRequest.status_code else None
            return web.Response(status=fault.status, headers=fault.answer_headers, text=text)
        case FaultMode.HANG:
            await _hang(receiver, fault.seconds)
        case FaultMode.CLOSE if request.transport is not None:
            request.transport.abort()
    return web.Response(status=web.HTTPServiceUnavailable.status_code)


async def _hang(receiver: Receiver, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await receiver.stopping.wait()
    except TimeoutError:  # the scripted time is over
        return


async def _list_received(request: web.Request) -> web.Response:
    picked = [
        item.as_json()
        for item in request.app[RECEIVER].received
        if request.query.get("id", item.id) == item.id and request.query.get("type", item.type) == item.type
    ]
    return web.json_response({"data": picked})


async def _forget_received(request: web.Request) -> web.Response:
    request.app[RECEIVER].received.clear()
    return web.Response(status=web.HTTPNoContent.status_code)


async def _add_fault(request: web.Request) -> web.Response:
    try:
        fault = Fault.model_validate_json(await request.read())
    except ValidationError as error:
        return _unprocessable(error.json(include_url=False, include_context=False))
    request.app[RECEIVER].script(fault)
    return web.Response(status=web.HTTPNoContent.status_code)


async def _clear_faults(request: web.Request) -> web.Response:
    request.app[RECEIVER].clear_faults()
    return web.Response(status=web.HTTPNoContent.status_code)


async def _set_secrets(request: web.Request) -> web.Response:
    try:
        request.app[RECEIVER].set_secrets(_Secrets.model_validate_json(await request.read()).all)
    except ValidationError:  # its text could repeat the secret
        return _unprocessable('{"error": "an object with secret or secrets is expected"}')
    except ValueError as error:
        return _unprocessable(json.dumps({"error": str(error)}))
    return web.Response(status=web.HTTPNoContent.status_code)


def _unprocessable(text: str) -> web.Response:
    status = web.HTTPUnprocessableEntity.status_code
    return web.Response(status=status, text=text, content_type="application/json")
