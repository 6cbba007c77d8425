"""The Twilio channel: SMS and WhatsApp. The model for the other adapters; it only ties its parts together."""

from collections.abc import Mapping
from typing import Any

from channels.base import Acknowledgement, Channel, ChannelAccount, InboundItem, InboundRequest
from channels.signatures import verify_twilio
from channels.twilio_credentials import secret_values, tokens_in_force, valid_credentials
from channels.twilio_events import parse_request

EMPTY_TWIML = b'<?xml version="1.0" encoding="UTF-8"?><Response></Response>'


class TwilioAdapter:
    """A ChannelAdapter and SentLookup over Twilio's programmable messaging."""

    @property
    def name(self) -> str:
        return "twilio"

    @property
    def channels(self) -> frozenset[Channel]:
        return frozenset({Channel.SMS, Channel.WHATSAPP})

    def validate_credentials(self, credentials: Mapping[str, Any]) -> dict[str, Any]:
        """See ``channels.twilio_credentials.valid_credentials``; raises ValueError naming the field."""
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
