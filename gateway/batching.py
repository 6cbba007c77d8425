"""Natural micro-batching: while one flush is in the database, the next batch gathers. Nothing waits on a
clock.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from db.errors import DatabaseUnavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class QueueFullError(Exception):
    """More is waiting than can be flushed in time."""


@dataclass(frozen=True, slots=True)
class Weight:
    """What an item brings in bytes; items of the same ``source`` bring it together, once per flush."""

    source: Hashable
    size: int


_WEIGHTLESS = Weight(None, 0)


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Item, Answer]):
    item: Item
    answer: "asyncio.Future[Answer]"


class Batcher(Generic[Item, Answer]):
    """Hands all waiting items to one ``flush``, one flush at a time.

    ``flush`` takes a list and gives an answer for each item, in order. A batch that fails is replayed item
    by item, so that one poison row harms only itself; where the database is away, all of the batch learn so
    at once. A flush has at most ``batch_cap`` items and ``size_cap`` bytes; one item that is heavier goes alone.
    """

    def __init__(
        self,
        flush: Callable[[list[Item]], Awaitable[Sequence[Answer]]],
        *,
        batch_cap: int = 100,
        weigh: Callable[[Item], Weight] = lambda _: _WEIGHTLESS,
        size_cap: int = 8 * 2**20,
        queue_cap: int = 5_000,
    ) -> None:
        self._flush = flush
        self._batch_cap = batch_cap
        self._weigh = weigh
        self._size_cap = size_cap
        self._queue_cap = queue_cap
        self._waiting: list[_Waiting[Item, Answer]] = []
        self._flusher: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Answer:
        """The item's answer, once its flush is committed; raises QueueFullError, or what the flush raised."""
        if len(self._waiting) >= self._queue_cap:
            raise QueueFullError
        waiting: _Waiting[Item, Answer] = _Waiting(item, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush_all(), name="batch-flusher")
        return await waiting.answer

    async def drain(self) -> None:
        """Waits until nothing is left to flush."""
        while self._flusher is not None:
            await asyncio.shield(self._flusher)

    async def _flush_all(self) -> None:
        try:
            while self._waiting:
                size = self._next_size()
                batch, self._waiting = self._waiting[:size], self._waiting[size:]
                await self._flush_batch(batch)
        finally:
            self._flusher = None

    def _next_size(self) -> int:
        """How many of those that wait go in one flush, at least one."""
        sources: set[Hashable] = set()
        total = 0
        for count, waiting in enumerate(self._waiting[: self._batch_cap]):
            weight = self._weigh(waiting.item)
            total += 0 if weight.source in sources else weight.size
            sources.add(weight.source)
            if count and total > self._size_cap:
                return count
        return min(len(self._waiting), self._batch_cap)

    async def _flush_batch(self, batch: list[_Waiting[Item, Answer]]) -> None:
        try:
            answers = await self._flush([waiting.item for waiting in batch])
        except DatabaseUnavailable as error:
            _refuse(batch, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, its senders must hear of it
            await self._replay(batch, error)
        else:
            for waiting, answer in zip(batch, answers, strict=True):
                if not waiting.answer.done():  # its sender may have gone
                    waiting.answer.set_result(answer)

    async def _replay(self, batch: list[_Waiting[Item, Answer]], error: Exception) -> None:
        if len(batch) == 1:
            _refuse(batch, error)
            return
        for waiting in batch:
            await self._flush_batch([waiting])


def _refuse(batch: Sequence[_Waiting[Item, Answer]], error: Exception) -> None:
    for waiting in batch:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)
