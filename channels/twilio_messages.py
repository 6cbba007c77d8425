"""Twilio's messages and their files through Twilio's own client, which makes the requests; we carry and judge them.

Source: Twilio docs, "Messages resource" and "Media subresource". The adapter imports this module when it is first needed.
"""

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import aiohttp
from twilio.base.exceptions import TwilioException
from twilio.http import AsyncHttpClient
from twilio.http.response import Response
from twilio.rest import Client
from twilio.rest.api.v2010.account.message import MessageInstance, MessageList

from channels.base import ChannelAccount, SendReceipt
from channels.errors import OutcomeUnknown, ProviderUnavailable
from channels.provider_api import ApiAnswer, ProviderApi
from channels.twilio_api import API_VERSION, TWILIO_API, SentMessage
from channels.twilio_errors import error_of_answer
from channels.twilio_events import MESSAGE_SID

# what the client raises where a success has not the documented form
UNREADABLE = (TwilioException, AttributeError, KeyError, TypeError, ValueError)
# an empty mapping would make the client read the process's environment instead
NO_ENVIRONMENT = {"TWILIO_EDGE": "", "TWILIO_REGION": ""}
SILENT = logging.getLogger(__name__)  # the client's own log lines name numbers


class TwilioMessages:
    """The message resources of accounts under the operator's base URL; nothing is repeated here."""

    def __init__(self, api: ProviderApi, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")
        self._transport = Transport(api, self._base_url)

    async def create(self, account: ChannelAccount, fields: Mapping[str, Any]) -> SendReceipt:
        """Creates a message of the client's arguments. Raises Throttled, ProviderUnavailable (not taken),
        OutcomeUnknown (perhaps taken), Permanent or PolicyError.
        """
        try:
            created = await self._of(account).create_async(**fields)
            return SendReceipt(_sid(created.sid), str(created.status or ""))
        except UNREADABLE:
            raise OutcomeUnknown from None

    async def listed(
        self, account: ChannelAccount, query: Mapping[str, Any], limit: int | None = None
    ) -> AsyncIterator[SentMessage]:
        """The messages that the client's arguments find, the newest first, page by page, at most ``limit``. Raises
        Temporary or Permanent.
        """
        try:
            async for message in await self._of(account).stream_async(limit=limit, **query):
                yield _sent(message)
        except UNREADABLE:
            raise ProviderUnavailable from None

    async def files(self, account: ChannelAccount, message_sid: str) -> list[tuple[str, str]]:
        """A message's files: where each is, and of which type. Raises Temporary or Permanent."""
        own = f"{self._base_url}/{API_VERSION}/Accounts/{account.credentials['account_sid']}"
        folder = f"{own}/Messages/{message_sid}/Media"
        try:
            listed = await self._of(account)(message_sid).media.list_async()
            return [(f"{folder}/{_sid(file.sid)}", str(file.content_type or "")) for file in listed]
        except UNREADABLE:
            raise ProviderUnavailable from None

    def _of(self, account: ChannelAccount) -> MessageList:
        """The client of one account; cheap, and holds no connection of its own."""
        credentials = account.credentials
        client: Callable[..., Client] = Client  # the library leaves its constructor untyped
        return client(
            credentials["account_sid"],
            credentials["auth_token"],
            http_client=self._transport,
            environment=dict(NO_ENVIRONMENT),
        ).messages


class Transport(AsyncHttpClient):
    """Carries the client's requests, once each, to the operator's base URL and nowhere else."""

    def __init__(self, api: ProviderApi, base_url: str) -> None:
        super().__init__(SILENT, is_async=True)
        self._api = api
        self._base_url = base_url

    async def request(  # type: ignore[override]  # the base of the library's own class is synchronous
        self,
        method: str,
        uri: str,
        params: Mapping[str, object] | None = None,
        data: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 - the client's signature; ours is the session's
        allow_redirects: bool = False,  # noqa: ARG002 - the client's signature; a redirect is never followed
    ) -> Response:
        """The answer of a success. Raises what ``TwilioMessages.create`` does; of a GET Temporary or Permanent."""
        answer = await self._api.exchange(
            method,
            self._target(uri),
            headers={**(headers or {}), **_authorisation(auth)},
            params=dict(_pairs(params or {})),
            body=aiohttp.FormData(_pairs(data)) if data else None,
        )
        if not answer.ok:
            raise error_of_answer(answer, creates=method == "POST")
        if method == "GET" and not _is_list(answer):
            raise ProviderUnavailable
        return Response(answer.status, answer.body.decode(errors="replace"))

    def _target(self, uri: str) -> str:
        """The address under the base URL. A page may name any address as the next one: credentials do not go there."""
        path = uri.removeprefix(TWILIO_API)
        if path == uri or not path.startswith("/"):
            raise ProviderUnavailable
        return self._base_url + path


def _authorisation(auth: tuple[str, str] | None) -> dict[str, str]:
    return {"Authorization": aiohttp.encode_basic_auth(*auth)} if auth else {}


def _pairs(fields: Mapping[str, object]) -> list[tuple[str, str]]:
    """A list as repeated fields, as Twilio's API takes MediaUrl."""
    return [(name, str(value)) for name, held in fields.items() for value in _values(held)]


def _values(held: object) -> Iterable[object]:
    return held if isinstance(held, list) else (held,)


def _is_list(answer: ApiAnswer) -> bool:
    """Whether there are resources, or none, in it. The client takes an empty object of any name for an empty list, and
    a lookup that finds nothing lets a message be sent again.
    """
    return any(isinstance(value, list) for value in answer.document().values())


def _sid(sid: object) -> str:
    """Raises ValueError for anything else than an id: it becomes part of addresses."""
    if not isinstance(sid, str) or not MESSAGE_SID.fullmatch(sid):
        raise ValueError("sid")
    return sid


def _sent(message: MessageInstance) -> SentMessage:
    """A listed message; raises TypeError or ValueError where it is not of the documented form."""
    return SentMessage(
        sid=_sid(message.sid),
        status=str(message.status or ""),
        direction=str(message.direction or ""),
        to=str(message.to or ""),
        sender=str(message.from_ or ""),
        body=str(message.body or ""),
        service=message.messaging_service_sid,
        created=_moment(message.date_created),
        num_media=int(message.num_media or 0),
        num_segments=str(message.num_segments or "1"),
    )


def _moment(created: datetime | None) -> datetime:
    """Raises ValueError for none: the client gives none for a time that it cannot read, too."""
    if created is None:
        raise ValueError("date_created")
    return created
