"""The micro-batcher in front of handlers.inbound: many requests, one commit."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from db.accept import AcceptedItem, AcceptedMessage
from db.statuses import AcceptedStatus
from db.wake import Notifier
from gateway.batching import Batcher, Weight
from handlers.inbound import (
    Item,
    accept_consents,
    accept_deferred,
    accept_ignored,
    accept_messages,
    accept_statuses,
)
from handlers.runtime import Runtime

Answer = TypeVar("Answer")


class Acceptor:
    """Stores what came durably, then wakes the workers. Each method returns once its item is durable, and raises
    QueueFullError or DatabaseUnavailable.
    """

    def __init__(self, runtime: Runtime, notifier: Notifier) -> None:
        self._runtime = runtime
        self._notifier = notifier
        self._messages = self._batcher(accept_messages)
        self._statuses = self._batcher(accept_statuses)
        self._consents = self._batcher(accept_consents)
        self._deferred = self._batcher(accept_deferred)
        self._ignored = self._batcher(accept_ignored)

    async def accept_message(self, item: Item) -> AcceptedMessage:
        return await self._messages.submit(item)

    async def accept_status(self, item: Item) -> AcceptedStatus:
        return await self._statuses.submit(item)

    async def accept_consent(self, item: Item) -> AcceptedItem:
        return await self._consents.submit(item)

    async def accept_deferred(self, item: Item) -> AcceptedItem:
        return await self._deferred.submit(item)

    async def accept_ignored(self, item: Item) -> AcceptedItem:
        return await self._ignored.submit(item)

    async def drain(self) -> None:
        """Waits for what was submitted."""
        for batcher in (self._messages, self._statuses, self._consents, self._deferred, self._ignored):
            await batcher.drain()

    def _batcher(
        self, accept: Callable[[Runtime, Sequence[Item]], Awaitable[list[Answer]]]
    ) -> Batcher[Item, Answer]:
        async def flush(items: list[Item]) -> list[Answer]:
            accepted = await accept(self._runtime, items)
            self._notifier.poke()
            return accepted

        return Batcher(flush, weigh=_weigh)


def _weigh(item: Item) -> Weight:
    """What came in one post is stored with one copy of its body."""
    return Weight(item["inbound_event_id"], len(item["post"].body))
