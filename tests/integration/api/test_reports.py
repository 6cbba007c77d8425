"""Figures over customers and orders: who may be lost, who ordered what, what engines made."""

from datetime import timedelta
from urllib.parse import quote

import pytest


@pytest.fixture
async def ordered(seeds, clock):
    """Makes a customer with orders so many days ago; gives back its id."""

    async def make(name: str, *days: float, written: float | None = None, **columns):
        customer_id = await seeds.customer(name)
        if written is not None:
            contact = await seeds.contact(customer_id)
            moment = clock() - timedelta(days=written)
            await seeds.admin.execute(
                "update customer_contacts set last_inbound_at = $1 where id = $2", moment, contact
            )
        for day in days:
            row = {"customer_id": customer_id, "currency": "USD", "created_at": clock() - timedelta(days=day)}
            await seeds.order(None, "CONFIRMED", **{**row, **columns})
        async with seeds.runtime.database.tenant(seeds.distributor_id) as connection:
            await connection.execute("select refresh_customers($1, $2)", [customer_id], clock())
        return str(customer_id)

    return make


class TestRisk:
    async def test_levels(self, api, ordered) -> None:
        often = [61 + 7 * week for week in range(8)]
        made = {
            "HIGH": await ordered("often, long silent", *often),
            "MEDIUM": await ordered("once, a month ago", 31),
            "LOW": await ordered("silent for two weeks", 15, written=8),
        }
        await ordered("talks, does not order", 15, written=2)
        await ordered("ordered lately", 3, 10, 17)
        await ordered("rarely, long silent", 61, 200, 400)
        await ordered("never ordered")
        listed = await api.walk("/v1/reports/risk", 1)

        shown = {
            item["risk"]: item["id"] for item in listed if item["business_name"] != "rarely, long silent"
        }
        assert shown == made
        assert [item["business_name"] for item in listed] == [
            "often, long silent",
            "rarely, long silent",
            "once, a month ago",
            "silent for two weeks",
        ]
        assert [item["risk"] for item in listed] == ["HIGH", "LOW", "MEDIUM", "LOW"]
        assert (listed[0]["days_since_order"], listed[0]["total_orders"]) == (61, 8)
        assert listed[0]["orders_per_month"] == 4.9
        assert listed[2]["orders_per_month"] == 1

    async def test_filters(self, api, ordered) -> None:
        await ordered("a", 31)
        await ordered("b", 15)
        names = [item["business_name"] for item in await api.walk("/v1/reports/risk?min_days=30", 5)]
        assert names == ["a"]
        names = [item["business_name"] for item in await api.walk("/v1/reports/risk?risk=LOW", 5)]
        assert names == ["b"]
        assert (await api.get("/v1/reports/risk?min_days=13"))[0] == 422

    async def test_customers_of_one_moment_are_neither_lost_nor_repeated(self, api, ordered) -> None:
        made = [await ordered(f"c{number}", 31) for number in range(7)]
        assert [item["id"] for item in await api.walk("/v1/reports/risk", 2)] == sorted(made)


class TestCustomers:
    async def test_confirmed_and_delivered_count_in_the_tenants_currency(self, api, ordered, seeds) -> None:
        customer_id = await ordered("Sol", 40, 5, 2, total_amount=100)
        order = {"customer_id": customer_id, "currency": "USD", "total_amount": 31}
        await seeds.order(None, "DELIVERED", **order)
        for status in ("PENDING", "REVIEW", "CANCELLED", "REJECTED"):
            await seeds.order(None, status, **order)
        await seeds.order(None, "CONFIRMED", **{**order, "currency": "EUR"})
        silent = await ordered("Luna")
        first, second = await api.walk("/v1/reports/customers", 1)

        assert (first["id"], first["order_count"], first["total_spent"]) == (silent, 0, 0)
        assert (first["average_order"], first["last_ordered_at"]) == (None, None)
        assert (second["id"], second["order_count"], second["total_spent"]) == (customer_id, 5, 331)
        assert (second["average_order"], second["currency"]) == (82.75, "USD")

    async def test_between_two_moments(self, api, ordered, clock) -> None:
        await ordered("Sol", 40, 5, 2, total_amount=100)
        day = {number: quote((clock() - timedelta(days=number)).isoformat()) for number in (5, 2)}
        for query, count in (
            (f"since={day[5]}", 2),
            (f"until={day[5]}", 1),
            (f"since={day[5]}&until={day[2]}", 1),
        ):
            _, page = await api.get(f"/v1/reports/customers?{query}")
            assert [item["order_count"] for item in page["data"]] == [count]


class TestAiOrders:
    async def test_a_days_orders(self, api, seeds) -> None:
        message = await seeds.message(await seeds.conversation())
        ai = {"source_message_id": message, "currency": "USD"}
        await seeds.order(None, "CONFIRMED", **ai, total_amount=100, confidence=0.9)
        await seeds.order(None, "PENDING", **ai, total_amount=50, confidence=0.85)
        doubt = {"requires_review": True, "review_reasons": ["low_confidence"]}
        await seeds.order(None, "REVIEW", **ai, total_amount=10, confidence=0.41, **doubt)
        await seeds.order(
            None, "CONFIRMED", **ai, total_amount=20, confidence=0.7, review_reasons=["unmatched"]
        )
        await seeds.order(None, "CONFIRMED", currency="USD", total_amount=5)
        await seeds.order(None, "CANCELLED", **ai, total_amount=1, review_reasons=["expired"])
        status, report = await api.get("/v1/reports/ai-orders")

        assert (status, report["since"], report["until"]) == (200, "2026-06-07", "2026-07-07")
        assert report["data"] == [
            {
                "day": "2026-07-06",
                "orders": 6,
                "ai_orders": 5,
                "for_review": 2,
                "without_review": 1,
                "automation_rate": 0.2,
                "mean_confidence": 0.715,
                "high_confidence": 2,
                "low_confidence": 1,
                "total_amount": 186,
                "ai_amount": 181,
                "currency": "USD",
            }
        ]

    async def test_a_day_is_the_tenants(self, api, seeds, clock) -> None:
        """Three in the morning in UTC is the evening before in Mexico."""
        await seeds.order(None, created_at=clock().replace(hour=3))
        await seeds.order(None, created_at=clock().replace(hour=12))

        async def days(query: str = "") -> list[str]:
            _, report = await api.get(f"/v1/reports/ai-orders?{query}")
            return [row["day"] for row in report["data"]]

        assert await days() == ["2026-07-06"]
        await api.patch("/v1/tenant", {"time_zone": "America/Mexico_City"})
        assert await days() == ["2026-07-06", "2026-07-05"]
        assert await days("since=2026-07-06&until=2026-07-07") == ["2026-07-06"]
        assert await days("until=2026-07-06") == ["2026-07-05"]

    async def test_without_an_engine_there_is_no_rate(self, api, seeds) -> None:
        await seeds.order()
        _, report = await api.get("/v1/reports/ai-orders")
        assert [(row["orders"], row["automation_rate"]) for row in report["data"]] == [(1, None)]

    @pytest.mark.parametrize(
        "query", ["since=2026-07-07", "since=2020-01-01", "until=0001-01-01", "since=2026-02-30", "since=x"]
    )
    async def test_no_day_and_too_many_are_422(self, api, query) -> None:
        assert (await api.get(f"/v1/reports/ai-orders?{query}"))[0] == 422
