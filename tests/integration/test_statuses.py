"""Whatever order statuses come in, and however often, the message ends the same."""

import itertools
import random

import pytest

from channels.base import Channel, MessageStatus, StatusUpdate
from handlers.inbound import accept_messages, accept_statuses, status_item
from handlers.runtime import Runtime
from handlers.statuses import status_rank
from tests.factories import accepted_item, inbound, make_account, make_distributor, posted

SET = (MessageStatus.SENDING, MessageStatus.SENT, MessageStatus.FAILED, MessageStatus.DELIVERED)
ORDERS = list(itertools.permutations(SET))


def test_chat_and_mail_rank_a_failure_differently():
    chat = sorted(
        MessageStatus,
        key=lambda status: status_rank(Channel.SMS, status) if status is not MessageStatus.RECEIVED else 0,
    )
    mail = sorted(
        MessageStatus,
        key=lambda status: status_rank(Channel.EMAIL, status) if status is not MessageStatus.RECEIVED else 0,
    )

    assert [status.value for status in chat[1:]] == [
        "QUEUED",
        "SENDING",
        "SENT",
        "FAILED",
        "DELIVERED",
        "READ",
    ]
    assert [status.value for status in mail[1:]] == [
        "QUEUED",
        "SENDING",
        "SENT",
        "DELIVERED",
        "READ",
        "FAILED",
    ]


@pytest.mark.parametrize("one_flush", [True, False], ids=["one-flush", "one-by-one"])
async def test_every_permutation_with_repetitions_ends_in_one_row(runtime: Runtime, one_flush: bool):
    tenant = await make_distributor(runtime)
    account = await make_account(runtime, tenant)
    await accept_messages(runtime, [accepted_item(runtime, account, inbound())])
    shuffle = random.Random(7)
    ids = [runtime.new_id() for _ in ORDERS]
    async with runtime.database.tenant(tenant) as connection:
        await connection.execute(
            "insert into messages (distributor_id, id, conversation_id, channel_account_id, channel, direction, type, status,"
            " status_rank, text, provider_message_id, ai_processed, ai_skip_reason, created_at, updated_at)"
            " select c.distributor_id, i.id, c.id, channel_account_id, channel, 'OUTBOUND', 'TEXT', 'QUEUED', 1, 'x', i.id::text, true, 'outbound', now(), now()"
            " from conversations c cross join unnest($1::uuid[]) as i(id)",
            ids,
        )
    items = []
    for message_id, order in zip(ids, ORDERS, strict=True):
        repeated = [*order, shuffle.choice(order), shuffle.choice(order)]
        items += [
            status_item(
                runtime,
                posted(runtime, account),
                StatusUpdate(str(message_id), status, provider_status=status.lower()),
            )
            for status in repeated
        ]

    for batch in [items] if one_flush else [[item] for item in items]:
        await accept_statuses(runtime, batch)

    async with runtime.database.tenant(tenant) as connection:
        finals = await connection.fetch(
            "select distinct status, status_rank from messages where direction = 'OUTBOUND'"
        )
        history = await connection.fetch(
            "select count(*) as told from message_status_events group by message_id"
        )
        sent = await connection.fetchval("select count(*) from webhook_events where type = 'message.sent'")
    assert [tuple(row) for row in finals] == [
        ("DELIVERED", status_rank(Channel.WHATSAPP, MessageStatus.DELIVERED))
    ]
    assert {row["told"] for row in history} == {4}
    assert sent == len(ORDERS)
