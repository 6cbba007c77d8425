"""Stores what providers posted: one set-based statement per flush of messages and one per flush of
statuses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from asyncpg import CheckViolationError, Record

from db.errors import PartitionMissing
from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("accept")


@dataclass(frozen=True, slots=True)
class AcceptedMessage:
    """What became of one item: stored now, or known already."""

    message_id: UUID | None
    duplicate: bool


@dataclass(frozen=True, slots=True)
class AcceptedStatus:
    """What became of one status: ``message_id`` is None where no message of this account is meant."""

    message_id: UUID | None
    duplicate: bool
    applied: bool


class ContactKey(NamedTuple):
    """What one contact is known by."""

    distributor_id: UUID
    channel: str
    address: str


async def accept_messages(connection: Connection, items: Sequence[dict[str, Any]]) -> list[AcceptedMessage]:
    """Dedupes and stores inbound messages with contact, customer, conversation, events and deliveries.

    ``items`` are the objects that ``handlers.inbound`` builds; the answer is in their order. Once this
    returns (outside a transaction of the caller's) new and duplicate alike are durable. Where contacts may be
    new, ``lock_addresses`` goes before it in one transaction.
    """
    rows = await _fetch(connection, _SQL["accept_messages"], _numbered(items), True)
    return [_message(row) for row in rows]


async def accept_known(
    connection: Connection, items: Sequence[dict[str, Any]]
) -> list[AcceptedMessage | None]:
    """Like ``accept_messages``, for those items whose contact is known already; None for each of the others,
    which are left as they are.
    """
    rows = await _fetch(connection, _SQL["accept_messages"], _numbered(items), False)
    return [None if row["left_over"] else _message(row) for row in rows]


async def lock_addresses(connection: Connection, items: Sequence[dict[str, Any]]) -> None:
    """Waits until no other transaction makes contacts with the items' addresses, and keeps it so until the end
    of this one.
    """
    addresses = [{name: item[name] for name in ("distributor_id", "address")} for item in items]
    await connection.execute(_SQL["lock_addresses"], addresses)


async def accept_statuses(connection: Connection, items: Sequence[dict[str, Any]]) -> list[AcceptedStatus]:
    """Dedupes statuses, records each and applies those that rise above what the message has."""
    return [_status(row) for row in await _fetch(connection, _SQL["accept_statuses"], _numbered(items))]


async def _fetch(connection: Connection, statement: str, *arguments: Any) -> list[Record]:
    """The statement's rows; raises PartitionMissing, and nothing of it is stored."""
    try:
        return await connection.fetch(statement, *arguments)
    except CheckViolationError as error:
        if error.constraint_name is None:  # a check has a name; the server's words are in its own language
            raise PartitionMissing from error
        raise


async def list_opted_out(connection: Connection, items: Sequence[dict[str, Any]]) -> set[ContactKey]:
    """Which of the items' contacts are opted out."""
    contacts = [{name: item[name] for name in ("distributor_id", "channel", "address")} for item in items]
    return {ContactKey(*row) for row in await connection.fetch(_SQL["list_opted_out"], contacts)}


async def learn_opt_outs(connection: Connection, items: Sequence[dict[str, Any]]) -> None:
    """Marks the recipients of refused messages as opted out and tells it, once each; takes the transaction in
    which ``accept_statuses`` stores the same items afterwards.
    """
    await connection.execute(_SQL["learn_opt_outs"], list(items))


def _numbered(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**item, "ordinal": ordinal} for ordinal, item in enumerate(items)]


def _message(row: Record) -> AcceptedMessage:
    return AcceptedMessage(row["message_id"], row["duplicate"])


def _status(row: Record) -> AcceptedStatus:
    return AcceptedStatus(row["message_id"], row["duplicate"], row["applied"])
