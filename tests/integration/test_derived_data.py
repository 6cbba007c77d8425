"""What is derived equals a recount, whatever happens at once and however often: unread, last message, totals, customers,
usage.
"""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from statistics import median
from typing import Any
from uuid import UUID

import pytest

from channels.base import ChannelAccount
from channels.errors import WrongState
from db import inbox
from handlers.inbound import accept_messages
from handlers.orders import cancel_order, confirm_order, patch_order_lines
from handlers.runtime import Runtime
from handlers.upkeep import open_months, recount_usage, review_silent_customers
from tests.factories import accepted_item, inbound, make_account, make_distributor, make_product
from tests.fakes import FakeClock

SKUS = ("A", "B", "C")
CUSTOMERS = ("+15550001111", "+15550001112")


class Market:
    """A tenant, its customers and what they do at the same moment."""

    def __init__(self, runtime: Runtime, account: ChannelAccount, seed: int) -> None:
        self.runtime = runtime
        self.account = account
        self.tenant: UUID = account.distributor_id
        self.random = random.Random(seed)
        self.keys: list[tuple[str, str]] = []

    async def write(self) -> None:
        """A message, or one that came before."""
        if self.keys and self.random.random() < 0.3:
            sender, key = self.random.choice(self.keys)
        else:
            sender, key = self.random.choice(CUSTOMERS), f"SM{len(self.keys)}"
            self.keys.append((sender, key))
        item = accepted_item(self.runtime, self.account, inbound("hola", key=key, sender=sender))
        await accept_messages(self.runtime, [item])

    async def rows(self, query: str, *arguments: Any) -> list[dict[str, Any]]:
        async with self.runtime.database.tenant(self.tenant) as connection:
            return [dict(row) for row in await connection.fetch(query, *arguments)]

    async def make_orders(self, count: int) -> list[UUID]:
        """Open orders of customers at times of the last months, outside any conversation."""
        customers = [row["id"] for row in await self.rows("select id from customers order by id")]
        made = []
        for _ in range(count):
            order_id = self.runtime.new_id()
            async with self.runtime.database.tenant(self.tenant) as connection:
                await connection.execute(
                    "insert into orders (distributor_id, id, customer_id, channel, status, currency, created_at, updated_at)"
                    " values ($1, $2, $3, 'SMS', 'PENDING', 'USD', $4, $4)",
                    self.tenant,
                    order_id,
                    self.random.choice(customers),
                    self.runtime.clock() - timedelta(days=self.random.randrange(150)),
                )
            made.append(order_id)
        return made

    async def call(self, engine: str, model: str | None, cost: int, status: str) -> None:
        """A turn's result, as an engine would leave it now."""
        (conversation,) = (await self.rows("select id from conversations limit 1"))[:1]
        async with self.runtime.database.tenant(self.tenant) as connection:
            await connection.execute(
                "insert into ai_responses (distributor_id, id, message_id, conversation_id, status, engine, engine_version,"
                " model, confidence, input_tokens, output_tokens, cost_micro_usd, processing_ms, created_at)"
                " values ($1, $2, $2, $3, $4, $5, '1', $6, 0.5, 10, 2, $7, 40, $8)",
                self.tenant, self.runtime.new_id(), conversation["id"], status, engine, model, cost, self.runtime.clock(),
            )  # fmt: skip

    def change(self, order_id: UUID) -> Awaitable[None]:
        """One of the things people do to an order; lines first, or it could not be confirmed."""
        lines = [(sku, Decimal(self.random.randrange(1, 9))) for sku in self.random.sample(SKUS, 2)]
        actions: list[Callable[[], Awaitable[None]]] = [
            lambda: patch_order_lines(self.runtime, self.tenant, order_id, lines),
            lambda: confirm_order(self.runtime, self.tenant, order_id),
            lambda: cancel_order(self.runtime, self.tenant, order_id),
        ]
        return _unless_refused(self.random.choices(actions, weights=[5, 4, 1])[0]())


async def _unless_refused(action: Awaitable[None]) -> None:
    try:
        await action
    except WrongState:
        return  # somebody else was first


@pytest.fixture(params=range(4))
async def market(runtime: Runtime, request: pytest.FixtureRequest) -> Market:
    tenant = await make_distributor(runtime)
    for number, sku in enumerate(SKUS, 1):
        await make_product(runtime, tenant, sku, sku, unit_price=Decimal(f"{number}.25"))
    return Market(runtime, await make_account(runtime, tenant), request.param)


async def test_unread_and_last_message_equal_a_recount(market: Market, clock: FakeClock):
    read_at: dict[UUID, int] = {}
    for _ in range(3):
        clock.advance(1)
        await asyncio.gather(*(market.write() for _ in range(25)))
        for row in await market.rows(
            "select c.id, c.unread_count, c.turn_generation, c.last_message_at, count(m.id) as inbound, max(m.created_at) as newest"
            " from conversations c join messages m on m.conversation_id = c.id group by c.id, c.distributor_id"
        ):
            assert row["turn_generation"] == row["inbound"]
            assert row["unread_count"] == row["inbound"] - read_at.get(row["id"], 0)
            assert row["last_message_at"] == row["newest"]
        for row in await market.rows("select id, turn_generation from conversations"):
            async with market.runtime.database.tenant(market.tenant) as connection:
                await inbox.mark_read(connection, row["id"])
            read_at[row["id"]] = row["turn_generation"]


async def test_reading_while_messages_come_neither_loses_nor_invents_any(market: Market):
    await market.write()
    (conversation,) = await market.rows("select id, turn_generation from conversations")

    async def read() -> None:
        async with market.runtime.database.tenant(market.tenant) as connection:
            await inbox.mark_read(connection, conversation["id"])

    await asyncio.gather(*(market.write() if number % 5 else read() for number in range(40)))
    for row in await market.rows("select unread_count, turn_generation from conversations"):
        assert 0 <= row["unread_count"] <= row["turn_generation"]
    total = len({key for _, key in market.keys})
    assert sum(row["n"] for row in await market.rows("select count(*) as n from messages")) == total


def figures(orders: list[dict[str, Any]], now: datetime) -> dict[str, Any]:
    """The same as customer_figures() in the schema, told in Python."""
    firm = sorted(
        (order for order in orders if order["status"] in {"CONFIRMED", "DELIVERED"}),
        key=lambda o: o["created_at"],
    )
    last = firm[-1]["created_at"] if firm else None
    recent = [order["created_at"] for order in firm][-11:]
    waits = [after - before for before, after in itertools.pairwise(recent)]
    age = now - last if last else None
    if age is None:
        status = "NO_ORDERS_YET"
    elif age <= timedelta(days=30):
        status = "ORDERING"
    else:
        status = "AT_RISK" if age <= timedelta(days=90) else "STOPPED_ORDERING"
    return {
        "total_orders": len(firm),
        "total_spent": sum((order["total_amount"] for order in firm), Decimal(0)),
        "last_ordered_at": last,
        "expected_order_at": last + median(waits) if last and len(firm) >= 3 else None,
        "status": status,
    }


async def assert_customers_equal_a_recount(market: Market, now: datetime) -> None:
    orders = await market.rows("select * from orders")
    for customer in await market.rows("select * from customers"):
        wanted = figures([order for order in orders if order["customer_id"] == customer["id"]], now)
        assert {name: customer[name] for name in wanted} == wanted


async def test_totals_and_customers_equal_a_recount_though_people_change_orders_at_once(market: Market):
    await asyncio.gather(*(market.write() for _ in range(6)))
    orders = await market.make_orders(14)
    for _ in range(4):
        await asyncio.gather(*(market.change(market.random.choice(orders)) for _ in range(30)))
        for row in await market.rows(
            "select o.total_amount, coalesce(sum(p.line_total), 0) as lines from orders o"
            " left join order_products p on p.order_id = o.id group by o.distributor_id, o.id"
        ):
            assert row["total_amount"] == row["lines"]
        await assert_customers_equal_a_recount(market, market.runtime.clock())
    assert {row["status"] for row in await market.rows("select distinct status from orders")} >= {
        "CONFIRMED",
        "CANCELLED",
    }


async def test_customers_who_fall_silent_change_by_the_clock_alone(market: Market, clock: FakeClock):
    await market.write()
    await market.write()
    orders = await market.make_orders(8)
    for order_id in orders:
        await patch_order_lines(market.runtime, market.tenant, order_id, [("A", Decimal(1))])
        await confirm_order(market.runtime, market.tenant, order_id)

    for days in (0, 20, 40, 60, 200):
        clock.advance(days * 86_400)
        await asyncio.gather(*(review_silent_customers(market.runtime) for _ in range(3)))
        await assert_customers_equal_a_recount(market, clock())
    assert await review_silent_customers(market.runtime) == 0


async def test_usage_equals_a_recount_though_many_count_at_once(market: Market, clock: FakeClock):
    clock.now = datetime.now(UTC)
    await asyncio.gather(
        *(market.write() if number % 6 else recount_usage(market.runtime) for number in range(30))
    )
    await market.make_orders(3)
    await asyncio.gather(*(recount_usage(market.runtime) for _ in range(4)))

    (usage,) = [
        row
        for row in await market.rows("select * from distributor_usage")
        if row["period"] == open_months(clock())[-1]
    ]
    (counts,) = await market.rows(
        "select (select count(*) from customers) as customers, (select count(*) from messages where direction = 'INBOUND') as messages_in,"
        " (select count(*) from messages where direction = 'OUTBOUND') as messages_out, (select count(*) from orders) as orders"
    )
    assert {name: usage[name] for name in counts} == counts


async def test_ai_usage_is_a_recount_by_hour_engine_and_model(market: Market, clock: FakeClock):
    clock.now = datetime.now(UTC).replace(minute=30)
    calls = [
        ("rules", None, 0, "COMPLETED"),
        ("openai", "m1", 120, "COMPLETED"),
        ("openai", "m1", 80, "FAILED"),
        ("openai", "m2", 7, "COMPLETED"),
    ]
    await market.write()
    for call in calls:
        await market.call(*call)
    await asyncio.gather(*(recount_usage(market.runtime) for _ in range(4)))

    seen = await market.rows(
        "select engine, model, requests, failures, cost_micro_usd, confidence_sum from ai_usage_metrics order by engine, model"
    )
    assert [tuple(row.values()) for row in seen] == [
        ("openai", "m1", 2, 1, 200, Decimal("1.000")),
        ("openai", "m2", 1, 0, 7, Decimal("0.500")),
        ("rules", None, 1, 0, 0, Decimal("0.500")),
    ]
    (usage,) = await market.rows(
        "select ai_requests, ai_tokens, ai_cost_micro_usd from distributor_usage where period = $1",
        open_months(clock())[-1],
    )
    assert tuple(usage.values()) == (4, 48, 207)


async def test_calls_of_hours_without_a_worker_are_counted_afterwards(market: Market, clock: FakeClock):
    clock.now = datetime.now(UTC).replace(minute=30)
    await market.write()
    await recount_usage(market.runtime)
    for _ in range(3):
        await market.call("rules", None, 0, "COMPLETED")
        clock.advance(4 * 3600)
    await asyncio.gather(*(recount_usage(market.runtime) for _ in range(3)))

    assert await market.rows("select sum(requests)::int as n from ai_usage_metrics") == [{"n": 3}]


async def test_spending_follows_a_change_of_the_tenants_currency(market: Market, clock: FakeClock):
    await asyncio.gather(market.write(), market.write())
    for order_id in await market.make_orders(3):
        await patch_order_lines(market.runtime, market.tenant, order_id, [("A", Decimal(2))])
        await confirm_order(market.runtime, market.tenant, order_id)
    await market.rows("update distributors set currency = 'MXN' returning id")
    await review_silent_customers(market.runtime)

    spent = await market.rows("select total_spent, currency from customers where total_orders > 0")
    assert {tuple(row.values()) for row in spent} == {(Decimal(0), "MXN")}
    assert await review_silent_customers(market.runtime) == 0


@pytest.mark.parametrize(
    ("now", "months"),
    [
        (datetime(2027, 3, 15, tzinfo=UTC), ["2027-03-01"]),
        (datetime(2027, 3, 1, 0, 17, tzinfo=UTC), ["2027-02-01", "2027-03-01"]),
        (datetime(2027, 3, 7, 23, 59, tzinfo=UTC), ["2027-02-01", "2027-03-01"]),
        (datetime(2027, 3, 8, tzinfo=UTC), ["2027-03-01"]),
        (datetime(2027, 1, 1, 23, 59, tzinfo=UTC), ["2026-12-01", "2027-01-01"]),
    ],
    ids=str,
)
def test_a_month_is_counted_until_it_is_over_for_sure(now: datetime, months: list[str]):
    assert [str(month) for month in open_months(now)] == months
