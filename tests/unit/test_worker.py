"""A lane claims what it has room for, survives a bad row and an absent database, and drains."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from channels.egress import EgressTimeouts
from db.errors import DatabaseUnavailable
from gateway import worker
from gateway.worker import DELIVERY_LEASE, Lane, LaneRunner

ROOM_FOR_THE_DATABASE = timedelta(seconds=10)


class Work:
    """Numbers to be worked on; negative ones are bad rows."""

    def __init__(self, *items: int) -> None:
        self.waiting = list(items)
        self.claims: list[int] = []
        self.done: list[int] = []
        self.running = 0
        self.most_running = 0
        self.open = asyncio.Event()
        self.idle = asyncio.Event()
        self.away = 0

    async def claim(self, room: int) -> Sequence[int]:
        self.claims.append(room)
        if self.away:
            self.away -= 1
            raise DatabaseUnavailable
        claimed, self.waiting = self.waiting[:room], self.waiting[room:]
        if not claimed and not self.running:
            self.idle.set()
        return claimed

    async def handle(self, item: int) -> str:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.open.wait()
            if item < 0:
                raise ValueError("bad row")
            self.done.append(item)
            return "done"
        finally:
            self.running -= 1


async def run_until_idle(work: Work, concurrency: int = 2) -> LaneRunner[int]:
    runner = LaneRunner(Lane("test", work.claim, work.handle, concurrency))
    task = asyncio.create_task(runner.run())
    work.open.set()
    async with asyncio.timeout(10):
        await work.idle.wait()
    runner.stop()
    await task
    return runner


async def test_everything_is_done_with_no_more_at_once_than_allowed():
    work = Work(*range(20))

    await run_until_idle(work, concurrency=3)

    assert sorted(work.done) == list(range(20))
    assert work.most_running <= 3
    assert max(work.claims) <= 3


@pytest.mark.parametrize(
    ("concurrency", "busy", "claimed"), [(4, 3, [1]), (1, 0, [1]), (20, 16, []), (20, 15, [5])]
)
async def test_a_small_lane_fills_every_slot_and_a_large_one_waits_until_a_quarter_is_free(
    concurrency: int, busy: int, claimed: list[int]
):
    """``busy`` pieces of work hang; then there is more."""
    work = Work(*range(busy))
    runner = LaneRunner(Lane("test", work.claim, work.handle, concurrency))
    task = asyncio.create_task(runner.run())
    async with asyncio.timeout(10):
        while work.running < busy:  # noqa: ASYNC110 - the lane has no event for it
            await asyncio.sleep(0)
    work.claims.clear()

    runner.wake()
    for _ in range(10):
        await asyncio.sleep(0)

    assert work.claims[:1] == claimed
    work.open.set()
    runner.stop()
    await task


async def test_a_lane_that_is_not_woken_keeps_to_its_poll():
    work = Work()
    runner = LaneRunner(Lane("test", work.claim, work.handle, 1, pause=lambda: 3600.0, woken=False))
    task = asyncio.create_task(runner.run())
    async with asyncio.timeout(10):
        await work.idle.wait()

    runner.wake()
    for _ in range(10):
        await asyncio.sleep(0)
    claims = list(work.claims)
    runner.stop()
    await task

    assert claims == [1]


async def test_a_bad_row_does_not_stop_the_lane():
    work = Work(1, -1, 2, -2, 3)

    await run_until_idle(work)

    assert sorted(work.done) == [1, 2, 3]


async def test_an_absent_database_is_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker, "_AWAY_SECONDS", 0)
    work = Work(1, 2)
    work.away = 3

    await run_until_idle(work)

    assert sorted(work.done) == [1, 2]


async def test_stop_finishes_what_was_begun_and_claims_nothing_more():
    work = Work(1, 2, 3)
    runner = LaneRunner(Lane("test", work.claim, work.handle, 2))
    task = asyncio.create_task(runner.run())
    while work.running < 2:  # noqa: ASYNC110 - the lane has no event for it
        await asyncio.sleep(0)

    runner.stop()
    work.open.set()
    await task

    assert sorted(work.done) == [1, 2]
    assert work.waiting == [3]


async def test_work_that_hangs_is_given_up_after_the_drain_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker, "DRAIN_SECONDS", 0)
    work = Work(1)
    runner = LaneRunner(Lane("test", work.claim, work.handle, 1))
    task = asyncio.create_task(runner.run())
    while not work.running:  # noqa: ASYNC110 - the lane has no event for it
        await asyncio.sleep(0)

    runner.stop()
    await task

    assert work.done == []
    assert work.running == 0


def test_a_delivery_is_leased_for_longer_than_its_post_can_take():
    """Else a second worker posts while the first still waits for the answer."""
    assert timedelta(seconds=EgressTimeouts().longest) + ROOM_FOR_THE_DATABASE <= DELIVERY_LEASE
