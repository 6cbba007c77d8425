"""The Amazon SES channel: mails and events through SNS, larger mails from S3, sent by SESv2; it only ties its parts
together.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import Any

import aiohttp

from channels.abilities import Downloads, MediaContent
from channels.base import (
    Acknowledgement,
    Channel,
    ChannelAccount,
    DeferredPost,
    Ignored,
    InboundItem,
    InboundRequest,
    OutboundMessage,
    OwnFault,
    SendReceipt,
)
from channels.credentials import check_names, list_of, matching, optional
from channels.email_ses_certificates import Certificates
from channels.email_ses_events import content_of, event_of, parse_event, received_items, received_mail
from channels.email_ses_requests import mail_message_id, object_request, send_error, send_request
from channels.errors import BadCredentials, MalformedPayload, NotThere, OutcomeUnknown, VerificationFailed
from channels.json_posts import text_of
from channels.mail_parts import mail_part
from channels.provider_api import TIMEOUT, ApiAnswer, ProviderApi, error_of_status
from channels.signatures_sns import (
    NOTIFICATION,
    SUBSCRIPTION,
    TOPIC,
    certificate_path,
    check_topic,
    confirmation_url,
    verify_sns,
)

FIELDS = ("topic_arns", "region", "access_key_id", "secret_access_key", "configuration_set")
REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-[0-9]{1,2}", re.ASCII)
ACCESS_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
SET_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
# What a stored post holds once its mail was fetched from S3: the notification's event and the mail as SES would have sent
# it within, so that it can be read again without S3.
FETCHED = "message/rfc822"
EVENT_HEADER = "X-Waystation-Event"


class SesAdapter:
    """A ChannelAdapter with Preparing, Deferring and MediaInPost over Amazon SES. ``api_url`` is the operator's base URL in
    the place of AWS's own (a stand-in may answer there), ``clock`` gives the time in UTC.
    """

    name = "ses"
    channels = frozenset({Channel.EMAIL})
    # Bytes: SNS posts 256 KiB of message at most, whose JSON may be escaped twice
    body_cap = 1024 * 1024
    refusal_status = HTTPStatus.FORBIDDEN
    # SNS repeats a post three times within a minute by default, and then drops it
    own_fault = OwnFault.LOST

    def __init__(
        self,
        api_url: str | None,
        clock: Callable[[], datetime],
        session: aiohttp.ClientSession | None = None,
        timeout: aiohttp.ClientTimeout = TIMEOUT,
    ) -> None:
        self._api_url = api_url
        self._clock = clock
        self._api = ProviderApi(session, timeout)
        self._certificates = Certificates(self._api, api_url, clock)

    def validate_credentials(self, credentials: Mapping[str, Any]) -> dict[str, Any]:
        """``topic_arns[]`` (what may post here, at least one), ``region``, ``access_key_id``, ``secret_access_key``,
        ``configuration_set`` (optional: its event destination tells tags). Raises ValueError naming the field.
        """
        check_names(credentials, FIELDS)
        topics = list_of(credentials, "topic_arns", TOPIC)
        if not topics:
            raise ValueError("topic_arns: at least one topic must be named")
        return {
            "topic_arns": topics,
            "region": matching(credentials, "region", REGION),
            "access_key_id": matching(credentials, "access_key_id", ACCESS_KEY),
            "secret_access_key": matching(credentials, "secret_access_key"),
            **optional(credentials, "configuration_set", SET_NAME),
        }

    def redact(self, credentials: Mapping[str, Any]) -> frozenset[str]:
        """The secret key; what travels is only a signature made with it."""
        return frozenset({credentials["secret_access_key"]})

    async def prepare(self, account: ChannelAccount, request: InboundRequest) -> None:
        """Fetches the certificate that a post names, from SNS itself, and only for a topic of the account's. Raises
        VerificationFailed or ProviderUnavailable.
        """
        document = _document(request)
        host = check_topic(document, account.credentials["topic_arns"])
        await self._certificates.fetch(host, certificate_path(document, host))

    def verify(self, account: ChannelAccount, request: InboundRequest) -> None:
        """Raises VerificationFailed unless SNS signed the post for one of the account's topics. ``prepare`` goes before
        it.
        """
        document = _document(request)
        host = check_topic(document, account.credentials["topic_arns"])
        verify_sns(document, self._certificates.find(host, certificate_path(document, host)))

    def parse(self, account: ChannelAccount, request: InboundRequest) -> tuple[InboundItem, ...]:
        """What a verified post says, or one whose mail was fetched; raises MalformedPayload."""
        if fetched := _fetched_event(request):
            return received_items(account, fetched, request.body)
        document = _document(request)
        kind = text_of(document, "Type")
        if kind == SUBSCRIPTION:
            return (DeferredPost(f"sns:{text_of(document, 'MessageId')[:100]}"),)
        if kind != NOTIFICATION:
            return (Ignored("The topic does not post here any more."),)
        return parse_event(account, event_of(text_of(document, "Message")))

    def read_part(self, account: ChannelAccount, request: InboundRequest, url: str) -> MediaContent:  # noqa: ARG002 - the protocol's
        """A file of a stored post; raises MalformedPayload where it has none of that name."""
        fetched = _fetched_event(request)
        event = fetched or event_of(text_of(_document(request), "Message"))
        raw = request.body if fetched else content_of(event)
        if raw is None:
            raise MalformedPayload("The post has no mail.")
        return mail_part(received_mail(event, raw), url)

    async def fetch_deferred(
        self, account: ChannelAccount, request: InboundRequest, downloads: Downloads
    ) -> tuple[InboundRequest, tuple[InboundItem, ...]]:
        """Confirms a subscription of one of the account's topics, or reads the mail that SES put into S3. Raises
        NotThere, Temporary, BadCredentials or MalformedPayload.
        """
        document = _document(request)
        if text_of(document, "Type") == SUBSCRIPTION:
            await self._confirm(account, document, downloads)
            return request, ()
        event = event_of(text_of(document, "Message"))
        url, headers = object_request(account, event, self._api_url, self._clock())
        answer = await self._api.exchange("GET", url, headers=headers)
        if not answer.ok:
            raise _object_error(answer)
        held = {"Content-Type": FETCHED, EVENT_HEADER: json.dumps(_without_content(event))}
        fetched = replace(request, headers=held, body=answer.body)
        return fetched, self.parse(account, fetched)

    def acknowledge(self) -> Acknowledgement:
        return Acknowledgement(status=200, content_type="text/plain", body=b"")

    async def send(self, account: ChannelAccount, message: OutboundMessage) -> SendReceipt:
        """Hands one mail to SES, once; there is no idempotency key. Raises Throttled, ProviderUnavailable (not taken),
        OutcomeUnknown (perhaps taken) or Permanent.
        """
        url, headers, body = send_request(account, message, self._api_url, self._clock())
        answer = await self._api.exchange("POST", url, headers=headers, body=body)
        if not answer.ok:
            raise send_error(answer)
        identifier = text_of(answer.document(), "MessageId")
        if not identifier:
            raise OutcomeUnknown
        return SendReceipt(identifier, "Send", mail_message_id(identifier, account.credentials["region"]))

    async def aclose(self) -> None:
        """Closes the session that was made here."""
        await self._api.aclose()

    async def _confirm(
        self, account: ChannelAccount, document: Mapping[str, Any], downloads: Downloads
    ) -> None:
        """Asks the URL that SNS signed, at SNS's own host, so that only SNS can have made it."""
        host = check_topic(document, account.credentials["topic_arns"])
        url = confirmation_url(document, host)
        if self._api_url:
            url = self._api_url + url.removeprefix(f"https://{host}")
        await downloads.get(url)


def _document(request: InboundRequest) -> Mapping[str, Any]:
    """The post's object. Nothing else is verified, so that what is none is refused as unsigned; so is what pretends to
    have been fetched by us, for no signature covers a header.
    """
    if EVENT_HEADER in request.headers:
        raise VerificationFailed
    try:
        document = json.loads(request.body)
    except (ValueError, RecursionError):
        raise VerificationFailed from None
    if not isinstance(document, dict):
        raise VerificationFailed
    return document


def _fetched_event(request: InboundRequest) -> Mapping[str, Any] | None:
    """The event of a post whose mail was fetched by us; such a request never comes from outside, see ``parse``."""
    if request.headers.get("Content-Type") != FETCHED or EVENT_HEADER not in request.headers:
        return None
    return event_of(request.headers[EVENT_HEADER])


def _without_content(event: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != "content"}


def _object_error(answer: ApiAnswer) -> Exception:
    if answer.status == HTTPStatus.NOT_FOUND:
        return NotThere()  # SES writes the object before it tells, but S3's listing of rights may lag
    if answer.status in {HTTPStatus.FORBIDDEN, HTTPStatus.UNAUTHORIZED}:
        return BadCredentials("S3 does not let these credentials read the mail.")
    return error_of_status(answer, creates=False)
