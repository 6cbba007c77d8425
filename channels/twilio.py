"""The Twilio channel: SMS and WhatsApp. The model for the other adapters; it only ties its parts together."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

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
from channels.provider_api import TIMEOUT, ProviderApi
from channels.signatures import verify_twilio
from channels.splitting import split_text
from channels.twilio_api import TWILIO_API, TwilioApi
from channels.twilio_credentials import secret_values, tokens_in_force, valid_credentials
from channels.twilio_events import parse_request
from channels.twilio_held import held_posts
from channels.twilio_send import is_same, lookup_query, message_fields

if TYPE_CHECKING:
    from channels.twilio_messages import TwilioMessages

EMPTY_TWIML = b'<?xml version="1.0" encoding="UTF-8"?><Response></Response>'
LONGEST_CAPTION = 1024  # WhatsApp's own, docs, "Send media messages"
LONGEST_BODY = 1600  # docs, "Messages resource": a longer one is refused (21617)
# docs, "Messages resource", and help centre, "Sending and receiving media with WhatsApp": a second file is dropped
MOST_FILES: Mapping[Channel, int] = {Channel.SMS: 10, Channel.WHATSAPP: 1}
LOOKUP_LIMIT = 200  # messages to one recipient that are looked through, the newest first


class TwilioAdapter:
    """A ChannelAdapter over Twilio's programmable messaging; also SentLookup, TextParts, ShowsTyping, MediaSource and
    Reconcilable.

    ``api_url`` is the operator's base URL (a sandbox may stand in). Without ``session`` one is made at the
    first send and closed by ``aclose``; a given session stays the giver's.
    """

    name = "twilio"
    channels = frozenset({Channel.SMS, Channel.WHATSAPP})
    body_cap = 256 * 1024  # Bytes; Twilio's largest form is far below
    refusal_status = HTTPStatus.FORBIDDEN
    # A 5xx is not repeated by default (docs, "Webhooks connection overrides")
    own_fault = OwnFault.LOST

    def __init__(
        self,
        api_url: str = TWILIO_API,
        session: aiohttp.ClientSession | None = None,
        timeout: aiohttp.ClientTimeout = TIMEOUT,
    ) -> None:
        self._api_url = api_url
        self._exchanges = ProviderApi(session, timeout)
        self._api = TwilioApi(self._exchanges, api_url)

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

    def split_text(self, channel: Channel, text: str) -> tuple[str, ...]:  # noqa: ARG002 - one limit for both channels
        """The text in parts of at most 1600 characters."""
        return split_text(text, LONGEST_BODY)

    def files_at_once(self, channel: Channel) -> int:
        """How many files one message takes."""
        return MOST_FILES[channel]

    def longest_caption(self, channel: Channel) -> int:
        """How much text may be with a file."""
        return LONGEST_CAPTION if channel is Channel.WHATSAPP else LONGEST_BODY

    async def send(self, account: ChannelAccount, message: OutboundMessage) -> SendReceipt:
        """Hands one message to Twilio, once; there is no idempotency key, so nothing here repeats a request.

        The status callback gets our id and the part as its parameters, since it may come before this receipt. Raises
        Throttled, ProviderUnavailable (not taken), OutcomeUnknown (perhaps taken: ask ``find_sent``), Permanent or
        PolicyError.
        """
        return await self._messages().create(account, message_fields(account, message))

    async def find_sent(
        self, account: ChannelAccount, message: OutboundMessage, since: datetime, known_ids: frozenset[str]
    ) -> SendReceipt | None:
        """The receipt of a send of unknown outcome: the oldest message with this recipient and text since
        ``since``.

        Twilio can filter by the date of sending only, which a queued message has not got, so the date of
        creation is compared here. With a messaging service the sender is not known beforehand, so the service
        is compared. Raises Temporary or Permanent.
        """
        found = [
            sent
            async for sent in self._messages().listed(account, lookup_query(account, message), LOOKUP_LIMIT)
            if sent.sid not in known_ids and is_same(sent, account, message, since)
        ]
        return min(found, key=lambda sent: sent.created).receipt() if found else None

    async def show_typing(self, account: ChannelAccount, recipient: str, provider_message_id: str) -> None:  # noqa: ARG002 - Twilio finds it by the message
        """Marks a WhatsApp message as read and shows its writer for at most 25 seconds that an answer is being
        written; nothing for SMS. Raises Temporary or Permanent.
        """
        if account.channel is Channel.WHATSAPP:
            await self._api.show_typing(account, provider_message_id)

    async def fetch_media(self, account: ChannelAccount, url: str, downloads: Downloads) -> MediaContent:
        """A received file; raises NotThere (it may come later), TooLarge, Temporary, Permanent or PolicyError."""
        return await downloads.get(url, self._api.authorisation_for(account, url))

    def list_held(
        self,
        account: ChannelAccount,
        since: datetime,
        downloads: Downloads,  # noqa: ARG002 - the list is at the operator's own base URL
    ) -> AsyncIterator[HeldPost]:
        """See ``channels.twilio_held.held_posts``."""
        return held_posts(self._messages(), account, since)

    async def aclose(self) -> None:
        """Closes the session that this adapter made for itself."""
        await self._exchanges.aclose()

    def _messages(self) -> "TwilioMessages":
        # 12 MB and 0.1 s (twilio 9.13): a process that sends nothing by Twilio does without its client
        from channels.twilio_messages import TwilioMessages  # noqa: PLC0415

        return TwilioMessages(self._exchanges, self._api_url)
