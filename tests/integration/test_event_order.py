"""Numbers of a conversation's events, and the order that some endpoints ask for, under transactions that overlap."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from channels.base import Channel, MessageStatus, StatusUpdate
from channels.errors import OutcomeUnknown
from db.events import record_events
from db.lanes import ClaimTerms
from db.tenant import Connection
from handlers.deliveries import settle
from handlers.inbound import accept_messages, accept_statuses, status_item
from handlers.outbound_outcome import SendResult
from handlers.runtime import Runtime
from handlers.webhooks.delivery import (
    AttemptResult,
    DeliveryStatus,
    DisableReason,
    FinishedDelivery,
    Outcome,
    Settlement,
)
from handlers.webhooks.event_types import EventType
from handlers.webhooks.outbox import new_event_row
from tests.delivery_stage import claim
from tests.factories import accepted_item, inbound, make_account, make_distributor, make_endpoint, posted
from tests.integration.test_concurrency import account_of, blocked_by
from tests.integration.test_outbound import open_desk

FINISH = """
    update webhook_deliveries
    set status = 'SUCCESS', due_at = null, lease_until = null, lease_token = null
    where distributor_id = $1 and endpoint_id = $2 and ordering_key = $3 and due_at < 'infinity'
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """A tenant with conversations in which nothing was told yet, and an endpoint that asks for order."""

    runtime: Runtime
    tenant: UUID
    endpoint: UUID
    conversations: Sequence[UUID]

    def event(self, conversation_id: UUID | None) -> dict[str, Any]:
        data = {"conversation_id": conversation_id, "customer_id": None, "channel": Channel.SMS}
        if conversation_id is None:
            return new_event_row(
                self.runtime,
                self.tenant,
                EventType.CUSTOMER_OPTED_OUT,
                {"customer_id": None, "channel": Channel.SMS},
            )
        return new_event_row(
            self.runtime,
            self.tenant,
            EventType.CONVERSATION_HANDOFF_ENDED,
            data,
            conversation_id=conversation_id,
        )

    async def tell(self, connection: Connection, *conversations: UUID | None) -> None:
        await record_events(connection, [self.event(conversation) for conversation in conversations])

    async def finish(self, connection: Connection, conversation: UUID) -> None:
        """What is on its way ends well, and nothing else happens yet."""
        await connection.execute(FINISH, self.tenant, self.endpoint, conversation)

    async def release(self, connection: Connection, *conversations: UUID) -> int:
        count: int = await connection.fetchval(
            "select release_heads($1, $2, $3, $4)",
            self.tenant,
            self.endpoint,
            list(conversations),
            self.runtime.clock(),
        )
        return count

    async def rows(self, query: str, *arguments: Any) -> list[dict[str, Any]]:
        async with self.runtime.database.tenant(self.tenant) as connection:
            return [dict(row) for row in await connection.fetch(query, *arguments)]

    async def sequences(self, conversation: UUID) -> list[int]:
        """As stored, in the order of the events' ids; each must stand in its event's body too."""
        found = await self.rows(
            "select sequence, (body ->> 'sequence')::bigint as told from webhook_events"
            " where conversation_id = $1 order by id",
            conversation,
        )
        assert [row["sequence"] for row in found] == [row["told"] for row in found]
        return [row["sequence"] for row in found]

    async def waiting(self, conversation: UUID) -> list[str]:
        """Each unfinished delivery by its number: ``go`` or ``wait``."""
        found = await self.rows(
            "select sequence, due_at = 'infinity' as waits from webhook_deliveries where ordering_key = $1 and due_at is not null"
            " order by sequence",
            conversation,
        )
        return [f"{row['sequence']} {'wait' if row['waits'] else 'go'}" for row in found]


async def open_stage(runtime: Runtime) -> Stage:
    tenant = await make_distributor(runtime)
    account = await make_account(runtime, tenant)
    senders = [f"+1555000{number:04}" for number in range(3)]
    await accept_messages(
        runtime, [accepted_item(runtime, account, inbound(key=sender, sender=sender)) for sender in senders]
    )
    endpoint = await make_endpoint(
        runtime, tenant, ["conversation.handoff_ended", "customer.opted_out"], ordering="conversation"
    )
    async with runtime.database.tenant(tenant) as connection:
        ids = [row["id"] for row in await connection.fetch("select id from conversations order by id")]
    return Stage(runtime, tenant, endpoint, ids)


@pytest.fixture
async def stage(runtime: Runtime, admin_dsn: str) -> Stage:
    stage = await open_stage(runtime)
    await _forget(admin_dsn)
    return stage


async def _forget(admin_dsn: str) -> None:
    admin = await asyncpg.connect(admin_dsn)
    await admin.execute("delete from webhook_events")
    await admin.close()


async def test_events_of_one_call_are_numbered_by_conversation_in_their_order(stage: Stage) -> None:
    first, second, _ = stage.conversations
    async with stage.runtime.database.worker() as connection:
        await stage.tell(connection, first, second, None, first)
        await stage.tell(connection, second, first)

    assert await stage.sequences(first) == [1, 2, 3]
    assert await stage.sequences(second) == [1, 2]


async def test_an_event_of_no_conversation_has_no_number(stage: Stage) -> None:
    async with stage.runtime.database.worker() as connection:
        await stage.tell(connection, None, None)

    found = await stage.rows("select sequence, body ? 'sequence' as told from webhook_events")
    due = await stage.rows("select due_at from webhook_deliveries")
    assert [tuple(row.values()) for row in found] == [(None, False), (None, False)]
    assert {row["due_at"] for row in due} == {stage.runtime.clock()}


@pytest.mark.parametrize(("text", "count"), [("hola", 3), ("STOP", 4)])
async def test_what_a_message_tells_at_once_has_its_ids_in_the_order_of_its_numbers(
    runtime: Runtime, text: str, count: int
) -> None:
    tenant = await make_distributor(runtime)
    account = await make_account(runtime, tenant)
    await accept_messages(runtime, [accepted_item(runtime, account, inbound(text))])

    async with runtime.database.tenant(tenant) as connection:
        found = await connection.fetch("select sequence from webhook_events order by id")
    assert [row["sequence"] for row in found] == list(range(1, count + 1))


async def test_two_tenants_number_their_own(stage: Stage, runtime: Runtime) -> None:
    other = await open_stage(runtime)
    async with runtime.database.worker() as connection:
        events = [stage.event(stage.conversations[0]), other.event(other.conversations[0])]
        await record_events(connection, events)

    assert await stage.sequences(stage.conversations[0]) == [1]
    assert (await other.sequences(other.conversations[0]))[-1] == 4  # after what its first message told


async def test_the_second_transaction_waits_and_goes_on_from_the_first(stage: Stage, admin_dsn: str) -> None:
    conversation, other, _ = stage.conversations
    later = asyncio.Event()

    async def second() -> None:
        async with stage.runtime.database.worker() as connection:
            await stage.tell(connection, other, conversation)
            later.set()

    async with stage.runtime.database.worker() as first:
        await stage.tell(first, conversation, conversation)
        task = asyncio.create_task(second())
        await blocked_by(admin_dsn)
        assert not later.is_set()
    await task

    assert await stage.sequences(conversation) == [1, 2, 3]
    assert await stage.sequences(other) == [1]


async def test_the_numbers_of_a_transaction_that_failed_are_given_anew(stage: Stage, admin_dsn: str) -> None:
    conversation, *_ = stage.conversations

    async def second() -> None:
        async with stage.runtime.database.worker() as connection:
            await stage.tell(connection, conversation)

    async with stage.runtime.database.worker() as first:
        await first.execute("savepoint before")
        await stage.tell(first, conversation, conversation)
        task = asyncio.create_task(second())
        await blocked_by(admin_dsn)
        await first.execute("rollback to savepoint before")  # which gives back the locks too
        await task

    assert await stage.sequences(conversation) == [1]


async def test_conversations_in_any_order_make_no_deadlock(stage: Stage) -> None:
    first, second, third = stage.conversations
    orders = [(first, second, third), (third, second, first), (second, first, third)] * 10

    async def tell(order: tuple[UUID, ...]) -> None:
        async with stage.runtime.database.worker() as connection:
            await stage.tell(connection, *order)

    await asyncio.gather(*map(tell, orders))

    for conversation in stage.conversations:
        assert sorted(await stage.sequences(conversation)) == list(range(1, 31))


async def test_of_a_conversation_only_the_head_is_on_its_way(stage: Stage) -> None:
    first, second, _ = stage.conversations
    async with stage.runtime.database.worker() as connection:
        await stage.tell(connection, first, first, second)
    async with stage.runtime.database.worker() as connection:
        await stage.tell(connection, first)

    assert await stage.waiting(first) == ["1 go", "2 wait", "3 wait"]
    assert await stage.waiting(second) == ["1 go"]


async def test_a_release_lets_exactly_the_head_go(stage: Stage) -> None:
    first, second, _ = stage.conversations
    async with stage.runtime.database.worker() as connection:
        await stage.tell(connection, first, first, first, second, second)
    async with stage.runtime.database.worker() as connection:
        assert await stage.release(connection, first, second) == 0, "a head is on its way"
        await stage.finish(connection, first)
        assert await stage.release(connection, first, second, first) == 1
        assert await stage.release(connection, first) == 0

    assert await stage.waiting(first) == ["2 go", "3 wait"]
    assert await stage.waiting(second) == ["1 go", "2 wait"]


async def test_an_older_one_that_is_sent_again_goes_first(stage: Stage) -> None:
    """A redelivery of number 1 while 3 waits: whoever releases takes the lowest number that is unfinished."""
    conversation, *_ = stage.conversations
    async with stage.runtime.database.worker() as connection:
        await stage.tell(connection, conversation, conversation, conversation)
        for _ in range(2):
            await stage.finish(connection, conversation)
            await stage.release(connection, conversation)
        await connection.execute(
            "update webhook_deliveries set status = 'PENDING', due_at = 'infinity' where sequence = 1"
        )
        await stage.finish(connection, conversation)
        await stage.release(connection, conversation)

    assert await stage.waiting(conversation) == ["1 go"]


async def test_what_is_stored_before_a_release_is_let_go_by_it(stage: Stage, admin_dsn: str) -> None:
    """It was stored behind a delivery that ends meanwhile."""
    conversation, *_ = stage.conversations
    async with stage.runtime.database.worker() as connection:
        await stage.tell(connection, conversation)

    async def end() -> None:
        async with stage.runtime.database.worker() as connection:
            await stage.finish(connection, conversation)
            await stage.release(connection, conversation)

    async with stage.runtime.database.worker() as storing:
        await stage.tell(storing, conversation)
        ending = asyncio.create_task(end())
        await blocked_by(admin_dsn)
    await ending

    assert await stage.waiting(conversation) == ["2 go"]


async def test_what_is_stored_during_a_release_waits_for_it(stage: Stage, admin_dsn: str) -> None:
    conversation, *_ = stage.conversations
    async with stage.runtime.database.worker() as connection:
        await stage.tell(connection, conversation)

    async def store() -> None:
        async with stage.runtime.database.worker() as connection:
            await stage.tell(connection, conversation)

    async with stage.runtime.database.worker() as ending:
        await stage.finish(ending, conversation)
        assert await stage.release(ending, conversation) == 0
        storing = asyncio.create_task(store())
        await blocked_by(admin_dsn)
    await storing

    assert await stage.waiting(conversation) == ["2 go"]


async def test_writers_and_releases_at_once_leave_nothing_stuck(stage: Stage) -> None:
    async def store(conversation: UUID) -> None:
        async with stage.runtime.database.worker() as connection:
            await stage.tell(connection, conversation, conversation)

    async def end(conversation: UUID) -> None:
        async with stage.runtime.database.worker() as connection:
            await stage.finish(connection, conversation)
            await stage.release(connection, conversation)

    work = [act(c) for _ in range(8) for c in stage.conversations for act in (store, end, end)]
    await asyncio.gather(*work)

    for conversation in stage.conversations:
        assert sorted(await stage.sequences(conversation)) == list(range(1, 17))
        await _drain(stage, conversation)


async def _drain(stage: Stage, conversation: UUID) -> None:
    """One at a time, by number, until nothing is left."""
    while left := await stage.waiting(conversation):
        assert [state.partition(" ")[2] for state in left] == ["go", *["wait"] * (len(left) - 1)]
        async with stage.runtime.database.worker() as connection:
            await stage.finish(connection, conversation)
            await stage.release(connection, conversation)


acts = st.tuples(
    st.sampled_from(["tell", "finish", "release", "end", "fail"]), st.integers(0, 2), st.integers(1, 3)
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(acts, max_size=20))
async def test_never_two_of_a_conversation_and_never_a_stuck_one(
    stage: Stage, admin_dsn: str, script: list[tuple[str, int, int]]
) -> None:
    """Whatever is stored, ended, rolled back and released in whatever order."""
    await _forget(admin_dsn)
    for act, number, count in script:
        conversation = stage.conversations[number]
        await _act(stage, act, conversation, count)
        states = await stage.waiting(conversation)
        assert sum(state.endswith("go") for state in states) <= 1
        assert all(state.endswith("wait") for state in states[1:])

    async with stage.runtime.database.worker() as connection:
        await stage.release(connection, *stage.conversations)
    for conversation in stage.conversations:
        numbers = await stage.sequences(conversation)
        assert numbers == list(range(1, len(numbers) + 1))
        await _drain(stage, conversation)


async def _act(stage: Stage, act: str, conversation: UUID, count: int) -> None:
    async with stage.runtime.database.worker() as connection:
        match act:
            case "tell":
                await stage.tell(connection, *[conversation] * count)
            case "fail":
                await connection.execute("savepoint before")
                await stage.tell(connection, *[conversation] * count)
                await connection.execute("rollback to savepoint before")
            case "finish":
                await stage.finish(connection, conversation)
            case "release":
                await stage.release(connection, conversation)
            case "end":
                await stage.finish(connection, conversation)
                await stage.release(connection, conversation)


# The order of locks (docs/webhook-events.md is for integrators, this is ours): contact, conversation, message, then the
# numbers of conversations, all of a statement at once and in one order; after them nothing that somebody else may hold.


async def test_a_refusal_and_a_status_of_one_message_do_not_wait_for_each_other(
    runtime: Runtime, admin_dsn: str
) -> None:
    """The refusal tells of its contact too, but takes the conversation's numbers after the message."""
    desk = await open_desk(runtime)
    message_id = await desk.queue()
    await desk.claim()
    post = posted(runtime, await account_of(desk))
    refused = StatusUpdate("SM1", MessageStatus.FAILED, message_id, "failed", "21610", opted_out=True)
    async with runtime.database.tenant(desk.tenant) as first:
        await first.execute("select from messages where direction = 'OUTBOUND' for update")
        refusing = asyncio.create_task(accept_statuses(runtime, [status_item(runtime, post, refused)]))
        await blocked_by(admin_dsn)
        async with asyncio.timeout(10):
            await first.execute("select lock_conversations(array[$1::uuid])", desk.conversation)
    await refusing

    told = await desk.rows("select type from webhook_events order by sequence")
    assert [row["type"] for row in told][-3:] == [
        "customer.opted_out",
        "message.status_changed",
        "message.failed",
    ]


async def test_two_settlements_of_different_endpoints_do_not_wait_for_each_other(
    stage: Stage, admin_dsn: str
) -> None:
    """Each ends deliveries of two conversations, at two endpoints; both lock the conversations in one order."""
    low, high = sorted(stage.conversations[:2])
    results = [
        {
            "distributor_id": stage.tenant,
            "endpoint_id": UUID(int=number),
            "ordering_key": key,
            "disables": False,
        }
        for number, key in ((1, high), (2, low))
    ]

    async def settle() -> None:
        async with stage.runtime.database.worker() as connection:
            await connection.fetch("select * from settle_deliveries($1::jsonb, '[]', '{}')", results)

    async with stage.runtime.database.worker() as other:
        await other.execute("select lock_conversations(array[$1::uuid])", low)
        settling = asyncio.create_task(settle())
        await blocked_by(admin_dsn)
        async with asyncio.timeout(10):
            await other.execute("select lock_conversations(array[$1::uuid])", high)
    await settling


async def test_an_endpoint_that_is_disabled_by_answers_ends_their_conversations_in_one_order(
    stage: Stage, admin_dsn: str
) -> None:
    low, high = sorted(stage.conversations[:2])
    async with stage.runtime.database.worker() as connection:
        await stage.tell(connection, high, low)
    rows = await claim(stage.runtime, ClaimTerms(batch=10, share=10, lease=timedelta(seconds=30)))
    now, gone = stage.runtime.clock(), DisableReason.GONE
    answers = [
        FinishedDelivery(
            row,
            AttemptResult(Outcome.FAILURE, now, now, status_code=410, disable_reason=gone),
            Settlement(DeliveryStatus.EXHAUSTED, None, 0, gone),
        )
        for row in sorted(rows, key=lambda row: str(row.ordering_key), reverse=True)
    ]
    assert [answer.claimed.ordering_key for answer in answers] == [high, low]

    async with stage.runtime.database.worker() as other:
        await other.execute("select lock_conversations(array[$1::uuid])", low)
        settling = asyncio.create_task(settle(stage.runtime, answers))
        await blocked_by(admin_dsn)
        async with asyncio.timeout(10):
            await other.execute("select lock_conversations(array[$1::uuid])", high)
    await settling

    assert await stage.rows("select 1 from webhook_endpoints where disabled_reason = 'gone'")
    assert await stage.waiting(low) == await stage.waiting(high) == []


async def test_a_send_of_unknown_outcome_and_a_writing_customer_do_not_wait_for_each_other(
    runtime: Runtime, admin_dsn: str
) -> None:
    """Whoever writes holds the conversation, and then takes its numbers; so does who asks for a person."""
    desk = await open_desk(runtime)
    await desk.queue()
    admin = await asyncpg.connect(admin_dsn)
    await admin.execute("update messages set send_attempts = 5 where direction = 'OUTBOUND'")  # one is left
    await admin.close()
    desk.provider.script = [OutcomeUnknown()]
    async with runtime.database.tenant(desk.tenant) as writing:
        await writing.execute("update conversations set unread_count = 2")
        sending = asyncio.create_task(desk.send())
        await blocked_by(admin_dsn)
        async with asyncio.timeout(10):
            await writing.execute("select lock_conversations(array[$1::uuid])", desk.conversation)

    assert await sending == [SendResult.FAILED]
    assert await desk.rows("select 1 from conversations where handoff = 'WAITING_HUMAN'")
