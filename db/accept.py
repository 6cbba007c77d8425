"""Stores what providers posted: one set-based statement per flush of messages and one per flush of
statuses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from asyncpg import CheckViolationError, Record

from db.named_sql import load_statements
from db.tenant import Connection
from db.upkeep import make_partitions

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
    returns (outside a transaction of the caller's) new and duplicate alike are durable.
    """
    rows = await _accept(connection, _SQL["accept_messages"], items)
    return [AcceptedMessage(row["message_id"], row["duplicate"]) for row in rows]


async def accept_statuses(connection: Connection, items: Sequence[dict[str, Any]]) -> list[AcceptedStatus]:
    """Dedupes statuses, records each and applies those that rise above what the message has."""
    return [_status(row) for row in await _accept(connection, _SQL["accept_statuses"], items)]


async def _accept(connection: Connection, statement: str, items: Sequence[dict[str, Any]]) -> list[Record]:
    """The statement's rows. Where no worker has made partitions for a week, they are made here: nothing is refused."""
    try:
        return await connection.fetch(statement, _numbered(items))
    except CheckViolationError as error:
        if "no partition of relation" not in str(error):
            raise
        await make_partitions(connection)
        return await connection.fetch(statement, _numbered(items))


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


def _status(row: Record) -> AcceptedStatus:
    return AcceptedStatus(row["message_id"], row["duplicate"], row["applied"])
