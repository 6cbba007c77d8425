"""Replays over HTTP: counted, asked for, watched, cancelled; and what an endpoint missed, told when it is enabled."""

from typing import Any
from uuid import uuid4

import pytest

from handlers.runtime import Runtime
from handlers.webhooks.replay import MAX_EVENT_IDS, run_replays
from tests.integration.api.seeds import ENDPOINT
from tests.integration.replay_stage import by_the_clock

ENDPOINTS, REPLAYS, DELIVERIES = "/v1/webhook-endpoints", "/v1/replays", "/v1/webhook-deliveries"
EVER = "2026-01-01T00:00:00Z"


@pytest.fixture
def runtime(runtime: Runtime) -> Runtime:
    return by_the_clock(runtime)


@pytest.fixture
async def endpoint(api) -> str:
    _, made = await api.post(ENDPOINTS, {**ENDPOINT, "event_types": ["order.*"]})
    return f"{ENDPOINTS}/{made['id']}"


async def miss(api, seeds, clock, endpoint: str, number: int = 3) -> list[str]:
    """Events while it was disabled; the endpoint is enabled again."""
    assert (await api.post(f"{endpoint}/disable"))[0] == 200
    clock.advance(1)
    events = [f"evt_{(await seeds.event()).hex}" for _ in range(number)]
    clock.advance(1)
    assert (await api.post(f"{endpoint}/enable"))[0] == 200
    return events


async def test_from_the_count_to_the_end(api, seeds, clock, runtime, endpoint) -> None:
    events = await miss(api, seeds, clock, endpoint)
    ask = {"since": EVER, "only": "missing"}
    counted = {"replay_id": None, "matched": 3, "matched_is_minimum": False, "skipped": 0}
    assert await api.post(f"{endpoint}/replay", {**ask, "dry_run": True}) == (202, counted)
    assert (await api.get(f"{endpoint}/replays"))[1]["data"] == []

    status, started = await api.post(f"{endpoint}/replay", ask)
    assert (status, started) == (202, {**counted, "replay_id": started["replay_id"]})
    _, page = await api.get(DELIVERIES)
    assert {(item["event_id"], item["status"]) for item in page["data"]} == {
        (event, "PENDING") for event in events
    }

    path = f"{REPLAYS}/{started['replay_id']}"
    _, progress = await api.get(path)
    expected = {
        "id": started["replay_id"], "endpoint_id": endpoint.rpartition("/")[2], "status": "RUNNING", "reason": None,
        "only": "missing", "since": EVER, "until": None, "event_types": None, "event_ids": None, "matched": 3,
        "replayed": 3, "skipped": 0, "rate_per_second": 50,
    }  # fmt: skip
    assert progress.items() >= expected.items()
    assert (await api.get(f"{endpoint}/replays"))[1]["data"] == [progress]
    clock.advance(2)
    await run_replays(runtime)
    assert (await api.get(path))[1]["status"] == "DONE"
    assert (await api.post(f"{path}/cancel"))[0] == 409
    assert (await api.post(f"{endpoint}/replay", ask))[1]["matched"] == 0


async def test_the_same_request_replays_once(api, seeds, clock, endpoint) -> None:
    await miss(api, seeds, clock, endpoint)
    body, headers = {"since": EVER, "only": "all"}, {"Idempotency-Key": "again"}
    answers = [await api.post(f"{endpoint}/replay", body, headers=headers) for _ in range(2)]

    assert answers[0] == answers[1]
    assert len((await api.get(f"{endpoint}/replays"))[1]["data"]) == 1


async def test_named_events_and_a_cancel(api, seeds, clock, endpoint) -> None:
    events = await miss(api, seeds, clock, endpoint)
    named = [events[1], f"evt_{uuid4().hex}"]
    _, started = await api.post(f"{endpoint}/replay", {"event_ids": named, "event_types": ["order.*"]})
    assert started["matched"] == 1
    status, cancelled = await api.post(f"{REPLAYS}/{started['replay_id']}/cancel")

    assert (status, cancelled["status"], cancelled["reason"]) == (200, "CANCELLED", "asked")
    assert (cancelled["event_ids"], cancelled["event_types"]) == (named, ["order.*"])


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "since"),
    ({"only": "missing"}, "since"),
    ({"since": "yesterday"}, "since"),
    ({"since": EVER, "until": EVER}, "until"),
    ({"since": EVER, "only": "some"}, "only"),
    ({"since": EVER, "event_types": ["order.nope"]}, "event_types"),
    ({"since": EVER, "event_types": []}, "event_types"),
    ({"event_ids": []}, "event_ids"),
    ({"event_ids": ["evt_1"]}, "event_ids.0"),
    ({"event_ids": ["7f0e6e3c-0000-4000-8000-000000000001"]}, "event_ids.0"),
    ({"event_ids": ["evt_" + 32 * "7"] * (MAX_EVENT_IDS + 1)}, "event_ids"),
    ({"since": EVER, "rate": 1}, "rate"),
]


@pytest.mark.parametrize(("body", "field"), REFUSED, ids=[str(case)[:60] for case, _ in REFUSED])
async def test_what_cannot_be_meant_is_422(api, endpoint, body, field) -> None:
    status, problem = await api.post(f"{endpoint}/replay", body)
    assert (status, [error["field"] for error in problem["errors"]]) == (422, [field])


async def test_a_disabled_endpoint_may_be_asked_how_much_only(api, seeds, endpoint) -> None:
    await api.post(f"{endpoint}/disable")
    await seeds.event()
    assert (await api.post(f"{endpoint}/replay", {"since": EVER, "dry_run": True}))[1]["matched"] == 1
    status, problem = await api.post(f"{endpoint}/replay", {"since": EVER})
    assert (status, problem["code"]) == (409, "wrong_state")
    await api.delete(endpoint)
    assert (await api.post(f"{endpoint}/replay", {"since": EVER}))[0] == 404


class TestEnable:
    """Back again, an endpoint's owner is told what it missed, and may have it sent at once."""

    async def disable(self, api, seeds, clock, endpoint) -> dict[str, str]:
        """What was delivered, what waited, what came later."""
        made = {"delivered": await seeds.event()}
        await seeds.admin.execute(
            "update webhook_deliveries set status = 'SUCCESS', attempt_count = 1, due_at = null"
        )
        clock.advance(60)
        made["waiting"] = await seeds.event()
        clock.advance(60)
        await api.post(f"{endpoint}/disable")
        clock.advance(60)
        made["later"] = await seeds.event()
        await seeds.event("message.received")
        clock.advance(60)
        return {name: f"evt_{event.hex}" for name, event in made.items()}

    @pytest.mark.parametrize("body", [None, {}, {"replay": None}], ids=["without-a-body", "empty", "null"])
    async def test_it_is_told(self, api, seeds, clock, endpoint, body) -> None:
        await self.disable(api, seeds, clock, endpoint)
        status, enabled = await api.post(f"{endpoint}/enable", body)

        told = {"enabled": True, "missed": 2, "missed_is_minimum": False, "replay_id": None}
        assert (status, enabled.items() >= told.items()) == (200, True)
        assert "PENDING" not in {item["status"] for item in (await api.get(DELIVERIES))[1]["data"]}
        counted = {"since": enabled["missed_since"], "dry_run": True}
        assert (await api.post(f"{endpoint}/replay", counted))[1]["matched"] == 2

    async def test_it_is_sent(self, api, seeds, clock, endpoint) -> None:
        made = await self.disable(api, seeds, clock, endpoint)
        _, enabled = await api.post(f"{endpoint}/enable", {"replay": "missing"})

        assert enabled["missed"] == 2
        assert (await api.get(f"{REPLAYS}/{enabled['replay_id']}"))[1]["replayed"] == 2
        _, page = await api.get(DELIVERIES)
        waiting = {item["event_id"] for item in page["data"] if item["status"] == "PENDING"}
        assert waiting == {made["waiting"], made["later"]}

    async def test_who_was_not_disabled_missed_nothing(self, api, seeds, endpoint) -> None:
        await seeds.event()
        status, enabled = await api.post(f"{endpoint}/enable", {"replay": "missing"})

        assert (status, enabled["missed"], enabled["missed_since"], enabled["replay_id"]) == (
            200,
            0,
            None,
            None,
        )

    @pytest.mark.parametrize("body", [{"replay": "all"}, {"replay": True}, {"reply": "missing"}, []], ids=str)
    async def test_another_body_is_422_and_changes_nothing(self, api, endpoint, body) -> None:
        await api.post(f"{endpoint}/disable")
        assert (await api.post(f"{endpoint}/enable", body))[0] == 422
        assert (await api.get(endpoint))[1]["enabled"] is False
