"""Mails find their conversation: by token, by the mails that they answer, within their account alone."""

import asyncio
import itertools
from typing import Any

import pytest

from channels.base import Channel, ChannelAccount, InboundMessage, MailThread
from channels.mail_tokens import our_message_id
from handlers.inbound import accept_messages
from handlers.runtime import Runtime
from handlers.threads import make_reply_token
from tests.factories import accepted_item, fetch_rows, inbound, make_account, make_distributor

OUR_ADDRESS, ANNA, BEN = "orders@shop.test", "anna@bar.test", "ben@bar.test"
COUNT = itertools.count()


def mail(message_id: str, sender: str = ANNA, **thread: Any) -> InboundMessage:
    return inbound(
        key=f"KEY-{message_id}-{next(COUNT)}",
        sender=sender,
        channel=Channel.EMAIL,
        thread=MailThread(message_id, **thread),
    )


@pytest.fixture
async def account(runtime: Runtime) -> ChannelAccount:
    return await make_account(runtime, await make_distributor(runtime), Channel.EMAIL, OUR_ADDRESS)


async def receive(runtime: Runtime, account: ChannelAccount, *mails: InboundMessage) -> None:
    """All of them in one flush."""
    await accept_messages(runtime, [accepted_item(runtime, account, message) for message in mails])


async def conversations(runtime: Runtime, account: ChannelAccount) -> list[list[str]]:
    """The Message-IDs of each conversation, in the order of both."""
    rows = await fetch_rows(
        runtime,
        account.distributor_id,
        "select array_agg(m.mail_message_id order by m.id) as mails from conversations v join messages m on m.conversation_id = v.id"
        " where v.channel_account_id = $1 and direction = 'INBOUND' group by v.id order by min(m.id::text)",
        account.id,
    )
    return [row["mails"] for row in rows]


async def token_of_first(runtime: Runtime, account: ChannelAccount) -> str:
    rows = await fetch_rows(
        runtime, account.distributor_id, "select thread_key from conversations order by id"
    )
    return make_reply_token(runtime.sealer, account.distributor_id, account.id, rows[0]["thread_key"])


async def test_fifty_parallel_mails_of_one_new_thread_are_one_conversation(
    runtime: Runtime, account: ChannelAccount
):
    await asyncio.gather(
        *(
            receive(runtime, account, mail(f"answer{number}", references=("root", f"between{number}")))
            for number in range(50)
        )
    )

    assert [len(mails) for mails in await conversations(runtime, account)] == [50]


@pytest.mark.parametrize("named", [
    {"in_reply_to": ("first",)},
    {"references": ("foreign", "first")},
    {"references": ("first", "foreign")},
    {"in_reply_to": ("unknown",), "references": ("first",)},
], ids=["in-reply-to", "last-reference", "older-reference", "unknown-parent"])  # fmt: skip
async def test_an_answer_finds_the_stored_mail(
    runtime: Runtime, account: ChannelAccount, named: dict[str, Any]
):
    await receive(runtime, account, mail("first", references=("root",)))

    await receive(runtime, account, mail("second", **named))

    assert await conversations(runtime, account) == [["first", "second"]]


async def test_an_answer_finds_our_mail_by_the_providers_id(runtime: Runtime, account: ChannelAccount):
    await receive(runtime, account, mail("first"))
    async with runtime.database.tenant(account.distributor_id) as connection:
        await connection.execute(
            "insert into messages (distributor_id, id, conversation_id, channel_account_id, channel, direction, type, status,"
            " provider_message_id, ai_processed, ai_skip_reason, created_at, updated_at)"
            " select distributor_id, $1, id, channel_account_id, channel, 'OUTBOUND', 'TEXT', 'SENT', 'ses-1@x', true,"
            " 'outbound', $2, $2 from conversations",
            runtime.new_id(),
            runtime.clock(),
        )

    await receive(runtime, account, mail("second", in_reply_to=("ses-1@x",)))

    assert await conversations(runtime, account) == [["first", "second"]]


@pytest.mark.parametrize("place", ["reply_tokens", "body_tokens", "in_reply_to", "references"])
async def test_a_token_of_ours_finds_its_thread_wherever_it_stands(
    runtime: Runtime, account: ChannelAccount, place: str
):
    await receive(runtime, account, mail("first"))
    token = await token_of_first(runtime, account)
    mark = our_message_id(token, "0" * 32, "x.test") if place in {"in_reply_to", "references"} else token
    named: dict[str, Any] = {place: (mark,)}

    await receive(runtime, account, mail("second", **named))

    assert await conversations(runtime, account) == [["first", "second"]]


async def test_a_forged_token_is_nothing(runtime: Runtime, account: ChannelAccount):
    await receive(runtime, account, mail("first"))
    token = await token_of_first(runtime, account)
    forged = token[:-1] + ("0" if token[-1] != "0" else "1")

    await receive(runtime, account, mail("second", reply_tokens=(forged,), body_tokens=(forged,)))

    assert await conversations(runtime, account) == [["first"], ["second"]]


async def test_nothing_of_another_tenant_or_account_is_found(runtime: Runtime, account: ChannelAccount):
    await receive(runtime, account, mail("first"))
    token = await token_of_first(runtime, account)
    theirs = await make_account(runtime, await make_distributor(runtime), Channel.EMAIL, OUR_ADDRESS)
    other = await make_account(runtime, account.distributor_id, Channel.EMAIL, "billing@shop.test")

    for stranger in (theirs, other):
        await receive(runtime, stranger, mail("mine", in_reply_to=("unrelated",)))
        await receive(
            runtime,
            stranger,
            mail(
                "second",
                in_reply_to=("first",),
                reply_tokens=(token,),
                body_tokens=(token,),
                references=("root",),
            ),
        )
        assert await conversations(runtime, stranger) == [["mine"], ["second"]]
    assert await conversations(runtime, account) == [["first"]]
    keys = await fetch_rows(runtime, account.distributor_id, "select distinct thread_key from conversations")
    assert len(keys) == 3


async def test_another_sender_in_the_same_thread_has_a_conversation_of_their_own(
    runtime: Runtime, account: ChannelAccount
):
    await receive(runtime, account, mail("first"))
    token = await token_of_first(runtime, account)

    await receive(runtime, account, mail("second", BEN, reply_tokens=(token,)))

    assert await conversations(runtime, account) == [["first"], ["second"]]
    keys = await fetch_rows(runtime, account.distributor_id, "select distinct thread_key from conversations")
    assert len(keys) == 1


async def test_two_mails_about_two_things_are_two_conversations_of_one_customer(
    runtime: Runtime, account: ChannelAccount
):
    await receive(runtime, account, mail("first", subject="Pedido"), mail("second", subject="Factura"))
    await receive(runtime, account, mail("third", in_reply_to=("first",), subject="Re: Pedido"))

    assert await conversations(runtime, account) == [["first", "third"], ["second"]]
    rows = await fetch_rows(
        runtime,
        account.distributor_id,
        "select subject, customer_id from conversations order by last_message_at, id",
    )
    assert sorted(row["subject"] for row in rows) == ["Factura", "Pedido"]
    assert len({row["customer_id"] for row in rows}) == 1


async def test_an_id_that_no_index_takes_is_not_kept(runtime: Runtime, account: ChannelAccount):
    await receive(runtime, account, mail("x" * 5_000, references=("y" * 5_000,)))

    assert await conversations(runtime, account) == [[None]]
