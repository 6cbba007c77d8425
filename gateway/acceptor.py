"""The micro-batcher in front of handlers.inbound: many requests, one commit."""

from typing import Any

from db.accept import AcceptedMessage, AcceptedStatus
from db.wake import Notifier
from gateway.batching import Batcher
from handlers.inbound import Item, accept_messages, accept_statuses
from handlers.runtime import Runtime


class Acceptor:
    """Stores messages and statuses durably, then wakes the workers."""

    def __init__(self, runtime: Runtime, notifier: Notifier) -> None:
        self._runtime = runtime
        self._notifier = notifier
        self._messages: Batcher[Item, AcceptedMessage] = Batcher(self._flush_messages)
        self._statuses: Batcher[Item, AcceptedStatus] = Batcher(self._flush_statuses)

    async def accept_message(self, item: Item) -> AcceptedMessage:
        """Returns once the message is durable; raises QueueFullError or DatabaseUnavailable."""
        return await self._messages.submit(item)

    async def accept_status(self, item: Item) -> AcceptedStatus:
        """Returns once the status is durable; raises QueueFullError or DatabaseUnavailable."""
        return await self._statuses.submit(item)

    async def drain(self) -> None:
        """Waits for what was submitted."""
        await self._messages.drain()
        await self._statuses.drain()

    async def _flush_messages(self, items: list[dict[str, Any]]) -> list[AcceptedMessage]:
        accepted = await accept_messages(self._runtime, items)
        self._notifier.poke()
        return accepted

    async def _flush_statuses(self, items: list[dict[str, Any]]) -> list[AcceptedStatus]:
        accepted = await accept_statuses(self._runtime, items)
        self._notifier.poke()
        return accepted
