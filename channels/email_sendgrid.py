"""The SendGrid channel: mail through Inbound Parse, the Event Webhook and v3 Mail Send; it only ties its parts together.

There is no SentLookup: what was sent can be asked for by the Email Activity API alone, which is bought beside a plan. A
send of unknown outcome is settled by the events, which carry our id. Nor is it Reconcilable: received mail is not kept.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any

import aiohttp

from channels.abilities import MediaContent
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
from channels.basic_auth import verify_basic_auth
from channels.email_sendgrid_credentials import (
    event_keys,
    inbound_keys,
    inbound_logins,
    secret_values,
    valid_credentials,
)
from channels.email_sendgrid_events import parse_events
from channels.email_sendgrid_inbound import parse_mail, read_post
from channels.email_sendgrid_send import mail_payload, send_error
from channels.errors import OutcomeUnknown
from channels.mail_parts import mail_part
from channels.provider_api import TIMEOUT, ProviderApi
from channels.signatures_mail import verify_sendgrid

MESSAGE_ID = "X-Message-Id"


class SendGridAdapter:
    """A ChannelAdapter with MediaInPost over SendGrid. ``api_url`` is the operator's base URL (a stand-in may answer
    there), ``clock`` gives the time in UTC. Without ``session`` one is made at the first send and closed by ``aclose``.
    """

    name = "sendgrid"
    channels = frozenset({Channel.EMAIL})
    body_cap = 35 * 1024 * 1024  # Bytes: mails of 30 MB (docs) and the form around their parts
    refusal_status = HTTPStatus.FORBIDDEN
    own_fault = OwnFault.RETRIED  # A 5xx is repeated for three days, of events for one

    def __init__(
        self,
        api_url: str,
        clock: Callable[[], datetime],
        session: aiohttp.ClientSession | None = None,
        timeout: aiohttp.ClientTimeout = TIMEOUT,
    ) -> None:
        self._send_url = f"{api_url}/v3/mail/send"
        self._clock = clock
        self._api = ProviderApi(session, timeout)

    def validate_credentials(self, credentials: Mapping[str, Any]) -> dict[str, Any]:
        """``api_key``; ``event_public_key`` of the Event Webhook; for Inbound Parse ``inbound_public_key`` (of its security
        policy) or ``inbound_basic_auth`` (``{username, password}`` in the hook's URL), at least one: where there is a
        key, only its signature counts. Still accepted while one is changed: ``event_public_keys_previous[]``,
        ``inbound_public_keys_previous[]``, ``inbound_basic_auths_previous[]``. Raises ValueError naming the field.
        """
        return valid_credentials(credentials)

    def redact(self, credentials: Mapping[str, Any]) -> frozenset[str]:
        """The API key and the logins of the hook, in every form in which they travel."""
        return secret_values(credentials)

    def verify(self, account: ChannelAccount, request: InboundRequest) -> None:
        """Raises VerificationFailed unless the post is signed for a key of its kind, or brings the hook's login where
        no key is set: with a key, a login alone proves nothing.
        """
        credentials = account.credentials
        if _is_events(request):
            verify_sendgrid(request, event_keys(credentials))
        elif keys := inbound_keys(credentials):
            verify_sendgrid(request, keys)
        else:
            verify_basic_auth(request, inbound_logins(credentials))

    def parse(self, account: ChannelAccount, request: InboundRequest) -> tuple[InboundItem, ...]:
        """The mail or the events of a verified request, whichever hook it came to; raises MalformedPayload."""
        return parse_events(request.body) if _is_events(request) else parse_mail(account, request)

    def read_part(self, account: ChannelAccount, request: InboundRequest, url: str) -> MediaContent:  # noqa: ARG002 - the protocol's
        """A file of a stored post; raises MalformedPayload where it has none of that name."""
        return mail_part(read_post(request), url)

    def acknowledge(self) -> Acknowledgement:
        return Acknowledgement(status=200, content_type="text/plain", body=b"")

    async def send(self, account: ChannelAccount, message: OutboundMessage) -> SendReceipt:
        """Hands one mail to SendGrid, once; there is no idempotency key. Raises Throttled, ProviderUnavailable (not
        taken), OutcomeUnknown (perhaps taken) or Permanent.
        """
        answer = await self._api.exchange(
            "POST",
            self._send_url,
            headers={
                "Authorization": f"Bearer {account.credentials['api_key']}",
                "Content-Type": "application/json",
            },
            body=json.dumps(mail_payload(account, message)).encode(),
        )
        if not answer.ok:
            raise send_error(answer, self._clock())
        if answer.status != HTTPStatus.ACCEPTED:  # whatever answered was not SendGrid
            raise OutcomeUnknown
        identifier = answer.headers.get(MESSAGE_ID) or str(message.id)
        return SendReceipt(provider_message_id=identifier, provider_status="accepted")

    async def aclose(self) -> None:
        """Closes the session that was made here."""
        await self._api.aclose()


def _is_events(request: InboundRequest) -> bool:
    """What a post is decides, not the hook: two URLs swapped at SendGrid must lose nothing."""
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return kind == "application/json"
