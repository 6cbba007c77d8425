"""The guarded HTTP client for every address that a tenant, a customer or a payload names.

The decision falls when a socket is about to be dialled, on the very address that is dialled, so neither a
second lookup nor a redirect can change it; names with one denied address among their answers are refused
whole, for each exchange anew. No redirect is followed, nothing is decompressed, bodies are cut, and everything
has a limit in time.
"""

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

import aiohttp
from aiohttp import ClientRequest, ClientTimeout, TCPConnector
from aiohttp.abc import AbstractResolver
from aiohttp.client_reqrep import ClientResponse
from aiohttp.connector import AddrInfoType, Connection
from aiohttp.tracing import Trace

from channels.errors import (
    DeliveryFault,
    EgressBlocked,
    FaultClass,
    GatewayError,
    LookupsBusy,
    UrlNotAllowed,
)
from channels.networks import AddressPolicy, Network
from channels.resolving import Addresses, Lookups, PoolResolver
from channels.targets import Target, check_headers, target_of

BODY_CAP = 64 * 1024
FIRST_FINAL_STATUS = 200
KEEP_ALIVE = 4.0  # seconds; under the 5 after which many servers (Node's default) close an idle connection
DEFAULT_HEADERS: Mapping[str, str] = {"User-Agent": "Waystation/1", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class EgressTimeouts:
    """Seconds: for the exchange with its body, for dialling and TLS within it, and before it for the name's
    lookup, and once more for the wait until that may begin.
    """

    total: float = 15.0
    connect: float = 5.0
    lookup: float = 5.0

    @property
    def longest(self) -> float:
        """Nothing takes longer."""
        return self.total + 2 * self.lookup


@dataclass(frozen=True, slots=True)
class EgressResponse:
    """An answer. ``body`` is at most the cap, undecoded; ``truncated`` where there was more."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    truncated: bool
    address: str


@dataclass(frozen=True, slots=True)
class _Outgoing:
    """What is sent, its target judged."""

    method: str
    target: Target
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)


@dataclass(slots=True)
class _Attempt:
    """What the connector must know and learns about one exchange; there is no other way to tell it."""

    listed_only: bool
    addresses: Addresses
    blocked: bool = False
    address: str = ""


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
        self._lookups = Lookups(resolver or PoolResolver(), monotonic)
        self._session = aiohttp.ClientSession(
            connector=_Connector(self._policy, ssl_context, connections),
            cookie_jar=aiohttp.DummyCookieJar(),  # tenants share the session, they must not share cookies
            auto_decompress=False,
            trust_env=False,
        )

    async def check_url(self, url: str, *, party: str = "") -> None:
        """For registration: raises UrlNotAllowed where the URL's form or one of its addresses is not allowed.

        A name that cannot be resolved now is accepted; every later exchange judges again.
        """
        target = target_of(url)
        if target.listed_only and not self._policy.allow:
            raise UrlNotAllowed("Plain http and names of an inner network are not allowed.")
        try:
            found = await self._look_up(target, party, EgressTimeouts())
        except (DeliveryFault, LookupsBusy):
            return
        addresses = [target.address] if target.address else [result["host"] for result in found]
        if not self._permits(addresses, target):
            raise UrlNotAllowed("The URL's address is not allowed.")

    async def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        party: str = "",
        timeouts: EgressTimeouts | None = None,
    ) -> EgressResponse:
        """One POST; see ``request``."""
        return await self.request("POST", url, headers=headers, body=body, party=party, timeouts=timeouts)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        party: str = "",
        timeouts: EgressTimeouts | None = None,
        body_cap: int | None = None,
    ) -> EgressResponse:
        """One exchange, never repeated, for ``party`` (whose name servers may be slow at its own cost only);
        ``body_cap`` in place of the client's own.

        Any status from 200 on is an answer, redirects too, and whatever becomes of its body. Raises EgressBlocked
        (constant text, whatever the reason), HeaderNotAllowed, DeliveryFault with its class, or LookupsBusy.
        """
        check_headers(headers)
        limits = timeouts or EgressTimeouts()
        target = self._judged(url)
        attempt = _Attempt(target.listed_only, await self._reachable(target, party, limits))
        token = _ATTEMPT.set(attempt)
        try:
            sent = _Outgoing(method, target, {**DEFAULT_HEADERS, **headers}, body)
            return await self._exchange(
                sent, limits, attempt, self._body_cap if body_cap is None else body_cap
            )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _fault(error, attempt) from None
        finally:
            _ATTEMPT.reset(token)

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._session.close()
        await self._lookups.close()

    def _judged(self, url: str) -> Target:
        try:
            target = target_of(url)
        except UrlNotAllowed:
            raise EgressBlocked from None
        if target.listed_only and not self._policy.allow:
            raise EgressBlocked
        return target

    async def _reachable(self, target: Target, party: str, limits: EgressTimeouts) -> Addresses:
        """What a name resolves to; it is refused whole where one address is denied: an attack or a mistake."""
        try:
            found = await self._look_up(target, party, limits)
        except DeliveryFault:
            if target.listed_only:  # that a name of the inner network does not exist is not told
                raise EgressBlocked from None
            raise
        if not self._permits([result["host"] for result in found], target):
            raise EgressBlocked
        return found

    def _permits(self, addresses: Iterable[str], target: Target) -> bool:
        return all(self._policy.permits(address, listed_only=target.listed_only) for address in addresses)

    async def _look_up(self, target: Target, party: str, limits: EgressTimeouts) -> Addresses:
        """Nothing for a literal, which the socket's judgement is enough for. Raises DeliveryFault, LookupsBusy."""
        if target.address is not None:
            return []
        try:
            return await self._lookups.find(party, target.host, limits.lookup)
        except (OSError, TimeoutError, ValueError):
            raise DeliveryFault(FaultClass.DNS) from None

    async def _exchange(
        self, sent: _Outgoing, limits: EgressTimeouts, attempt: _Attempt, body_cap: int
    ) -> EgressResponse:
        timeout = ClientTimeout(total=limits.total, connect=limits.connect, sock_connect=limits.connect)
        async with self._session.request(
            sent.method,
            sent.target.url,
            headers=sent.headers,
            data=sent.body,
            timeout=timeout,
            allow_redirects=False,
        ) as response:
            if response.status < FIRST_FINAL_STATUS:
                response.close()
                raise DeliveryFault(FaultClass.PROTOCOL)
            excerpt, truncated = await _read(response, body_cap)
            return EgressResponse(response.status, response.headers, excerpt, truncated, attempt.address)


class _FoundAddresses(AbstractResolver):
    """Gives the connector what was looked up and judged for the exchange at hand."""

    async def resolve(
        self,
        host: str,  # noqa: ARG002 - the exchange's own
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - all were asked for
    ) -> Addresses:
        return [{**address, "port": port} for address in _ATTEMPT.get().addresses]

    async def close(self) -> None:
        """Holds nothing."""


class _Connector(TCPConnector):
    """Judges each address when it is dialled; a connection used again has been judged then.

    Scheme and host are in the key of a connection: one made for the allow list serves no other target.
    """

    def __init__(self, policy: AddressPolicy, ssl_context: ssl.SSLContext | None, connections: int) -> None:
        super().__init__(
            resolver=_FoundAddresses(),
            use_dns_cache=False,  # it would share one tenant's addresses with others, and its failures, too
            ssl=ssl_context or True,
            limit=connections,
            keepalive_timeout=KEEP_ALIVE,
            socket_factory=self._socket,
        )
        self._policy = policy

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109 - the base's signature
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        peer = connection.transport.get_extra_info("peername") if connection.transport else None
        _ATTEMPT.get().address = str(peer[0]) if peer else ""
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
    """The body up to the cap, and whether there was more: cut by us, or broken off by whatever fault. The status
    is an answer all the same, and the client uses a connection again only after a body's end.
    """
    body, whole = bytearray(), False
    with contextlib.suppress(aiohttp.ClientError, OSError):
        while not whole and len(body) <= cap:
            chunk = await response.content.read(cap + 1 - len(body))
            body += chunk
            whole = not chunk
    return bytes(body[:cap]), not whole


def _fault(error: Exception, attempt: _Attempt) -> GatewayError:
    refused = attempt.blocked or isinstance(getattr(error, "os_error", None), _Refusal)
    return EgressBlocked() if refused else DeliveryFault(_fault_class(error))


def _fault_class(error: Exception) -> FaultClass:
    """What went wrong, from the most telling type to the least."""
    cause = getattr(error, "os_error", error)
    kinds: tuple[tuple[FaultClass, bool], ...] = (
        (FaultClass.TIMEOUT, isinstance(error, TimeoutError) or isinstance(cause, TimeoutError)),
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
