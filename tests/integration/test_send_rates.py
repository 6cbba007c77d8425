"""An account's rate is shared by all workers, its line is fair, and a provider that asks to slow down is heard."""

import itertools
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from channels.base import Channel, ChannelAccount, OutboundMessage, SendReceipt
from channels.errors import RecipientThrottled, Throttled
from db.lanes import ClaimedSend, ClaimTerms, claim_sends
from handlers.inbound import accept_messages
from handlers.outbound import Priority, queue_message, send_message
from handlers.outbound_outcome import SendResult
from handlers.runtime import Runtime
from handlers.send_rates import AHEAD, SEND_PACE
from tests.factories import accepted_item, fetch_rows, inbound, make_account, make_distributor
from tests.fakes import FakeAdapter, FakeClock

LEASE = timedelta(seconds=20)


class TimedProvider(FakeAdapter):
    """Remembers when what left from which account."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.log: list[tuple[datetime, UUID, str]] = []

    async def send(self, account: ChannelAccount, message: OutboundMessage) -> SendReceipt:
        receipt = await super().send(account, message)
        self.log.append((self.clock(), account.id, message.text))
        return receipt

    @property
    def texts(self) -> list[str]:
        return [text for _, _, text in self.log]


class Street:
    """Accounts with their conversations, and one provider for all."""

    def __init__(self, runtime: Runtime, clock: FakeClock) -> None:
        self.runtime = runtime
        self.clock = clock
        self.provider = TimedProvider(clock)

    @property
    def adapters(self) -> Any:
        return {"twilio": self.provider}

    async def open_account(
        self, people: int = 1, tenant: UUID | None = None, rate: float | None = 1.0, number: str = "+1555"
    ) -> "Account":
        tenant = tenant or await make_distributor(self.runtime)
        account = await make_account(self.runtime, tenant, Channel.SMS, number)
        if rate is not None:
            async with self.runtime.database.tenant(tenant) as connection:
                await connection.execute(
                    "update channel_accounts set settings = $1 where id = $2",
                    {"rate_per_second": rate},
                    account.id,
                )
        messages = [
            inbound(channel=Channel.SMS, key=f"SM{person}", sender=f"+1555100000{person}")
            for person in range(people)
        ]
        await accept_messages(self.runtime, [accepted_item(self.runtime, account, item) for item in messages])
        rows = await fetch_rows(
            self.runtime,
            tenant,
            "select c.id from conversations c join customer_contacts k on k.id = c.contact_id"
            " where channel_account_id = $1 order by k.address",
            account.id,
        )
        return Account(self, account, [row["id"] for row in rows])

    async def claim(self, batch: int = 10) -> list[ClaimedSend]:
        terms = ClaimTerms(batch=batch, share=10, lease=LEASE)
        async with self.runtime.database.worker_statements() as connection:
            return await claim_sends(connection, terms, self.clock(), self.runtime.new_id(), SEND_PACE)

    async def handle(self, claimed: ClaimedSend) -> SendResult:
        return await send_message(self.runtime, self.adapters, claimed)

    async def work(self, seconds: float = 0.0, step: float = 0.25) -> None:
        """One worker, from now on for so long."""
        end = self.clock() + timedelta(seconds=seconds)
        while True:
            while claimed := await self.claim():
                for item in claimed:
                    await self.handle(item)
            if self.clock() >= end:
                return
            self.clock.advance(step)


class Account:
    """An account and its conversations."""

    def __init__(self, street: Street, account: ChannelAccount, conversations: Sequence[UUID]) -> None:
        self.street = street
        self.account = account
        self.conversations = conversations

    async def queue(self, *texts: str, person: int = 0, priority: Priority = Priority.NORMAL) -> None:
        for text in texts:
            await queue_message(
                self.street.runtime,
                self.street.adapters,
                self.account.distributor_id,
                self.conversations[person],
                text=text,
                priority=priority,
            )

    async def rows(self, columns: str) -> list[dict[str, Any]]:
        query = f"select {columns} from messages where direction = 'OUTBOUND' and channel_account_id = $1 order by id"
        return await fetch_rows(self.street.runtime, self.account.distributor_id, query, self.account.id)

    async def state(self) -> Mapping[str, Any]:
        (row,) = await fetch_rows(
            self.street.runtime,
            self.account.distributor_id,
            "select send_rate::float8, throttled_until from channel_accounts where id = $1",
            self.account.id,
        )
        return row


@pytest.fixture
def street(runtime: Runtime, clock: FakeClock) -> Street:
    return Street(runtime, clock)


def most_in_any_window(moments: Sequence[datetime], rate: float) -> bool:
    """Whether every window holds no more than its time allows, and the one that may be ahead."""
    return all(
        later - earlier + 1
        <= rate * ((moments[later] - moments[earlier]).total_seconds() + AHEAD.total_seconds()) + 1 + 1e-6
        for earlier, later in itertools.combinations(range(len(moments)), 2)
    )


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.1, 0.25, 1.0, 3.0])),
        st.tuples(st.just("claim"), st.integers(0, 2)),
        st.tuples(st.just("send"), st.integers(0, 2)),
    ),
    max_size=25,
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    rate=st.sampled_from([0.5, 1.0, 4.0, 12.0]),
    lengths=st.lists(st.integers(0, 4), min_size=1, max_size=3),
    steps=STEPS,
)
async def test_however_workers_meet_the_rate_is_kept_and_everything_is_sent_once_in_order(
    runtime: Runtime, clock: FakeClock, rate: float, lengths: list[int], steps: list[tuple[str, Any]]
):
    street = Street(runtime, clock)
    account = await street.open_account(len(lengths), rate=rate)
    for person, length in enumerate(lengths):
        await account.queue(*(f"{person}-{number}" for number in range(length)), person=person)
    hands: list[list[ClaimedSend]] = [[], [], []]
    for kind, value in steps:
        if kind == "wait":
            clock.advance(value)
        elif kind == "claim":
            hands[value] += [
                item
                for item in await street.claim(3)
                if item.distributor_id == account.account.distributor_id
            ]
        elif hands[value]:
            await street.handle(hands[value].pop(0))
    clock.advance(LEASE.total_seconds())
    await street.work(seconds=sum(lengths) / rate + 1)

    moments = [moment for moment, _, _ in street.provider.log]
    assert most_in_any_window(moments, rate)
    for person, length in enumerate(lengths):
        assert [text for text in street.provider.texts if text.startswith(f"{person}-")] == [
            f"{person}-{number}" for number in range(length)
        ]


async def test_a_message_without_a_place_waits_in_line_and_costs_no_attempt(street: Street):
    account = await street.open_account(people=2)
    await account.queue("a", person=0)
    first = await street.claim()
    await account.queue("b", person=1)
    second = await street.claim()

    assert [await street.handle(item) for item in (*first, *second)] == [
        SendResult.SENT,
        SendResult.POSTPONED,
    ]

    (row,) = [
        row
        for row in await account.rows("text, send_attempts, send_lease_until, send_started_at, status")
        if row["text"] == "b"
    ]
    assert row == {
        "text": "b",
        "send_attempts": 0,
        "send_lease_until": None,
        "send_started_at": None,
        "status": "QUEUED",
    }
    assert await street.claim() == []


async def test_each_part_costs_a_place(street: Street, clock: FakeClock):
    class Splits(TimedProvider):
        def split_text(self, channel: Channel, text: str) -> tuple[str, ...]:
            return tuple(text)

    street.provider = Splits(clock)
    account = await street.open_account()
    await account.queue("abc")
    await street.work()
    assert street.provider.texts == ["a"]

    await street.work(seconds=2)

    assert street.provider.texts == ["a", "b", "c"]
    (row,) = await account.rows("status, send_attempts")
    assert (row["status"], row["send_attempts"]) == ("SENT", 1)


async def test_two_conversations_of_an_account_take_turns(street: Street, clock: FakeClock):
    account = await street.open_account(people=2)
    await account.queue("a1", "a2", "a3", "a4", person=0)
    await account.queue("b1", "b2", person=1)
    clock.advance(0.1)

    await street.work(seconds=8)

    assert street.provider.texts == ["a1", "b1", "a2", "b2", "a3", "a4"]


async def test_replies_overtake_bulk_but_not_for_ever(street: Street, clock: FakeClock):
    account = await street.open_account(people=3)
    await account.queue("bulk", person=0, priority=Priority.BULK)
    await account.queue("reply", person=1)
    await street.work()
    assert street.provider.texts == ["reply"]
    clock.advance(601)
    street.provider.log.clear()

    await account.queue("later reply", person=2)
    await street.work(seconds=2)

    assert street.provider.texts == ["bulk", "later reply"]


async def test_bulk_keeps_its_order_with_a_reply_in_its_own_conversation(street: Street):
    account = await street.open_account()
    await account.queue("bulk", priority=Priority.BULK)
    await account.queue("reply")

    await street.work(seconds=2)

    assert street.provider.texts == ["bulk", "reply"]


async def test_a_slow_account_holds_up_no_other(street: Street):
    slow = await street.open_account(people=9, number="+15550000001")
    for person in range(9):
        await slow.queue("slow", person=person)
    same_tenant = await street.open_account(
        tenant=slow.account.distributor_id, rate=None, number="+15550000002"
    )
    other_tenant = await street.open_account(number="+15550000003")
    await same_tenant.queue("same tenant")
    await other_tenant.queue("other tenant")

    await street.work()

    assert sorted(street.provider.texts) == ["other tenant", "same tenant", "slow"]


async def test_a_throttled_account_is_not_tried_and_then_goes_slower(street: Street, clock: FakeClock):
    account = await street.open_account(people=3, rate=8.0)
    other = await street.open_account(number="+15550000009")
    street.provider.script = [Throttled(retry_after=30.0)]
    await account.queue("a")
    await street.work()
    await account.queue("b", person=1)
    await other.queue("other")

    await street.work(seconds=29)

    assert street.provider.texts == ["other"]
    assert await account.state() == {"send_rate": 4.0, "throttled_until": clock() + timedelta(seconds=1)}
    assert {row["send_attempts"] for row in await account.rows("send_attempts")} == {0}
    await street.work(seconds=1)
    assert street.provider.texts == ["other", "a", "b"]


async def test_what_was_under_way_when_the_throttling_began_lowers_the_rate_once(
    street: Street, clock: FakeClock
):
    account = await street.open_account(people=3, rate=8.0)
    for person in range(3):
        await account.queue("x", person=person)
    claimed = await street.claim()

    class Closed(TimedProvider):
        async def send(self, account: ChannelAccount, message: OutboundMessage) -> SendReceipt:
            await while_it_is_under_way()
            raise Throttled

    waiting = list(claimed)

    async def while_it_is_under_way() -> None:
        if waiting:
            await street.handle(waiting.pop())

    street.provider = Closed(clock)
    waiting.pop(0)
    await street.handle(claimed[0])

    assert (await account.state())["send_rate"] == 4.0


async def test_an_account_that_goes_on_being_throttled_waits_longer_each_time(
    street: Street, clock: FakeClock
):
    account = await street.open_account(rate=8.0)
    street.provider.script = [Throttled(), Throttled(), Throttled()]
    await account.queue("a")
    waits = []
    for _ in range(3):
        await street.work()
        until = (await account.state())["throttled_until"]
        waits.append((until - clock()).total_seconds())
        clock.now = until

    assert waits == [2, 4, 8]
    await street.work()
    assert street.provider.texts == ["a"]


async def test_a_recipients_limit_holds_up_nobody_else(street: Street):
    account = await street.open_account(people=2, rate=8.0)
    street.provider.script = [RecipientThrottled(retry_after=6.0)]
    await account.queue("a", person=0)
    await account.queue("b", person=1)
    await street.work(seconds=5)
    assert street.provider.texts == ["b"]

    await street.work(seconds=1)

    assert street.provider.texts == ["b", "a"]
    assert await account.state() == {"send_rate": None, "throttled_until": None}


async def test_what_is_throttled_for_hours_ends_as_failed(street: Street, clock: FakeClock):
    account = await street.open_account()
    street.provider.script = [Throttled(provider_code="20429")] * 20
    await account.queue("a")
    await street.work()
    clock.advance(4 * 3600)

    await street.work(seconds=3600, step=120)

    (row,) = await account.rows("status, error_code")
    assert (row["status"], row["error_code"]) == ("FAILED", "20429")
