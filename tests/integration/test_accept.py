"""The accept statement: dedupe, one conversation, one burst, events and deliveries, all in one commit."""

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from channels.base import Channel, MessageStatus, StatusUpdate
from handlers.inbound import accept_messages, accept_statuses, status_item
from handlers.runtime import Runtime
from tests.factories import (
    accepted_item,
    inbound,
    make_account,
    make_distributor,
    make_endpoint,
    posted,
)


async def rows(runtime: Runtime, distributor_id, query: str):
    async with runtime.database.tenant(distributor_id) as connection:
        return [dict(row) for row in await connection.fetch(query)]


async def test_a_first_message_makes_customer_conversation_events_and_deliveries(runtime: Runtime):
    tenant = await make_distributor(runtime)
    account = await make_account(runtime, tenant)
    await make_endpoint(runtime, tenant, ["message.*", "customer.created"])

    (accepted,) = await accept_messages(runtime, [accepted_item(runtime, account, inbound("hola\0"))])

    (message,) = await rows(runtime, tenant, "select * from messages")
    (conversation,) = await rows(runtime, tenant, "select * from conversations")
    events = await rows(runtime, tenant, "select * from webhook_events order by id")
    deliveries = await rows(
        runtime,
        tenant,
        "select d.*, e.type from webhook_deliveries d join webhook_events e on e.id = event_id order by type",
    )
    assert not accepted.duplicate
    assert accepted.message_id == message["id"]
    assert message["text"] == "hola\ufffd"
    assert message["ai_processed"] is False
    assert conversation["unread_count"] == 1
    assert conversation["turn_due_at"] == runtime.clock() + timedelta(seconds=4)
    assert {event["type"] for event in events} == {
        "message.received",
        "conversation.created",
        "customer.created",
    }
    for event in events:
        assert event["body"]["data"]["customer_id"] == str(conversation["customer_id"])
        assert event["body"]["data"]["conversation_id"] == str(conversation["id"])
    assert [delivery["type"] for delivery in deliveries] == ["customer.created", "message.received"]


async def test_two_hundred_parallel_duplicates_are_one_message(runtime: Runtime):
    tenant = await make_distributor(runtime)
    account = await make_account(runtime, tenant)

    answers = await asyncio.gather(
        *(accept_messages(runtime, [accepted_item(runtime, account, inbound())] * 1) for _ in range(200))
    )

    assert sum(not answer[0].duplicate for answer in answers) == 1
    assert len(await rows(runtime, tenant, "select 1 from messages")) == 1
    assert len(await rows(runtime, tenant, "select 1 from conversations")) == 1
    assert (
        len(await rows(runtime, tenant, "select 1 from webhook_events where type = 'message.received'")) == 1
    )
    assert (await rows(runtime, tenant, "select unread_count from conversations"))[0]["unread_count"] == 1


async def test_duplicates_within_one_flush_are_one_message(runtime: Runtime):
    tenant = await make_distributor(runtime)
    account = await make_account(runtime, tenant)
    items = [accepted_item(runtime, account, inbound(key=key)) for key in ("SM1", "SM2", "SM1")]

    answers = await accept_messages(runtime, items)

    assert [answer.duplicate for answer in answers] == [False, False, True]
    assert (await rows(runtime, tenant, "select unread_count from conversations"))[0]["unread_count"] == 2


async def test_fifty_parallel_first_messages_are_one_conversation(runtime: Runtime):
    tenant = await make_distributor(runtime)
    account = await make_account(runtime, tenant)

    await asyncio.gather(
        *(
            accept_messages(runtime, [accepted_item(runtime, account, inbound(key=f"SM{i}"))])
            for i in range(50)
        )
    )

    assert len(await rows(runtime, tenant, "select 1 from messages")) == 50
    assert len(await rows(runtime, tenant, "select 1 from conversations")) == 1
    assert len(await rows(runtime, tenant, "select 1 from customers")) == 1
    assert len(await rows(runtime, tenant, "select 1 from customer_contacts")) == 1
    assert (
        len(await rows(runtime, tenant, "select 1 from webhook_events where type = 'conversation.created'"))
        == 1
    )


async def test_a_burst_moves_its_turn_on_but_never_past_the_cap(runtime: Runtime, clock):
    tenant = await make_distributor(runtime)
    account = await make_account(runtime, tenant)
    start = clock()
    for number in range(10):
        await accept_messages(runtime, [accepted_item(runtime, account, inbound(key=f"SM{number}"))])
        clock.advance(3)

    (conversation,) = await rows(runtime, tenant, "select * from conversations")

    assert conversation["turn_due_at"] == start + timedelta(seconds=20)
    assert conversation["turn_generation"] == 10


async def test_stop_is_recorded_in_the_same_commit_and_makes_no_turn(runtime: Runtime):
    tenant = await make_distributor(runtime)
    account = await make_account(runtime, tenant)

    await accept_messages(runtime, [accepted_item(runtime, account, inbound("STOP"))])

    (contact,) = await rows(runtime, tenant, "select * from customer_contacts")
    (message,) = await rows(runtime, tenant, "select * from messages")
    (conversation,) = await rows(runtime, tenant, "select * from conversations")
    assert contact["opted_out_at"] == runtime.clock()
    assert (message["ai_processed"], message["ai_skip_reason"]) == (True, "opt_out")
    assert conversation["turn_due_at"] is None
    assert (
        len(await rows(runtime, tenant, "select 1 from webhook_events where type = 'customer.opted_out'"))
        == 1
    )

    await accept_messages(runtime, [accepted_item(runtime, account, inbound("start", key="SM2"))])
    assert (await rows(runtime, tenant, "select * from customer_contacts"))[0]["opted_out_at"] is None


async def test_the_same_number_on_another_channel_is_the_same_customer(runtime: Runtime):
    tenant = await make_distributor(runtime)
    whatsapp = await make_account(runtime, tenant)
    sms = await make_account(runtime, tenant, Channel.SMS)

    await accept_messages(runtime, [accepted_item(runtime, whatsapp, inbound())])
    await accept_messages(runtime, [accepted_item(runtime, sms, inbound(key="SM2", channel=Channel.SMS))])

    assert len(await rows(runtime, tenant, "select 1 from customers")) == 1
    assert len(await rows(runtime, tenant, "select 1 from customer_contacts")) == 2


async def test_a_row_of_a_wrong_tenant_is_refused(runtime: Runtime):
    """The worker may write for every tenant; the composite key to the account is what holds a row in its
    own.
    """
    mine, theirs = await make_distributor(runtime), await make_distributor(runtime)
    account = await make_account(runtime, mine)
    item = {**accepted_item(runtime, account, inbound()), "distributor_id": theirs}

    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await accept_messages(runtime, [item])


@pytest.fixture
async def sent_message(runtime: Runtime):
    """An outbound message that the provider took as SM9."""
    tenant = await make_distributor(runtime)
    account = await make_account(runtime, tenant)
    await accept_messages(runtime, [accepted_item(runtime, account, inbound())])
    message_id = runtime.new_id()
    async with runtime.database.tenant(tenant) as connection:
        await connection.execute(
            "insert into messages (distributor_id, id, conversation_id, channel_account_id, channel, direction, type, status,"
            " status_rank, text, provider_message_id, ai_processed, ai_skip_reason, created_at, updated_at)"
            " select $1, $2, id, channel_account_id, channel, 'OUTBOUND', 'TEXT', 'SENDING', 2, 'ok', 'SM9', true, 'outbound', $3, $3"
            " from conversations",
            tenant,
            message_id,
            runtime.clock(),
        )
    return account, message_id


def update(status: MessageStatus, **fields):
    return StatusUpdate(provider_message_id="SM9", status=status, provider_status=status.lower(), **fields)


async def test_a_late_status_is_recorded_and_not_applied(runtime: Runtime, sent_message):
    account, message_id = sent_message
    for status in (MessageStatus.DELIVERED, MessageStatus.SENT, MessageStatus.READ, MessageStatus.FAILED):
        await accept_statuses(runtime, [status_item(runtime, posted(runtime, account), update(status))])

    (message,) = await rows(
        runtime, account.distributor_id, "select * from messages where direction = 'OUTBOUND'"
    )
    history = await rows(
        runtime, account.distributor_id, "select status, applied from message_status_events order by id"
    )
    events = await rows(
        runtime,
        account.distributor_id,
        "select type, body from webhook_events where type like 'message.s%' order by id",
    )
    assert message["status"] == "READ"
    assert [(row["status"], row["applied"]) for row in history] == [
        ("DELIVERED", True), ("SENT", False), ("READ", True), ("FAILED", False),
    ]  # fmt: skip
    assert [event["type"] for event in events] == [
        "message.sent",
        "message.status_changed",
        "message.status_changed",
    ]
    assert events[-1]["body"]["data"]["previous"] == "DELIVERED"
    assert events[-1]["body"]["data"]["message_id"] == str(message_id)


async def test_a_status_of_another_account_is_nobodys(runtime: Runtime, sent_message):
    account, message_id = sent_message
    other = await make_account(runtime, account.distributor_id, Channel.SMS)

    (answer,) = await accept_statuses(
        runtime,
        [status_item(runtime, posted(runtime, other), update(MessageStatus.READ, message_id=message_id))],
    )

    assert answer.message_id is None
    assert (await rows(runtime, account.distributor_id, f"select * from messages where id = '{message_id}'"))[
        0
    ]["status"] == "SENDING"
