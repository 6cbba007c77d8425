"""Who once got a mail of ours can write a failure notice about any: only one of a mail that went to whom it names counts."""

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest

from channels.base import (
    Channel,
    ChannelAccount,
    ConsentChange,
    ConsentUpdate,
    MailThread,
    MessageStatus,
    StatusUpdate,
    SuppressionReason,
)
from channels.mail_tokens import named_mail, our_message_id
from handlers.accepting import accept_item
from handlers.inbound import (
    Posted,
    accept_consents,
    accept_messages,
    accept_statuses,
    consent_item,
    status_item,
)
from handlers.runtime import Runtime
from handlers.threads import make_reply_token
from tests.factories import (
    accepted_item,
    fetch_rows,
    inbound,
    make_account,
    make_distributor,
    make_outbound,
    posted,
)

ANNA, BEN = "anna@bar.test", "ben@bar.test"


@dataclass(frozen=True)
class Sent:
    """A mail of ours: its id, and the mark of its thread."""

    id: UUID
    token: str


@dataclass(frozen=True)
class Mails:
    """What an account sent, to Anna and to Ben, and another account of the same address's owner to Anna."""

    runtime: Runtime
    account: ChannelAccount
    to_anna: Sent
    to_ben: Sent
    of_another_account: Sent
    of_another_tenant: Sent

    @property
    def post(self) -> Posted:
        return posted(self.runtime, self.account)

    async def state(self) -> dict[str, Any]:
        """By address what became of the mail to it, and whether no more are sent there."""
        rows = await fetch_rows(
            self.runtime,
            self.account.distributor_id,
            "select k.address, m.status, k.opt_out_reason from messages m join conversations v on v.id = m.conversation_id"
            " join customer_contacts k on k.id = v.contact_id"
            " where m.direction = 'OUTBOUND' and m.channel_account_id = $1",
            self.account.id,
        )
        return {row["address"]: (row["status"], row["opt_out_reason"]) for row in rows}


async def write_to(runtime: Runtime, account: ChannelAccount, address: str) -> Sent:
    """A mail in a thread that the address began."""
    thread = MailThread(f"first-of-{address}")
    message = inbound(key=f"K-{address}", sender=address, channel=Channel.EMAIL, thread=thread)
    item = accepted_item(runtime, account, message)
    await accept_messages(runtime, [item])
    token = make_reply_token(runtime.sealer, account.distributor_id, account.id, item["thread_key"])
    sent = await make_outbound(runtime, account, conversation_id=item["conversation_id"])
    return Sent(sent[0], token)


@pytest.fixture
async def mails(runtime: Runtime) -> Mails:
    tenant, other = await make_distributor(runtime), await make_distributor(runtime)
    account = await make_account(runtime, tenant, Channel.EMAIL, "orders@shop.test")
    second = await make_account(runtime, tenant, Channel.EMAIL, "sales@shop.test")
    foreign = await make_account(runtime, other, Channel.EMAIL, "orders@elsewhere.test")
    return Mails(
        runtime,
        account,
        to_anna=await write_to(runtime, account, ANNA),
        to_ben=await write_to(runtime, account, BEN),
        of_another_account=await write_to(runtime, second, ANNA),
        of_another_tenant=await write_to(runtime, foreign, ANNA),
    )


UNTOUCHED = {ANNA: ("SENDING", None), BEN: ("SENDING", None)}


def notice(sent: Sent, address: str | None) -> tuple[StatusUpdate, ConsentUpdate]:
    """What ``channels.mail_bounces`` makes of a notice about the mail."""
    ours = our_message_id(sent.token, sent.id.hex, "shop.test")
    named = named_mail(ours, address)
    shut = address or ANNA
    status = StatusUpdate(ours, MessageStatus.FAILED, sent.id, "bounced", "5.1.1", named_mail=named)
    return status, ConsentUpdate(
        f"{ours}:{shut}:bounce", shut, ConsentChange.OUT, SuppressionReason.BOUNCE, named_mail=named
    )


async def take(mails: Mails, sent: Sent, address: str | None) -> tuple[UUID | None, bool]:
    """Stores a notice; gives back which message the status is of, and whether the address was not believed."""
    status, consent = notice(sent, address)
    (told,) = await accept_statuses(mails.runtime, [status_item(mails.runtime, mails.post, status)])
    (shut,) = await accept_consents(mails.runtime, [consent_item(mails.runtime, mails.post, consent)])
    return told.message_id, shut.unproven


async def test_a_notice_of_the_mail_that_went_there_counts_once(mails: Mails):
    assert await take(mails, mails.to_anna, ANNA) == (mails.to_anna.id, False)
    assert await take(mails, mails.to_anna, ANNA) == (mails.to_anna.id, False)

    assert await mails.state() == {**UNTOUCHED, ANNA: ("FAILED", "bounce")}
    kept = await fetch_rows(
        mails.runtime,
        mails.account.distributor_id,
        "select kind from inbound_events where kind <> 'message' order by kind",
    )
    assert [row["kind"] for row in kept] == ["consent", "status"]


FORGED = {
    "a thread that we never marked": lambda mails: (replace(mails.to_anna, token="0" * 32), ANNA),
    "another contact's mail, by one's own mark": lambda mails: (
        replace(mails.to_ben, token=mails.to_anna.token),
        BEN,
    ),
    "a mail that went to another address": lambda mails: (mails.to_anna, BEN),
    "an address that nobody knows": lambda mails: (mails.to_anna, "nobody@bar.test"),
    "a mail that there never was": lambda mails: (replace(mails.to_anna, id=UUID(int=7)), ANNA),
    "another tenant's mail": lambda mails: (mails.of_another_tenant, ANNA),
    "another tenant's mail, by a mark of this account": lambda mails: (
        replace(mails.of_another_tenant, token=mails.to_anna.token),
        ANNA,
    ),
    "another account's mail": lambda mails: (mails.of_another_account, ANNA),
    "another account's mail, by a mark of this account": lambda mails: (
        replace(mails.of_another_account, token=mails.to_anna.token),
        ANNA,
    ),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
async def test_a_forged_notice_changes_nothing_and_is_not_in_the_way_of_a_true_one(mails: Mails, forged: Any):
    assert await take(mails, *forged(mails)) == (None, True)

    assert await mails.state() == UNTOUCHED
    known = "select provider_key from external_message_mappings where provider_key ~ '^(status|consent):'"
    assert await fetch_rows(mails.runtime, mails.account.distributor_id, known) == []
    assert await take(mails, mails.to_anna, ANNA) == (mails.to_anna.id, False)


async def test_the_customers_own_message_is_no_mail_of_ours(mails: Mails):
    rows = await fetch_rows(
        mails.runtime,
        mails.account.distributor_id,
        "select m.id from messages m join conversations v on v.id = m.conversation_id"
        " join customer_contacts k on k.id = v.contact_id"
        " where m.direction = 'INBOUND' and m.channel_account_id = $1 and k.address = $2",
        mails.account.id,
        ANNA,
    )

    assert await take(mails, replace(mails.to_anna, id=rows[0]["id"]), ANNA) == (None, True)


async def test_true_and_forged_words_of_one_flush_are_told_apart(mails: Mails):
    words = [
        notice(mails.to_anna, BEN)[1],
        notice(mails.to_anna, ANNA)[1],
        notice(mails.to_anna, ANNA)[1],
        ConsentUpdate("hook-1", BEN, ConsentChange.OUT, SuppressionReason.COMPLAINT),
    ]

    items = [consent_item(mails.runtime, mails.post, word) for word in words]
    answers = await accept_consents(mails.runtime, items)

    assert [answer.unproven for answer in answers] == [True, False, False, False]
    assert [answer.duplicate for answer in answers[1:]] == [False, True, False]
    assert await mails.state() == {ANNA: ("SENDING", "bounce"), BEN: ("SENDING", "complaint")}


async def test_a_notice_that_names_nobody_is_of_the_mail_alone(mails: Mails):
    told, _ = await take(mails, mails.to_anna, None)

    assert told == mails.to_anna.id


async def test_a_worker_that_reads_a_forged_notice_stores_nothing(mails: Mails):
    status, consent = notice(mails.to_anna, BEN)

    for item in (status, consent):
        await accept_item(mails.runtime, mails.post, item, 4.0)

    assert await mails.state() == UNTOUCHED
