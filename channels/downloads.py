"""Files from addresses that providers, customers and tenants name: GET through the guarded egress, redirect by
redirect, each judged anew; credentials stay at the origin that they are for.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol
from urllib.parse import urldefrag, urljoin, urlsplit

import aiohttp
from yarl import URL

from channels.abilities import Downloads, MediaContent
from channels.egress import DEFAULT_HEADERS, EgressResponse, EgressTimeouts
from channels.errors import (
    BadCredentials,
    ContentRefused,
    DeliveryFault,
    EgressBlocked,
    FaultClass,
    GatewayError,
    NotThere,
    ProviderUnavailable,
    Throttled,
    TooLarge,
)
from channels.provider_api import retry_after
from channels.provider_urls import ProviderUrls

MEDIA_CAP = 25 * 1024 * 1024
MOST_REDIRECTS = 3
TOTAL_SECONDS = 60.0
_CONNECT_SECONDS = 5.0
_REDIRECTS = {
    HTTPStatus.MOVED_PERMANENTLY,
    HTTPStatus.FOUND,
    HTTPStatus.SEE_OTHER,
    HTTPStatus.TEMPORARY_REDIRECT,
    HTTPStatus.PERMANENT_REDIRECT,
}
_ABSENT = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
_CREDENTIALS = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
_PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str, int | None]


class GuardedGet(Protocol):
    """What is needed of the guarded client (``channels.egress.EgressClient``)."""

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
    ) -> EgressResponse: ...


@dataclass(frozen=True, slots=True)
class DownloadLimits:
    """Bytes of one file, and seconds for it with all its redirects."""

    cap: int = MEDIA_CAP
    total: float = TOTAL_SECONDS


@dataclass(frozen=True, slots=True)
class _Hop:
    """One address of a chain of redirects. ``trusted``: the operator named its origin, and every one before it."""

    url: str
    headers: Mapping[str, str]
    trusted: bool


class DownloadClient:
    """Makes ``Downloads``; closed by ``aclose``.

    ``trusted`` are base URLs that the operator set for providers' APIs (a stand-in on loopback, a proxy): what was
    asked for there first is not judged. A redirect from anywhere else to such an address is judged like any other.
    """

    def __init__(
        self,
        egress: GuardedGet,
        trusted: Collection[str] = (),
        limits: DownloadLimits | None = None,
    ) -> None:
        self._egress = egress
        self._trusted = frozenset(origin_of(url) for url in trusted)
        self._limits = limits or DownloadLimits()
        self._session: aiohttp.ClientSession | None = None

    def from_provider(self, party: str) -> Downloads:
        """For what an adapter asks its provider for; ``party`` bears the cost of slow name servers."""
        return _PartyDownloads(self, party, self._trusted)

    def from_anywhere(self, party: str) -> Downloads:
        """For addresses that a tenant names: no origin is trusted."""
        return _PartyDownloads(self, party, frozenset())

    async def aclose(self) -> None:
        """Closes the connections to trusted origins; the guarded client stays its giver's."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(
        self, url: str, headers: Mapping[str, str], party: str, trusted: Collection[Origin]
    ) -> MediaContent:
        """See ``Downloads.get``; raises BadCredentials and ContentRefused, too, for what the other side says."""
        try:
            async with asyncio.timeout(self._limits.total):
                first = _Hop(urldefrag(url).url, headers, origin_of(url) in trusted)
                return await self._follow(first, party, trusted)
        except TimeoutError:
            raise DeliveryFault(FaultClass.TIMEOUT) from None

    async def _follow(self, hop: _Hop, party: str, trusted: Collection[Origin]) -> MediaContent:
        for _ in range(MOST_REDIRECTS + 1):
            answer = await self._ask(hop, party)
            if answer.status not in _REDIRECTS:
                return self._content(answer)
            hop = _next_hop(hop, answer.headers.get("Location", ""), trusted)
        raise DeliveryFault(FaultClass.PROTOCOL)

    async def _ask(self, hop: _Hop, party: str) -> EgressResponse:
        if hop.trusted:
            return await self._ask_trusted(hop)
        timeouts = EgressTimeouts(total=self._limits.total)
        cap = self._limits.cap
        return await self._egress.request(
            "GET", hop.url, headers=hop.headers, party=party, timeouts=timeouts, body_cap=cap
        )

    async def _ask_trusted(self, hop: _Hop) -> EgressResponse:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self._limits.total, connect=_CONNECT_SECONDS)
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout, auto_decompress=False, trust_env=False
            )
        try:
            async with self._session.get(
                URL(hop.url, encoded=True), headers={**DEFAULT_HEADERS, **hop.headers}, allow_redirects=False
            ) as response:
                body = await _read(response, self._limits.cap + 1)
                cut = body[: self._limits.cap]
                return EgressResponse(response.status, response.headers, cut, len(body) > len(cut))
        except aiohttp.ClientConnectorError:
            raise DeliveryFault(FaultClass.REFUSED) from None
        except aiohttp.ClientError:
            raise DeliveryFault(FaultClass.RESET) from None

    def _content(self, answer: EgressResponse) -> MediaContent:
        if error := _error_of(answer):
            raise error
        if answer.truncated:
            # Cut at the cap by us, or broken off on the way: only the first will be so again.
            raise TooLarge if len(answer.body) >= self._limits.cap else DeliveryFault(FaultClass.RESET)
        return MediaContent(answer.body, answer.headers.get("Content-Type", ""))


class _PartyDownloads:
    """``Downloads`` of one party."""

    def __init__(self, client: DownloadClient, party: str, trusted: Collection[Origin]) -> None:
        self._client = client
        self._party = party
        self._trusted = trusted

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> MediaContent:
        return await self._client.get(url, headers or {}, self._party, self._trusted)


def set_by_operator(urls: ProviderUrls) -> frozenset[str]:
    """The base URLs that are not the providers' own."""
    own = ProviderUrls()
    named = ((getattr(urls, name), getattr(own, name)) for name in ProviderUrls.__slots__)
    return frozenset(url for url, default in named if url is not None and url != default)


def origin_of(url: str) -> Origin:
    """Scheme, host and port (RFC 6454), the default port written out; what is no URL has an origin of its own."""
    try:
        parts = urlsplit(url)
        scheme = parts.scheme.lower()
        return scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(scheme)
    except ValueError:
        return "", url, None


def _next_hop(hop: _Hop, location: str, trusted: Collection[Origin]) -> _Hop:
    """Where a redirect leads. Headers that were left behind once do not come back, whoever says so."""
    if not location:
        raise DeliveryFault(FaultClass.PROTOCOL)
    try:
        url = urldefrag(urljoin(hop.url, location)).url
    except ValueError:
        raise EgressBlocked from None
    origin = origin_of(url)
    headers = hop.headers if origin == origin_of(hop.url) else {}
    return _Hop(url, headers, hop.trusted and origin in trusted)


def _error_of(answer: EgressResponse) -> GatewayError | None:
    """What a status means for a file; None for a success."""
    status = answer.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    if status in _ABSENT:
        return NotThere()
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Throttled(retry_after=retry_after(answer.headers))
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ProviderUnavailable(retry_after=retry_after(answer.headers))
    if status in _CREDENTIALS:
        return BadCredentials(provider_code=str(status))
    return ContentRefused(provider_code=str(status))


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    body = bytearray()
    while len(body) < most and (chunk := await response.content.read(most - len(body))):
        body += chunk
    return bytes(body)
