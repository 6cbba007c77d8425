"""What people see in the inbox: conversations and messages."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from db.named_sql import load_statements
from db.rows import (
    AnalysisRecord,
    AttachmentRecord,
    ConversationRecord,
    MessageRecord,
    StatusRecord,
)
from db.tenant import Connection

_SQL = load_statements("inbox")


@dataclass(frozen=True, slots=True)
class UnreadCount:
    """What is unread on a channel."""

    channel: str
    conversations: int
    messages: int


async def list_conversations(
    connection: Connection,
    before: tuple[datetime, UUID],
    *,
    channel: str | None,
    status: str | None,
    unread: bool | None,
    customer_id: UUID | None,
    text: str | None,
    limit: int,
) -> Sequence[ConversationRecord]:
    """By the time of the last message, the newest first; ``text`` is looked for in address and names."""
    rows = await connection.fetch(
        _SQL["list_conversations"], *before, channel, status, unread, customer_id, text, limit
    )
    return [ConversationRecord(**row) for row in rows]


async def read_conversation(connection: Connection, conversation_id: UUID) -> ConversationRecord | None:
    row = await connection.fetchrow(_SQL["read_conversation"], conversation_id)
    return ConversationRecord(**row) if row else None


async def change_conversation(
    connection: Connection, conversation_id: UUID, *, status: str | None, handoff: str | None
) -> str | None:
    """How the hand-off stood before, None if there is no such conversation. A None given changes nothing."""
    before: str | None = await connection.fetchval(
        _SQL["change_conversation"], conversation_id, status, handoff
    )
    return before


async def mark_read(connection: Connection, conversation_id: UUID) -> None:
    """Nothing in the conversation is unread any more."""
    await connection.execute(_SQL["mark_read"], conversation_id)


async def list_messages(
    connection: Connection, conversation_id: UUID, before: UUID, limit: int
) -> Sequence[MessageRecord]:
    """Newest first."""
    rows = await connection.fetch(_SQL["list_messages"], conversation_id, before, limit)
    return [MessageRecord(**row) for row in rows]


async def read_message(connection: Connection, message_id: UUID) -> MessageRecord | None:
    row = await connection.fetchrow(_SQL["read_message"], message_id)
    return MessageRecord(**row) if row else None


async def list_attachments(connection: Connection, message_ids: Sequence[UUID]) -> Sequence[AttachmentRecord]:
    """The files of these messages, in their order."""
    rows = await connection.fetch(_SQL["list_attachments"], list(message_ids))
    return [AttachmentRecord(**row) for row in rows]


async def list_statuses(connection: Connection, message_id: UUID) -> Sequence[StatusRecord]:
    """Every status that was told of the message, the oldest first."""
    return [StatusRecord(**row) for row in await connection.fetch(_SQL["list_statuses"], message_id)]


async def read_analysis(connection: Connection, message_id: UUID) -> AnalysisRecord | None:
    """What an engine made of the burst that ended with this message; None if none did."""
    row = await connection.fetchrow(_SQL["read_analysis"], message_id)
    return AnalysisRecord(**row) if row else None


async def find_accepted(
    connection: Connection, account_id: UUID, provider_key: str
) -> tuple[UUID, UUID] | None:
    """The message, and its conversation, that a provider's key on this account became."""
    row = await connection.fetchrow(_SQL["find_accepted"], account_id, provider_key)
    return (row["id"], row["conversation_id"]) if row else None


async def list_unread(connection: Connection) -> Sequence[UnreadCount]:
    """What is unread, by channel; a channel without any is not named."""
    return [UnreadCount(**row) for row in await connection.fetch(_SQL["list_unread"])]
