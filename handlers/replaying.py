"""Runs a stored post again through today's adapter: what it would store now, beside what is stored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from channels.abilities import SharedHook
from channels.base import (
    Channel,
    ChannelAccount,
    ChannelAdapter,
    ConsentUpdate,
    DeferredPost,
    InboundItem,
    InboundMessage,
    StatusUpdate,
)
from channels.errors import InvalidInput, MalformedPayload, NotFound, UnknownAccount
from db import inbound_events
from db.accounts import find_account, seal_context
from db.inbound_events import InboundEventRow, KnownKey
from handlers.accepting import accept_item, item_as_stored
from handlers.fetching import stored_request
from handlers.inbound import Item, Posted
from handlers.runtime import Runtime

_COMPARED = ("type", "text", "metadata", "reply_to_provider_id")
_FILE_FIELDS = ("url", "content_type", "filename")
_KINDS: Mapping[type, str] = {
    InboundMessage: "message",
    StatusUpdate: "status",
    ConsentUpdate: "consent",
    DeferredPost: "deferred",
}


class ReplayState(StrEnum):
    """How an item of a post stands."""

    SAME = "same"
    DIFFERENT = "different"  # stored otherwise than it would be now; nothing is changed
    MISSING = "missing"
    ACCEPTED = "accepted"  # it was missing


@dataclass(frozen=True, slots=True)
class Change:
    """A field that would be stored otherwise now."""

    field: str
    stored: Any
    now: Any


@dataclass(frozen=True, slots=True)
class ReplayedItem:
    """One thing that the post says. ``message_id`` is of the message that it made, if it made one."""

    kind: str
    provider_key: str
    state: ReplayState
    message_id: UUID | None
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Replay:
    """What today's adapter reads in a stored post."""

    event: InboundEventRow
    account: ChannelAccount
    items: tuple[ReplayedItem, ...]
    ignored: int  # what is understood and stored nowhere


@dataclass(frozen=True, slots=True)
class ReplayTools:
    """``quiet_seconds`` is how long a channel's burst must be quiet."""

    adapters: Mapping[str, ChannelAdapter]
    quiet_seconds: Callable[[Channel], float]


async def replay_event(
    runtime: Runtime, tools: ReplayTools, event_id: UUID, distributor_id: UUID | None, *, dry_run: bool
) -> Replay:
    """Reads the post again; unless ``dry_run``, stores what is missing. What is stored already stays as it is: an order
    may have come of it. Raises NotFound, UnknownAccount, InvalidInput, MalformedPayload or DatabaseUnavailable.
    """
    event, account = await _find(runtime, event_id, distributor_id)
    adapter = tools.adapters.get(account.provider)
    if adapter is None:
        raise InvalidInput(f"This release has no adapter for {account.provider}.", field="provider")
    request = stored_request(runtime, event.method, event.target, event.headers, event.body)
    posted = Posted(account, request, event.received_at)
    read = _read(adapter, posted)
    stored = [(item, _as_stored(runtime, tools, posted, item)) for item in read]
    kept = [(item, fields) for item, fields in stored if fields is not None]
    async with runtime.database.tenant(account.distributor_id) as connection:
        keys = [fields["provider_key"] for _, fields in kept]
        known = await inbound_events.list_known(connection, account.id, keys)
    items = [_compared(item, fields, known.get(fields["provider_key"])) for item, fields in kept]
    if not dry_run:
        items = [
            await _accepted(runtime, tools, posted, item, found)
            for (item, _), found in zip(kept, items, strict=True)
        ]
    return Replay(event, account, tuple(items), ignored=len(stored) - len(kept))


async def _find(
    runtime: Runtime, event_id: UUID, distributor_id: UUID | None
) -> tuple[InboundEventRow, ChannelAccount]:
    async with runtime.database.worker_statements() as connection:
        event = await inbound_events.find_event(connection, event_id, distributor_id)
        if event is None:
            raise NotFound(
                f"There is no stored post {event_id}{' of that distributor' if distributor_id else ''}."
            )
        row = await find_account(connection, event.channel_account_id)
    if row is None:
        raise UnknownAccount(f"The channel account {event.channel_account_id} of this post is deleted.")
    context = seal_context(row.distributor_id, row.id)
    credentials = runtime.sealer.open_json(row.credentials_sealed, context)
    account = ChannelAccount(
        row.id, row.distributor_id, Channel(row.channel), row.provider, row.address, credentials, row.settings
    )
    return event, account


def _read(adapter: ChannelAdapter, posted: Posted) -> Sequence[InboundItem]:
    """The items that are this account's: a shared post is stored once for each account that it is of."""
    try:
        items = adapter.parse(posted.account, posted.request)
    except MalformedPayload as error:
        raise MalformedPayload(f"Today's adapter cannot read this post: {error}") from None
    if not isinstance(adapter, SharedHook):
        return items
    own = {"", adapter.route_of(posted.account.credentials)}
    return [item for item in items if item.route in own]


def _as_stored(runtime: Runtime, tools: ReplayTools, posted: Posted, item: InboundItem) -> Item | None:
    return item_as_stored(runtime, posted, item, tools.quiet_seconds(posted.account.channel))


def _compared(item: InboundItem, fields: Item, known: KnownKey | None) -> ReplayedItem:
    kind, key = _KINDS[type(item)], fields["provider_key"]
    if known is None:
        return ReplayedItem(kind, key, ReplayState.MISSING, None)
    changes = tuple(_changes(fields, known)) if known.type is not None else ()
    state = ReplayState.DIFFERENT if changes else ReplayState.SAME
    return ReplayedItem(kind, key, state, known.message_id, changes)


def _changes(fields: Item, known: KnownKey) -> list[Change]:
    pairs = [(name, getattr(known, name), fields[name]) for name in _COMPARED]
    files = [{name: file[name] for name in _FILE_FIELDS} for file in fields["attachments"]]
    pairs.append(("attachments", list(known.attachments), files))
    return [Change(name, stored, now) for name, stored, now in pairs if stored != now]


async def _accepted(
    runtime: Runtime, tools: ReplayTools, posted: Posted, item: InboundItem, found: ReplayedItem
) -> ReplayedItem:
    if found.state is not ReplayState.MISSING:
        return found
    await accept_item(runtime, posted, item, tools.quiet_seconds(posted.account.channel))
    return ReplayedItem(found.kind, found.provider_key, ReplayState.ACCEPTED, None)
