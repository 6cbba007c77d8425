"""Mails that leave: their threads and their names."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("mails")


@dataclass(frozen=True, slots=True)
class ThreadRow:
    """A mail of ours and the thread that it is of. ``automatic``: a turn wrote it. ``mail_message_id`` is the name of an
    earlier try.
    """

    thread_key: str
    subject: str | None
    language: str
    tenant: str
    mail_message_id: str | None
    automatic: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ThreadMail:
    """A mail of the thread by its Message-ID."""

    mail_message_id: str
    inbound: bool


async def find_thread(connection: Connection, message_id: UUID) -> ThreadRow:
    """The thread of a message that is there."""
    row = await connection.fetchrow(_SQL["find_thread"], message_id)
    assert row is not None, "a message under lease is never deleted"
    return ThreadRow(**row)


async def list_thread_ids(
    connection: Connection, conversation_id: UUID, message_id: UUID, until: datetime, limit: int
) -> list[ThreadMail]:
    """The conversation's other mails up to ``until``, the oldest first: the first of all and the last ``limit``."""
    rows = await connection.fetch(_SQL["list_thread_ids"], conversation_id, message_id, until, limit)
    return [ThreadMail(**row) for row in rows]


async def name_mail(connection: Connection, message_id: UUID, mail_message_id: str) -> None:
    """Notes the Message-ID that a mail leaves with, or left with."""
    await connection.execute(_SQL["name_mail"], message_id, mail_message_id)
