"""Waiting for what can be seen from outside, never longer than said."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Seen = TypeVar("Seen")

LOOK_AGAIN_SECONDS = 0.1
_LONGEST_SHOWN = 600


class NotObserved(Exception):
    """What had to be seen was not: what was expected, and what was there instead."""

    def __init__(self, expected: str, seen: object) -> None:
        self.expected = expected
        self.seen = shown(seen)
        super().__init__(f"expected {expected}; saw {self.seen}")


def shown(seen: object) -> str:
    """A value as a person reads it, cut to a few lines."""
    text = seen if isinstance(seen, str) else repr(seen)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


async def observe(
    look: Callable[[], Awaitable[Seen]], until: Callable[[Seen], bool], expected: str, within: float = 10.0
) -> Seen:
    """Looks until ``until`` holds and gives what it saw; raises NotObserved after ``within`` seconds."""
    deadline = asyncio.get_running_loop().time() + within
    while not until(seen := await look()):
        if asyncio.get_running_loop().time() >= deadline:
            raise NotObserved(f"{expected} within {within:g} s", seen)
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
    return seen


async def observe_steady(
    look: Callable[[], Awaitable[Seen]], holds: Callable[[Seen], bool], expected: str, seconds: float
) -> None:
    """Looks for ``seconds``; raises NotObserved as soon as ``holds`` does not: for what must not happen."""
    deadline = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < deadline:
        require((seen := await look()), holds(seen), expected)
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


def require(seen: object, holds: bool, expected: str) -> None:
    """Raises NotObserved unless ``holds``."""
    if not holds:
        raise NotObserved(expected, seen)
