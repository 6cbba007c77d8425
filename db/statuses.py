"""Stores what providers say became of our messages: one set-based statement per flush."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from asyncpg import Record

from db.accept import Item, fetch_stored
from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("statuses")


@dataclass(frozen=True, slots=True)
class AcceptedStatus:
    """What became of one status: ``message_id`` is None where no message of this account is meant. ``token_reused``:
    it came with a one-time token of another body, and nothing of it is stored.
    """

    message_id: UUID | None
    duplicate: bool
    applied: bool
    token_reused: bool = False


async def accept_statuses(connection: Connection, items: Sequence[Item]) -> list[AcceptedStatus]:
    """Dedupes statuses, records each and applies those that rise above what the message has."""
    return [_status(row) for row in await fetch_stored(connection, _SQL["accept_statuses"], items)]


async def learn_opt_outs(connection: Connection, items: Sequence[Item]) -> None:
    """Marks the recipients of refused messages as opted out and tells it, once each; takes the transaction in
    which ``accept_statuses`` stores the same items afterwards.
    """
    await connection.execute(_SQL["learn_opt_outs"], [{**item, "post": None} for item in items])


def _status(row: Record) -> AcceptedStatus:
    return AcceptedStatus(row["message_id"], row["duplicate"], row["applied"])
