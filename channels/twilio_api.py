"""Twilio's REST API: what we ask of it, and its message resources as values.

Source: Twilio docs, "Messages resource", "Media subresource" and "Typing Indicators resource" (v3).
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from yarl import URL

from channels.base import ChannelAccount, SendReceipt
from channels.errors import OutcomeUnknown, ProviderUnavailable
from channels.provider_api import ApiAnswer, ProviderApi
from channels.twilio_errors import error_of_answer
from channels.twilio_events import MESSAGE_SID

TWILIO_API = "https://api.twilio.com"
MESSAGING_API = "https://messaging.twilio.com"  # Twilio has a host per product, a stand-in has one for all
TWILIO_DOMAIN = ".twilio.com"
API_VERSION = "2010-04-01"
BEFORE_TWILIO = datetime(1970, 1, 1, tzinfo=UTC)

Fields = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message resource, in or out; ``created`` is aware UTC, long ago where Twilio does not tell."""

    sid: str
    status: str
    direction: str
    to: str
    sender: str
    body: str = field(repr=False)
    service: str | None = None
    created: datetime = BEFORE_TWILIO
    num_media: int = 0
    num_segments: str = "1"

    def receipt(self) -> SendReceipt:
        return SendReceipt(self.sid, self.status)


class TwilioApi:
    """Exchanges under the operator's base URL, one by one; nothing is repeated here."""

    def __init__(self, api: ProviderApi, base_url: str) -> None:
        self._api = api
        self._base_url = base_url.rstrip("/")

    async def create_message(self, account: ChannelAccount, fields: Fields) -> SentMessage:
        """Creates a message; a list of values is a repeated field, as Twilio takes MediaUrl. Raises Throttled,
        ProviderUnavailable (not taken), OutcomeUnknown (perhaps taken), Permanent or PolicyError.
        """
        url = f"{self._account_url(account)}/Messages.json"
        answer = await self._api.exchange(
            "POST", url, headers=_authorised(account), body=aiohttp.FormData(list(fields))
        )
        try:
            return _message(_taken(answer, creates=True))
        except (KeyError, TypeError, ValueError):
            raise OutcomeUnknown from None

    async def list_messages(
        self, account: ChannelAccount, query: Mapping[str, str], limit: int | None = None
    ) -> AsyncIterator[SentMessage]:
        """The messages that the query finds, the newest first, page by page. Raises Temporary or Permanent."""
        seen = 0
        url = f"{self._account_url(account)}/Messages.json"
        async for resource in self._pages(account, url, query, "messages"):
            try:
                yield _message(resource)
            except (KeyError, TypeError, ValueError):
                raise ProviderUnavailable from None
            seen += 1
            if seen == limit:
                return

    async def list_media(self, account: ChannelAccount, message_sid: str) -> list[tuple[str, str]]:
        """A message's files: where each is, and of which type. Raises Temporary or Permanent."""
        folder = f"{self._account_url(account)}/Messages/{message_sid}/Media"
        listed = self._pages(account, f"{folder}.json", {}, "media_list")
        files = [(str(item.get("sid", "")), str(item.get("content_type") or "")) async for item in listed]
        if not all(MESSAGE_SID.fullmatch(sid) for sid, _ in files):
            raise ProviderUnavailable
        return [(f"{folder}/{sid}", content_type) for sid, content_type in files]

    async def show_typing(self, account: ChannelAccount, message_sid: str) -> None:
        """Shows the writer of that WhatsApp message that it is read and answered. Raises Temporary or Permanent."""
        base = MESSAGING_API if self._base_url == TWILIO_API else self._base_url
        answer = await self._api.exchange(
            "POST",
            f"{base}/v3/Indicators/Typing.json",
            headers={**_authorised(account), "Content-Type": "application/json"},
            body=json.dumps({"channel": "WHATSAPP", "messageId": message_sid}).encode(),
        )
        if not answer.ok:
            raise error_of_answer(answer, creates=False)

    def authorisation_for(self, account: ChannelAccount, url: str) -> dict[str, str]:
        """The headers for a file's address; credentials for Twilio's own addresses only."""
        own = URL(self._base_url)
        asked = URL(url)
        is_twilio = asked.scheme == "https" and (asked.host or "").endswith(TWILIO_DOMAIN)
        return _authorised(account) if is_twilio or asked.origin() == own.origin() else {}

    async def _pages(
        self, account: ChannelAccount, url: str, query: Mapping[str, str], name: str
    ) -> AsyncIterator[Mapping[str, Any]]:
        following: str | None = url
        while following is not None:
            answer = await self._api.exchange("GET", following, headers=_authorised(account), params=query)
            page = _taken(answer, creates=False)
            if not isinstance(page.get(name), list):
                raise ProviderUnavailable
            for resource in page[name]:
                yield resource if isinstance(resource, Mapping) else {}
            following, query = self._next(page), {}

    def _next(self, page: Mapping[str, Any]) -> str | None:
        """The next page's address, which is a path: credentials go nowhere but to the base URL."""
        uri = page.get("next_page_uri")
        return f"{self._base_url}{uri}" if isinstance(uri, str) and uri.startswith("/") else None

    def _account_url(self, account: ChannelAccount) -> str:
        return f"{self._base_url}/{API_VERSION}/Accounts/{account.credentials['account_sid']}"


def _authorised(account: ChannelAccount) -> dict[str, str]:
    credentials = account.credentials
    return {
        "Authorization": aiohttp.encode_basic_auth(credentials["account_sid"], credentials["auth_token"]),
        "Accept": "application/json",
    }


def _taken(answer: ApiAnswer, *, creates: bool) -> dict[str, Any]:
    """The document of a success."""
    if not answer.ok:
        raise error_of_answer(answer, creates=creates)
    return answer.document()


def _message(resource: Mapping[str, Any]) -> SentMessage:
    """A message resource; raises KeyError, TypeError or ValueError where it is not of the documented form."""
    sid = resource["sid"]
    if not MESSAGE_SID.fullmatch(sid):
        raise ValueError("sid")
    created = resource.get("date_created")
    return SentMessage(
        sid=sid,
        status=str(resource.get("status") or ""),
        direction=str(resource.get("direction") or ""),
        to=str(resource.get("to") or ""),
        sender=str(resource.get("from") or ""),
        body=str(resource.get("body") or ""),
        service=resource.get("messaging_service_sid"),
        created=BEFORE_TWILIO if created is None else _moment(created),
        num_media=int(resource.get("num_media") or 0),
        num_segments=str(resource.get("num_segments") or "1"),
    )


def _moment(text: Any) -> datetime:
    """Twilio's RFC 2822 time, in aware UTC."""
    if not isinstance(text, str):
        raise TypeError("a time must be a text")
    moment = parsedate_to_datetime(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
