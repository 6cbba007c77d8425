"""Outbound messages: queued, started, settled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("sends")


@dataclass(frozen=True, slots=True)
class ReplyTarget:
    """Whom a message to a conversation goes to."""

    conversation_id: UUID
    channel_account_id: UUID
    customer_id: UUID | None
    channel: str
    address: str
    opted_out_at: datetime | None
    last_inbound_at: datetime | None
    provider: str


@dataclass(frozen=True, slots=True)
class SendRow:
    """A message under this worker's lease, its recipient's consent and its account (credentials sealed)."""

    message_id: UUID
    conversation_id: UUID
    channel_account_id: UUID
    customer_id: UUID | None
    channel: str
    type: str
    status: str
    text: str
    metadata: dict[str, Any]
    parts: int
    attempts: int
    started_at: datetime | None
    unknown: int
    created_at: datetime
    address: str
    opted_out_at: datetime | None
    last_inbound_at: datetime | None
    provider: str
    account_address: str
    credentials_sealed: bytes
    account_settings: dict[str, Any]
    account_deleted_at: datetime | None
    account_rate: float | None
    throttled_until: datetime | None


@dataclass(frozen=True, slots=True)
class Started:
    """Whether an attempt is marked; where not, whether the lease is ``held`` and only the account had no place."""

    started: bool
    held: bool


@dataclass(frozen=True, slots=True)
class SettledSend:
    """A message after an attempt: whether its status moved, and whether it is known to be sent for the first
    time.
    """

    id: UUID
    conversation_id: UUID
    customer_id: UUID | None
    channel: str
    type: str
    text: str
    status: str
    applied: bool
    first_sent: bool


@dataclass(frozen=True, slots=True)
class TypingTarget:
    """Whose message an answer is being written to, and over which account (credentials sealed)."""

    provider_message_id: str
    channel_account_id: UUID
    channel: str
    provider: str
    account_address: str
    credentials_sealed: bytes
    account_settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AttachmentRow:
    """A file of a message."""

    url: str
    content_type: str
    filename: str | None


async def find_reply_target(connection: Connection, conversation_id: UUID) -> ReplyTarget | None:
    """Whom a conversation is with."""
    row = await connection.fetchrow(_SQL["find_reply_target"], conversation_id)
    return ReplyTarget(**row) if row else None


async def queue_message(
    connection: Connection,
    conversation_id: UUID,
    message_id: UUID,
    *,
    type: str,  # noqa: A002 - the column's name
    status_rank: int,
    text: str,
    turn_message_id: UUID | None,
    metadata: Mapping[str, Any],
    now: datetime,
    priority: int = 0,
) -> bool:
    """Stores a QUEUED message that is due now; False if the turn was answered before (one reply per
    burst).
    """
    arguments = (conversation_id, message_id, type, status_rank, text, turn_message_id, now, dict(metadata))
    if await connection.fetchval(_SQL["queue_message"], *arguments, priority) is None:
        return False
    await connection.execute(_SQL["touch_conversation"], conversation_id, now)
    return True


async def was_shown(
    connection: Connection, conversation_id: UUID, metadata: Mapping[str, Any], by: datetime
) -> bool:
    """Whether a reply that notes ``metadata`` was queued in the conversation by then, and did not fail."""
    shown: bool = await connection.fetchval(_SQL["was_shown"], conversation_id, dict(metadata), by)
    return shown


async def insert_attachments(
    connection: Connection, message_id: UUID, attachments: Sequence[dict[str, Any]], now: datetime
) -> None:
    """Stores a message's files: objects of id, position, url, content_type, filename."""
    if attachments:
        await connection.execute(_SQL["insert_attachments"], message_id, list(attachments), now)


async def list_attachments(connection: Connection, message_id: UUID) -> list[AttachmentRow]:
    """A message's files in their order."""
    return [AttachmentRow(**row) for row in await connection.fetch(_SQL["list_attachments"], message_id)]


async def find_send(connection: Connection, message_id: UUID, lease_token: UUID) -> SendRow | None:
    """What is to be sent, or None when the lease is lost or nothing is left to send."""
    row = await connection.fetchrow(_SQL["find_send"], message_id, lease_token)
    return SendRow(**row) if row else None


async def start_send(
    connection: Connection,
    message_id: UUID,
    lease_token: UUID,
    *,
    rank: int,
    now: datetime,
    lease_until: datetime,
    parts: int,
    interval: timedelta,
    latest: datetime,
) -> Started:
    """Marks that an attempt is about to leave, in so many parts, and renews its lease. It takes a place of the account's
    rate, places being ``interval`` apart, if there is one up to ``latest`` and the account is not throttled.
    """
    arguments = (message_id, lease_token, rank, now, lease_until, parts, interval, latest)
    row = await connection.fetchrow(_SQL["start_send"], *arguments)
    assert row is not None
    return Started(**row)


async def throttle_account(
    connection: Connection, account_id: UUID, *, now: datetime, rate: float, until: datetime
) -> None:
    """Sends nothing from an account up to a moment, and from then on at that rate (in messages a second)."""
    await connection.execute(_SQL["throttle_account"], account_id, now, rate, until)


async def ask_for_person(connection: Connection, conversation_id: UUID) -> bool:
    """Lets a conversation wait for a person; False where one has it, or was asked."""
    return await connection.fetchval(_SQL["ask_for_person"], conversation_id) is not None


async def record_part(
    connection: Connection, message_id: UUID, lease_token: UUID, provider_message_id: str, now: datetime
) -> bool:
    """Notes that the provider took a part, with others still to leave; False when the lease is lost."""
    arguments = (message_id, lease_token, provider_message_id, now)
    return await connection.fetchval(_SQL["record_part"], *arguments) is not None


async def list_part_receipts(connection: Connection, message_id: UUID) -> dict[int, str]:
    """The provider's ids of a message's parts, by the part's number, as far as they are known."""
    rows = await connection.fetch(_SQL["list_part_receipts"], message_id)
    return {row["part"]: row["provider_message_id"] for row in rows}


async def settle_send(
    connection: Connection,
    message_id: UUID,
    lease_token: UUID,
    *,
    status: str,
    rank: int,
    provider_message_id: str | None,
    error_code: str | None,
    sent_at: datetime | None,
    due_at: datetime | None,
    now: datetime,
) -> SettledSend | None:
    """Ends an attempt; None when the lease is another worker's by now."""
    row = await connection.fetchrow(
        _SQL["settle_send"],
        message_id,
        lease_token,
        status,
        rank,
        provider_message_id,
        error_code,
        sent_at,
        due_at,
        now,
    )
    if row is None:
        return None
    settled = SettledSend(**row)
    await connection.execute(_SQL["line_up_following"], settled.id, settled.conversation_id, now)
    return settled


async def postpone_send(
    connection: Connection,
    message_id: UUID,
    lease_token: UUID,
    *,
    due_at: datetime | None,
    refused: bool,
    counts: bool,
    now: datetime,
) -> None:
    """Puts an attempt off; without ``due_at`` it keeps its place in line. ``refused``: the provider did not take it.
    ``counts`` is false where it shall not use up the message's attempts.
    """
    await connection.execute(_SQL["postpone_send"], message_id, lease_token, due_at, refused, now, counts)


async def insert_status_event(
    connection: Connection,
    event_id: UUID,
    message_id: UUID,
    *,
    status: str,
    provider_status: str,
    error_code: str | None,
    applied: bool,
    now: datetime,
    part: int | None,
    provider_message_id: str | None,
) -> None:
    """Adds to a message's status history; ``applied`` is false for a status that came too late to count. ``part`` is
    None where it is of all of the message.
    """
    arguments = (event_id, message_id, status, provider_status, error_code, applied, now, part)
    await connection.execute(_SQL["insert_status_event"], *arguments, provider_message_id)


async def list_known_provider_ids(
    connection: Connection, conversation_id: UUID, message_id: UUID
) -> frozenset[str]:
    """The provider's ids of our other messages to the conversation's customer, from whichever account."""
    rows = await connection.fetch(_SQL["list_known_provider_ids"], conversation_id, message_id)
    return frozenset(row["provider_message_id"] for row in rows)


async def find_typing_target(connection: Connection, message_id: UUID) -> TypingTarget | None:
    """What is needed to show the writer of a message that it is being answered."""
    row = await connection.fetchrow(_SQL["find_typing_target"], message_id)
    return TypingTarget(**row) if row else None
