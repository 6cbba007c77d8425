"""The Mailgun channel: mail through routes, event webhooks and the messages API; it only ties its parts together."""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
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
from channels.basic_auth import basic_credentials
from channels.credentials import check_names, list_of, matching, optional
from channels.email_mailgun_api import (
    REGION_URLS,
    authorisation,
    epoch,
    fetch_stored,
    is_mailgun,
    list_events,
    mail_form,
    receipt_id,
    receipt_of,
    send_error,
    stored_recipients,
    trusted_authorisation,
)
from channels.email_mailgun_events import message_id_of, parse_event
from channels.email_mailgun_inbound import is_event, parse_mail, read_post, signed_fields
from channels.errors import MalformedPayload, ProviderUnavailable, VerificationFailed
from channels.json_posts import object_of, text_of
from channels.mail_events import OUR_ID, time_of
from channels.mail_parts import mail_part
from channels.provider_api import TIMEOUT, ProviderApi
from channels.signatures_mail import verify_mailgun

# A post is repeated for eight hours (docs), and nothing says whether it is signed anew; what makes an old one harmless
# is that its token serves one body (see ``one_time_token``).
TOLERANCE = timedelta(hours=8, minutes=30)
# Events become known with a delay; "30 minutes" is when they can be relied on (docs, "Event Polling").
SETTLED = timedelta(minutes=30)
SOON = 60.0  # seconds until it is asked again while the send is younger than that
CLOCK_TOLERANCE = timedelta(minutes=5)
# Of one label, too: a stand-in's may be.
DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9-]+(?:\.[a-z0-9-]+)*", re.ASCII | re.IGNORECASE)
REGION = re.compile(r"us|eu", re.ASCII | re.IGNORECASE)
FIELDS = frozenset({"api_key", "signing_key", "signing_keys_previous", "domain", "region"})


class MailgunAdapter:
    """A ChannelAdapter with OneTimeTokens, MediaInPost, MediaSource, SentLookup and Reconcilable over Mailgun.

    ``api_url`` is the operator's base URL, where there is none the account's region decides; ``clock`` gives the time in
    UTC. Without ``session`` one is made at the first exchange and closed by ``aclose``.
    """

    name = "mailgun"
    channels = frozenset({Channel.EMAIL})
    # Bytes: mails of 25 MB (docs), percent-encoded where they have no files
    body_cap = 35 * 1024 * 1024
    refusal_status = HTTPStatus.FORBIDDEN
    # Whatever is neither 200 nor 406 is repeated for eight hours; 406, which would end that, is never answered
    own_fault = OwnFault.RETRIED

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

    def validate_credentials(self, credentials: Mapping[str, Any]) -> dict[str, Any]:
        """``api_key``, ``signing_key`` (of HTTP webhooks), ``signing_keys_previous[]`` (still accepted while it is
        changed), ``domain`` (that sends), ``region`` (us or eu; absent: us). Raises ValueError naming the field.
        """
        check_names(credentials, FIELDS)
        return {
            "api_key": matching(credentials, "api_key"),
            "signing_key": matching(credentials, "signing_key"),
            "signing_keys_previous": list_of(credentials, "signing_keys_previous"),
            "domain": matching(credentials, "domain", DOMAIN).lower(),
            **{name: region.lower() for name, region in optional(credentials, "region", REGION).items()},
        }

    def redact(self, credentials: Mapping[str, Any]) -> frozenset[str]:
        """The keys, and the API key as it travels."""
        login = {"username": "api", "password": credentials["api_key"]}
        return frozenset((credentials["api_key"], basic_credentials(login), *_signing_keys(credentials)))

    def verify(self, account: ChannelAccount, request: InboundRequest) -> None:
        """Raises VerificationFailed unless a signing key of the account signed the post's timestamp and token, lately."""
        try:
            signed = signed_fields(request)
        except MalformedPayload:
            raise VerificationFailed from None
        verify_mailgun(signed, _signing_keys(account.credentials), self._clock(), TOLERANCE)

    def one_time_token(self, account: ChannelAccount, request: InboundRequest) -> str:  # noqa: ARG002 - the protocol's
        """The token of a verified post."""
        return signed_fields(request)["token"]

    def parse(self, account: ChannelAccount, request: InboundRequest) -> tuple[InboundItem, ...]:
        """The mail or the event of a verified request, whichever hook it came to; raises MalformedPayload."""
        return parse_event(request.body) if is_event(request) else parse_mail(account, request)

    def read_part(self, account: ChannelAccount, request: InboundRequest, url: str) -> MediaContent:  # noqa: ARG002 - the protocol's
        """A file of a stored post; raises MalformedPayload where it has none of that name."""
        return mail_part(read_post(request), url)

    async def fetch_media(self, account: ChannelAccount, url: str, downloads: Downloads) -> MediaContent:
        """A file of a mail that Mailgun stores; raises EgressBlocked where the address is not Mailgun's."""
        return await downloads.get(url, trusted_authorisation(self._base(account), account, url))

    def acknowledge(self) -> Acknowledgement:
        return Acknowledgement(status=200, content_type="text/plain", body=b"")

    async def send(self, account: ChannelAccount, message: OutboundMessage) -> SendReceipt:
        """Hands one mail to Mailgun, once; there is no idempotency key. Raises Throttled, ProviderUnavailable (not
        taken), OutcomeUnknown (perhaps taken: ask ``find_sent``) or Permanent.
        """
        answer = await self._api.exchange(
            "POST",
            f"{self._base(account)}/v3/{account.credentials['domain']}/messages",
            headers=authorisation(account),
            body=mail_form(account, message),
        )
        if not answer.ok:
            raise send_error(answer)
        return receipt_of(message, receipt_id(answer))

    async def find_sent(
        self,
        account: ChannelAccount,
        message: OutboundMessage,
        since: datetime,
        known_ids: frozenset[str],  # noqa: ARG002 - our own id among the event's variables is surer
    ) -> SendReceipt | None:
        """The receipt of a send of unknown outcome, by our id in the variables of its event. That Mailgun knows of none
        counts only once its events can be relied on: before that it raises ProviderUnavailable, as for other faults.
        """
        terms = {"event": "accepted", "recipient": message.recipient, "begin": epoch(since - CLOCK_TOLERANCE)}
        async for event in list_events(self._api, self._base(account), account, terms):
            if text_of(object_of(event, "user-variables"), OUR_ID) == str(message.id):
                return receipt_of(message, message_id_of(event))
        elapsed = self._clock() - since
        if elapsed < SETTLED:
            wait = SOON if elapsed.total_seconds() < SOON else (SETTLED - elapsed).total_seconds()
            raise ProviderUnavailable(retry_after=wait)
        return None

    async def list_held(
        self, account: ChannelAccount, since: datetime, downloads: Downloads
    ) -> AsyncIterator[HeldPost]:
        """The mails to the account's address that Mailgun received since ``since``, as long as it stores them: three
        days. Raises Temporary or Permanent.
        """
        base, seen = self._base(account), set[tuple[str, str]]()
        terms = {"event": "accepted OR stored", "begin": epoch(since)}
        async for event in list_events(self._api, base, account, terms):
            url = text_of(object_of(event, "storage"), "url")
            for recipient in stored_recipients(event):
                known = (url, recipient.lower())
                if known in seen or not is_mailgun(base, url) or not _is_own(account, recipient):
                    continue
                seen.add(known)
                held = await self._held(
                    account, await fetch_stored(base, account, event, recipient, downloads)
                )
                if held is not None:
                    yield replace(held, received_at=time_of(event.get("timestamp")))

    async def _held(self, account: ChannelAccount, request: InboundRequest | None) -> HeldPost | None:
        try:
            return HeldPost(request, self.parse(account, request)) if request else None
        except MalformedPayload:  # one mail that cannot be read keeps nobody from the others
            return None

    async def aclose(self) -> None:
        """Closes the session that was made here."""
        await self._api.aclose()

    def _base(self, account: ChannelAccount) -> str:
        return self._api_url or REGION_URLS[account.credentials.get("region") or "us"]


def _signing_keys(credentials: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys that may have signed a post, the newest first."""
    return (credentials["signing_key"], *(credentials.get("signing_keys_previous") or ()))


def _is_own(account: ChannelAccount, recipient: str) -> bool:
    """Whether a mail was for the account's address, with a plus part or without: others of the domain have accounts of
    their own.
    """
    local, _, domain = recipient.strip().lower().rpartition("@")
    return (
        recipient.strip().lower() == account.address
        or f"{local.partition('+')[0]}@{domain}" == account.address
    )
