"""Pulling over HTTP: what is answered, how long it waits, whom it does not serve."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from standardwebhooks import Webhook

from db.wake import CHANNEL
from gateway.arrivals import MAX_WAITING, Arrivals
from gateway.dev.observing import observe
from gateway.keys import ARRIVALS
from handlers.endpoints import disable_endpoint
from tests.integration.api.seeds import ENDPOINT
from tests.pull_endpoints import SECRET, make_pull_endpoint

ENDPOINTS = "/v1/webhook-endpoints"
NOTHING: dict[str, Any] = {"data": [], "cursor": None}


@pytest.fixture
async def path(api, runtime) -> str:
    return f"{ENDPOINTS}/{await make_pull_endpoint(runtime, api.distributor_id)}"


async def test_a_batch_is_fetched_verified_and_acknowledged(api, seeds, path, clock) -> None:
    event = await seeds.event()
    status, answer = await api.get(f"{path}/pull")

    (item,) = answer["data"]
    assert status == 200
    assert (item["event_id"], item["type"], item["attempt"]) == (f"evt_{event.hex}", "order.created", 1)
    assert item["headers"]["webhook-signature"] == Webhook(SECRET).sign(
        item["event_id"], clock(), item["body"]
    )
    for acknowledged in (1, 0):
        status, told = await api.post(f"{path}/ack", {"cursor": answer["cursor"]})
        assert (status, told) == (200, {"acknowledged": acknowledged})
    clock.advance(3600)
    assert await api.get(f"{path}/pull") == (200, NOTHING)
    _, page = await api.get(f"/v1/webhook-deliveries/{item['id']}")
    assert (page["status"], [attempt["outcome"] for attempt in page["attempts"]]) == ("SUCCESS", ["success"])


async def test_limit_lease_and_single_deliveries(api, seeds, path, clock) -> None:
    for _ in range(3):
        await seeds.event()
    _, first = await api.get(f"{path}/pull?limit=2&lease_seconds=10")
    assert len(first["data"]) == 2
    assert (await api.post(f"{path}/ack", {"delivery_ids": [first["data"][1]["id"]]}))[1] == {
        "acknowledged": 1
    }
    clock.advance(10)
    _, second = await api.get(f"{path}/pull")
    assert [item["attempt"] for item in second["data"]] == [2, 1]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "wait=26", "wait=-1", "lease_seconds=9", "lease_seconds=601", "cursor=x"],
)
async def test_what_is_out_of_range_is_422(api, path, query) -> None:
    assert (await api.get(f"{path}/pull?{query}"))[0] == 422


async def test_an_acknowledgement_names_one_thing_of_this_endpoint(api, runtime, seeds, path) -> None:
    await seeds.event()
    other = f"{ENDPOINTS}/{await make_pull_endpoint(runtime, api.distributor_id)}"
    await seeds.event()
    _, answer = await api.get(f"{other}/pull")
    for body, code in (
        ({}, "invalid_field"),
        ({"cursor": answer["cursor"], "delivery_ids": [answer["data"][0]["id"]]}, "invalid_field"),
        ({"delivery_ids": []}, "invalid_field"),
        ({"cursor": "x"}, "invalid_cursor"),
        ({"cursor": "é"}, "invalid_cursor"),
        ({"cursor": answer["cursor"]}, "invalid_cursor"),
    ):
        status, problem = await api.post(f"{path}/ack", body)
        assert (status, problem["code"]) == (422, code), body


async def test_an_endpoint_that_is_posted_to_or_disabled_is_409(api, runtime, path) -> None:
    _, pushed = await api.post(ENDPOINTS, ENDPOINT)
    await disable_endpoint(runtime, api.distributor_id, UUID(path.rpartition("/")[2]))
    for one in (f"{ENDPOINTS}/{pushed['id']}", path):
        status, problem = await api.get(f"{one}/pull?wait=20")
        assert (status, problem["code"]) == (409, "wrong_state")


async def until_waiting(api, count: int) -> Arrivals:
    """Until so many requests of the tenant wait."""
    arrivals: Arrivals = api.http.server.app[ARRIVALS]

    async def look() -> int:
        return arrivals.count(api.distributor_id)

    await observe(look, lambda seen: seen == count, f"{count} waiting")
    return arrivals


class TestWaiting:
    """None of these waits for time: each would end by the test's time-out if nobody woke it."""

    async def test_what_is_there_is_answered_at_once(self, api, seeds, path) -> None:
        await seeds.event()
        async with asyncio.timeout(10):
            assert len((await api.get(f"{path}/pull?wait=25"))[1]["data"]) == 1

    async def test_a_commit_wakes_who_waits_and_no_connection_is_held(self, api, seeds, path, admin) -> None:
        waiting = [asyncio.create_task(api.get(f"{path}/pull?wait=25&limit=1")) for _ in range(12)]
        await until_waiting(api, 12)
        # More wait than there are connections: another transaction finds one at once.
        assert (await api.get("/v1/tenant"))[0] == 200
        for _ in range(12):
            await seeds.event()
        await admin.execute("select pg_notify($1, '')", CHANNEL)
        answers = await asyncio.gather(*waiting)
        assert len({answer["data"][0]["id"] for _, answer in answers}) == 12

    async def test_it_ends_empty_when_the_time_is_over(self, api, path) -> None:
        assert await api.get(f"{path}/pull?wait=1") == (200, NOTHING)

    async def test_who_waits_is_let_go_when_the_process_ends(self, api, path) -> None:
        waiting = asyncio.create_task(api.get(f"{path}/pull?wait=25"))
        arrivals = await until_waiting(api, 1)
        await arrivals.stop()
        assert await waiting == (200, NOTHING)
        assert await api.get(f"{path}/pull?wait=25") == (200, NOTHING)

    async def test_nothing_is_taken_for_a_client_that_has_left(self, api, seeds, path, admin) -> None:
        waiting = asyncio.create_task(api.get(f"{path}/pull?wait=25"))
        arrivals = await until_waiting(api, 1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await seeds.event()
        arrivals.wake()
        await until_waiting(api, 0)
        assert [item["attempt"] for item in (await api.get(f"{path}/pull"))[1]["data"]] == [1]

    async def test_a_tenant_has_no_more_waiting_than_it_may(self, api, path) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(MAX_WAITING):
                group.create_task(api.get(f"{path}/pull?wait=25"))
            arrivals = await until_waiting(api, MAX_WAITING)
            assert await api.get(f"{path}/pull?wait=25") == (200, NOTHING)
            await arrivals.stop()
