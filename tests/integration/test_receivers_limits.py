"""What a receiver that allows so many posts a second sees of us, under a clock that tests move."""

import math
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from handlers.runtime import Runtime
from tests.delivery_world import Answer, Receiver, SimulatedWorker, World, work_together
from tests.fakes import FakeClock

SECOND = timedelta(seconds=1)
LEARNING = 10  # seconds after which the limit must be known
Kind = Callable[[int, str | None], Receiver]


@pytest.fixture
def world(runtime: Runtime, clock: FakeClock) -> World:
    return World(runtime, clock)


def fixed_window(limit: int, retry_after: str | None = None) -> Receiver:
    """Takes ``limit`` posts in each second of its clock."""
    windows: dict[int, int] = {}

    def answer(at: datetime, _event: UUID) -> Answer:
        window = math.floor(at.timestamp() + 0.37)  # its seconds are not ours
        windows[window] = windows.get(window, 0) + 1
        return Answer() if windows[window] <= limit else refusal(retry_after)

    return Receiver(answer)


def sliding_window(limit: int, retry_after: str | None = None) -> Receiver:
    """Takes a post if it took fewer than ``limit`` in the second before it."""
    taken: deque[datetime] = deque()

    def answer(at: datetime, _event: UUID) -> Answer:
        while taken and taken[0] <= at - SECOND:
            taken.popleft()
        if len(taken) >= limit:
            return refusal(retry_after)
        taken.append(at)
        return Answer()

    return Receiver(answer)


def refusal(retry_after: str | None) -> Answer:
    return Answer(429, {} if retry_after is None else {"Retry-After": retry_after})


def assert_limit_is_kept_and_used(receiver: Receiver, limit: int, since: datetime, seconds: int) -> None:
    """At most a tenth more than the limit in any second, and at least four fifths of it."""
    taken = sum(post.at >= since for post in receiver.taken)
    assert receiver.busiest_second(since) <= math.ceil(1.1 * limit)
    assert taken >= 0.8 * limit * seconds


@pytest.mark.parametrize(
    ("kind", "limit", "retry_after", "seconds"),
    [
        (fixed_window, 5, "1", 40),
        (sliding_window, 5, None, 40),
        (fixed_window, 20, None, 15),
        (sliding_window, 20, "1", 15),
        (sliding_window, 200, "1", 3),
    ],
)
async def test_a_receivers_limit_is_learned_kept_and_used(
    world: World, clock: FakeClock, kind: Kind, limit: int, retry_after: str | None, seconds: int
):
    endpoint = await world.open_endpoint(kind(limit, retry_after))
    await world.tell(endpoint.tenant, limit * (LEARNING + seconds + 5))
    worker = SimulatedWorker(world, cycle=0.03)
    await worker.work(LEARNING)
    since = clock()
    await worker.work(seconds)

    assert_limit_is_kept_and_used(endpoint.receiver, limit, since, seconds)
    assert (await world.state(endpoint))["breaker"] == "CLOSED"


@pytest.mark.parametrize(("limit", "seconds"), [(0.5, 40), (5, 20), (20, 10), (200, 4)])
async def test_a_rate_that_was_asked_for_is_kept_and_used_by_all_workers_together(
    world: World, clock: FakeClock, limit: float, seconds: int
):
    endpoint = await world.open_endpoint(rate_limit_per_second=Decimal(str(limit)))
    await world.tell(endpoint.tenant, int(limit * (seconds + 5)))
    since = clock()
    await work_together([SimulatedWorker(world, cycle=cycle) for cycle in (0.03, 0.05)], seconds)

    assert_limit_is_kept_and_used(endpoint.receiver, max(1, int(limit)), since, 0)
    assert len(endpoint.receiver.taken) >= 0.8 * limit * seconds


async def test_a_limit_that_is_gone_is_forgotten(world: World, clock: FakeClock):
    """Within minutes, though it was a thousandth of what the receiver takes."""
    begin = clock()
    limited = sliding_window(1)
    receiver = Receiver(lambda at, event: limited.answer(at, event) if at < begin + 5 * SECOND else Answer())
    endpoint = await world.open_endpoint(receiver)
    worker = SimulatedWorker(world, cycle=0.1)
    await world.tell(endpoint.tenant, 20)
    await worker.work(20)
    learned = (await world.state(endpoint))["learned_rate"]
    for _ in range(8):
        clock.advance(20)
        await world.tell(endpoint.tenant, 2)
        await worker.work(3)

    assert learned < 2
    assert (await world.state(endpoint))["learned_rate"] is None
