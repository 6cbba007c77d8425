"""Usage, dashboard, health, unread, words in messages, refusals: what a tenant looks at in the morning."""

import json
from datetime import timedelta
from urllib.parse import quote

import pytest

from gateway.keys import DENIALS
from handlers.runtime import utc_now
from tests.integration.api.seeds import ENDPOINT


class TestUsage:
    async def test_the_present_month_is_counted_when_older_than_a_minute(self, api, seeds, clock) -> None:
        _, usage = await api.get("/v1/usage")
        assert (usage["month"], usage["customers"], usage["messages_in"]) == ("2026-07", 0, 0)
        await seeds.customer()
        clock.advance(60)
        assert (await api.get("/v1/usage"))[1] == usage
        clock.advance(1)
        _, again = await api.get("/v1/usage?month=2026-07")
        assert again == {**usage, "customers": 1, "counted_at": again["counted_at"]}

    async def test_a_month_that_is_over_stays_as_it_was_counted(self, api, seeds, clock) -> None:
        await api.get("/v1/usage")
        clock.advance(40 * 86_400)
        _, closed = await api.get("/v1/usage?month=2026-07")
        await seeds.customer()
        clock.advance(3_600)
        assert (await api.get("/v1/usage?month=2026-07"))[1] == closed
        assert (await api.get("/v1/usage"))[1]["month"] == "2026-08"

    @pytest.mark.parametrize(
        "month", ["2026-06", "2026-08", "2026-13", "0000-01", "july", "2026-7", "9999-12"]
    )
    async def test_a_month_that_the_tenant_has_not_seen_is_422(self, api, month, admin) -> None:
        assert (await api.get(f"/v1/usage?month={month}"))[0] == 422
        assert await admin.fetchval("select count(*) from distributor_usage") == 0


async def test_the_dashboard_counts_what_is_there(api, seeds, clock) -> None:
    conversation = await seeds.conversation(unread=3)
    await seeds.conversation(handoff="WAITING_HUMAN", last_message_at=clock() - timedelta(days=8))
    await seeds.order(conversation, "CONFIRMED", currency="USD", total_amount=100)
    await seeds.order(None, "DELIVERED", currency="USD", total_amount=11)
    await seeds.order(None, "DELIVERED", currency="EUR", total_amount=5_000)
    await seeds.order(None, "CONFIRMED", currency="USD", created_at=clock() - timedelta(days=31))
    await seeds.order(None, "REVIEW", requires_review=True)
    status, shown = await api.get("/v1/dashboard")

    assert status == 200
    assert (shown["customers"], shown["customers_by_status"]) == (2, {"NO_ORDERS_YET": 2})
    assert (shown["orders_30_days"], shown["orders_30_days_by_status"]) == (
        4,
        {"CONFIRMED": 1, "DELIVERED": 2, "REVIEW": 1},
    )
    assert (shown["revenue_30_days"], shown["currency"]) == (111, "USD")
    assert (shown["active_conversations_7_days"], shown["conversations_waiting"]) == (1, 1)
    assert (shown["orders_for_review"], shown["unread_messages"]) == (1, 3)
    assert shown["month"] == (await api.get("/v1/usage"))[1]


class TestHealth:
    async def test_an_idle_tenant(self, api) -> None:
        await api.post("/v1/webhook-endpoints", ENDPOINT)
        status, health = await api.get("/v1/health")
        assert status == 200
        assert (health["deliveries"]["grade"], health["deliveries"]["success_rate"]) == ("IDLE", None)
        assert [row["grade"] for row in health["endpoints"]] == ["IDLE"]
        assert {row["queue"]: (row["waiting"], row["age_seconds"]) for row in health["queues"]} == {
            "turns": (0, 0),
            "sends": (0, 0),
            "deliveries": (0, 0),
        }

    async def test_rates_by_endpoint(self, api, seeds, admin) -> None:
        good = (await api.post("/v1/webhook-endpoints", ENDPOINT))[1]["id"]
        bad = (await api.post("/v1/webhook-endpoints", {**ENDPOINT, "name": "bad"}))[1]["id"]
        for _ in range(5):
            await seeds.event()
        done = "update webhook_deliveries set status = $1, due_at = null where endpoint_id = $2"
        await admin.execute(done, "SUCCESS", good)
        await admin.execute(done, "EXHAUSTED", bad)
        await admin.execute(
            "update webhook_endpoint_state set breaker = 'OPEN', consecutive_failures = 5 where endpoint_id = $1",
            bad,
        )
        await seeds.event()
        _, health = await api.get("/v1/health")

        rows = {row["endpoint_id"]: row for row in health["endpoints"]}
        assert (rows[good]["succeeded"], rows[good]["success_rate"], rows[good]["grade"]) == (5, 1, "HEALTHY")
        assert (rows[bad]["failed"], rows[bad]["success_rate"], rows[bad]["grade"]) == (5, 0, "CRITICAL")
        assert (rows[bad]["breaker"], rows[bad]["consecutive_failures"]) == ("OPEN", 5)
        assert (rows[good]["breaker"], rows[good]["failing_since"]) == ("CLOSED", None)
        assert (rows[bad]["waiting"], rows[bad]["name"], rows[bad]["enabled"]) == (1, "bad", True)
        assert (health["deliveries"]["success_rate"], health["deliveries"]["grade"]) == (0.5, "UNHEALTHY")

    async def test_only_a_days_events_count(self, api, seeds, clock, admin) -> None:
        await api.post("/v1/webhook-endpoints", ENDPOINT)
        await seeds.event()
        clock.now = utc_now() + timedelta(hours=25)  # ids have the machine's time
        _, health = await api.get("/v1/health")
        assert health["deliveries"]["waiting"] == 0

    async def test_the_age_of_what_is_due(self, api, seeds, clock) -> None:
        due = clock() - timedelta(seconds=90)
        conversation = await seeds.conversation(turn_due_at=due)
        await seeds.conversation(turn_due_at=clock() + timedelta(seconds=4))
        sent = {
            "direction": "OUTBOUND",
            "status": "QUEUED",
            "ai_processed": True,
            "ai_skip_reason": "outbound",
        }
        await seeds.message(conversation, **sent, send_due_at=clock() - timedelta(seconds=5))
        _, health = await api.get("/v1/health")
        queues = {row["queue"]: row for row in health["queues"]}
        assert (queues["turns"]["waiting"], queues["turns"]["due"], queues["turns"]["age_seconds"]) == (
            2,
            1,
            90,
        )
        assert (queues["sends"]["waiting"], queues["sends"]["age_seconds"]) == (1, 5)


class TestUnread:
    async def test_by_channel(self, api, seeds, admin) -> None:
        assert await api.get("/v1/unread") == (200, {"conversations": 0, "messages": 0, "channels": []})
        await seeds.conversation(unread=2)
        await seeds.conversation(unread=0)
        await admin.execute(
            "update conversations set channel = 'WHATSAPP' where id = $1", await seeds.conversation(unread=5)
        )
        _, unread = await api.get("/v1/unread")
        assert (unread["conversations"], unread["messages"]) == (2, 7)
        assert {row["channel"]: row["messages"] for row in unread["channels"]} == {"SMS": 2, "WHATSAPP": 5}


class TestSearch:
    @pytest.fixture(autouse=True)
    def _now(self, clock) -> None:
        """Messages are found by the time in their ids, which is the machine's."""
        clock.now = utc_now() + timedelta(minutes=1)

    async def test_words_whatever_their_capitals_with_what_stands_around_them(self, api, seeds) -> None:
        conversation = await seeds.conversation(name="Bodega Sol")
        long = "x" * 100 + " Quiero AGUA mineral " + "y" * 100
        found = [await seeds.message(conversation, text) for text in ("agua de coco", long, "100% agua_1")]
        await seeds.message(conversation, "nada")
        hits = await api.walk("/v1/messages?q=agua", 2)

        assert [hit["id"] for hit in hits] == [str(one) for one in reversed(found)]
        assert (hits[2]["excerpt"], hits[2]["text"]) == ("agua de coco", "agua de coco")
        assert hits[1]["excerpt"].startswith("…x")
        assert "Quiero AGUA mineral" in hits[1]["excerpt"]
        assert [hit["id"] for hit in await api.walk("/v1/messages?q=100%25", 5)] == [str(found[2])]
        assert [hit["id"] for hit in await api.walk("/v1/messages?q=%25_", 5)] == []

    async def test_of_a_customer_and_of_a_time(self, api, seeds, clock, admin) -> None:
        one, two = await seeds.conversation(), await seeds.conversation()
        customer = await admin.fetchval("select customer_id from conversations where id = $1", one)
        first = await seeds.message(one, "agua", customer_id=customer)
        await seeds.message(two, "agua")
        assert [hit["id"] for hit in await api.walk(f"/v1/messages?q=agua&customer_id={customer}", 5)] == [
            str(first)
        ]
        assert len(await api.walk("/v1/messages", 5)) == 2

        later = quote((clock() + timedelta(hours=1)).isoformat())
        until = quote((clock() + timedelta(hours=2)).isoformat())
        assert await api.walk(f"/v1/messages?since={later}&until={until}", 5) == []
        clock.advance(31 * 86_400)
        assert await api.walk("/v1/messages?q=agua", 5) == []
        clock.advance(93 * 86_400)
        assert (await api.get(f"/v1/messages?since={later}"))[0] == 422


async def test_what_was_refused_is_listed(api, http) -> None:
    _, key = await api.post("/v1/api-keys", {"name": "second"})
    await api.delete(f"/v1/api-keys/{key['id']}")
    header = {"Authorization": f"Bearer {key['api_key']}"}
    for _ in range(3):
        async with http.get("/v1/tenant", headers=header) as response:
            assert response.status == 401
    await http.server.app[DENIALS].flush()

    (event,) = await api.walk("/v1/security-events", 1)
    assert (event["type"], event["subject_id"], event["occurrences"]) == ("key.refused", key["id"], 3)
    assert await api.walk("/v1/security-events?type=role.changed", 1) == []
    assert (await api.get("/v1/security-events?type=nothing"))[0] == 422
    assert key["api_key"] not in json.dumps(event)
