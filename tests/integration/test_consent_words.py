"""What customers and the provider say about consent, and what follows from it."""

from typing import Any
from uuid import UUID

import pytest

from channels.base import Channel, ChannelAccount, ConsentChange, MessageStatus, StatusUpdate
from handlers.inbound import accept_messages, accept_statuses, status_item
from handlers.runtime import Runtime
from tests.factories import accepted_item, inbound, make_account, make_distributor, posted
from tests.fakes import FakeClock


class Line:
    """A tenant's number, and one customer who writes to it."""

    def __init__(self, runtime: Runtime, account: ChannelAccount) -> None:
        self.runtime = runtime
        self.account = account
        self.count = 0

    async def say(self, *texts: str, **fields: Any) -> None:
        """All of them in one flush."""
        items = []
        for text in texts:
            self.count += 1
            message = inbound(text, key=f"SM{self.count}", channel=self.account.channel, **fields)
            items.append(accepted_item(self.runtime, self.account, message))
        await accept_messages(self.runtime, items)

    async def rows(self, query: str) -> list[dict[str, Any]]:
        async with self.runtime.database.tenant(self.account.distributor_id) as connection:
            return [dict(row) for row in await connection.fetch(query)]

    async def is_out(self) -> bool:
        (contact,) = await self.rows("select opted_out_at from customer_contacts")
        return contact["opted_out_at"] is not None

    async def skip_reasons(self) -> list[str | None]:
        rows = await self.rows("select ai_skip_reason from messages where direction = 'INBOUND' order by id")
        return [row["ai_skip_reason"] for row in rows]

    async def has_turn(self) -> bool:
        (conversation,) = await self.rows("select turn_due_at from conversations")
        return conversation["turn_due_at"] is not None

    async def told(self) -> list[str]:
        """The events about consent."""
        rows = await self.rows(
            "select type from webhook_events where type like 'customer.opted%' order by occurred_at, id"
        )
        return [row["type"].removeprefix("customer.") for row in rows]

    async def write_to(self) -> UUID:
        """A message of ours that was handed to the provider."""
        message_id = self.runtime.new_id()
        async with self.runtime.database.tenant(self.account.distributor_id) as connection:
            await connection.execute(
                "insert into messages (distributor_id, id, conversation_id, channel_account_id, channel, direction, type,"
                " status, status_rank, text, provider_message_id, ai_processed, ai_skip_reason, created_at, updated_at)"
                " select distributor_id, $1, id, channel_account_id, channel, 'OUTBOUND', 'TEXT', 'SENT', 3, 'ok', $2, true,"
                " 'outbound', $3, $3"
                " from conversations",
                message_id,
                f"SM-{message_id}",
                self.runtime.clock(),
            )
        return message_id

    async def refuse(self, message_id: UUID, *, names_it: bool = True) -> None:
        """The provider calls back: the recipient had told it STOP."""
        update = StatusUpdate(
            f"SM-{message_id}",
            MessageStatus.FAILED,
            message_id if names_it else None,
            "failed",
            "21610",
            opted_out=True,
        )
        await accept_statuses(
            self.runtime, [status_item(self.runtime, posted(self.runtime, self.account), update)]
        )


@pytest.fixture
async def line(runtime: Runtime) -> Line:
    return Line(runtime, await make_account(runtime, await make_distributor(runtime), Channel.SMS))


async def test_yes_takes_back_a_stop_and_is_no_order(line: Line, clock: FakeClock):
    await line.say("STOP")
    clock.advance(60)

    await line.say("YES")

    assert not await line.is_out()
    assert await line.skip_reasons() == ["opt_out", "opt_in"]
    assert not await line.has_turn()
    assert await line.told() == ["opted_out", "opted_in"]


@pytest.mark.parametrize("told", [None, ConsentChange.IN], ids=["plain", "advanced-opt-out"])
async def test_yes_is_an_ordinary_word_from_who_never_stopped(line: Line, told: ConsentChange | None):
    await line.say("YES", consent=told)

    assert await line.skip_reasons() == [None]
    assert await line.has_turn()
    assert await line.told() == []


async def test_yes_follows_the_words_before_it_in_one_flush(line: Line):
    await line.say("STOP", "YES", "YES")

    assert await line.skip_reasons() == ["opt_out", "opt_in", None]
    assert not await line.is_out()


async def test_yes_over_whatsapp_is_no_word_of_consent(runtime: Runtime, clock: FakeClock):
    line = Line(runtime, await make_account(runtime, await make_distributor(runtime)))
    await line.say("STOP")
    clock.advance(60)

    await line.say("YES")

    assert await line.is_out()
    assert await line.skip_reasons() == ["opt_out", None]


async def test_a_word_for_help_over_sms_is_answered_by_the_provider(line: Line):
    await line.say("HELP", "info")
    assert not await line.has_turn()

    await line.say("help me with my order")

    assert await line.skip_reasons() == ["help", "help", None]
    assert await line.has_turn()


@pytest.mark.parametrize("names_it", [True, False], ids=["our-id", "providers-id"])
async def test_a_stop_that_a_callback_tells_of_is_learnt_and_told_once(
    line: Line, clock: FakeClock, names_it: bool
):
    await line.say("hello")
    first, second = await line.write_to(), await line.write_to()
    clock.advance(5)

    for message_id in (first, first, second):
        await line.refuse(message_id, names_it=names_it)

    assert await line.is_out()
    assert await line.told() == ["opted_out"]
    (event,) = await line.rows("select body from webhook_events where type = 'customer.opted_out'")
    (conversation,) = await line.rows("select id, customer_id from conversations")
    assert event["body"]["data"]["address"] == "+15550001111"
    assert event["body"]["data"]["conversation_id"] == str(conversation["id"])
    assert event["body"]["data"]["customer_id"] == str(conversation["customer_id"])
    failed = await line.rows("select 1 from messages where status = 'FAILED'")
    assert len(failed) == 2


async def test_a_late_callback_does_not_silence_who_came_back_meanwhile(line: Line, clock: FakeClock):
    await line.say("hello")
    message_id = await line.write_to()
    clock.advance(60)
    await line.say("START")

    await line.refuse(message_id)

    assert not await line.is_out()
    assert await line.told() == []
