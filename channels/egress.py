"""The guarded HTTP client for every address that a tenant, a customer or a payload names.

The decision falls when a socket is about to be dialled, on the very address that is dialled, so neither a
second lookup nor a redirect can change it; names with one denied address among their answers are refused
whole. No redirect is followed, nothing is decompressed, bodies are cut, and everything has a limit in time.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

import aiohttp
from aiohttp import ClientRequest, ClientTimeout, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_reqrep import ClientResponse
from aiohttp.connector import AddrInfoType, Connection
from aiohttp.tracing import Trace

from channels.errors import DeliveryFault, EgressBlocked, FaultClass, GatewayError, UrlNotAllowed
from channels.networks import AddressPolicy, Network
from channels.resolving import PoolResolver
from channels.targets import Target, check_headers, target_of

BODY_CAP = 64 * 1024
FIRST_FINAL_STATUS = 200
KEEP_ALIVE = 4.0  # seconds; under the 5 after which many servers (Node's default) close an idle connection
DEFAULT_HEADERS: Mapping[str, str] = {"User-Agent": "Waystation/1", "Accept-Encoding": "identity"}
LOOKUP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class EgressTimeouts:
    """Seconds: for the whole exchange with its body, and for lookup, dialling and TLS together."""

    total: float = 15.0
    connect: float = 5.0


@dataclass(frozen=True, slots=True)
class EgressTimings:
    """Seconds since the start; ``dns`` and ``connect`` are 0 where a connection was used again."""

    dns: float
    connect: float
    first_byte: float
    total: float


@dataclass(frozen=True, slots=True)
class EgressResponse:
    """An answer. ``body`` is at most the cap, undecoded; ``truncated`` where there was more."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    truncated: bool
    address: str
    timings: EgressTimings


@dataclass(slots=True)
class _Attempt:
    """What the connector learns about one exchange; it has no other way to tell the caller."""

    listed_only: bool
    blocked: bool = False
    address: str = ""
    dns: float = 0.0
    connect: float = 0.0


class _Refusal(OSError):
    """Refused by policy; an OSError because that is what a socket factory may raise."""


_ATTEMPT: ContextVar[_Attempt] = ContextVar("attempt")


class EgressClient:
    """Sends requests to addresses that are not ours. Must be made inside a running loop, and closed.

    ``allow``: networks that may be reached although private, or by plain http; from the deployment's settings
    only. ``connections`` must not be under the number of exchanges at a time, or one slow target holds up the
    others.
    """

    def __init__(
        self,
        allow: tuple[Network, ...] = (),
        *,
        resolver: AbstractResolver | None = None,
        ssl_context: ssl.SSLContext | None = None,
        body_cap: int = BODY_CAP,
        connections: int = 1000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = AddressPolicy(allow)
        self._body_cap = body_cap
        self._monotonic = monotonic
        self._resolver = _JudgingResolver(resolver or PoolResolver(), self._policy, monotonic)
        self._session = aiohttp.ClientSession(
            connector=_Connector(self._policy, self._resolver, ssl_context, connections, monotonic),
            cookie_jar=aiohttp.DummyCookieJar(),  # tenants share the session, they must not share cookies
            auto_decompress=False,
            trust_env=False,
        )

    async def check_url(self, url: str) -> None:
        """For registration: raises UrlNotAllowed where the URL's form or one of its addresses is not allowed.

        A name that does not resolve now is accepted; every later exchange judges again.
        """
        target = target_of(url)
        if target.listed_only and not self._policy.allow:
            raise UrlNotAllowed("Plain http and names of an inner network are not allowed.")
        for address in await self._addresses(target):
            if not self._policy.permits(address, listed_only=target.listed_only):
                raise UrlNotAllowed("The URL's address is not allowed.")

    async def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeouts: EgressTimeouts | None = None,
    ) -> EgressResponse:
        """One POST; see ``request``."""
        return await self.request("POST", url, headers=headers, body=body, timeouts=timeouts)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        timeouts: EgressTimeouts | None = None,
    ) -> EgressResponse:
        """One exchange, never repeated; any status from 200 on is an answer, redirects too.

        Raises EgressBlocked (constant text, whatever the reason), HeaderNotAllowed, or DeliveryFault with its
        class.
        """
        check_headers(headers)
        target = self._judged(url)
        attempt = _Attempt(target.listed_only)
        token = _ATTEMPT.set(attempt)
        limits = timeouts or EgressTimeouts()
        try:
            return await self._exchange(method, target, {**DEFAULT_HEADERS, **headers}, body, limits, attempt)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _fault(error, attempt) from None
        finally:
            _ATTEMPT.reset(token)

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._session.close()
        await self._resolver.close()

    def _judged(self, url: str) -> Target:
        try:
            target = target_of(url)
        except UrlNotAllowed:
            raise EgressBlocked from None
        if target.listed_only and not self._policy.allow:
            raise EgressBlocked
        return target

    async def _addresses(self, target: Target) -> list[str]:
        if target.address is not None:
            return [target.address]
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                found = await self._resolver.lookup(target.host, target.url.port or 0, socket.AF_UNSPEC)
        except (OSError, TimeoutError, ValueError):
            return []
        return [result["host"] for result in found]

    async def _exchange(
        self,
        method: str,
        target: Target,
        headers: Mapping[str, str],
        body: bytes | None,
        limits: EgressTimeouts,
        attempt: _Attempt,
    ) -> EgressResponse:
        started = self._monotonic()
        timeout = ClientTimeout(total=limits.total, connect=limits.connect, sock_connect=limits.connect)
        async with self._session.request(
            method, target.url, headers=headers, data=body, timeout=timeout, allow_redirects=False
        ) as response:
            first_byte = self._monotonic() - started
            if response.status < FIRST_FINAL_STATUS:
                response.close()
                raise DeliveryFault(FaultClass.PROTOCOL)
            excerpt, truncated = await _read(response, self._body_cap)
            timings = EgressTimings(attempt.dns, attempt.connect, first_byte, self._monotonic() - started)
            return EgressResponse(
                response.status, response.headers, excerpt, truncated, attempt.address, timings
            )


class _JudgingResolver(AbstractResolver):
    """Refuses a name whole where one of its addresses is denied: that is an attack or a mistake."""

    def __init__(
        self, inner: AbstractResolver, policy: AddressPolicy, monotonic: Callable[[], float]
    ) -> None:
        self._inner = inner
        self._policy = policy
        self._monotonic = monotonic

    async def lookup(self, host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        """The addresses, not judged; raises OSError."""
        return await self._inner.resolve(host, port, family)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        attempt = _ATTEMPT.get()
        started = self._monotonic()
        found = await self.lookup(host, port, family)
        attempt.dns = self._monotonic() - started
        if not all(self._policy.permits(result["host"], listed_only=attempt.listed_only) for result in found):
            raise _Refusal
        return found

    async def close(self) -> None:
        await self._inner.close()


class _Connector(TCPConnector):
    """Judges each address when it is dialled; a connection used again has been judged then.

    Scheme and host are in the key of a connection: one made for the allow list serves no other target.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        resolver: AbstractResolver,
        ssl_context: ssl.SSLContext | None,
        connections: int,
        monotonic: Callable[[], float],
    ) -> None:
        super().__init__(
            resolver=resolver,
            ssl=ssl_context or True,
            limit=connections,
            keepalive_timeout=KEEP_ALIVE,
            socket_factory=self._socket,
        )
        self._policy = policy
        self._monotonic = monotonic

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109 - the base's signature
    ) -> Connection:
        attempt = _ATTEMPT.get()
        started = self._monotonic()
        connection = await super().connect(req, traces, timeout)
        attempt.connect = self._monotonic() - started
        peer = connection.transport.get_extra_info("peername") if connection.transport else None
        attempt.address = str(peer[0]) if peer else ""
        return connection

    def _socket(self, candidate: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = candidate
        attempt = _ATTEMPT.get()
        if not self._policy.permits(str(address[0]), listed_only=attempt.listed_only):
            raise _refusal(attempt)
        return socket.socket(family, kind, protocol)


def _refusal(attempt: _Attempt) -> _Refusal:
    attempt.blocked = True  # several refusals may reach the caller merged into a plain OSError
    return _Refusal()


async def _read(response: ClientResponse, cap: int) -> tuple[bytes, bool]:
    """The body up to the cap, and whether it was cut; a cut connection is not used again."""
    body = bytearray()
    while len(body) <= cap:
        chunk = await response.content.read(cap + 1 - len(body))
        if not chunk:
            return bytes(body), False
        body += chunk
    response.close()
    return bytes(body[:cap]), True


def _fault(error: Exception, attempt: _Attempt) -> GatewayError:
    """The error to raise. That a name of the inner network does not exist is not told: blocked, too."""
    kind = _fault_class(error)
    refused = attempt.blocked or isinstance(getattr(error, "os_error", None), _Refusal)
    if refused or (kind is FaultClass.DNS and attempt.listed_only):
        return EgressBlocked()
    return DeliveryFault(kind)


def _fault_class(error: Exception) -> FaultClass:
    """What went wrong, from the most telling type to the least."""
    cause = getattr(error, "os_error", error)
    kinds: tuple[tuple[FaultClass, bool], ...] = (
        (FaultClass.TIMEOUT, isinstance(error, TimeoutError) or isinstance(cause, TimeoutError)),
        (FaultClass.DNS, isinstance(error, aiohttp.ClientConnectorDNSError)),
        (FaultClass.TLS, isinstance(error, TLS_ERRORS) or isinstance(cause, ssl.SSLError)),
        (FaultClass.RESET, isinstance(error, aiohttp.ServerDisconnectedError)),
        (
            FaultClass.RESET,
            isinstance(cause, ConnectionResetError | BrokenPipeError | ConnectionAbortedError),
        ),
        (FaultClass.REFUSED, isinstance(error, aiohttp.ClientConnectorError)),
        (FaultClass.RESET, isinstance(error, OSError)),
    )
    return next((kind for kind, holds in kinds if holds), FaultClass.PROTOCOL)


TLS_ERRORS = (
    aiohttp.ClientSSLError,
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ServerFingerprintMismatch,
)
