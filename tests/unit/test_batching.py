"""Natural micro-batching: everything that waits goes in one flush; a poison item harms only itself."""

import asyncio

import pytest

from db.errors import DatabaseUnavailable
from gateway.batching import Batcher, QueueFullError, Weight


class Flushes:
    """Doubles numbers, one flush at a time, when the test lets it; negative numbers are poison."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.started = asyncio.Event()
        self.open = asyncio.Event()
        self.running = 0
        self.error: Exception | None = None

    async def __call__(self, items: list[int]) -> list[int]:
        self.running += 1
        assert self.running == 1, "two flushes at once"
        self.batches.append(items)
        self.started.set()
        await self.open.wait()
        self.running -= 1
        if self.error:
            raise self.error
        if any(item < 0 for item in items):
            raise ValueError("poison")
        return [item * 2 for item in items]


@pytest.fixture
async def flushes() -> Flushes:
    return Flushes()


async def submit_all(batcher: Batcher[int, int], flushes: Flushes, *items: int):
    tasks = [asyncio.create_task(batcher.submit(item)) for item in items]
    await asyncio.sleep(0)
    flushes.open.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_waits_goes_together(flushes: Flushes):
    batcher = Batcher(flushes)
    first = asyncio.create_task(batcher.submit(1))
    await flushes.started.wait()

    assert await submit_all(batcher, flushes, 2, 3, 4) == [4, 6, 8]
    assert await first == 2
    assert flushes.batches == [[1], [2, 3, 4]]


async def test_a_batch_has_a_cap(flushes: Flushes):
    await submit_all(Batcher(flushes, batch_cap=2), flushes, 1, 2, 3, 4, 5)

    assert flushes.batches == [[1, 2], [3, 4], [5]]


async def test_poison_harms_only_itself(flushes: Flushes):
    answers = await submit_all(Batcher(flushes), flushes, 1, -1, 3)

    assert answers[0] == 2
    assert isinstance(answers[1], ValueError)
    assert answers[2] == 6
    assert flushes.batches == [[1, -1, 3], [1], [-1], [3]]


async def test_a_database_that_is_away_is_told_to_all_at_once(flushes: Flushes):
    flushes.error = DatabaseUnavailable()

    answers = await submit_all(Batcher(flushes), flushes, 1, 2)

    assert all(isinstance(answer, DatabaseUnavailable) for answer in answers)
    assert len(flushes.batches) == 1


async def test_a_full_queue_refuses(flushes: Flushes):
    batcher = Batcher(flushes, queue_cap=2)
    waiting = [asyncio.create_task(batcher.submit(item)) for item in (1, 2)]
    await asyncio.sleep(0)

    with pytest.raises(QueueFullError):
        await batcher.submit(3)
    flushes.open.set()
    assert await asyncio.gather(*waiting) == [2, 4]


async def test_a_sender_that_went_away_does_not_stop_the_others(flushes: Flushes):
    batcher = Batcher(flushes)
    gone, stays = (asyncio.create_task(batcher.submit(item)) for item in (1, 2))
    await flushes.started.wait()
    gone.cancel()
    flushes.open.set()

    assert await stays == 4


async def test_drain_waits_for_what_was_submitted(flushes: Flushes):
    batcher = Batcher(flushes)
    task = asyncio.create_task(batcher.submit(1))
    await asyncio.sleep(0)
    flushes.open.set()
    await batcher.drain()

    assert task.done() or await task == 2
    await batcher.drain()


@pytest.mark.parametrize(
    ("items", "batches"),
    [
        ([30, 30, 30, 30], [[30, 30, 30], [30]]),
        ([500, 30, 30], [[500], [30, 30]]),
        ([30, 500, 30], [[30], [500], [30]]),
        ([30, 30, 500], [[30, 30], [500]]),
        ([100], [[100]]),
    ],
)
async def test_a_flush_has_a_cap_of_bytes_and_what_is_heavier_goes_alone(
    flushes: Flushes, items: list[int], batches: list[list[int]]
):
    batcher = Batcher(flushes, weigh=lambda item: Weight(object(), item), size_cap=100)

    await submit_all(batcher, flushes, *items)

    assert flushes.batches == batches


async def test_what_came_together_weighs_once(flushes: Flushes):
    batcher = Batcher(flushes, weigh=lambda item: Weight(item // 10, 60), size_cap=100)

    await submit_all(batcher, flushes, 11, 12, 13, 21, 22)

    assert flushes.batches == [[11, 12, 13], [21, 22]]
