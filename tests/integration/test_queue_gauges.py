"""What operators see of deliveries in /metrics, over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from prometheus_client import REGISTRY

from channels.errors import DeliveryFault, FaultClass
from db.wake import Notifier
from gateway.worker import Worker, WorkerTools
from handlers.catalogues import CatalogueCache
from handlers.runtime import Runtime
from handlers.turns import TurnTools
from tests.delivery_world import Answer, Receiver, World
from tests.fakes import FakeClock, FakeEngine
from tests.gateways import serving
from tests.integration.test_plans import administer
from tests.media_stage import deferred_tools, media_tools

Client = TestClient[Any, Any]


@pytest.fixture
async def client(runtime: Runtime, tmp_path: Path) -> AsyncIterator[Client]:
    async with serving(runtime, tmp_path) as client:
        yield client


@pytest.fixture
def world(runtime: Runtime, clock: FakeClock) -> World:
    return World(runtime, clock)


async def read(client: Client, name: str) -> dict[str, float]:
    """A metric's values by their labels."""
    async with client.get("/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return {
        line.partition("{")[2].partition("}")[0]: float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith(name + "{")
    }


async def test_the_oldest_due_work_has_an_age(client: Client, world: World, clock: FakeClock):
    endpoint = await world.open_endpoint()
    await world.tell(endpoint.tenant, 2)
    clock.advance(7)
    ages = await read(client, "waystation_lane_oldest_due_seconds")
    assert ages == {
        'lane="turn"': 0,
        'lane="send"': 0,
        'lane="media"': 0,
        'lane="fetch"': 0,
        'lane="delivery"': 7,
    }

    clock.advance(9)
    assert (await read(client, "waystation_lane_oldest_due_seconds"))['lane="delivery"'] == 7, (
        "asked ten seconds later"
    )
    clock.advance(1)
    assert (await read(client, "waystation_lane_oldest_due_seconds"))['lane="delivery"'] == 17


async def test_what_waits_for_a_receiver_is_not_late(
    client: Client, world: World, clock: FakeClock, admin_dsn: str
):
    down, other = await world.open_endpoint(), await world.open_endpoint()
    for endpoint in (down, other):
        await world.tell(endpoint.tenant)
        clock.advance(5)
    await administer(
        admin_dsn,
        "update webhook_endpoint_state set breaker = 'OPEN', breaker_until = '2027-01-01', consecutive_failures = 10"
        f" where endpoint_id = '{down.id}'",
    )

    assert (await read(client, "waystation_lane_oldest_due_seconds"))['lane="delivery"'] == 5
    assert await read(client, "waystation_endpoint_breakers") == {
        'state="CLOSED"': 1,
        'state="OPEN"': 1,
        'state="HALF_OPEN"': 0,
    }


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_attempts_are_counted_by_what_came_of_them(runtime: Runtime, world: World, clock: FakeClock):
    answers = [Answer(), Answer(302), Answer(410), Answer(500), Answer(DeliveryFault(FaultClass.TIMEOUT))]
    endpoint = await world.open_endpoint(Receiver(lambda _at, _event: answers[len(endpoint.receiver.posts)]))
    await world.tell(endpoint.tenant, len(answers))
    results = ("2xx", "3xx", "4xx", "5xx", "timeout")
    before = [sample("waystation_delivery_attempts_total", result=result) for result in results]
    waits = (
        sample("waystation_delivery_first_byte_seconds_count"),
        sample("waystation_delivery_first_byte_seconds_sum"),
    )
    clock.advance(2)
    turns = TurnTools(FakeEngine(None), CatalogueCache())
    tools = WorkerTools({}, world, turns, media_tools(), deferred_tools(), Notifier(runtime.database))
    worker = Worker(runtime, tools)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(10):
        while len(endpoint.receiver.posts) < len(answers):  # noqa: ASYNC110 - the worker's own doing
            await asyncio.sleep(0.01)
    worker.stop()
    await running

    after: list[Any] = [sample("waystation_delivery_attempts_total", result=result) for result in results]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1] * 5
    assert sample("waystation_delivery_first_byte_seconds_count") - waits[0] == 5
    assert sample("waystation_delivery_first_byte_seconds_sum") - waits[1] >= 5 * 2
