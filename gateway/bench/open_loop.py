"""A steady load that does not wait for answers: what is late stays late, as it does for customers."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from gateway.bench.show import Advance


@dataclass(frozen=True, slots=True)
class Load:
    """So many acts a second for so many seconds."""

    per_second: float
    seconds: float

    @property
    def number(self) -> int:
        """How many acts that is."""
        return max(1, round(self.per_second * self.seconds))


async def keep_up(
    load: Load, act: Callable[[int], Coroutine[Any, Any, None]], advance: Advance
) -> list[float]:
    """Begins every act at its time, whatever became of those before, and waits for all. How late each began, in ms."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    late: list[float] = []
    async with asyncio.TaskGroup() as group:
        for number in range(load.number):
            due = began + number / load.per_second
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            late.append((loop.time() - due) * 1000)
            group.create_task(act(number))
            advance(number + 1)
    return late
