"""What the conformance suite must know of a provider to put its adapter through every row of the quality table."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from channels.base import Channel, ChannelAdapter

Credentials = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Post:
    """A provider's request but for its host and path; ``status_hook``: it goes to the account's second hook."""

    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"
    query: str = ""
    status_hook: bool = False


CUSTOMER_MAILBOX = "ana@clientes.example"  # whom our mails of the suite go to
# (post, credentials of the signer, the whole URL that the provider calls, the provider's clock) -> the signed post
Sign = Callable[[Post, Credentials, str, datetime], Post]


class SendFault(StrEnum):
    """How the provider's side lets the next send go wrong."""

    THROTTLED = "throttled"  # 429 or the provider's word for it
    SERVER_ERROR = "server_error"
    HANG = "hang"  # no answer ever


@dataclass(frozen=True, slots=True)
class ProviderSide:
    """A stand-in that sends go to, and the adapters that lead there."""

    adapters: Mapping[str, ChannelAdapter]
    script: Callable[[SendFault], None]  # for the next send
    taken: Callable[[], int]  # sends that the provider took


@dataclass(frozen=True, slots=True)
class ChannelKit:
    """One provider's part of the suite. The posts are realistic and unsigned; ``sign`` signs as the provider does, with
    its own library where there is one.
    """

    provider: str
    channel: Channel
    address: str
    credentials: Credentials
    other: Credentials  # another account's: every secret differs, whatever names the account differs
    sign: Sign
    # A customer's message: its id at the provider is made from the word, so that two words are two messages.
    message: Callable[[str, str], Post]  # (word, text)
    # What the provider says of a message of ours: (our id, the provider's id, a word of the provider's).
    status: Callable[[UUID, str, str], Post] | None
    delivered: str  # the provider's word for delivered
    unknown_event: Post | None  # an event of a kind that there will be one day
    malformed: tuple[Post, ...]  # signed and not of the documented form: 400
    with_unknown_field: Callable[[Post], Post]
    # The account's credentials while a secret is rotated: ``credentials`` still sign. None: the provider has no two.
    rotated: Credentials | None = None
    # The provider's id of a mail is our own Message-ID, as with a mail server.
    knows_mails_by_our_id: bool = False
    # Rows that do not apply to the provider (names as in tests/conformance/rows.py), with the reason.
    not_applicable: Mapping[str, str] = field(default_factory=dict)
    # The secrets that may never show in a log, an answer or a trace.
    secrets: frozenset[str] = frozenset()
    # The provider's side of sends; None: its stand-in in ``gateway.dev.stand_ins``.
    side: Callable[["ChannelKit"], AbstractAsyncContextManager[ProviderSide]] | None = None
    # For docs/channels.md, a sentence or two each: hooks to configure at the provider, limits, what we do not do yet.
    hooks: str = ""
    limits: str = ""
    gaps: str = ""

    def reason_against(self, row: str) -> str | None:
        """Why a row does not apply; None: it does."""
        if row == "rotated_signature" and self.rotated is None and row not in self.not_applicable:
            return "The provider has one secret at a time."
        return self.not_applicable.get(row)
