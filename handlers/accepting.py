"""Stores what a post says item by item, for those who have no flush to share: replays and the like."""

from typing import Any, assert_never

from channels.base import ConsentUpdate, DeferredPost, Ignored, InboundItem, InboundMessage, StatusUpdate
from handlers import inbound
from handlers.inbound import Item, Posted
from handlers.runtime import Runtime


def item_as_stored(runtime: Runtime, posted: Posted, item: InboundItem, quiet_seconds: float) -> Item | None:
    """An item as the accept statements take it; None where nothing is stored of it."""
    match item:
        case InboundMessage():
            return inbound.message_item(runtime, posted, item, quiet_seconds)
        case StatusUpdate():
            return inbound.status_item(runtime, posted, item)
        case ConsentUpdate():
            return inbound.consent_item(runtime, posted, item)
        case DeferredPost():
            return inbound.deferred_item(runtime, posted, item)
        case Ignored():
            return None
        case _:
            assert_never(item)


async def accept_item(runtime: Runtime, posted: Posted, item: InboundItem, quiet_seconds: float) -> None:
    """Returns once the item is durable, new or known; raises DatabaseUnavailable."""
    stored: Any = item_as_stored(runtime, posted, item, quiet_seconds)
    match item:
        case InboundMessage():
            await inbound.accept_messages(runtime, [stored])
        case StatusUpdate():
            await inbound.accept_statuses(runtime, [stored])
        case ConsentUpdate():
            await inbound.accept_consents(runtime, [stored])
        case DeferredPost():
            await inbound.accept_deferred(runtime, [stored])
        case Ignored():
            return
        case _:
            assert_never(item)
