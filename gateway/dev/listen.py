"""`waystation listen`: a tenant's events at a URL of the developer's own machine, with real signatures.

A pull endpoint is made over the API, fetched from with a long poll, and what comes is posted to the named URL, one event
after the other. An event is acknowledged when it was taken (2xx) and not before; until then it is tried again, and those
behind it wait. The URL is the developer's own wish, so plain HTTP to it is right, and not the guarded client.
"""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

import aiohttp

from channels.errors import GatewayError
from gateway.dev.management import Management
from handlers.endpoint_rules import Transport
from handlers.runtime import Clock
from handlers.webhooks.headers import request_headers
from handlers.webhooks.signing import EndpointSecret, signing_key

_ENDPOINTS = "/v1/webhook-endpoints"
# What was fetched is kept until it is taken; a short lease lets the next `listen` soon have what a killed one held.
_POLL = "limit=50&wait=20&lease_seconds=10"
_CALL_SECONDS = 40.0  # longer than a poll waits
_FORWARD_SECONDS = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0  # seconds between tries, doubled each time
_LONGEST_NAME = 200
_GOODBYE_SECONDS = 5.0


class NotListening(GatewayError):
    """Listening is not possible, or no longer."""


@dataclass(frozen=True, slots=True)
class Forwarding:
    """What to listen to, where, and where it goes. The key does not print."""

    server: str
    forward_to: str
    event_types: Sequence[str]
    api_key: str = field(repr=False)

    @property
    def endpoint_name(self) -> str:
        """One endpoint for each machine and URL: what a killed `listen` left behind is used again."""
        return f"listen on {socket.gethostname()}: {self.forward_to}"[:_LONGEST_NAME].strip()


@dataclass(frozen=True, slots=True)
class Forwarded:
    """One try at the local receiver: its status, or why there is none."""

    event_type: str
    event_id: str
    milliseconds: int
    status: int | None
    problem: str = ""
    retry_in: float | None = None

    @property
    def taken(self) -> bool:
        return self.status is not None and HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES


class Listener(Protocol):
    """Who is told what happens."""

    def ready(self, forwarding: Forwarding, endpoint_id: str, secret: str) -> None: ...

    def forwarded(self, done: Forwarded) -> None: ...

    def notice(self, text: str) -> None: ...


async def listen(forwarding: Forwarding, show: Listener, stop: asyncio.Event, clock: Clock) -> None:
    """Forwards until ``stop``, then deletes the endpoint; raises NotListening where that cannot go on."""
    timeout = aiohttp.ClientTimeout(total=_CALL_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_FORWARD_SECONDS)) as local,
    ):
        api = Management(session, forwarding.server, forwarding.api_key)
        endpoint_id, secret = await _open_endpoint(api, forwarding)
        show.ready(forwarding, endpoint_id, secret)
        pump = _Pump(api, local, forwarding, show, clock, f"{_ENDPOINTS}/{endpoint_id}", secret)
        try:
            await _until(stop, pump.run())
        finally:
            await _leave(pump, api, endpoint_id, show)


async def _until(stop: asyncio.Event, work: Any) -> None:
    tasks = {asyncio.create_task(work), asyncio.create_task(stop.wait())}
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()


async def _leave(pump: "_Pump", api: Management, endpoint_id: str, show: Listener) -> None:
    try:
        async with asyncio.timeout(_GOODBYE_SECONDS):
            with contextlib.suppress(NotListening):  # it is to go in any case
                await pump.acknowledge()
            await api.call("DELETE", f"{_ENDPOINTS}/{endpoint_id}")
    except (aiohttp.ClientError, TimeoutError, ValueError, _Away):
        show.notice(f"The server is away: the endpoint {endpoint_id} is still there, for the next time.")


async def _open_endpoint(api: Management, forwarding: Forwarding) -> tuple[str, str]:
    """The endpoint's id and its new secret."""
    left = await _find_left(api, forwarding)
    if left is None:
        body = {
            "name": forwarding.endpoint_name,
            "transport": Transport.PULL,
            "event_types": list(forwarding.event_types),
        }
        made = await _ask(api, forwarding, "POST", _ENDPOINTS, body)
        return made["id"], made["secret"]
    path = f"{_ENDPOINTS}/{left}"
    await _ask(api, forwarding, "PATCH", path, {"event_types": list(forwarding.event_types)})
    await _ask(api, forwarding, "POST", f"{path}/enable")
    rotated = await _ask(api, forwarding, "POST", f"{path}/rotate-secret")
    return left, rotated["secret"]


async def _find_left(api: Management, forwarding: Forwarding) -> str | None:
    """The endpoint of this machine and URL that an earlier `listen` could not delete."""
    query = "?limit=200"
    while True:
        page = await _ask(api, forwarding, "GET", _ENDPOINTS + query)
        for endpoint in page["data"]:
            if (endpoint["name"], endpoint["transport"]) == (forwarding.endpoint_name, Transport.PULL):
                return str(endpoint["id"])
        if page["next_cursor"] is None:
            return None
        query = f"?limit=200&cursor={page['next_cursor']}"


async def _ask(api: Management, forwarding: Forwarding, method: str, path: str, body: Any = None) -> Any:
    """The answer of a call at the start, when there is nothing yet to go on with; raises NotListening."""
    try:
        status, answer = await api.call(method, path, body)
    except (aiohttp.ClientConnectionError, TimeoutError):
        raise NotListening(
            f"Nothing answers at {forwarding.server}. Is `waystation serve` running? `--url` or"
            " WAYSTATION_PUBLIC_URL names the server."
        ) from None
    except (aiohttp.ClientError, ValueError):
        raise NotListening(_no_waystation(forwarding)) from None
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        raise NotListening(_refusal(forwarding, status, answer))
    if not isinstance(answer, Mapping):
        raise NotListening(_no_waystation(forwarding))
    return answer


def _no_waystation(forwarding: Forwarding) -> str:
    return f"What answers at {forwarding.server} is no Waystation; `--url` or WAYSTATION_PUBLIC_URL names the server."


def _refusal(forwarding: Forwarding, status: int, answer: Any) -> str:
    if status == HTTPStatus.UNAUTHORIZED:
        return (
            f"{forwarding.server} does not know this API key (401). `--api-key` or WAYSTATION_API_KEY names one;"
            " `waystation tenants create` makes a tenant with a key."
        )
    if not isinstance(answer, Mapping) or "code" not in answer:
        return _no_waystation(forwarding)
    return f"{forwarding.server} refused: {answer.get('detail', status)} ({status} {answer['code']})"


class _Away(Exception):
    """The server cannot be reached, or has a fault of its own; it may come back."""


@dataclass(slots=True)
class _Pump:
    """Fetches, forwards, acknowledges; outlives restarts of both sides."""

    api: Management
    local: aiohttp.ClientSession
    forwarding: Forwarding
    show: Listener
    clock: Clock
    path: str
    secret: str = field(repr=False)
    taken: list[str] = field(default_factory=list)  # deliveries that are to be acknowledged

    async def run(self) -> None:
        """For ever; raises NotListening once the server refuses."""
        pause = _FIRST_PAUSE
        while True:
            try:
                await self.acknowledge()
                items = (await self._call("GET", f"{self.path}/pull?{_POLL}"))["data"]
            except _Away as error:
                if pause == _FIRST_PAUSE:
                    self.show.notice(f"{error} Trying again until it is back.")
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            if pause > _FIRST_PAUSE:
                self.show.notice("The server is back.")
                pause = _FIRST_PAUSE
            for item in items:
                await self._deliver(item)

    async def _deliver(self, item: Mapping[str, Any]) -> None:
        """Tries until the receiver takes it: what is behind it waits, so that the order is kept."""
        pause = _FIRST_PAUSE
        while True:
            done = await self._forward(item, pause)
            self.show.forwarded(done)
            if done.taken:
                self.taken.append(item["id"])
                return
            with contextlib.suppress(_Away):  # then before the next poll
                await self.acknowledge()
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _forward(self, item: Mapping[str, Any], pause: float) -> Forwarded:
        body = item["body"].encode()
        keys = (signing_key(EndpointSecret(self.secret)),)
        headers = request_headers(item["event_id"], body, self.clock(), keys=keys, custom={})
        started = time.monotonic()
        status, problem = None, ""
        try:
            async with self.local.post(
                self.forwarding.forward_to, data=body, headers=headers, allow_redirects=False
            ) as answer:
                status = answer.status
        except aiohttp.ClientConnectorError:
            problem = "nothing listens there"
        except TimeoutError:
            problem = f"no answer within {_FORWARD_SECONDS:g} s"
        except aiohttp.ClientError:
            problem = "the connection broke"
        taken = status is not None and HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
        return Forwarded(
            event_type=item["type"],
            event_id=item["event_id"],
            milliseconds=round((time.monotonic() - started) * 1000),
            status=status,
            problem=problem,
            retry_in=None if taken else pause,
        )

    async def acknowledge(self) -> None:
        """Tells the server what was taken; raises _Away where it cannot be told now."""
        if self.taken:
            await self._call("POST", f"{self.path}/ack", {"delivery_ids": self.taken})
            self.taken.clear()

    async def _call(self, method: str, path: str, body: Any = None) -> Any:
        try:
            status, answer = await self.api.call(method, path, body)
        except (aiohttp.ClientError, TimeoutError, json.JSONDecodeError):
            raise _Away("The server does not answer.") from None
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
            raise _Away(f"The server has a fault ({status}).")
        if status == HTTPStatus.NOT_FOUND:
            raise NotListening("Somebody deleted the endpoint that was listened to; start again.")
        if status != HTTPStatus.OK:
            raise NotListening(_refusal(self.forwarding, status, answer))
        return answer
