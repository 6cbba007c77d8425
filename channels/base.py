"""What a channel is: bytes in, values out. An adapter knows its provider and nothing of tenants or tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from channels.mail_tokens import NamedMail


class Channel(StrEnum):
    """The channels that customers chat over."""

    WHATSAPP = "WHATSAPP"
    SMS = "SMS"
    EMAIL = "EMAIL"


class MessageType(StrEnum):
    """What a message is, whatever its provider calls it."""

    TEXT = "TEXT"
    IMAGE = "IMAGE"
    AUDIO = "AUDIO"
    VIDEO = "VIDEO"
    FILE = "FILE"
    LOCATION = "LOCATION"
    CONTACT = "CONTACT"
    BUTTON_REPLY = "BUTTON_REPLY"
    REACTION = "REACTION"
    ORDER = "ORDER"
    TEMPLATE = "TEMPLATE"
    UNSUPPORTED = "UNSUPPORTED"


class MessageStatus(StrEnum):
    """A message's life; RECEIVED is inbound, the others are outbound."""

    RECEIVED = "RECEIVED"
    QUEUED = "QUEUED"
    SENDING = "SENDING"
    SENT = "SENT"
    DELIVERED = "DELIVERED"
    READ = "READ"
    FAILED = "FAILED"


class ConsentChange(StrEnum):
    """A customer's wish about being written to, as the provider or a keyword tells it."""

    OUT = "OUT"
    IN = "IN"


@dataclass(frozen=True, slots=True)
class ChannelAccount:
    """A tenant's account at a provider, its secrets opened; ``address`` is E.164 or an e-mail address."""

    id: UUID
    distributor_id: UUID
    channel: Channel
    provider: str
    address: str
    credentials: Mapping[str, Any] = field(repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InboundRequest:
    """A provider's post as it came: ``url`` is the configured public URL plus the raw path and query of the
    request.
    """

    method: str
    url: str
    headers: Mapping[str, str]  # case-insensitive
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of a message. Inbound: ``url`` is where the provider keeps it, fetched later by a job (https://…, or
    the adapter's own ``media:ID`` for a file by id, ``part:N`` for a file in the post itself). Outbound: a public
    ``url`` that the provider fetches, or the ``content`` itself.
    """

    url: str
    content_type: str
    filename: str | None = None
    content_id: str | None = None  # what a mail's HTML calls an inline file, without its angle brackets
    content: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class MailThread:
    """What a mail says of the thread it belongs to; RFC 5322 section 3.6.4. Ids are without angle brackets. All of
    it is written by the sender, so that it finds nothing outside the account's own conversations.
    """

    message_id: str
    subject: str = ""
    in_reply_to: tuple[str, ...] = ()
    references: tuple[str, ...] = ()  # the oldest first
    reply_tokens: tuple[str, ...] = ()  # of plus-addresses it was sent to, the most trusted hint
    body_tokens: tuple[str, ...] = ()  # of our markers in the quoted text
    closing_token: str | None = None  # of a marker under the writer's own words: a gateway wrote them

    @property
    def root_id(self) -> str:
        """The id that all mails of the thread share: what parallel replies to one mail agree on."""
        return (*self.references, *self.in_reply_to, self.message_id)[0]


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """A customer's message. ``provider_key`` is what the provider calls it, the key of the dedupe.

    ``sender`` is E.164 without a prefix, an e-mail address, or a WhatsApp user id where there is no number;
    ``sender_user_id`` is the latter beside a number. ``route`` is whose it is in a post that may carry several
    accounts' messages (see ``SharedHook``); empty: the account's of the URL. ``automated`` says why a machine must
    have written it: it is stored, and neither understood nor answered.
    """

    provider_key: str
    sender: str
    recipient: str
    channel: Channel
    type: MessageType
    text: str
    attachments: tuple[Attachment, ...] = ()
    reply_to_provider_id: str | None = None
    profile_name: str | None = None
    consent: ConsentChange | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)  # location, button payload, …
    sender_user_id: str | None = None
    thread: MailThread | None = None
    automated: str | None = None
    sent_at: datetime | None = None  # by the provider's clock, aware UTC
    route: str = ""


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """What became of a message of ours. ``message_id`` is our own id where the callback carries it; ``opted_out``: it
    failed since its recipient told the provider that no more shall come. ``reason`` is our word for a failure, the ``code``
    of an error class. ``part`` counts from 1 where the text went out in several messages; ``occurred_at`` is aware UTC.
    """

    provider_message_id: str
    status: MessageStatus
    message_id: UUID | None = None
    provider_status: str = ""
    error_code: str | None = None
    opted_out: bool = False
    part: int | None = None
    occurred_at: datetime | None = None
    route: str = ""
    reason: str | None = None
    named_mail: NamedMail | None = None  # it holds only if that was sent

    @property
    def provider_key(self) -> str:
        """The key of the dedupe, ``id:status[:code]``: a provider's retry of a callback repeats all three."""
        parts = (self.provider_message_id, self.provider_status or self.status, self.error_code)
        return ":".join(part for part in parts if part)


class SuppressionReason(StrEnum):
    """Why an address may not be written to, or may again."""

    BOUNCE = "bounce"  # the address does not exist
    COMPLAINT = "complaint"  # the recipient called us spam
    UNSUBSCRIBE = "unsubscribe"
    RESUBSCRIBE = "resubscribe"


@dataclass(frozen=True, slots=True)
class ConsentUpdate:
    """The provider tells of an address, not of one message, that it wants or takes no more (or more again)."""

    provider_key: str
    address: str
    change: ConsentChange
    reason: SuppressionReason
    occurred_at: datetime | None = None
    route: str = ""
    named_mail: NamedMail | None = None  # it holds only if that went to the address


@dataclass(frozen=True, slots=True)
class DeferredPost:
    """The post only tells that there is something to fetch or to confirm: it is stored, and a job asks the adapter
    (see ``Deferring``) until it is had. ``provider_key`` is the key of the dedupe.
    """

    provider_key: str
    route: str = ""


@dataclass(frozen=True, slots=True)
class Ignored:
    """Understood and of no use to us, with the reason."""

    reason: str
    route: str = ""


InboundItem = InboundMessage | StatusUpdate | ConsentUpdate | DeferredPost | Ignored


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The answer that the provider expects once its post is durable."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class OutboundTemplate:
    """A text that the provider approved beforehand; ``variables`` by name, in the template's order."""

    name: str
    language: str
    provider_template_id: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReplyButton:
    """A button under a message. A press of it comes in as a BUTTON_REPLY: the title as its text, the ``id`` in its
    metadata.
    """

    id: str
    title: str


@dataclass(frozen=True, slots=True)
class MailHeaders:
    """A mail's headers beside sender, recipient and files. Ids are without angle brackets; ``automatic``: a program
    wrote it (RFC 3834, ``Auto-Submitted``).
    """

    subject: str
    message_id: str
    reply_to: str | None = None
    in_reply_to: str | None = None
    references: tuple[str, ...] = ()
    automatic: bool = True


@dataclass(frozen=True, slots=True)
class OutboundMessage:
    """What is to be sent; ``status_url`` is where the provider shall tell what became of it. ``id`` is also the
    idempotency key where a provider takes one. ``part`` of ``parts`` where a text leaves in several messages.
    """

    id: UUID
    channel: Channel
    recipient: str
    text: str
    status_url: str
    attachments: tuple[Attachment, ...] = ()
    template: OutboundTemplate | None = None
    mail: MailHeaders | None = None
    reply_to_provider_id: str | None = None
    buttons: tuple[ReplyButton, ...] = ()
    part: int = 1
    parts: int = 1


@dataclass(frozen=True, slots=True)
class SendReceipt:
    """The provider took the message under this id. ``mail_message_id`` is the Message-ID that a mail left with, where
    the provider puts its own in the place of ours; without angle brackets.
    """

    provider_message_id: str
    provider_status: str = ""
    mail_message_id: str | None = None


class OwnFault(StrEnum):
    """What a provider makes of our own fault; the retry matrix as data."""

    RETRIED = "retried"  # it posts again for hours: it is answered 503
    LOST = "lost"  # it does not, or not for long enough: the post goes to the spool on disk and is answered as taken


class ChannelAdapter(Protocol):
    """All that a provider's channel must do. Pure but for ``send``; ``channels.twilio`` is the model."""

    @property
    def name(self) -> str: ...

    @property
    def channels(self) -> frozenset[Channel]: ...

    @property
    def body_cap(self) -> int:
        """The largest post in bytes that the provider may make."""
        ...

    @property
    def refusal_status(self) -> int:
        """What a wrong signature is answered with: 403, or what the provider does not take for an order to stop."""
        ...

    @property
    def own_fault(self) -> OwnFault: ...

    def validate_credentials(self, credentials: Mapping[str, Any]) -> dict[str, Any]:
        """The credentials as stored; raises ValueError naming the wrong field, never its value."""
        ...

    def redact(self, credentials: Mapping[str, Any]) -> frozenset[str]:
        """The values that may never reach a log, a trace or an answer."""
        ...

    def verify(self, account: ChannelAccount, request: InboundRequest) -> None:
        """Raises VerificationFailed unless one of the account's active secrets signed the request."""
        ...

    def parse(self, account: ChannelAccount, request: InboundRequest) -> tuple[InboundItem, ...]:
        """What a verified request says; raises MalformedPayload."""
        ...

    def acknowledge(self) -> Acknowledgement: ...

    async def send(self, account: ChannelAccount, message: OutboundMessage) -> SendReceipt:
        """Hands one message to the provider; raises Temporary, Permanent or PolicyError."""
        ...

    async def aclose(self) -> None:
        """Lets go of the connections that the adapter made for itself."""
        ...
