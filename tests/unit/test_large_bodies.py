"""How many bytes of large bodies are held at once, and how many of them are worked on."""

import asyncio
from contextlib import ExitStack, suppress

import pytest

from gateway.api.problems import ApiError
from gateway.bodies import LargeBodies

LARGE = 100


@pytest.fixture
def bodies() -> LargeBodies:
    return LargeBodies(room=1000, at_once=2, large=LARGE)


def test_bodies_that_grow_over_the_room_are_refused_and_take_nothing_from_others(bodies: LargeBodies):
    with bodies.held() as one:
        for size in (50, 400, 900):
            one(size)
        with bodies.held() as other:
            other(90)
            with pytest.raises(ApiError, match="at once") as refused:
                other(101)
        assert refused.value.status == 503
        one(1000)


def test_small_bodies_are_free(bodies: LargeBodies):
    with bodies.held() as full, ExitStack() as small:
        full(1000)
        for _ in range(20):
            small.enter_context(bodies.held())(LARGE)


def test_the_room_is_given_back(bodies: LargeBodies):
    for _ in range(3):
        with suppress(RuntimeError), bodies.held() as grow:
            grow(1000)
            raise RuntimeError


async def test_large_bodies_wait_for_each_other_and_small_ones_for_none(bodies: LargeBodies):
    entered: list[str] = []
    go_on = asyncio.Event()

    async def one(name: str, size: int) -> None:
        async with bodies.in_line(size):
            entered.append(name)
            await go_on.wait()

    async with asyncio.TaskGroup() as group:
        for name, size in (("a", 101), ("b", 101), ("c", 101), ("small", LARGE)):
            group.create_task(one(name, size))
        await asyncio.sleep(0)
        seen = list(entered)
        go_on.set()

    assert seen == ["a", "b", "small"]
    assert entered == ["a", "b", "small", "c"]
