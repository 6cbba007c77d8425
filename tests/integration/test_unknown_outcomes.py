"""No second copy where an outcome is unknown, whatever the provider can be asked; a person is asked before a third."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from channels.base import Channel, ChannelAccount, MessageStatus, OutboundMessage, SendReceipt, StatusUpdate
from channels.errors import OutcomeUnknown, ProviderUnavailable
from handlers.inbound import accept_statuses, status_item
from handlers.outbound_doubt import WAIT_FOR_WORD
from handlers.outbound_outcome import SendResult
from handlers.runtime import Runtime
from tests.factories import make_endpoint, posted
from tests.fakes import FakeAdapter, FakeClock
from tests.integration.test_outbound import Desk, open_desk


class Mute:
    """A provider that can neither be asked nor told that it is the same message (Meta, SendGrid, SES, SMTP)."""

    name = "twilio"
    channels = FakeAdapter.channels

    def __init__(self) -> None:
        self.inner = FakeAdapter()

    @property
    def script(self) -> list[Exception | None]:
        return self.inner.script

    @script.setter
    def script(self, errors: list[Exception | None]) -> None:
        self.inner.script = errors

    @property
    def sent(self) -> list[OutboundMessage]:
        return self.inner.sent

    async def send(self, account: ChannelAccount, message: OutboundMessage) -> SendReceipt:
        return await self.inner.send(account, message)


class Repeatable(Mute):
    """A provider that takes our id as the key of the send, for an hour (Resend)."""

    repeatable_for = timedelta(hours=1)


class Asked(Mute):
    """A provider that can be asked (Twilio, Mailgun, Postmark)."""

    async def find_sent(
        self, account: ChannelAccount, message: OutboundMessage, since: datetime, known_ids: frozenset[str]
    ) -> SendReceipt | None:
        return await self.inner.find_sent(account, message, since, known_ids)


@pytest.fixture
async def desk(runtime: Runtime) -> Desk:
    desk = await open_desk(runtime)
    await make_endpoint(runtime, desk.tenant, ["*"])
    return desk


async def tries(desk: Desk, clock: FakeClock, seconds: int) -> list[float]:
    """At which seconds the provider was sent something, looking every second."""
    begin, moments = clock(), []
    for _ in range(seconds + 1):
        before = len(desk.provider.sent)
        await desk.send()
        if len(desk.provider.sent) > before:
            moments.append((clock() - begin).total_seconds())
        clock.advance(1)
    return moments


@pytest.mark.parametrize(
    ("provider", "unknown", "moments", "status"),
    [
        (Asked, 1, [0], "SENT"),  # it says that it has it
        (Repeatable, 1, [0, 2], "SENT"),  # it gives the receipt of the first
        (Mute, 0, [0], "SENT"),
        (Mute, 1, [0, 60], "SENT"),
        (Mute, 2, [0, 60], "FAILED"),
        (Mute, 9, [0, 60], "FAILED"),
    ],
)
async def test_what_follows_an_unknown_outcome_by_what_the_provider_can_do(
    desk: Desk, clock: FakeClock, provider: Any, unknown: int, moments: list[float], status: str
):
    desk.provider = provider()
    desk.provider.script = [OutcomeUnknown() for _ in range(unknown)]
    await desk.queue()

    assert await tries(desk, clock, 150) == moments

    assert (await desk.outbound())["status"] == status


async def test_a_person_is_asked_instead_of_a_third_copy(desk: Desk, clock: FakeClock):
    desk.provider = Mute()  # type: ignore[assignment]
    desk.provider.script = [OutcomeUnknown(), OutcomeUnknown()]
    message_id = await desk.queue()

    await tries(desk, clock, 130)

    row = await desk.outbound()
    assert (row["status"], row["error_code"]) == ("FAILED", "outcome_unknown")
    bodies = {
        event["type"]: event["body"]["data"]
        for event in await desk.rows("select type, body from webhook_events order by id")
    }
    assert bodies["message.failed"]["reason"] == "outcome_unknown"
    asked = bodies["conversation.handoff_requested"]
    assert (asked["reason"], asked["message_id"]) == ("outcome_unknown", str(message_id))
    assert await desk.rows("select handoff from conversations") == [{"handoff": "WAITING_HUMAN"}]


async def test_a_callback_with_our_id_settles_what_was_unknown(
    desk: Desk, runtime: Runtime, clock: FakeClock
):
    desk.provider = Mute()  # type: ignore[assignment]
    desk.provider.script = [OutcomeUnknown()]
    message_id = await desk.queue()
    assert await tries(desk, clock, 30) == [0]
    (account,) = await desk.rows("select * from channel_accounts")
    known = ChannelAccount(account["id"], desk.tenant, Channel.WHATSAPP, "twilio", account["address"], {})
    told = StatusUpdate("SM1", MessageStatus.SENT, message_id)
    await accept_statuses(runtime, [status_item(runtime, posted(runtime, known), told)])

    assert await tries(desk, clock, 120) == []

    assert (await desk.outbound())["status"] == "SENT"


async def test_a_worker_that_died_while_sending_counts_as_an_unknown_outcome(desk: Desk, clock: FakeClock):
    class Dies(Mute):
        async def send(self, account: ChannelAccount, message: OutboundMessage) -> SendReceipt:
            await super().send(account, message)
            raise KeyError("the worker dies")

    desk.provider = Dies()  # type: ignore[assignment]
    await desk.queue()
    with pytest.raises(KeyError):
        await desk.send()
    clock.advance(30)
    assert await desk.send() == [SendResult.POSTPONED]
    clock.advance(WAIT_FOR_WORD.total_seconds() - 30)
    with pytest.raises(KeyError):
        await desk.send()
    clock.advance(WAIT_FOR_WORD.total_seconds())

    assert await desk.send() == [SendResult.FAILED]
    assert len(desk.provider.sent) == 2


async def test_a_refused_second_try_is_none_of_unknown_outcome(desk: Desk, clock: FakeClock):
    desk.provider = Mute()  # type: ignore[assignment]
    desk.provider.script = [OutcomeUnknown(), ProviderUnavailable(), None]
    await desk.queue()

    await tries(desk, clock, 90)

    assert (await desk.outbound())["status"] == "SENT"
    assert len(desk.provider.sent) == 2


async def test_a_key_that_the_provider_forgot_protects_no_more(desk: Desk, clock: FakeClock):
    desk.provider = Repeatable()  # type: ignore[assignment]
    desk.provider.script = [OutcomeUnknown()]
    await desk.queue()
    await desk.send()
    await desk.rows("update messages set send_unknown = 2 where direction = 'OUTBOUND' returning id")
    clock.advance(3600)

    assert await desk.send() == [SendResult.FAILED]
