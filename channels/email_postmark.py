"""E-mail through Postmark: its hooks, its API for sending, and its searches for what the hooks lost."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any

import aiohttp

from channels.abilities import Downloads, HeldPost, MediaContent
from channels.base import (
    Acknowledgement,
    Channel,
    ChannelAccount,
    InboundItem,
    InboundRequest,
    OutboundMessage,
    OwnFault,
    SendReceipt,
)
from channels.basic_auth import basic_credentials, verify_basic_auth
from channels.credentials import check_names, login, matching, optional
from channels.email_postmark_events import MESSAGE_ID, mail_of_post, parse_post, received_at
from channels.email_postmark_requests import api_headers, email_document, error_of, provider_time
from channels.errors import MalformedPayload, NotThere, OutcomeUnknown, ProviderUnavailable, TooLarge
from channels.json_posts import object_of, objects_of, read_json, text_of
from channels.mail_events import OUR_ID
from channels.mail_parts import mail_part
from channels.provider_api import TIMEOUT, ProviderApi

POSTMARK_API = "https://api.postmarkapp.com"
FIELDS = frozenset({"server_token", "basic_auth", "basic_auth_previous", "message_stream"})
STREAM = re.compile(r"[a-z][a-z0-9_-]{0,29}", re.ASCII)
PAGE = 100
SEARCH_END = 10_000  # count and offset together, by the docs of the Messages API
BLOCKED = "blocked"  # by the tenant's own rules at Postmark, whose hook is not called for these either


class PostmarkAdapter:
    """A ChannelAdapter, SentLookup, MediaInPost and Reconcilable over Postmark. ``api_url`` is the operator's base
    URL; a given ``session`` stays the giver's.
    """

    name = "postmark"
    channels = frozenset({Channel.EMAIL})
    # Bytes: a mail of 35 MB at most, whose files stand in the post twice where the MIME is included
    body_cap = 72 * 1024 * 1024
    # Never 403, at which Postmark stops for ever (docs, "Inbound webhook", retries)
    refusal_status = HTTPStatus.UNAUTHORIZED
    own_fault = OwnFault.RETRIED  # Ten tries over ten and a half hours

    def __init__(
        self,
        api_url: str = POSTMARK_API,
        session: aiohttp.ClientSession | None = None,
        timeout: aiohttp.ClientTimeout = TIMEOUT,
    ) -> None:
        self._api_url = api_url.rstrip("/")
        self._api = ProviderApi(session, timeout)

    def validate_credentials(self, credentials: Mapping[str, Any]) -> dict[str, Any]:
        """`server_token`, `basic_auth` (an object of username and password, as in the hooks' URLs); where wanted
        `basic_auth_previous` (likewise, still accepted while it is changed), `message_stream` (else `outbound`).
        """
        check_names(credentials, FIELDS)
        checked = {
            "server_token": matching(credentials, "server_token"),
            **login(credentials, "basic_auth"),
            **login(credentials, "basic_auth_previous"),
            **optional(credentials, "message_stream", STREAM),
        }
        if "basic_auth" not in checked:
            raise ValueError("basic_auth: missing; Postmark signs nothing")
        return checked

    def redact(self, credentials: Mapping[str, Any]) -> frozenset[str]:
        """The token, the passwords, and the form in which they travel."""
        logins = _logins(credentials)
        passwords = (one["password"] for one in logins)
        travelling = (basic_credentials(one) for one in logins)
        return frozenset((credentials["server_token"], *passwords, *travelling))

    def verify(self, account: ChannelAccount, request: InboundRequest) -> None:
        """Raises VerificationFailed unless the request brings a login of the account."""
        verify_basic_auth(request, _logins(account.credentials))

    def parse(self, account: ChannelAccount, request: InboundRequest) -> tuple[InboundItem, ...]:
        """The mail or event of a verified request; raises MalformedPayload."""
        return parse_post(account, _post(request), request.body)

    def read_part(self, account: ChannelAccount, request: InboundRequest, url: str) -> MediaContent:
        """A file of a stored mail; raises MalformedPayload where it has none of that name."""
        return mail_part(mail_of_post(account, _post(request)), url)

    def acknowledge(self) -> Acknowledgement:
        return Acknowledgement(HTTPStatus.OK, "text/plain", b"")

    async def send(self, account: ChannelAccount, message: OutboundMessage) -> SendReceipt:
        """Hands one mail to Postmark, once. Raises Throttled, ProviderUnavailable (not taken), OutcomeUnknown (perhaps
        taken: ask ``find_sent``), Permanent or PolicyError.
        """
        body = email_document(account, message)
        answer = await self._api.exchange(
            "POST", f"{self._api_url}/email", headers=api_headers(account), body=body
        )
        document = answer.document()
        if not answer.ok or document.get("ErrorCode"):
            raise error_of(answer, creates=True)
        identifier = text_of(document, "MessageID")
        if not MESSAGE_ID.fullmatch(identifier):
            raise OutcomeUnknown
        return SendReceipt(identifier)

    async def find_sent(
        self,
        account: ChannelAccount,
        message: OutboundMessage,
        since: datetime,  # noqa: ARG002 - our id is looked for, which was never used before
        known_ids: frozenset[str],
    ) -> SendReceipt | None:
        """The receipt of the mail that carries our id as its metadata; see ``channels.base.SentLookup``. That is
        compared here, too: a search that did not know the filter would give somebody else's mail.
        """
        params = {
            "count": str(PAGE),
            "offset": "0",
            f"metadata_{OUR_ID}": str(message.id),
        }
        found = await self._get(account, "/messages/outbound", params)
        for one in objects_of(found, "Messages"):
            identifier = text_of(one, "MessageID")
            ours = text_of(object_of(one, "Metadata"), OUR_ID) == str(message.id)
            if ours and identifier not in known_ids and MESSAGE_ID.fullmatch(identifier):
                return SendReceipt(identifier, text_of(one, "Status"))
        return None

    async def list_held(
        self, account: ChannelAccount, since: datetime, downloads: Downloads
    ) -> AsyncIterator[HeldPost]:
        """The mails that the account's server received; see ``channels.base.Reconcilable``. Postmark lists the newest
        first, so that all is listed before the first is given.
        """
        listed = [one async for one in self._list(account, since)]
        for one in reversed(listed):
            held = await self._held(account, one, downloads)
            if held is not None:
                yield held

    async def aclose(self) -> None:
        """Closes the session that this adapter made for itself."""
        await self._api.aclose()

    async def _list(self, account: ChannelAccount, since: datetime) -> AsyncIterator[dict[str, Any]]:
        """What comes in meanwhile moves the pages on: a mail may be on two of them, and none is left out."""
        seen: set[str] = set()
        for offset in range(0, SEARCH_END, PAGE):
            params = {"count": str(PAGE), "offset": str(offset), "fromdate": provider_time(since)}
            page = objects_of(await self._get(account, "/messages/inbound", params), "InboundMessages")
            for one in page:
                identifier = text_of(one, "MessageID")
                if identifier not in seen and MESSAGE_ID.fullmatch(identifier):
                    seen.add(identifier)
                    yield one
            if len(page) < PAGE:
                return

    async def _held(
        self, account: ChannelAccount, listed: Mapping[str, Any], downloads: Downloads
    ) -> HeldPost | None:
        """A listed mail with its details, as the hook would have posted it. Of a mail that is too large to be fetched
        what the list says of it is kept: sender and subject, so that somebody can look.
        """
        if text_of(listed, "Status").lower() == BLOCKED:
            return None
        url = f"{self._api_url}/messages/inbound/{text_of(listed, 'MessageID')}/details"
        try:
            body = (await downloads.get(url, api_headers(account))).content
        except NotThere:
            return None
        except TooLarge:
            body = json.dumps(listed).encode("ascii")
        request = InboundRequest("POST", url, {"Content-Type": "application/json"}, body)
        try:
            items = self.parse(account, request)
        except MalformedPayload:  # its post would have been refused, too
            return None
        return HeldPost(request, items, received_at(_post(request)))

    async def _get(self, account: ChannelAccount, path: str, params: Mapping[str, str]) -> dict[str, Any]:
        answer = await self._api.exchange(
            "GET", self._api_url + path, headers=api_headers(account), params=params
        )
        if not answer.ok:
            raise error_of(answer, creates=False)
        document = answer.document()
        if not document:
            raise ProviderUnavailable
        return document


def _logins(credentials: Mapping[str, Any]) -> list[Mapping[str, str]]:
    names = ("basic_auth", "basic_auth_previous")
    return [credentials[name] for name in names if credentials.get(name)]


def _post(request: InboundRequest) -> dict[str, Any]:
    document = read_json(request.body)
    if not isinstance(document, dict):
        raise MalformedPayload("The body is not a JSON object.")
    return document
