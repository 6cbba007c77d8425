"""What engines have to do, did, cost and failed at."""

from datetime import timedelta
from urllib.parse import quote

import pytest

MODEL = {"engine": "openai", "model": "gpt-5-mini"}


async def answered(seeds, conversation, **columns):
    message = await seeds.message(conversation, ai_processed=True)
    return await seeds.analysis(message, conversation, **columns)


class TestQueue:
    async def test_counts_and_the_oldest(self, api, seeds, clock) -> None:
        assert await api.get("/v1/ai/queue") == (
            200,
            {"messages": 0, "conversations": 0, "in_progress": 0, "oldest": None},
        )
        lease = {"turn_lease_until": clock() + timedelta(minutes=1)}
        first, second = await seeds.conversation(**lease), await seeds.conversation()
        oldest = await seeds.message(first)
        await seeds.message(first)
        await seeds.message(second)
        await seeds.message(second, ai_processed=True)
        _, queue = await api.get("/v1/ai/queue")
        assert (queue["messages"], queue["conversations"], queue["in_progress"]) == (3, 2, 1)
        assert (queue["oldest"]["message_id"], queue["oldest"]["conversation_id"]) == (
            str(oldest),
            str(first),
        )


class TestUsage:
    @pytest.fixture(autouse=True)
    def _ten_past(self, clock) -> None:
        clock.advance(600)

    async def test_sums_by_day_engine_and_model(self, api, seeds, clock) -> None:
        conversation = await seeds.conversation()
        paid = {**MODEL, "cost_micro_usd": 1_200, "processing_ms": 900}
        now = clock()
        await answered(seeds, conversation, **paid, confidence=0.9, created_at=now)
        await answered(seeds, conversation, **paid, confidence=0.6, created_at=now - timedelta(hours=1))
        failed = {"status": "FAILED", "confidence": None, "error_class": "timeout"}
        await answered(seeds, conversation, **{**paid, **failed}, created_at=now)
        await answered(seeds, conversation, created_at=now - timedelta(days=1))
        status, usage = await api.get("/v1/ai/usage")

        assert status == 200
        assert usage["totals"] == {
            "requests": 4,
            "failures": 1,
            "input_tokens": 3_600,
            "cached_tokens": 3_200,
            "output_tokens": 280,
            "cost_micro_usd": 3_600,
        }
        today, yesterday = usage["data"]
        assert (today["period"], today["engine"], today["model"]) == (
            "2026-07-06T00:00:00Z",
            "openai",
            "gpt-5-mini",
        )
        assert (today["requests"], today["failures"], today["success_rate"]) == (3, 1, 0.6667)
        assert (today["mean_confidence"], today["mean_processing_ms"], today["cost_micro_usd"]) == (
            0.75,
            900,
            3_600,
        )
        assert (yesterday["engine"], yesterday["model"], yesterday["mean_confidence"]) == (
            "rules",
            None,
            0.95,
        )

    async def test_by_hour_and_month_and_between_two_moments(self, api, seeds, clock) -> None:
        conversation = await seeds.conversation()
        for hours in (0, 1, 30, 24 * 10):
            await answered(seeds, conversation, created_at=clock() - timedelta(hours=hours))

        async def requests(query: str) -> list[int]:
            return [row["requests"] for row in (await api.get(f"/v1/ai/usage?{query}"))[1]["data"]]

        assert await requests("period=hour") == [1, 1, 1, 1]
        assert await requests("period=day") == [2, 1, 1]
        assert await requests("period=month") == [3, 1]
        since = quote((clock() - timedelta(days=2)).isoformat())
        assert await requests(f"since={since}") == [2, 1]
        until = quote((clock() - timedelta(minutes=10)).isoformat())
        assert await requests(f"since={since}&until={until}") == [1, 1]

    async def test_it_is_counted_anew_when_older_than_a_minute(self, api, seeds, clock) -> None:
        conversation = await seeds.conversation()

        async def requests() -> int:
            return int((await api.get("/v1/ai/usage"))[1]["totals"]["requests"])

        await answered(seeds, conversation)
        assert await requests() == 1
        await answered(seeds, conversation)
        clock.advance(60)
        assert await requests() == 1
        clock.advance(1)
        assert await requests() == 2

    @pytest.mark.parametrize(
        "query",
        [
            "since=2026-07-06T15:10:00Z",
            "since=2026-07-07T00:00:00Z",
            "since=2020-01-01T00:00:00Z",
            "until=0001-01-02T00:00:00Z",
            "period=year",
        ],
    )
    async def test_no_time_and_too_much_of_it_are_422(self, api, query) -> None:
        assert (await api.get(f"/v1/ai/usage?{query}"))[0] == 422


class TestErrors:
    async def test_a_list_and_its_filters(self, api, seeds, clock) -> None:
        conversation = await seeds.conversation()
        await answered(seeds, conversation)
        await answered(seeds, conversation, status="FAILED", error_class="superseded")
        made = [
            str(
                await answered(
                    seeds,
                    conversation,
                    status="FAILED",
                    error_class=kind,
                    created_at=clock() - timedelta(days=days),
                )
            )
            for kind, days in (("timeout", 3), ("truncated", 2), ("timeout", 1), ("timeout", 0))
        ]
        listed = await api.walk("/v1/ai/errors", 2)
        assert [item["id"] for item in listed] == made[::-1]
        assert (listed[0]["error_class"], listed[0]["conversation_id"]) == ("timeout", str(conversation))
        kinds = await api.walk("/v1/ai/errors?error_class=truncated", 2)
        assert [item["id"] for item in kinds] == [made[1]]
        since = quote((clock() - timedelta(days=1)).isoformat())
        assert [item["id"] for item in await api.walk(f"/v1/ai/errors?since={since}", 1)] == [
            made[3],
            made[2],
        ]
        assert [item["id"] for item in await api.walk(f"/v1/ai/errors?until={since}", 1)] == [
            made[1],
            made[0],
        ]

    async def test_rates_by_kind(self, api, seeds, clock) -> None:
        _, none = await api.get("/v1/ai/errors/summary")
        assert (none["requests"], none["error_rate"], none["classes"]) == (0, None, [])
        conversation = await seeds.conversation()
        moment = clock() - timedelta(minutes=1)
        for kind in ("timeout", "truncated", "timeout"):
            await answered(seeds, conversation, status="FAILED", error_class=kind, created_at=moment)
        await answered(seeds, conversation, created_at=moment)
        _, summary = await api.get("/v1/ai/errors/summary")
        assert (summary["requests"], summary["failures"], summary["error_rate"]) == (4, 3, 0.75)
        assert [(row["error_class"], row["failures"]) for row in summary["classes"]] == [
            ("timeout", 2),
            ("truncated", 1),
        ]
