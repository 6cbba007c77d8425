"""Outages, poison and neighbours: what becomes of deliveries, over hours of a clock that tests move."""

from datetime import timedelta
from itertools import pairwise
from uuid import UUID

import pytest

from channels.errors import DeliveryFault, FaultClass
from db.lanes import ClaimTerms
from gateway import delivery_claims
from handlers.runtime import Runtime
from handlers.webhooks.health import POLICY
from tests.delivery_stage import claim_on
from tests.delivery_world import Answer, Endpoint, Receiver, SimulatedWorker, World
from tests.fakes import FakeClock
from tests.integration.test_delivery_claims import rows_read
from tests.integration.test_plans import administer

HOUR = 3_600
LEASE = timedelta(seconds=40)
BATCH = 15  # seconds of events that are stored at once
TIMED_OUT = Answer(DeliveryFault(FaultClass.TIMEOUT), seconds=20.0)


@pytest.fixture
def world(runtime: Runtime, clock: FakeClock) -> World:
    return World(runtime, clock)


async def work_under_events(
    world: World, worker: SimulatedWorker, endpoint: Endpoint, seconds: int
) -> list[UUID]:
    """One event a second for so long."""
    told = []
    for _ in range(seconds // BATCH):
        told += await world.tell(endpoint.tenant, BATCH)
        worker.wake()
        await worker.work(BATCH)
    return told


async def test_an_hour_of_outage_costs_a_probe_at_a_time_and_no_attempts(world: World, clock: FakeClock):
    begin = clock()
    end = begin + timedelta(seconds=HOUR)
    receiver = Receiver(lambda at, _event: Answer(500 if begin + timedelta(seconds=30) <= at < end else 204))
    endpoint = await world.open_endpoint(receiver)
    worker = SimulatedWorker(world, poll=BATCH, cycle=0.05)
    told = await work_under_events(world, worker, endpoint, HOUR)
    in_vain = [post for post in receiver.posts if post.said == 500]
    await worker.work(POLICY.longest_pause)
    noticed = min(post.at for post in receiver.taken if post.at >= end)
    while await world.statuses(endpoint) != {"SUCCESS"}:
        await worker.work(5)

    _probe, *later = sorted((post.at, post.event_id) for post in receiver.taken if post.at >= end)
    received = [event_id for _, event_id in later]
    positions = await world.rows(endpoint.tenant, "select max(schedule_position) from webhook_deliveries")
    probes = [post.at for post in in_vain if post.at > in_vain[20].at]
    assert sorted(post.event_id for post in receiver.taken) == sorted(told)
    assert received == sorted(received), "the oldest first"
    assert positions == [{"max": 0}]
    assert len(in_vain) < 40
    assert all(b - a >= timedelta(seconds=POLICY.breaker_pause) for a, b in pairwise(probes))
    assert noticed - end <= timedelta(seconds=POLICY.longest_pause + BATCH)


async def test_a_poison_event_stops_no_healthy_one(world: World, clock: FakeClock):
    """Nor do two of them, whose failures alternate for hours while nothing else happens."""
    poison: set[UUID] = set()
    receiver = Receiver(lambda _at, event: Answer(500 if event in poison else 204))
    endpoint = await world.open_endpoint(receiver)
    worker = SimulatedWorker(world, poll=BATCH, cycle=0.05)
    poison.update(await world.tell(endpoint.tenant, 2))
    breakers = set()
    for _ in range(60):
        await worker.work(BATCH)
        breakers.add((await world.state(endpoint))["breaker"])
        (healthy,) = await world.tell(endpoint.tenant)
        told_at = clock()
        worker.wake()
        await worker.work(1)
        taken = [post for post in receiver.taken if post.event_id == healthy]
        assert taken, "a healthy event waits"
        assert taken[0].at - told_at < timedelta(seconds=1)

    assert breakers == {"CLOSED"}
    assert {post.said for post in receiver.posts if post.event_id in poison} == {500}


async def test_poison_events_enough_to_open_the_breaker_are_given_up_and_the_healthy_ones_arrive(
    world: World, clock: FakeClock
):
    """They get their places back once, as after an outage; if they always did, each end of an outage began the next."""
    poison: set[UUID] = set()
    receiver = Receiver(lambda _at, event: Answer(500 if event in poison else 204))
    endpoint = await world.open_endpoint(receiver)
    worker = SimulatedWorker(world, poll=BATCH, cycle=0.05)
    poison.update(await world.tell(endpoint.tenant, POLICY.breaker_failures + 5))
    told = []
    for _ in range(HOUR // BATCH):
        told += await world.tell(endpoint.tenant, 1)
        worker.wake()
        await worker.work(BATCH)

    statuses = await world.rows(
        endpoint.tenant, "select status, count(*) from webhook_deliveries group by status order by status"
    )
    assert statuses == [
        {"status": "EXHAUSTED", "count": len(poison)},
        {"status": "SUCCESS", "count": len(told)},
    ]


async def test_two_poison_events_alone_open_no_breaker(world: World):
    receiver = Receiver(lambda _at, _event: Answer(500))
    endpoint = await world.open_endpoint(receiver)
    worker = SimulatedWorker(world, poll=1)
    await world.tell(endpoint.tenant, 2)
    await worker.work(120)

    state = await world.state(endpoint)
    assert len(receiver.posts) == 2 * 3
    assert (state["breaker"], state["consecutive_failures"], state["failed_attempts"]) == ("CLOSED", 2, 6)
    assert await world.statuses(endpoint) == {"EXHAUSTED"}


async def test_one_that_never_answers_slows_no_neighbour_down(world: World, clock: FakeClock):
    """Neither the same tenant's nor another's: they are delivered as if it were not there."""
    hole = await world.open_endpoint(Receiver(lambda _at, _event: TIMED_OUT))
    beside = await world.open_endpoint(tenant=hole.tenant)
    elsewhere = await world.open_endpoint()
    await world.tell(hole.tenant, 400)
    worker = SimulatedWorker(world)
    await worker.work(5)
    waits = []
    for _ in range(20):
        told_at = clock()
        for tenant in (hole.tenant, elsewhere.tenant):
            await world.tell(tenant)
        worker.wake()
        await worker.work(1)
        waits += [endpoint.receiver.posts[-1].at - told_at for endpoint in (beside, elsewhere)]

    assert len(beside.receiver.taken) == 420
    assert len(elsewhere.receiver.taken) == 20
    assert max(waits) < timedelta(seconds=0.1)
    assert len(hole.receiver.posts) <= 20, "ten under way, then a probe at a time"


async def test_a_walk_over_endpoints_that_may_take_nothing_goes_on_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    """Else a healthy endpoint behind thousands that are down would wait for as many polls."""
    monkeypatch.setattr(delivery_claims, "WALK", 4)
    tenant = (await world.open_endpoint()).tenant
    for _ in range(30):
        await world.open_endpoint(tenant=tenant)
    healthy = await world.open_endpoint(tenant=tenant)
    await world.tell(tenant)
    async with world.runtime.database.tenant(tenant) as connection:
        await connection.execute(
            "update webhook_endpoint_state set blocked_until = $1 where endpoint_id <> $2",
            world.clock() + timedelta(hours=1),
            healthy.id,
        )
    await SimulatedWorker(world, poll=100).work(1)

    assert len(healthy.receiver.taken) == 1


async def test_what_waits_behind_the_heads_of_conversations_costs_a_claim_nothing(
    world: World, admin_dsn: str
):
    endpoint = await world.open_endpoint(ordering="conversation")
    for conversation in await world.open_conversations(endpoint.tenant, 5):
        await world.tell(endpoint.tenant, 4_000, conversation)
    await administer(admin_dsn, "analyze webhook_deliveries")
    runtime = world.runtime

    async with runtime.database.queue_statements() as connection, connection.transaction():
        claimed = await claim_on(connection, ClaimTerms(100, 10, LEASE), world.clock(), runtime.new_id)
        read = await rows_read(connection)

    assert len(claimed) == 5
    assert read < 20 * 5
