"""The guarded HTTP client for every address that a tenant, a customer or a payload names.

The decision falls when a socket is about to be dialled, on the very address that is dialled, so neither a
second lookup nor a redirect can change it; names with one denied address among their answers are refused
whole, for each exchange anew. No redirect is followed, nothing is decompressed, bodies are cut, and everything
has a limit in time.
"""

import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import aiohttp
from aiohttp import BytesPayload, ClientTimeout
from aiohttp.abc import AbstractResolver
from aiohttp.client_reqrep import ClientResponse

from channels.client_certificates import CertificateContexts
from channels.egress_connections import (
    EXCHANGE,
    FIRST_FINAL_STATUS,
    Exchange,
    GuardedConnector,
    Monotonic,
)
from channels.errors import (
    DeliveryFault,
    EgressBlocked,
    FaultClass,
    GatewayError,
    LookupsBusy,
    UrlNotAllowed,
)
from channels.exchanges import ClientCertificate, ExchangeTrace
from channels.networks import AddressPolicy, Network
from channels.resolving import Addresses, Lookups, PoolResolver
from channels.targets import Target, check_headers, target_of

BODY_CAP = 64 * 1024
DEFAULT_HEADERS: Mapping[str, str] = {"User-Agent": "Waystation/1", "Accept-Encoding": "identity"}
# What was read of a URL's form and judged of an address stays true: neither asks anything but its argument.
MOST_TARGETS, MOST_ADDRESSES = 4096, 4096
_MEND = "who runs the gateway can allow networks (WAYSTATION_EGRESS_ALLOW)."


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


DEFAULT_TIMEOUTS = EgressTimeouts()


@dataclass(frozen=True, slots=True)
class EgressResponse:
    """An answer. ``body`` is at most the cap, undecoded; ``truncated`` where there was more."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    truncated: bool
    trace: ExchangeTrace = field(default_factory=ExchangeTrace)


@dataclass(frozen=True, slots=True)
class _Outgoing:
    """What is sent, its target judged."""

    method: str
    target: Target
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)
    tls: ssl.SSLContext | bool
    limits: EgressTimeouts


class EgressClient:
    """Sends requests to addresses that are not ours. Must be made inside a running loop, and closed.

    ``allow``: networks that may be reached although private, at whatever port, or by plain http; from the
    deployment's settings only. ``connections`` must not be under the number of exchanges at a time, or one slow
    target holds up the others. ``trust`` makes a TLS context that believes others than the system does.
    """

    def __init__(
        self,
        allow: tuple[Network, ...] = (),
        *,
        resolver: AbstractResolver | None = None,
        trust: Callable[[], ssl.SSLContext] | None = None,
        body_cap: int = BODY_CAP,
        connections: int = 1000,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        policy = AddressPolicy(allow)
        self._allows_any = bool(allow)
        self._body_cap = body_cap
        self._monotonic = monotonic
        self._lookups = Lookups(resolver or PoolResolver(), monotonic)
        self._certificates = CertificateContexts(trust or ssl.create_default_context)
        self._target_of = lru_cache(MOST_TARGETS)(target_of)
        self._permits = lru_cache(MOST_ADDRESSES)(policy.permits)
        self._client_timeout = lru_cache(_client_timeout)
        self._session = aiohttp.ClientSession(
            connector=GuardedConnector(policy, trust and trust(), connections, monotonic),
            cookie_jar=aiohttp.DummyCookieJar(),  # tenants share the session, they must not share cookies
            auto_decompress=False,
            trust_env=False,
        )
        self._session._retry_connection = False  # noqa: SLF001 - no public way to send what is idempotent only once

    async def check_url(self, url: str, *, party: str = "") -> None:
        """For registration: raises UrlNotAllowed where the URL's form or one of its addresses is not allowed.

        A name that cannot be resolved now is accepted; every later exchange judges again.
        """
        target = self._target_of(url)
        if target.listed_only and not self._allows_any:
            raise UrlNotAllowed(
                f"Plain http, ports of other services and names of an inner network are not allowed; {_MEND}"
            )
        try:
            addresses = [target.address] if target.address else _hosts(await self._look_up(target, party))
        except (*LOOKUP_ERRORS, LookupsBusy):
            return
        if not self._all_permitted(addresses, target):
            raise UrlNotAllowed(f"The URL's address is not allowed; {_MEND}")

    async def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        party: str = "",
        timeouts: EgressTimeouts | None = None,
        certificate: ClientCertificate | None = None,
    ) -> EgressResponse:
        """One POST; see ``request``."""
        return await self.request(
            "POST", url, headers=headers, body=body, party=party, timeouts=timeouts, certificate=certificate
        )

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
        certificate: ClientCertificate | None = None,
    ) -> EgressResponse:
        """One exchange, never repeated, for ``party`` (whose name servers may be slow at its own cost only, and whose
        connections with ``certificate`` serve nobody else); ``body_cap`` in place of the client's own.

        Any status from 200 on is an answer, redirects too, and whatever becomes of its body. Raises EgressBlocked
        (constant text and no trace, whatever the reason), HeaderNotAllowed, InvalidInput for the certificate,
        DeliveryFault with its class and trace, or LookupsBusy.
        """
        check_headers(headers)
        target = self._judged(url)
        tls = True if certificate is None else await self._certificates.of(party, certificate)
        sent = _Outgoing(
            method, target, {**DEFAULT_HEADERS, **headers}, body, tls, timeouts or DEFAULT_TIMEOUTS
        )
        exchange = Exchange(
            self._body_cap if body_cap is None else body_cap, self._monotonic(), target.listed_only
        )
        if target.address is None:
            await self._resolve(sent, party, exchange)
        token = EXCHANGE.set(exchange)
        try:
            return await self._exchange(sent, exchange)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise self._fault(error, exchange) from None
        finally:
            EXCHANGE.reset(token)

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._session.close()
        await self._lookups.close()

    def _judged(self, url: str) -> Target:
        try:
            target = self._target_of(url)
        except UrlNotAllowed:
            raise EgressBlocked from None
        if target.listed_only and not self._allows_any:
            raise EgressBlocked
        return target

    async def _resolve(self, sent: _Outgoing, party: str, exchange: Exchange) -> None:
        """Finds what the name stands for; it is refused whole where one address is denied: an attack or a mistake."""
        target, exchange.asked_at = sent.target, self._monotonic()
        try:
            exchange.addresses = await self._look_up(target, party, sent.limits.lookup)
        except LookupsBusy:
            raise LookupsBusy(trace=exchange.trace(self._monotonic())) from None
        except LOOKUP_ERRORS:
            if target.listed_only:  # that a name of the inner network does not exist is not told
                raise EgressBlocked from None
            raise DeliveryFault(FaultClass.DNS, exchange.trace(self._monotonic())) from None
        if not self._all_permitted(_hosts(exchange.addresses), target):
            raise EgressBlocked
        exchange.resolved_at = self._monotonic()

    async def _look_up(
        self, target: Target, party: str, patience: float = DEFAULT_TIMEOUTS.lookup
    ) -> Addresses:
        """Raises LOOKUP_ERRORS, and LookupsBusy."""
        return await self._lookups.find(party, target.host, patience)

    def _all_permitted(self, addresses: Iterable[str], target: Target) -> bool:
        return all(self._permits(address, listed_only=target.listed_only) for address in addresses)

    async def _exchange(self, sent: _Outgoing, exchange: Exchange) -> EgressResponse:
        async with self._session.request(
            sent.method,
            sent.target.url,
            headers=sent.headers,
            data=None if sent.body is None else BytesPayload(sent.body),
            timeout=self._client_timeout(sent.limits),
            allow_redirects=False,
            ssl=sent.tls,
        ) as response:
            if response.status < FIRST_FINAL_STATUS:
                response.close()
                raise aiohttp.ClientPayloadError
            excerpt, truncated = await _read(response, exchange.body_cap)
            trace = exchange.trace(self._monotonic())
            broken_off = truncated or exchange.broken_off
            return EgressResponse(response.status, response.headers, excerpt, broken_off, trace)

    def _fault(self, error: Exception, exchange: Exchange) -> GatewayError:
        if exchange.blocked:
            return EgressBlocked()
        kind = FaultClass.DEFERRED if _is_our_own(error, exchange) else _fault_class(error)
        return DeliveryFault(kind, exchange.trace(self._monotonic()))


LOOKUP_ERRORS = (OSError, TimeoutError, ValueError)
TLS_ERRORS = (
    aiohttp.ClientSSLError,
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ServerFingerprintMismatch,
)


def _hosts(addresses: Addresses) -> list[str]:
    return [found["host"] for found in addresses]


def _client_timeout(limits: EgressTimeouts) -> ClientTimeout:
    return ClientTimeout(total=limits.total, connect=limits.connect, sock_connect=limits.connect)


async def _read(response: ClientResponse, cap: int) -> tuple[bytes, bool]:
    """The body up to the cap, and whether there was more: cut by us, or broken off by whatever fault. The status
    is an answer all the same, and the client uses a connection again only after a body's end.
    """
    body = bytearray()
    try:
        while len(body) <= cap:
            body += await response.content.read(cap + 1 - len(body))
            if response.content.at_eof():
                return bytes(body[:cap]), len(body) > cap
    except (aiohttp.ClientError, OSError):  # what came until then is kept
        return bytes(body[:cap]), True
    return bytes(body[:cap]), True


def _is_our_own(error: Exception, exchange: Exchange) -> bool:
    """Whether nothing left for want of sockets or connections here."""
    waited_in_vain = isinstance(error, TimeoutError) and exchange.dialled_at is exchange.ready_at is None
    return exchange.short or waited_in_vain


def _fault_class(error: Exception) -> FaultClass:
    """What went wrong, from the most telling type to the least."""
    cause = getattr(error, "os_error", error)
    kinds: tuple[tuple[FaultClass, bool], ...] = (
        (FaultClass.TIMEOUT, isinstance(error, TimeoutError) or isinstance(cause, TimeoutError)),
        (FaultClass.TLS, isinstance(error, TLS_ERRORS) or isinstance(cause, ssl.SSLError)),
        (FaultClass.TLS, isinstance(error.__cause__, ssl.SSLError)),  # an alert after the handshake (TLS 1.3)
        (FaultClass.RESET, isinstance(error, aiohttp.ServerDisconnectedError)),
        (
            FaultClass.RESET,
            isinstance(cause, ConnectionResetError | BrokenPipeError | ConnectionAbortedError),
        ),
        (FaultClass.REFUSED, isinstance(error, aiohttp.ClientConnectorError)),
        (FaultClass.RESET, isinstance(error, OSError)),
    )
    return next((kind for kind, holds in kinds if holds), FaultClass.PROTOCOL)
