"""Sending: the gate, retries by the error's type, and no second copy when an outcome is unknown."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from channels.base import Attachment, Channel, MessageStatus, SendReceipt, StatusUpdate
from channels.errors import (
    BadCredentials,
    GatewayError,
    InvalidRecipient,
    NotFound,
    OptedOut,
    OutcomeUnknown,
    ProviderUnavailable,
    Throttled,
    WindowClosed,
)
from db.lanes import ClaimedSend, ClaimTerms, claim_sends
from handlers.inbound import accept_messages, accept_statuses, status_item
from handlers.outbound import queue_message, send_message
from handlers.outbound_outcome import SendResult
from handlers.runtime import Runtime
from handlers.send_rates import SEND_PACE
from tests.factories import accepted_item, inbound, make_account, make_distributor, posted
from tests.fakes import FakeAdapter, FakeClock

TERMS = ClaimTerms(batch=10, share=10, lease=timedelta(seconds=20))


class Desk:
    """A tenant's conversation with one customer, and the provider its messages go to."""

    def __init__(self, runtime: Runtime, tenant: UUID, conversation: UUID) -> None:
        self.runtime = runtime
        self.tenant = tenant
        self.conversation = conversation
        self.provider = FakeAdapter()

    async def queue(self, text: str = "listo", **fields: Any) -> UUID:
        adapters: Any = {"twilio": self.provider}
        return await queue_message(
            self.runtime, adapters, self.tenant, self.conversation, text=text, **fields
        )

    async def claim(self) -> list[ClaimedSend]:
        async with self.runtime.database.worker_statements() as connection:
            return await claim_sends(
                connection, TERMS, self.runtime.clock(), self.runtime.new_id(), SEND_PACE
            )

    async def send(self) -> list[SendResult]:
        adapters: Any = {"twilio": self.provider}
        return [await send_message(self.runtime, adapters, claimed) for claimed in await self.claim()]

    async def rows(self, query: str, *arguments: Any) -> list[dict[str, Any]]:
        async with self.runtime.database.tenant(self.tenant) as connection:
            return [dict(row) for row in await connection.fetch(query, *arguments)]

    async def outbound(self) -> dict[str, Any]:
        (row,) = await self.rows("select * from messages where direction = 'OUTBOUND'")
        return row

    async def events(self) -> list[str]:
        return [
            row["type"]
            for row in await self.rows(
                "select type from webhook_events where type like 'message.%' order by id"
            )
        ]


async def open_desk(runtime: Runtime, channel: Channel = Channel.WHATSAPP) -> Desk:
    tenant = await make_distributor(runtime)
    account = await make_account(runtime, tenant, channel)
    await accept_messages(runtime, [accepted_item(runtime, account, inbound(channel=channel))])
    async with runtime.database.tenant(tenant) as connection:
        conversation = await connection.fetchval("select id from conversations")
    return Desk(runtime, tenant, conversation)


@pytest.fixture
async def desk(runtime: Runtime) -> Desk:
    return await open_desk(runtime)


async def test_a_queued_message_is_sent_once(desk: Desk):
    message_id = await desk.queue(
        attachments=[Attachment("https://x.test/a.pdf", "application/pdf", "a.pdf")]
    )

    assert await desk.send() == [SendResult.SENT]
    assert await desk.send() == []

    row = await desk.outbound()
    (sent,) = desk.provider.sent
    assert (row["status"], row["provider_message_id"]) == ("SENT", "SM1")
    assert (sent.id, sent.text, sent.recipient) == (message_id, "listo", "+15550001111")
    assert sent.attachments[0].filename == "a.pdf"
    assert sent.status_url.endswith("/status")
    assert await desk.events() == ["message.received", "message.sent"]


@pytest.mark.parametrize(
    ("error", "wait"),
    [(ProviderUnavailable(), 2), (Throttled(retry_after=30.0), 30), (Throttled(), 2)],
    ids=["unavailable", "throttled-with-retry-after", "throttled"],
)
async def test_a_fault_that_may_pass_is_tried_again_without_asking_the_provider(
    desk: Desk, clock: FakeClock, error: GatewayError, wait: int
):
    await desk.queue()
    desk.provider.script = [error]

    assert await desk.send() == [SendResult.POSTPONED]
    clock.advance(wait - 0.1)
    assert await desk.send() == []
    clock.advance(0.1)
    assert await desk.send() == [SendResult.SENT]
    assert desk.provider.lookups == []


async def test_an_unknown_outcome_is_looked_up_before_a_second_try(desk: Desk, clock: FakeClock):
    await desk.queue()
    desk.provider.script = [OutcomeUnknown()]

    assert await desk.send() == [SendResult.POSTPONED]
    clock.advance(2)
    assert await desk.send() == [SendResult.SENT]

    assert len(desk.provider.sent) == 1
    assert len(desk.provider.lookups) == 1
    assert (await desk.outbound())["status"] == "SENT"


async def test_an_unknown_outcome_stays_unknown_though_a_later_try_is_refused(desk: Desk, clock: FakeClock):
    """The provider lists the first try late; the throttled second one says nothing about it."""

    class Late(FakeAdapter):
        lists = False

        async def find_sent(self, *arguments: Any) -> SendReceipt | None:
            found = await super().find_sent(*arguments)
            return found if self.lists else None

    desk.provider = late = Late()
    await desk.queue()
    late.script = [OutcomeUnknown(), Throttled()]
    assert await desk.send() == [SendResult.POSTPONED]
    clock.advance(2)
    assert await desk.send() == [SendResult.POSTPONED]
    late.lists = True
    clock.advance(10)

    assert await desk.send() == [SendResult.SENT]
    assert len(late.sent) == 1


async def test_a_worker_that_died_after_the_request_left_does_not_send_twice(desk: Desk, clock: FakeClock):
    """The attempt was marked, the provider took it, nobody recorded the receipt."""
    await desk.queue()
    (dead,) = await desk.claim()

    class Dies(FakeAdapter):
        async def send(self, account, message):
            await super().send(account, message)
            raise KeyboardInterrupt

    desk.provider = Dies()
    with pytest.raises(KeyboardInterrupt):
        await send_message(desk.runtime, {"twilio": desk.provider}, dead)  # type: ignore[dict-item]
    assert await desk.send() == []
    clock.advance(21)

    assert await desk.send() == [SendResult.SENT]
    assert len(desk.provider.sent) == 1


async def test_two_messages_of_the_same_words_are_not_taken_for_one(desk: Desk, clock: FakeClock):
    await desk.queue("ok")
    await desk.send()
    await desk.queue("ok")
    desk.provider.script = [ProviderUnavailable()]
    await desk.send()
    clock.advance(2)
    desk.provider.script = [OutcomeUnknown()]
    await desk.send()
    clock.advance(10)

    assert await desk.send() == [SendResult.SENT]

    ids = {
        row["provider_message_id"]
        for row in await desk.rows("select * from messages where direction = 'OUTBOUND'")
    }
    assert ids == {"SM1", "SM2"}
    assert len(desk.provider.sent) == 2


async def test_the_same_words_from_another_account_of_the_tenant_are_not_taken_for_ours(
    desk: Desk, runtime: Runtime, clock: FakeClock
):
    """Both accounts write through one provider, which lists what it sent to the customer, not for whom."""
    await desk.queue("ok")
    await desk.send()
    other = await make_account(runtime, desk.tenant, address="+15550003333")
    await accept_messages(runtime, [accepted_item(runtime, other, inbound(key="SM-in"))])
    (row,) = await desk.rows("select id from conversations where channel_account_id = $1", other.id)
    await queue_message(runtime, {}, desk.tenant, row["id"], text="ok")
    desk.provider.script = [OutcomeUnknown()]
    await desk.send()
    clock.advance(2)

    assert await desk.send() == [SendResult.SENT]
    assert desk.provider.lookups == [frozenset({"SM1"})]
    taken = await desk.rows(
        "select provider_message_id from messages where direction = 'OUTBOUND' order by id"
    )
    assert [row["provider_message_id"] for row in taken] == ["SM1", "SM2"]


@pytest.mark.parametrize(
    "error", [InvalidRecipient(provider_code="21211"), BadCredentials(provider_code="20003")]
)
async def test_a_fault_that_will_not_pass_fails_the_message(desk: Desk, error: GatewayError):
    await desk.queue()
    desk.provider.script = [error]

    assert await desk.send() == [SendResult.FAILED]
    assert await desk.send() == []

    row = await desk.outbound()
    assert (row["status"], row["error_code"]) == ("FAILED", error.provider_code)
    assert await desk.events() == ["message.received", "message.failed"]


async def test_attempts_run_out(desk: Desk, clock: FakeClock):
    await desk.queue()
    desk.provider.script = [ProviderUnavailable() for _ in range(10)]
    results = []
    for _ in range(8):
        results += await desk.send()
        clock.advance(1000)

    assert results == [SendResult.POSTPONED] * 5 + [SendResult.FAILED]


async def test_a_stop_between_queueing_and_sending_is_respected(desk: Desk):
    await desk.queue()
    await desk.rows("update customer_contacts set opted_out_at = now() returning 1")

    assert await desk.send() == [SendResult.FAILED]
    assert desk.provider.sent == []
    assert (await desk.outbound())["error_code"] == "opted_out"
    with pytest.raises(OptedOut):
        await desk.queue()


async def test_the_window_closes_after_24_hours(desk: Desk, clock: FakeClock):
    await desk.queue()
    clock.advance(24 * 3600)

    assert await desk.send() == [SendResult.FAILED]
    assert desk.provider.sent == []
    with pytest.raises(WindowClosed):
        await desk.queue()


async def test_each_of_our_numbers_has_a_window_of_its_own(desk: Desk, runtime: Runtime, clock: FakeClock):
    clock.advance(30 * 3600)
    other = await make_account(runtime, desk.tenant, address="+15550003333")
    await accept_messages(runtime, [accepted_item(runtime, other, inbound(key="SM2"))])

    with pytest.raises(WindowClosed):
        await desk.queue()


async def test_sms_has_no_window(runtime: Runtime, clock: FakeClock):
    desk = await open_desk(runtime, Channel.SMS)
    clock.advance(30 * 24 * 3600)
    await desk.queue()

    assert await desk.send() == [SendResult.SENT]


async def test_a_stop_that_only_the_provider_knew_is_learnt(desk: Desk):
    await desk.queue()
    desk.provider.script = [OptedOut(provider_code="21610")]

    assert await desk.send() == [SendResult.FAILED]
    assert await desk.rows(
        "select opted_out_at is not null as out, opt_out_reason from customer_contacts"
    ) == [{"out": True, "opt_out_reason": "provider"}]
    assert await desk.rows("select 1 from webhook_events where type = 'customer.opted_out'") != []


async def test_one_conversations_messages_leave_in_their_order(desk: Desk, clock: FakeClock):
    for text in ("uno", "dos", "tres"):
        await desk.queue(text)
    desk.provider.script = [ProviderUnavailable()]
    await desk.send()
    assert await desk.send() == []
    clock.advance(2)
    for _ in range(3):
        await desk.send()

    assert [sent.text for sent in desk.provider.sent] == ["uno", "dos", "tres"]


async def test_a_deleted_account_sends_nothing(desk: Desk):
    await desk.queue()
    await desk.rows("update channel_accounts set deleted_at = now() returning 1")

    assert await desk.send() == [SendResult.FAILED]
    assert desk.provider.sent == []


async def test_another_tenants_conversation_is_not_found(desk: Desk, runtime: Runtime):
    other = await make_distributor(runtime)

    with pytest.raises(NotFound):
        await queue_message(runtime, {}, other, desk.conversation, text="x")


async def test_a_message_whose_provider_nobody_here_speaks_to_fails(desk: Desk):
    await desk.queue()
    (claimed,) = await desk.claim()

    assert await send_message(desk.runtime, {}, claimed) is SendResult.FAILED
    assert (await desk.outbound())["error_code"] == "bad_credentials"
    assert await desk.events() == ["message.received", "message.failed"]


async def test_a_failure_that_is_heard_of_before_the_receipt_is_not_told_as_sent(desk: Desk):
    message_id = await desk.queue()
    (claimed,) = await desk.claim()
    provider = Hasty(desk.runtime)

    await send_message(desk.runtime, {"twilio": provider}, claimed)  # type: ignore[dict-item]

    told = ["message.received", "message.status_changed", "message.failed"]
    history = await desk.rows("select status, applied from message_status_events order by id")
    assert (await desk.outbound())["status"] == "FAILED"
    assert await desk.events() == told
    assert [tuple(row.values()) for row in history] == [("FAILED", True), ("SENT", False)]
    await provider.tell(MessageStatus.DELIVERED, message_id)
    assert await desk.events() == [*told, "message.sent", "message.status_changed"]


async def test_why_a_callback_says_that_it_failed_is_told_in_our_word(desk: Desk):
    message_id = await desk.queue()
    await desk.send()
    account = desk.provider.accounts[0]
    update = StatusUpdate(
        "SM1", MessageStatus.FAILED, message_id, "undelivered", "30005", reason="invalid_recipient"
    )

    await accept_statuses(desk.runtime, [status_item(desk.runtime, posted(desk.runtime, account), update)])

    (event,) = await desk.rows("select body from webhook_events where type = 'message.failed'")
    said = event["body"]["data"]
    assert (said["error_code"], said["reason"]) == ("30005", "invalid_recipient")


class Hasty(FakeAdapter):
    """Its callback of a failure comes before its own receipt."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self.runtime = runtime
        self.account: Any = None

    async def send(self, account, message):
        self.account = account
        await self.tell(MessageStatus.FAILED, message.id)
        return await super().send(account, message)

    async def tell(self, status: MessageStatus, message_id: UUID) -> None:
        update = StatusUpdate("SM1", status, message_id=message_id, provider_status=status.lower())
        await accept_statuses(
            self.runtime, [status_item(self.runtime, posted(self.runtime, self.account), update)]
        )
