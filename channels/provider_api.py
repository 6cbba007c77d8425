"""One exchange with a provider's own API over our HTTP session: never repeated, never redirected, its faults typed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from io import BytesIO
from typing import Any

import aiohttp
from yarl import URL

from channels.errors import (
    BadCredentials,
    ContentRefused,
    GatewayError,
    OutcomeUnknown,
    ProviderUnavailable,
    Throttled,
)

TIMEOUT = aiohttp.ClientTimeout(total=10, connect=5, sock_connect=5)
ANSWER_CAP = 4 * 1024 * 1024
# nothing of the request can have arrived
NEVER_LEFT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)
_CREDENTIALS = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """A provider's answer, whatever its status; ``body`` is cut at the cap."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def ok(self) -> bool:
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    def document(self) -> dict[str, Any]:
        """The JSON object of the body; empty where it is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


class ProviderApi:
    """A provider's API under a base URL that the operator set.

    Without ``session`` one is made at the first exchange and closed by ``aclose``; a given one stays the giver's.
    """

    def __init__(
        self, session: aiohttp.ClientSession | None = None, timeout: aiohttp.ClientTimeout = TIMEOUT
    ) -> None:
        self._given = session
        self._own: aiohttp.ClientSession | None = None
        self._timeout = timeout

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        body: bytes | aiohttp.FormData | None = None,
    ) -> ApiAnswer:
        """One exchange. Raises ProviderUnavailable (nothing was taken), or OutcomeUnknown where something other than
        a GET left and no answer came.
        """
        try:
            async with self._session().request(
                method,
                _target(url, params or {}),
                headers=headers,
                data=BytesIO(body) if isinstance(body, bytes) else body,  # bytes would be written in one go
                timeout=self._timeout,
                allow_redirects=False,
            ) as response:
                return ApiAnswer(response.status, response.headers, await _read(response))
        except NEVER_LEFT:
            raise ProviderUnavailable from None
        except (aiohttp.ClientError, TimeoutError):
            raise (ProviderUnavailable if method == "GET" else OutcomeUnknown) from None

    async def aclose(self) -> None:
        """Closes the session that was made here."""
        if self._own is not None:
            await self._own.close()
            self._own = None

    def _session(self) -> aiohttp.ClientSession:
        if self._given is not None:
            return self._given
        if self._own is None:
            self._own = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=self._timeout)
        return self._own


def _target(url: str, params: Mapping[str, str]) -> URL:
    """The address; raises ProviderUnavailable for a base URL that is none."""
    try:
        return URL(url, encoded=True).update_query(params)
    except ValueError:
        raise ProviderUnavailable from None


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    while len(body) < ANSWER_CAP and (chunk := await response.content.read(ANSWER_CAP - len(body))):
        body += chunk
    return bytes(body)


def error_of_status(
    answer: ApiAnswer,
    code: str | None = None,
    *,
    creates: bool = True,
    kinds: Mapping[str, type[GatewayError]] | None = None,
) -> GatewayError:
    """The error that an answer other than a success means: by the provider's ``code`` where ``kinds`` knows it, else by
    its status. After a 5xx to a request that ``creates`` nobody knows whether it was taken: a hop in front may have
    lost the answer of the server behind it.
    """
    known = (kinds or {}).get(code or "")
    if known is not None and not issubclass(known, Throttled):
        return known(provider_code=code)
    if known is not None or answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return Throttled(provider_code=code, retry_after=retry_after(answer.headers))
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        lost = OutcomeUnknown if creates else ProviderUnavailable
        return lost(provider_code=code, retry_after=retry_after(answer.headers))
    if answer.status in _CREDENTIALS:
        return BadCredentials(provider_code=code)
    return ContentRefused(provider_code=code)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds of a Retry-After header in that form; None where it has another."""
    text = headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None
