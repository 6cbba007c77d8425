"""Waiting is bounded, and what was missing is said."""

import asyncio
import itertools

import pytest

from gateway.dev.observing import NotObserved, observe, observe_steady, require, shown


def looker(values):
    source = itertools.chain(values, itertools.repeat(values[-1]))

    async def look():
        return next(source)

    return look


async def test_what_comes_is_given_back():
    assert await observe(looker([0, 1, 2]), lambda seen: seen == 2, "two") == 2


async def test_what_never_comes_ends_in_time_with_both_sides():
    began = asyncio.get_running_loop().time()
    with pytest.raises(NotObserved, match=r"expected two within 0\.2 s; saw 1") as caught:
        await observe(looker([0, 1]), lambda seen: seen == 2, "two", within=0.2)
    assert asyncio.get_running_loop().time() - began < 2
    assert (caught.value.expected, caught.value.seen) == ("two within 0.2 s", "1")


async def test_what_must_stay_is_watched():
    await observe_steady(looker([1]), lambda seen: seen == 1, "one", 0.2)
    with pytest.raises(NotObserved, match="expected one; saw 2"):
        await observe_steady(looker([1, 2]), lambda seen: seen == 1, "one", 5)


def test_long_sights_are_cut():
    assert shown("x" * 1000) == "x" * 600 + "…"
    require("fine", True, "anything")
