"""Stores what a post says item by item, for those who have no flush to share: replays and the like."""

from collections.abc import Sequence
from typing import Any, assert_never

from channels.base import ConsentUpdate, DeferredPost, Ignored, InboundItem, InboundMessage, StatusUpdate
from db.accept import AcceptedItem, AcceptedMessage
from db.statuses import AcceptedStatus
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


async def accept_item(
    runtime: Runtime, posted: Posted, item: InboundItem, quiet_seconds: float
) -> bool | None:
    """Returns once the item is durable: whether it was known already, None where nothing is stored of it. Raises
    DatabaseUnavailable.
    """
    stored: Any = item_as_stored(runtime, posted, item, quiet_seconds)
    accepted: Sequence[AcceptedMessage | AcceptedStatus | AcceptedItem]
    match item:
        case InboundMessage():
            accepted = await inbound.accept_messages(runtime, [stored])
        case StatusUpdate():
            accepted = await inbound.accept_statuses(runtime, [stored])
        case ConsentUpdate():
            accepted = told = await inbound.accept_consents(runtime, [stored])
            if told[0].unproven:
                return None
        case DeferredPost():
            accepted = await inbound.accept_deferred(runtime, [stored])
        case Ignored():
            return None
        case _:
            assert_never(item)
    return accepted[0].duplicate
