"""Stores what providers posted, a flush in one set-based statement: messages, words about addresses, and posts that only
tell of something to fetch. Statuses are in ``db.statuses``.
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
Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredPost:
    """A post as it is kept, one row for all that came in it."""

    id: UUID
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class AcceptedMessage:
    """What became of one message: stored now, or known already. ``token_reused``: it came with a one-time token of
    another body, and nothing of it is stored.
    """

    message_id: UUID | None
    duplicate: bool
    token_reused: bool = False


@dataclass(frozen=True, slots=True)
class AcceptedItem:
    """What became of something that is no message of its own: stored now, known already, or refused for its token.
    ``unproven``: the mail that it must be about was not sent, and nothing of it is stored.
    """

    duplicate: bool
    token_reused: bool = False
    unproven: bool = False


class ContactKey(NamedTuple):
    """What one contact is known by."""

    distributor_id: UUID
    channel: str
    address: str


async def accept_messages(connection: Connection, items: Sequence[Item]) -> list[AcceptedMessage]:
    """Dedupes and stores inbound messages with contact, customer, conversation, events and deliveries.

    ``items`` are the objects that ``handlers.inbound`` builds; the answer is in their order. Once this
    returns (outside a transaction of the caller's) new and duplicate alike are durable. Where contacts may be
    new, ``lock_addresses`` and ``learn_identities`` go before it in one transaction.
    """
    rows = await fetch_stored(connection, _SQL["accept_messages"], _with_numbers(items), True)
    return [_message(row) for row in rows]


async def accept_known(connection: Connection, items: Sequence[Item]) -> list[AcceptedMessage | None]:
    """Like ``accept_messages``, for those items whose contact is known already and stays as it is known; None for
    each of the others, which are left as they are.
    """
    rows = await fetch_stored(connection, _SQL["accept_messages"], _with_numbers(items), False)
    return [None if row["left_over"] else _message(row) for row in rows]


async def lock_addresses(connection: Connection, items: Sequence[Item]) -> None:
    """Waits until no other transaction makes contacts with the items' addresses or user ids, and keeps it so until
    the end of this one.
    """
    named = {
        (item["distributor_id"], address)
        for item in items
        for address in (item["address"], item.get("user_id"), *(item.get("move") or {}).values())
        if address
    }
    addresses = [{"distributor_id": tenant, "address": address} for tenant, address in named]
    await connection.execute(_SQL["lock_addresses"], addresses)


def _with_numbers(items: Sequence[Item]) -> list[Item]:
    """The items under the address that their flush shows first for a user id: one person is one contact, in whatever
    order the messages with and without a number come.
    """
    numbers: dict[tuple[Any, ...], str] = {}
    for item in items:
        if item["user_id"] and item["user_id"] != item["address"]:
            numbers.setdefault(_user(item), item["address"])
    return [
        {**item, "sender": numbers.get(_user(item), item["address"]) if item["user_id"] else item["address"]}
        for item in items
    ]


def _user(item: Item) -> tuple[Any, ...]:
    return item["distributor_id"], item["channel"], item["user_id"]


async def find_threads(connection: Connection, items: Sequence[Item]) -> dict[int, str]:
    """By place, the thread of the first stored mail of the same account that an item names in ``thread_ids``."""
    named = [
        {
            "ordinal": ordinal,
            "distributor_id": item["distributor_id"],
            "channel_account_id": item["channel_account_id"],
            "named": item["thread_ids"],
        }
        for ordinal, item in enumerate(items)
        if item["thread_ids"]
    ]
    rows = await connection.fetch(_SQL["find_threads"], named) if named else []
    return {row["ordinal"]: row["thread_key"] for row in rows}


async def find_own_senders(connection: Connection, items: Sequence[Item]) -> set[int]:
    """By place, the items whose ``bare_sender`` is an address of one of their tenant's mail accounts."""
    mails = [
        {"ordinal": ordinal, "distributor_id": item["distributor_id"], "address": item["bare_sender"]}
        for ordinal, item in enumerate(items)
        if item.get("bare_sender")
    ]
    rows = await connection.fetch(_SQL["find_own_senders"], mails) if mails else []
    return {row["ordinal"] for row in rows}


async def list_opted_out(connection: Connection, items: Sequence[Item]) -> set[ContactKey]:
    """Which of the items' contacts are opted out."""
    contacts = [{name: item[name] for name in ("distributor_id", "channel", "address")} for item in items]
    return {ContactKey(*row) for row in await connection.fetch(_SQL["list_opted_out"], contacts)}


async def accept_consents(connection: Connection, items: Sequence[Item]) -> list[AcceptedItem]:
    """Dedupes and stores what providers say of addresses; the newest word counts, and each change is told.
    ``lock_addresses`` goes before it in one transaction. One that names a mail is stored only if the account sent that
    to the address.
    """
    rows = await fetch_stored(connection, _SQL["accept_consents"], items)
    by_ordinal = {row["ordinal"]: AcceptedItem(not row["fresh"], unproven=row["unproven"]) for row in rows}
    return [by_ordinal.get(ordinal, AcceptedItem(duplicate=True)) for ordinal in range(len(items))]


async def accept_deferred(connection: Connection, items: Sequence[Item]) -> list[AcceptedItem]:
    """Dedupes and stores posts that only tell of something; each is due to be asked for at once."""
    return _taken(items, await fetch_stored(connection, _SQL["accept_deferred"], items))


async def take_tokens(connection: Connection, items: Sequence[Item]) -> list[bool]:
    """Marks the items' one-time tokens as used for their bodies; gives back, in their order, which items came with
    another body than their token's first. Holds for the transaction in which the items are stored.
    """
    tokens = [
        {
            "ordinal": ordinal,
            **{name: item[name] for name in ("distributor_id", "channel_account_id", "received_at")},
            **item["token"],
        }
        for ordinal, item in enumerate(items)
    ]
    await connection.execute(_SQL["take_tokens"], tokens)
    reused = {row["ordinal"] for row in await connection.fetch(_SQL["find_reused_tokens"], tokens)}
    return [ordinal in reused for ordinal in range(len(items))]


async def fetch_stored(
    connection: Connection, statement: str, items: Sequence[Item], *arguments: Any
) -> list[Record]:
    """The rows of a statement that stores items and the posts that they came in; raises PartitionMissing, and
    nothing of it is stored.
    """
    try:
        return await connection.fetch(statement, *accept_arguments(items), *arguments)
    except CheckViolationError as error:
        if error.constraint_name is None:  # a check has a name; the server's words are in its own language
            raise PartitionMissing from error
        raise


def accept_arguments(items: Sequence[Item]) -> tuple[list[Item], list[Item], list[bytes]]:
    """The items by number, the posts that they came in, each once, and the posts' bodies: bytes that no JSON has to
    carry.
    """
    numbered = [{**item, "ordinal": ordinal, "post": None} for ordinal, item in enumerate(items)]
    firsts = {item["post"].id: item for item in reversed(items) if item["post"] is not None}
    posts = [_post_row(item, ordinal) for ordinal, item in enumerate(firsts.values())]
    return numbered, posts, [item["post"].body for item in firsts.values()]


def _post_row(item: Item, ordinal: int) -> Item:
    post: StoredPost = item["post"]
    return {
        "ordinal": ordinal,
        "distributor_id": item["distributor_id"],
        "channel_account_id": item["channel_account_id"],
        "provider_key": item["provider_key"],
        "received_at": item["received_at"],
        "id": post.id,
        "method": post.method,
        "target": post.target,
        "headers": post.headers,
    }


def _message(row: Record) -> AcceptedMessage:
    return AcceptedMessage(row["message_id"], row["duplicate"])


def _taken(items: Sequence[Item], rows: Sequence[Record]) -> list[AcceptedItem]:
    fresh = {row["ordinal"] for row in rows}
    return [AcceptedItem(duplicate=ordinal not in fresh) for ordinal in range(len(items))]
