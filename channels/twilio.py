"""The Twilio channel: SMS and WhatsApp. The model for the other adapters; it only ties its parts together."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

import aiohttp
from twilio.base import values
from twilio.base.exceptions import TwilioException
from twilio.rest.api.v2010.account.message import MessageInstance, MessageList

from channels.addresses import WHATSAPP_PREFIX
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
from channels.errors import OutcomeUnknown, ProviderUnavailable
from channels.forms import form_pairs, form_text, query_of
from channels.signatures import verify_twilio
from channels.twilio_api import TIMEOUT, TWILIO_API, Transport, api_session, rest_client
from channels.twilio_credentials import secret_values, tokens_in_force, valid_credentials
from channels.twilio_events import MESSAGE_SID, OUR_ID, parse_request

EMPTY_TWIML = b'<?xml version="1.0" encoding="UTF-8"?><Response></Response>'
TRIAL_PREFIX = "Sent from your Twilio trial account - "  # put before the text of a trial account
# Twilio's times are whole seconds of another clock, and ours may be ahead of it. Minutes do no harm: our earlier messages of
# the same words are among the known ids.
CLOCK_TOLERANCE = timedelta(minutes=5)
# what the library raises where a success does not have the documented form
UNREADABLE = (TwilioException, AttributeError, KeyError, TypeError, ValueError)
LOOKUP_LIMIT = 200  # messages to one recipient that are looked through, the newest first
# docs, "Webhooks connection overrides": without them Twilio does not repeat a failed callback. A fragment is
# neither sent nor signed
CALLBACK_RETRIES = "#rc=5&rp=all"


class TwilioAdapter:
    """A ChannelAdapter and SentLookup over Twilio's programmable messaging.

    ``api_url`` is the operator's base URL (a sandbox may stand in). Without ``session`` one is made at the
    first send and closed by ``aclose``; a given session stays the giver's.
    """

    def __init__(
        self,
        api_url: str = TWILIO_API,
        session: aiohttp.ClientSession | None = None,
        timeout: aiohttp.ClientTimeout = TIMEOUT,
    ) -> None:
        self._api_url = api_url
        self._given_session = session
        self._own_session: aiohttp.ClientSession | None = None
        self._timeout = timeout

    @property
    def name(self) -> str:
        return "twilio"

    @property
    def channels(self) -> frozenset[Channel]:
        return frozenset({Channel.SMS, Channel.WHATSAPP})

    @property
    def body_cap(self) -> int:
        """Bytes; Twilio's largest form is far below."""
        return 256 * 1024

    @property
    def refusal_status(self) -> int:
        return HTTPStatus.FORBIDDEN

    @property
    def own_fault(self) -> OwnFault:
        """A 5xx is not repeated by default (docs, "Webhooks connection overrides")."""
        return OwnFault.LOST

    def validate_credentials(self, credentials: Mapping[str, Any]) -> dict[str, Any]:
        """`account_sid` (AC…), `auth_token`; where wanted `auth_tokens_previous` (a list, still accepted while one is
        rotated), `messaging_service_sid` (MG…), `signing_keys` (an object of key ids and secrets).
        """
        return valid_credentials(credentials)

    def redact(self, credentials: Mapping[str, Any]) -> frozenset[str]:
        """The tokens, signing secrets and authorisation values that may never be shown."""
        return secret_values(credentials)

    def verify(self, account: ChannelAccount, request: InboundRequest) -> None:
        """Raises VerificationFailed unless a token or signing key of the account signed the request."""
        signing_keys = account.credentials.get("signing_keys") or {}
        verify_twilio(request, tokens_in_force(account.credentials), signing_keys)

    def parse(self, account: ChannelAccount, request: InboundRequest) -> tuple[InboundItem, ...]:
        """The message or status of a verified request; raises MalformedPayload."""
        return parse_request(account, request)

    def acknowledge(self) -> Acknowledgement:
        """Empty TwiML: Twilio shall say nothing itself, replies go out through the REST API."""
        return Acknowledgement(status=200, content_type="text/xml", body=EMPTY_TWIML)

    async def send(self, account: ChannelAccount, message: OutboundMessage) -> SendReceipt:
        """Hands one message to Twilio, once; there is no idempotency key, so nothing here repeats a request.

        The status callback gets our id as its ``message`` parameter, since it may come before this receipt.
        Texts over 1600 characters are refused by Twilio (21617, ContentRefused): who builds replies keeps to
        it. Raises Throttled, ProviderUnavailable (not taken), OutcomeUnknown (perhaps taken: ask
        ``find_sent``), Permanent or PolicyError.
        """
        request = _request(account, message)
        try:
            created = await self._messages(account).create_async(**request)
        except UNREADABLE:
            raise OutcomeUnknown from None
        if not isinstance(created.sid, str) or not MESSAGE_SID.fullmatch(created.sid):
            raise OutcomeUnknown
        return _receipt(created)

    async def find_sent(
        self, account: ChannelAccount, message: OutboundMessage, since: datetime, known_ids: frozenset[str]
    ) -> SendReceipt | None:
        """The receipt of a send of unknown outcome: the oldest message with this recipient and text since
        ``since``.

        Twilio can filter by the date of sending only, which a queued message has not got, so the date of
        creation is compared here. With a messaging service the sender is not known beforehand, so the service
        is compared. Raises Temporary or Permanent.
        """
        try:
            listed = await self._messages(account).list_async(
                to=_party(message.channel, message.recipient),
                from_=values.unset if _service(account) else _party(message.channel, account.address),
                limit=LOOKUP_LIMIT,
                page_size=LOOKUP_LIMIT,
            )
        except UNREADABLE:
            raise ProviderUnavailable from None
        service = _service(account)
        matches = [
            sent
            for sent in listed
            if _is_same(sent, message, since) and _is_from(sent, service) and sent.sid not in known_ids
        ]
        return _receipt(min(matches, key=_created)) if matches else None

    async def aclose(self) -> None:
        """Closes the session that this adapter made for itself."""
        if self._own_session is not None:
            await self._own_session.close()
            self._own_session = None

    def _messages(self, account: ChannelAccount) -> MessageList:
        transport = Transport(self._session(), self._api_url, self._timeout)
        return rest_client(account, transport).messages

    def _session(self) -> aiohttp.ClientSession:
        if self._given_session is not None:
            return self._given_session
        if self._own_session is None:
            self._own_session = api_session()
        return self._own_session


def status_callback(url: str, message: OutboundMessage) -> str:
    """The callback's URL with our message's id in its query and Twilio's retries in its fragment."""
    bare = url.partition("#")[0]
    if OUR_ID not in form_text(form_pairs(query_of(bare))):
        bare += f"{'&' if '?' in bare else '?'}{OUR_ID}={message.id}"
    return bare + CALLBACK_RETRIES


def _request(account: ChannelAccount, message: OutboundMessage) -> dict[str, Any]:
    service = _service(account)
    own = {"from_": _party(message.channel, account.address)}
    media = [attachment.url for attachment in message.attachments]
    return {
        "to": _party(message.channel, message.recipient),
        "status_callback": status_callback(message.status_url, message)
        if message.status_url
        else values.unset,
        "body": message.text or values.unset,
        "media_url": media or values.unset,
        **({"messaging_service_sid": service} if service else own),
    }


def _service(account: ChannelAccount) -> str | None:
    return account.credentials.get("messaging_service_sid")


def _party(channel: Channel, address: str) -> str:
    return WHATSAPP_PREFIX + address if channel is Channel.WHATSAPP else address


def _receipt(sent: MessageInstance) -> SendReceipt:
    return SendReceipt(provider_message_id=str(sent.sid), provider_status=str(sent.status or ""))


def _is_same(sent: MessageInstance, message: OutboundMessage, since: datetime) -> bool:
    return (
        str(sent.direction).startswith("outbound")
        and sent.to == _party(message.channel, message.recipient)
        and (sent.body or "").removeprefix(TRIAL_PREFIX) == message.text
        and sent.date_created is not None
        and _created(sent) >= since - CLOCK_TOLERANCE
    )


def _is_from(sent: MessageInstance, service: str | None) -> bool:
    """Whether the account's own service sent it; without one Twilio was asked for the sender's messages only."""
    return service is None or sent.messaging_service_sid == service


def _created(sent: MessageInstance) -> datetime:
    assert sent.date_created is not None
    return sent.date_created
