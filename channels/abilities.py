"""What only some providers can do: a small protocol each. A caller asks ``isinstance``; an adapter that has not got it
has no line about it (ADR 11).
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol, runtime_checkable

from channels.base import (
    Acknowledgement,
    Channel,
    ChannelAccount,
    InboundItem,
    InboundRequest,
    OutboundMessage,
    SendReceipt,
)


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


@runtime_checkable
class IdempotentSends(Protocol):
    """A provider that takes a message's id as the key of its send: one of unknown outcome may be made again, with the
    same content, and the provider answers with the receipt of the first.
    """

    @property
    def repeatable_for(self) -> timedelta:
        """How long after the first try the provider knows the key."""
        ...


@runtime_checkable
class Challenge(Protocol):
    """A provider that asks by GET whether the hook is ours before it posts."""

    def answer_challenge(self, account: ChannelAccount, request: InboundRequest) -> Acknowledgement:
        """The answer; raises VerificationFailed."""
        ...


@runtime_checkable
class Preparing(Protocol):
    """A provider whose posts can be verified only with something that is fetched first (a certificate)."""

    async def prepare(self, account: ChannelAccount, request: InboundRequest) -> None:
        """Goes before ``verify``, and trusts nothing that the request says beyond what the provider's own rules allow.
        Raises VerificationFailed, or ProviderUnavailable where it cannot be had now.
        """
        ...


@runtime_checkable
class SharedHook(Protocol):
    """A provider whose one post may carry several accounts' messages."""

    def route_of(self, credentials: Mapping[str, Any]) -> str:
        """What the provider calls the account in its posts (``route`` of an item); stored in the clear to find it."""
        ...

    def only(self, request: InboundRequest, route: str) -> InboundRequest:
        """The request with nothing in its body but what is of that route: what its account may keep of it. It can be
        parsed as before, and not verified, for the signature was over the whole.
        """
        ...


@runtime_checkable
class OneTimeTokens(Protocol):
    """A provider whose signature does not cover the body: each token may be used for one body only."""

    def one_time_token(self, account: ChannelAccount, request: InboundRequest) -> str:
        """The token of a verified request."""
        ...


@dataclass(frozen=True, slots=True)
class MediaContent:
    """A file's bytes and what was said of them."""

    content: bytes = field(repr=False)
    content_type: str
    filename: str | None = None


class Downloads(Protocol):
    """GET through the guarded egress: at most the cap's bytes, few redirects, and ``headers`` (which may hold
    credentials) never to another origin than that of ``url``.
    """

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> MediaContent:
        """Raises NotThere (404, 410), TooLarge, EgressBlocked, DeliveryFault, LookupsBusy, Throttled,
        ProviderUnavailable, BadCredentials (401, 403) or ContentRefused (any other refusal).
        """
        ...


@runtime_checkable
class MediaSource(Protocol):
    """A provider whose files are fetched from it (``url`` of an inbound Attachment)."""

    async def fetch_media(self, account: ChannelAccount, url: str, downloads: Downloads) -> MediaContent:
        """The file; raises Temporary, Permanent or PolicyError."""
        ...


@runtime_checkable
class MediaInPost(Protocol):
    """A provider whose files are in the post itself (``part:N``): they are read from the stored post."""

    def read_part(self, account: ChannelAccount, request: InboundRequest, url: str) -> MediaContent:
        """The file of a stored request; raises MalformedPayload where it has none of that name."""
        ...


@runtime_checkable
class Deferring(Protocol):
    """A provider whose post is a hint only (see ``DeferredPost``)."""

    async def fetch_deferred(
        self, account: ChannelAccount, request: InboundRequest, downloads: Downloads
    ) -> tuple[InboundRequest, tuple[InboundItem, ...]]:
        """What the stored ``request`` stands for: the items, and the request from which they can be read again (its
        body is what was fetched). May be called again after a crash. Raises Temporary, Permanent or PolicyError.
        """
        ...


@runtime_checkable
class TextParts(Protocol):
    """A provider that takes texts up to a length only."""

    def split_text(self, channel: Channel, text: str) -> tuple[str, ...]:
        """The text in parts that the provider takes, in order, every character kept; one part if it fits."""
        ...


@runtime_checkable
class FewFiles(Protocol):
    """A provider whose one message takes so many files only; further ones leave in messages of their own."""

    def files_at_once(self, channel: Channel) -> int:
        """At least 1."""
        ...


@runtime_checkable
class Captions(Protocol):
    """A provider that takes less text with a file than alone."""

    def longest_caption(self, channel: Channel) -> int:
        """In characters; a longer text leaves in a message of its own."""
        ...


@runtime_checkable
class OffersButtons(Protocol):
    """A provider that shows buttons under a message; elsewhere their titles stand as lines of its text."""

    def takes_buttons(self, message: OutboundMessage) -> bool:
        """Whether this message can have the buttons that it has."""
        ...


@runtime_checkable
class ShowsTyping(Protocol):
    """A provider that can show the customer that an answer is being written."""

    async def show_typing(self, account: ChannelAccount, recipient: str, provider_message_id: str) -> None:
        """For the inbound message of that id; raises Temporary or Permanent, which nobody waits for."""
        ...


@dataclass(frozen=True, slots=True)
class HeldPost:
    """Something that the provider holds, as a request that could be read again, and what it says. ``received_at`` is when
    the provider had it, aware UTC; None where the provider does not say.
    """

    request: InboundRequest
    items: tuple[InboundItem, ...]
    received_at: datetime | None = None


@runtime_checkable
class Reconcilable(Protocol):
    """A provider that can be asked for what it received, so that holes are closed."""

    def list_held(
        self, account: ChannelAccount, since: datetime, downloads: Downloads
    ) -> AsyncIterator[HeldPost]:
        """What the account received since ``since`` (UTC), the oldest first, with the provider keys that its hook would
        give. Raises Temporary or Permanent.
        """
        ...
