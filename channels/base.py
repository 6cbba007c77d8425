"""What a channel is: bytes in, values out. An adapter knows its provider and nothing of tenants or tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable
from uuid import UUID


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
    """A file of a message, by the provider's address for it; fetched later by a job."""

    url: str
    content_type: str
    filename: str | None = None


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """A customer's message. ``provider_key`` is what the provider calls it, the key of the dedupe."""

    provider_key: str
    sender: str  # E.164 without a prefix, or an e-mail address
    recipient: str
    channel: Channel
    type: MessageType
    text: str
    attachments: tuple[Attachment, ...] = ()
    reply_to_provider_id: str | None = None
    profile_name: str | None = None
    consent: ConsentChange | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)  # location, button payload, …


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """What became of a message of ours. ``message_id`` is our own id where the callback carries it;
    ``opted_out``: it failed since its recipient told the provider that no more shall come.
    """

    provider_message_id: str
    status: MessageStatus
    message_id: UUID | None = None
    provider_status: str = ""
    error_code: str | None = None
    opted_out: bool = False

    @property
    def provider_key(self) -> str:
        """The key of the dedupe, ``id:status[:code]``: a provider's retry of a callback repeats all three."""
        parts = (self.provider_message_id, self.provider_status or self.status, self.error_code)
        return ":".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Ignored:
    """Understood and of no use to us, with the reason."""

    reason: str


InboundItem = InboundMessage | StatusUpdate | Ignored


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The answer that the provider expects once its post is durable."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class OutboundMessage:
    """What is to be sent; ``status_url`` is where the provider shall tell what became of it."""

    id: UUID
    channel: Channel
    recipient: str
    text: str
    status_url: str
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class SendReceipt:
    """The provider took the message under this id."""

    provider_message_id: str
    provider_status: str = ""


class ChannelAdapter(Protocol):
    """All that a provider's channel must do. Pure but for ``send``; ``channels.twilio`` is the model."""

    @property
    def name(self) -> str: ...

    @property
    def channels(self) -> frozenset[Channel]: ...

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


@runtime_checkable
class SentLookup(Protocol):
    """A provider that can be asked whether a send of unknown outcome was taken."""

    async def find_sent(
        self, account: ChannelAccount, message: OutboundMessage, since: datetime, known_ids: frozenset[str]
    ) -> SendReceipt | None:
        """The receipt of a message to the same recipient with the same text, made since ``since`` (UTC),
        whose id is none of ``known_ids``; None if the provider has none. Raises Temporary or Permanent.
        """
        ...
