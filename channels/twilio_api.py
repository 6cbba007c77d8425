"""Twilio's REST API over our own HTTP session: the official client makes the requests, we carry and judge
them.
"""

import json
import logging
from collections.abc import Callable, Iterable, Mapping

import aiohttp
from twilio.http import AsyncHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from channels.base import ChannelAccount
from channels.errors import GatewayError, OutcomeUnknown, ProviderUnavailable
from channels.twilio_errors import error_of_answer

TWILIO_API = "https://api.twilio.com"
TIMEOUT = aiohttp.ClientTimeout(total=10, connect=5, sock_connect=5)
REDIRECT = 300
NEVER_LEFT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)
# an empty mapping would make the client read the process's environment instead
NO_ENVIRONMENT = {"TWILIO_EDGE": "", "TWILIO_REGION": ""}
SILENT = logging.getLogger("channels.twilio_api")


def rest_client(account: ChannelAccount, transport: "Transport") -> Client:
    """The official client for one account; cheap, holds no connection of its own."""
    credentials = account.credentials
    client: Callable[..., Client] = Client  # the library leaves its constructor untyped
    return client(
        credentials["account_sid"],
        credentials["auth_token"],
        http_client=transport,
        environment=dict(NO_ENVIRONMENT),
    )


def api_session() -> aiohttp.ClientSession:
    """A session for the provider's API: no cookies, no proxy from the environment."""
    return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=TIMEOUT)


class Transport(AsyncHttpClient):
    """Carries the official client's requests over a given session to a given base URL; never repeats one.

    ``request`` raises Throttled, ProviderUnavailable (nothing was taken), OutcomeUnknown (a send may have
    been taken), Permanent or PolicyError; what it returns is a success with a JSON object as its body.
    """

    def __init__(self, session: aiohttp.ClientSession, base_url: str, timeout: aiohttp.ClientTimeout) -> None:
        super().__init__(SILENT, is_async=True)
        self._session = session
        self._base_url = base_url.rstrip("/")
        self._timeout = timeout

    async def request(  # type: ignore[override]  # the library's own base is synchronous
        self,
        method: str,
        uri: str,
        params: Mapping[str, object] | None = None,
        data: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 - the library's signature
        allow_redirects: bool = False,  # noqa: ARG002 - the library's signature; a redirect is never followed
    ) -> Response:
        creates = method == "POST"
        try:
            status, text = await self._exchange(method, uri, params, data, headers, auth)
        except NEVER_LEFT:
            raise ProviderUnavailable from None
        except (aiohttp.ClientError, TimeoutError):
            raise _lost(creates=creates) from None
        if not _is_object(text):
            raise _lost(creates=creates)
        return Response(status, text)

    async def _exchange(
        self,
        method: str,
        uri: str,
        params: Mapping[str, object] | None,
        data: Mapping[str, object] | None,
        headers: Mapping[str, str] | None,
        auth: tuple[str, str] | None,
    ) -> tuple[int, str]:
        async with self._session.request(
            method,
            self._base_url + uri.removeprefix(TWILIO_API),
            params=_pairs(params) if params else None,
            data=aiohttp.FormData(_pairs(data)) if data else None,
            headers={**(headers or {}), **_authorisation(auth)},
            timeout=self._timeout,
            allow_redirects=False,
        ) as response:
            text = await response.text(errors="replace")
            if response.status >= REDIRECT:
                raise error_of_answer(response.status, response.headers, text, creates=method == "POST")
            return response.status, text


def _authorisation(auth: tuple[str, str] | None) -> dict[str, str]:
    return {"Authorization": aiohttp.encode_basic_auth(*auth)} if auth else {}


def _lost(*, creates: bool) -> GatewayError:
    return OutcomeUnknown() if creates else ProviderUnavailable()


def _pairs(fields: Mapping[str, object]) -> list[tuple[str, str]]:
    """A list as repeated fields, as Twilio's API takes MediaUrl."""
    return [(name, str(value)) for name, held in fields.items() for value in _values(held)]


def _values(held: object) -> Iterable[object]:
    return held if isinstance(held, list) else (held,)


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
