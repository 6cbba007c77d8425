"""Whatever order the words about a message come in, and however often, it ends in one row."""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from channels.base import Channel, ChannelAccount, MessageStatus, StatusUpdate
from handlers.inbound import accept_messages, accept_statuses, status_item
from handlers.runtime import Runtime
from handlers.statuses import status_rank
from tests.factories import (
    accepted_item,
    fetch_rows,
    inbound,
    make_account,
    make_distributor,
    make_outbound,
    posted,
)

SENT, DELIVERED, READ, FAILED = (
    MessageStatus.SENT,
    MessageStatus.DELIVERED,
    MessageStatus.READ,
    MessageStatus.FAILED,
)
WORDS = (SENT, DELIVERED, READ, FAILED)
LENGTH = 4
TIMES = {status: timedelta(seconds=10 * place) for place, status in enumerate(WORDS, 1)}


@dataclass(frozen=True, slots=True)
class Word:
    """A status of a part, or of all of the message."""

    status: MessageStatus
    part: int | None = None

    def happened_at(self, start: datetime) -> datetime:
        return start + TIMES[self.status] + timedelta(seconds=self.part or 0)


async def account_with_a_conversation(runtime: Runtime, channel: Channel) -> ChannelAccount:
    account = await make_account(runtime, await make_distributor(runtime), channel)
    await accept_messages(runtime, [accepted_item(runtime, account, inbound(channel=channel))])
    return account


def told(runtime: Runtime, account: ChannelAccount, message_id: UUID, word: Word) -> dict[str, Any]:
    update = StatusUpdate(
        provider_message_id=f"SM{message_id}-{word.part}",
        status=word.status,
        message_id=message_id,
        provider_status=word.status.lower(),
        error_code=f"E{word.part or 0}" if word.status is FAILED else None,
        part=word.part,
        occurred_at=word.happened_at(runtime.clock()),
    )
    return status_item(runtime, posted(runtime, account), update)


async def tell_all(runtime: Runtime, account: ChannelAccount, orders: Mapping[UUID, Sequence[Word]]) -> None:
    """Each message's words in their order, one of each message per flush; the last ones of all in one flush."""
    longest = max(map(len, orders.values()))
    for step in range(longest):
        items = [
            told(runtime, account, message_id, word)
            for message_id, order in orders.items()
            for word in order[step : step + 1 if step < longest - 2 else None]
        ]
        await accept_statuses(runtime, items)


async def standings(runtime: Runtime, account: ChannelAccount) -> dict[UUID, dict[str, Any]]:
    rows = await fetch_rows(
        runtime,
        account.distributor_id,
        "select id, status, status_rank, error_code, sent_at, delivered_at, read_at, failed_at from messages"
        " where direction = 'OUTBOUND'",
    )
    return {row.pop("id"): row for row in rows}


def ends_as(channel: Channel, words: Sequence[Word], parts: int, start: datetime) -> dict[str, Any]:
    """What a message must be after these words, whatever their order."""
    status = expected_status(channel, words, parts)
    failed = sorted(word.part or 0 for word in words if word.status is FAILED)
    return {
        "status": status,
        "status_rank": status_rank(channel, status),
        "error_code": f"E{failed[0]}" if status is FAILED else None,
        "sent_at": first(words, (SENT, DELIVERED, READ), start),
        "delivered_at": all_of(words, DELIVERED, parts, start),
        "read_at": all_of(words, READ, parts, start),
        "failed_at": first(words, (FAILED,), start),
    }


def expected_status(channel: Channel, words: Sequence[Word], parts: int) -> MessageStatus:
    reached = {
        part: max(status_rank(channel, word.status) for word in words if word.part == part)
        for part in {word.part for word in words}
    }

    def all_reached(status: MessageStatus) -> bool:
        return len([rank for rank in reached.values() if rank >= status_rank(channel, status)]) == parts

    said = {word.status for word in words}
    holds = {
        MessageStatus.SENDING: True,
        SENT: bool(said & {SENT, DELIVERED, READ}),
        FAILED: FAILED in said,
        DELIVERED: all_reached(DELIVERED),
        READ: all_reached(READ),
    }
    return max((status for status, held in holds.items() if held), key=lambda s: status_rank(channel, s))


def first(words: Sequence[Word], statuses: Sequence[MessageStatus], start: datetime) -> datetime | None:
    return min((word.happened_at(start) for word in words if word.status in statuses), default=None)


def all_of(words: Sequence[Word], status: MessageStatus, parts: int, start: datetime) -> datetime | None:
    times = {word.happened_at(start) for word in words if word.status is status}
    return max(times) if len(times) == parts else None


@pytest.mark.parametrize("channel", [Channel.SMS, Channel.WHATSAPP, Channel.EMAIL])
async def test_every_order_of_every_words_ends_in_one_row(runtime: Runtime, channel: Channel):
    account = await account_with_a_conversation(runtime, channel)
    orders = [tuple(map(Word, order)) for order in itertools.product(WORDS, repeat=LENGTH)]
    messages = dict(zip(await make_outbound(runtime, account, len(orders)), orders, strict=True))

    await tell_all(runtime, account, messages)

    stood = await standings(runtime, account)
    for message_id, order in messages.items():
        assert stood[message_id] == ends_as(channel, order, 1, runtime.clock()), order


@pytest.mark.parametrize("parts", [2, 3])
async def test_a_text_in_parts_stands_where_all_of_its_parts_do(runtime: Runtime, parts: int):
    account = await account_with_a_conversation(runtime, Channel.SMS)
    choice = random.Random(parts)
    every = [Word(status, part) for status in WORDS for part in range(1, parts + 1)]
    sets = [choice.sample(every, choice.randint(1, len(every))) for _ in range(120)]
    orders = [
        choice.sample(words, len(words)) + choice.choices(words, k=3) for words in sets for _ in range(3)
    ]
    ids = await make_outbound(runtime, account, len(orders), parts=parts)
    messages = dict(zip(ids, orders, strict=True))

    await tell_all(runtime, account, messages)

    stood = await standings(runtime, account)
    for message_id, order in messages.items():
        assert stood[message_id] == ends_as(Channel.SMS, order, parts, runtime.clock()), order


@pytest.mark.parametrize(
    ("words", "events"),
    [
        ([Word(SENT, 1)], ["sent", "status_changed SENT"]),
        ([Word(DELIVERED, 1)], ["sent", "status_changed SENT"]),
        ([Word(DELIVERED, 1), Word(DELIVERED, 2)], ["sent", "status_changed SENT", "status_changed DELIVERED"]),
        ([Word(DELIVERED, 1), Word(FAILED, 2)], ["sent", "status_changed SENT", "status_changed FAILED", "failed"]),
        ([Word(FAILED, 1), Word(DELIVERED, 1), Word(DELIVERED, 2)],
         ["status_changed FAILED", "failed", "sent", "status_changed DELIVERED"]),
    ],
    ids=["one-sent", "one-delivered", "all-delivered", "one-failed", "taken-back"],
)  # fmt: skip
async def test_what_is_told_of_parts_is_told_of_the_whole(
    runtime: Runtime, words: list[Word], events: list[str]
):
    account = await account_with_a_conversation(runtime, Channel.SMS)
    (message_id,) = await make_outbound(runtime, account, parts=2)

    for word in words:
        await accept_statuses(runtime, [told(runtime, account, message_id, word)])

    rows = await fetch_rows(
        runtime,
        account.distributor_id,
        "select type, body #>> '{data,status}' as status from webhook_events"
        " where type in ('message.sent', 'message.failed', 'message.status_changed') order by id",
    )
    kinds = [row["type"].removeprefix("message.") for row in rows]
    assert [
        f"{kind} {row['status']}" if kind == "status_changed" else kind
        for kind, row in zip(kinds, rows, strict=True)
    ] == events


async def test_a_part_is_found_by_the_id_that_its_receipt_told(runtime: Runtime):
    account = await account_with_a_conversation(runtime, Channel.SMS)
    (message_id,) = await make_outbound(runtime, account, parts=2, provider_id="SM1")
    async with runtime.database.tenant(account.distributor_id) as connection:
        await connection.execute(
            "insert into external_message_mappings (distributor_id, channel_account_id, provider_key, message_id, created_at)"
            " values ($1, $2, 'sent:SM2', $3, $4)",
            account.distributor_id,
            account.id,
            message_id,
            runtime.clock(),
        )

    answers = [
        (await accept_statuses(runtime, [item]))[0].message_id
        for item in (
            status_item(runtime, posted(runtime, account), StatusUpdate(name, DELIVERED))
            for name in ("SM1", "SM2")
        )
    ]

    assert answers == [message_id, message_id]
    assert (await standings(runtime, account))[message_id]["status"] == "DELIVERED"
    history = await fetch_rows(
        runtime,
        account.distributor_id,
        "select provider_message_id, applied from message_status_events order by id",
    )
    assert [tuple(row.values()) for row in history] == [("SM1", True), ("SM2", True)]


async def test_the_first_part_to_arrive_does_not_end_the_sending_of_the_others(runtime: Runtime):
    account = await account_with_a_conversation(runtime, Channel.SMS)
    (message_id,) = await make_outbound(runtime, account, parts=2)
    await mark_as_due(runtime, account)

    await accept_statuses(runtime, [told(runtime, account, message_id, Word(DELIVERED, 1))])
    assert await due(runtime, account) == [runtime.clock()]

    await accept_statuses(runtime, [told(runtime, account, message_id, Word(DELIVERED, 2))])
    assert await due(runtime, account) == [None]


async def mark_as_due(runtime: Runtime, account: ChannelAccount) -> None:
    async with runtime.database.tenant(account.distributor_id) as connection:
        await connection.execute(
            "update messages set send_due_at = $1 where direction = 'OUTBOUND'", runtime.clock()
        )


async def due(runtime: Runtime, account: ChannelAccount) -> list[datetime | None]:
    rows = await fetch_rows(
        runtime, account.distributor_id, "select send_due_at from messages where direction = 'OUTBOUND'"
    )
    return [row["send_due_at"] for row in rows]


async def test_a_word_that_names_only_our_id_leaves_the_providers_to_the_receipt(runtime: Runtime):
    account = await account_with_a_conversation(runtime, Channel.SMS)
    (message_id,) = await make_outbound(runtime, account)
    update = StatusUpdate("", SENT, message_id)

    await accept_statuses(runtime, [status_item(runtime, posted(runtime, account), update)])

    rows = await fetch_rows(
        runtime,
        account.distributor_id,
        "select status, provider_message_id from messages where direction = 'OUTBOUND'",
    )
    assert [tuple(row.values()) for row in rows] == [("SENT", None)]
