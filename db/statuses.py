"""Stores what providers say became of our messages: one set-based statement per flush."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeAlias
from uuid import UUID

from asyncpg import Record

from db.accept import Item, fetch_stored
from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("statuses")
Ranks: TypeAlias = Mapping[str, Mapping[str, int]]


class ParkedKey(NamedTuple):
    """What the provider calls a message that a status is of."""

    distributor_id: UUID
    channel_account_id: UUID
    provider_message_id: str


@dataclass(frozen=True, slots=True)
class AcceptedStatus:
    """What became of one status: ``message_id`` is None where no message of this account is meant. ``token_reused``:
    it came with a one-time token of another body, and nothing of it is stored.
    """

    message_id: UUID | None
    duplicate: bool
    applied: bool
    token_reused: bool = False


async def accept_statuses(
    connection: Connection, items: Sequence[Item], ranks: Ranks, told: Sequence[Item]
) -> list[AcceptedStatus]:
    """Dedupes statuses, records each and applies those that rise above what the message has; ``ranks`` is by channel
    the rank of each status. Those of no known message are parked. ``told`` are events that are stored before the
    statuses'. ``lock_parked_keys`` and ``lock_messages`` go before it in one transaction.
    """
    rows = await fetch_stored(connection, _SQL["accept_statuses"], items, dict(ranks), True, list(told))
    return [_status(row) for row in rows]


async def accept_plain(
    connection: Connection, items: Sequence[Item], ranks: Ranks
) -> list[AcceptedStatus | None]:
    """Like ``accept_statuses``, for those items that need no lock beforehand; None for each of the others (of texts in
    parts, and of no message that is known), which are left as they are.
    """
    rows = await fetch_stored(connection, _SQL["accept_statuses"], items, dict(ranks), False, [])
    return [None if row["left_over"] else _status(row) for row in rows]


async def lock_parked_keys(connection: Connection, items: Sequence[Item]) -> None:
    """Waits until no other transaction parks statuses of the items' messages, and keeps it so until the end of this
    one. Items that carry our own id are never parked.
    """
    names = ("channel_account_id", "provider_message_id")
    keys = [{name: item[name] for name in names} for item in items if item["message_id"] is None]
    await connection.execute(_SQL["lock_parked_keys"], keys)


async def lock_messages(connection: Connection, items: Sequence[Item]) -> None:
    """Locks the messages that are meant until the end of the transaction. A contact is locked before its messages, so
    ``learn_opt_outs`` goes first.
    """
    names = ("distributor_id", "channel_account_id", "message_id", "provider_message_id")
    await connection.execute(_SQL["lock_messages"], [{name: item[name] for name in names} for item in items])


async def take_parked(connection: Connection, key: ParkedKey) -> list[Item]:
    """The statuses that wait for the message, in the order in which they came, for ``accept_statuses`` in the same
    transaction. Waits for those that are being parked at this moment.
    """
    named = {"channel_account_id": key.channel_account_id, "provider_message_id": key.provider_message_id}
    await connection.execute(_SQL["lock_parked_keys"], [named])
    rows = await connection.fetch(_SQL["take_parked"], *key)
    return sorted((row["parked_item"] for row in rows), key=lambda item: str(item["status_event_id"]))


async def list_found(connection: Connection, limit: int) -> list[ParkedKey]:
    """Under which ids statuses are parked though their message is known."""
    return [ParkedKey(*row) for row in await connection.fetch(_SQL["list_found"], limit)]


async def drop_parked(connection: Connection, before: datetime, limit: int) -> int:
    """Gives up to ``limit`` statuses up that came before ``before``; gives back how many."""
    done = await connection.execute(_SQL["drop_parked"], before, limit)
    return int(done.rpartition(" ")[2])


async def learn_opt_outs(connection: Connection, items: Sequence[Item]) -> list[Item]:
    """Marks the recipients of refused messages as opted out; gives back the events that tell it, once each, for
    ``accept_statuses``, which stores the same items afterwards in the same transaction.
    """
    rows = await connection.fetch(_SQL["learn_opt_outs"], [{**item, "post": None} for item in items])
    return [row["event"] for row in rows]


def _status(row: Record) -> AcceptedStatus:
    return AcceptedStatus(row["message_id"], row["duplicate"], row["applied"])
