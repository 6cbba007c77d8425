"""What a provider posted, made into what the accept statements store: ids, events and when a turn is due."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from channels.base import (
    ChannelAccount,
    ConsentChange,
    ConsentUpdate,
    DeferredPost,
    InboundMessage,
    InboundRequest,
    MessageStatus,
    StatusUpdate,
    SuppressionReason,
)
from db import accept, statuses
from db.accept import AcceptedItem, AcceptedMessage, StoredPost
from db.errors import PartitionMissing
from db.statuses import AcceptedStatus
from db.tenant import Connection
from handlers.consent import asks_provider_for_help, consent_change, opts_in_while_out
from handlers.runtime import Runtime
from handlers.statuses import status_rank
from handlers.upkeep import make_partitions
from handlers.webhooks.event_types import EventType
from handlers.webhooks.outbox import new_event_row
from handlers.webhooks.payloads import AttachmentData, storable_text

# A burst may go on for so many quiet periods before its turn is due all the same.
CAP_FACTOR = 5
_PRIVATE_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
_NOBODY = UUID(int=0)  # stands where only the accept statement knows the id

Item = dict[str, Any]
Stored = TypeVar("Stored")
StoreIn = Callable[[Connection, Sequence[Item]], Awaitable[list[Stored]]]
_REFUSED = AcceptedItem(duplicate=False, token_reused=True)


@dataclass(frozen=True, slots=True)
class Posted:
    """A verified post: who it is for, what it said byte for byte, and when it came. ``token`` may be used for this body
    only (``channels.base.OneTimeTokens``).
    """

    account: ChannelAccount
    request: InboundRequest
    received_at: datetime
    token: str | None = None
    # The row that keeps the post, by kind: what came in one post shares one, in whichever flush it is stored.
    event_ids: dict[str, UUID] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class _NewIds:
    """Ids for what the message may create; those of things that exist already are dropped by the
    statement.
    """

    message: UUID
    contact: UUID
    customer: UUID
    conversation: UUID


async def accept_messages(runtime: Runtime, items: Sequence[Item]) -> list[AcceptedMessage]:
    """Stores messages in one statement, those of new contacts in a second one; raises DatabaseUnavailable.
    Afterwards each is durable, new or duplicate.
    """
    refused = AcceptedMessage(None, duplicate=False, token_reused=True)
    return await _store(
        runtime, items, partial(_accept_messages, runtime), _accept_messages_in, refused=refused
    )


async def accept_statuses(runtime: Runtime, items: Sequence[Item]) -> list[AcceptedStatus]:
    """Stores statuses in one statement, and in the same commit what they say of a recipient's consent; raises
    DatabaseUnavailable.
    """
    refused = AcceptedStatus(None, duplicate=False, applied=False, token_reused=True)
    return await _store(
        runtime, items, partial(_accept_statuses, runtime), _accept_statuses_in, refused=refused
    )


async def accept_consents(runtime: Runtime, items: Sequence[Item]) -> list[AcceptedItem]:
    """Stores what providers say of addresses; raises DatabaseUnavailable."""
    plain = partial(_in_transaction, runtime, store=_accept_consents_in)
    return await _store(runtime, items, plain, _accept_consents_in, refused=_REFUSED)


async def accept_deferred(runtime: Runtime, items: Sequence[Item]) -> list[AcceptedItem]:
    """Stores posts whose contents are still to be asked for; raises DatabaseUnavailable."""
    plain = partial(_in_transaction, runtime, store=accept.accept_deferred)
    return await _store(runtime, items, plain, accept.accept_deferred, refused=_REFUSED)


async def _store(
    runtime: Runtime,
    items: Sequence[Item],
    plain: Callable[[Sequence[Item]], Awaitable[list[Stored]]],
    within: StoreIn[Stored],
    *,
    refused: Stored,
) -> list[Stored]:
    """An answer for each item, in order. Those with a one-time token are stored in one transaction with it by
    ``within``, all others by ``plain``. Where no worker has made partitions for a week, they are made here: nothing
    is refused for that.
    """
    tokens = [item for item in items if item["token"]]
    others = [item for item in items if not item["token"]]
    try:
        once = iter(await _store_once(runtime, tokens, within, refused) if tokens else ())
        rest = iter(await plain(others) if others else ())
    except PartitionMissing:
        await make_partitions(runtime)
        return await _store(runtime, items, plain, within, refused=refused)
    return [next(once if item["token"] else rest) for item in items]


async def _store_once(
    runtime: Runtime, items: Sequence[Item], within: StoreIn[Stored], refused: Stored
) -> list[Stored]:
    """The items whose token was not used for another body, stored with the token."""
    async with runtime.database.worker() as connection:
        reused = await accept.take_tokens(connection, items)
        kept = [item for item, was_used in zip(items, reused, strict=True) if not was_used]
        stored = iter(await within(connection, kept) if kept else ())
    return [refused if was_used else next(stored) for was_used in reused]


async def _in_transaction(runtime: Runtime, items: Sequence[Item], *, store: StoreIn[Stored]) -> list[Stored]:
    async with runtime.database.worker() as connection:
        return await store(connection, items)


async def _accept_messages(runtime: Runtime, items: Sequence[Item]) -> list[AcceptedMessage]:
    async with runtime.database.worker_statements() as connection:
        meant = await _as_meant(connection, items)
        known = await accept.accept_known(connection, meant)
    left = [item for item, answer in zip(meant, known, strict=True) if answer is None]
    met = iter(await _in_transaction(runtime, left, store=_accept_newcomers_in) if left else ())
    return [answer or next(met) for answer in known]


async def _accept_messages_in(connection: Connection, items: Sequence[Item]) -> list[AcceptedMessage]:
    return await _accept_newcomers_in(connection, await _as_meant(connection, items))


async def _accept_newcomers_in(connection: Connection, items: Sequence[Item]) -> list[AcceptedMessage]:
    """One flush after the other where they share an address: a number that writes on two channels for the first
    time must not become two customers.
    """
    await accept.lock_addresses(connection, items)
    return await accept.accept_messages(connection, items)


async def _accept_consents_in(connection: Connection, items: Sequence[Item]) -> list[AcceptedItem]:
    await accept.lock_addresses(connection, items)
    return await accept.accept_consents(connection, items)


async def _as_meant(connection: Connection, items: Sequence[Item]) -> Sequence[Item]:
    """The items, those whose word opts in who is opted out by what it means from their contact. A STOP that
    another gateway stores at this very moment is not seen: nobody types two words at once.
    """
    if not any("if_opted_out" in item for item in items):
        return items
    silent = await accept.list_opted_out(connection, items)
    return [_meant_item(item, silent) for item in items]


def _meant_item(item: Item, silent: set[accept.ContactKey]) -> Item:
    """One item by its contact's consent; ``silent`` follows the words from item to item."""
    key = accept.ContactKey(item["distributor_id"], item["channel"], item["address"])
    meant = {**item, **item.get("if_opted_out", {})} if key in silent else item
    if meant["consent"] is ConsentChange.OUT:
        silent.add(key)
    elif meant["consent"] is ConsentChange.IN:
        silent.discard(key)
    return meant


async def _accept_statuses(runtime: Runtime, items: Sequence[Item]) -> list[AcceptedStatus]:
    if any(item["opt_out_event"] for item in items):
        return await _in_transaction(runtime, items, store=_accept_statuses_in)
    async with runtime.database.worker_statements() as connection:
        return await statuses.accept_statuses(connection, items)


async def _accept_statuses_in(connection: Connection, items: Sequence[Item]) -> list[AcceptedStatus]:
    refused = [item for item in items if item["opt_out_event"]]
    if refused:
        await statuses.learn_opt_outs(connection, refused)
    return await statuses.accept_statuses(connection, items)


def message_item(runtime: Runtime, posted: Posted, message: InboundMessage, quiet_seconds: float) -> Item:
    """One message as the accept statement takes it; ``quiet_seconds`` is how long its burst must be quiet."""
    ids = _NewIds(runtime.new_id(), runtime.new_id(), runtime.new_id(), runtime.new_id())
    meaning = partial(_meaning, runtime, posted, message, ids, quiet_seconds)
    item = {
        **_posted_item(runtime, posted, "message", message.provider_key),
        **_message_fields(message, ids),
        "attachments": _attachment_rows(runtime, message),
        **_message_events(runtime, posted, message, ids),
    }
    if message.consent is not ConsentChange.OUT and opts_in_while_out(message.channel, message.text):
        return {**item, **meaning(None), "if_opted_out": meaning(ConsentChange.IN)}
    return {**item, **meaning(consent_change(message.channel, message.text, message.consent))}


def _posted_item(runtime: Runtime, posted: Posted, kind: str, provider_key: str) -> Item:
    event_id = posted.event_ids.get(kind) or posted.event_ids.setdefault(kind, runtime.new_id())
    request = posted.request
    return {
        "distributor_id": posted.account.distributor_id,
        "channel_account_id": posted.account.id,
        "provider_key": storable_text(provider_key),
        "inbound_event_id": event_id,
        "post": StoredPost(
            event_id,
            request.method,
            storable_text(request.url.removeprefix(runtime.public_url)),
            _kept_headers(request.headers),
            request.body,
        ),
        "token": _token(posted) if posted.token else None,
        "received_at": posted.received_at.isoformat(),
    }


def _token(posted: Posted) -> Item:
    return {
        "key": storable_text(f"token:{posted.token}"),
        "digest": hashlib.sha256(posted.request.body).hexdigest(),
    }


def _kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    kept = ((name, value) for name, value in headers.items() if name.casefold() not in _PRIVATE_HEADERS)
    # The server's names are a subclass of str, which JSON's encoder does not take as a key.
    return {str(name): storable_text(value) for name, value in kept}


def _message_fields(message: InboundMessage, ids: _NewIds) -> Item:
    return {
        "message_id": ids.message,
        "contact_id": ids.contact,
        "customer_id": ids.customer,
        "conversation_id": ids.conversation,
        "channel": message.channel,
        "address": storable_text(message.sender),
        "profile_name": storable_text(message.profile_name),
        "type": message.type,
        "text": storable_text(message.text),
        "metadata": _storable(message.metadata),
        "reply_to_provider_id": storable_text(message.reply_to_provider_id),
        "thread_key": "",
    }


def _storable(metadata: Mapping[str, Any]) -> Item:
    """What a provider said, at most two levels deep, as jsonb can hold it."""
    return {
        name: _storable(value) if isinstance(value, Mapping) else storable_text(value)
        for name, value in metadata.items()
    }


def _attachment_rows(runtime: Runtime, message: InboundMessage) -> list[Item]:
    return [
        {
            "id": runtime.new_id(),
            "position": position,
            "url": storable_text(attachment.url),
            "content_type": storable_text(attachment.content_type),
            "filename": storable_text(attachment.filename),
            "content_id": storable_text(attachment.content_id),
        }
        for position, attachment in enumerate(message.attachments, 1)
    ]


def _meaning(
    runtime: Runtime,
    posted: Posted,
    message: InboundMessage,
    ids: _NewIds,
    quiet_seconds: float,
    consent: ConsentChange | None,
) -> Item:
    """What a word about consent decides: whether a turn follows, and what is told."""
    skip_reason = _skip_reason(message, consent)
    return {
        "consent": consent,
        "opt_out_reason": "keyword" if message.consent is None else "provider",
        "ai_skip_reason": skip_reason,
        **_turn_times(posted.received_at, quiet_seconds, wanted=skip_reason is None),
        "consent_event": _consent_event(runtime, posted, message, ids, consent) if consent else None,
    }


def _skip_reason(message: InboundMessage, consent: ConsentChange | None) -> str | None:
    """Why no turn follows: a word about consent is never an order, and the provider answers it itself."""
    if consent is not None:
        return "opt_out" if consent is ConsentChange.OUT else "opt_in"
    told = message.metadata.get("opt_out_type") == "HELP"
    return "help" if told or asks_provider_for_help(message.channel, message.text) else None


def _turn_times(received_at: datetime, quiet_seconds: float, *, wanted: bool) -> Item:
    if not wanted:
        return {"turn_due_at": None, "turn_cap_at": None}
    quiet = timedelta(seconds=quiet_seconds)
    return {
        "turn_due_at": (received_at + quiet).isoformat(),
        "turn_cap_at": (received_at + quiet * CAP_FACTOR).isoformat(),
    }


def _message_events(runtime: Runtime, posted: Posted, message: InboundMessage, ids: _NewIds) -> Item:
    """The events that may come of a message; the statement records those whose cause really happens."""
    party = _party(message, ids)
    received = {
        **party,
        "message_id": ids.message,
        "type": message.type,
        "text": message.text,
        "address": message.sender,
        "attachments": tuple(
            AttachmentData(content_type=file.content_type, filename=file.filename)
            for file in message.attachments
        ),
    }
    return {
        "received_event": _event(runtime, posted, EventType.MESSAGE_RECEIVED, received),
        "conversation_event": _event(runtime, posted, EventType.CONVERSATION_CREATED, party),
        "customer_event": _event(runtime, posted, EventType.CUSTOMER_CREATED, _named_party(message, ids)),
    }


def _consent_event(
    runtime: Runtime, posted: Posted, message: InboundMessage, ids: _NewIds, consent: ConsentChange
) -> Item:
    out = consent is ConsentChange.OUT
    changed = EventType.CUSTOMER_OPTED_OUT if out else EventType.CUSTOMER_OPTED_IN
    return _event(runtime, posted, changed, _named_party(message, ids))


def _party(message: InboundMessage, ids: _NewIds) -> Item:
    return {"customer_id": ids.customer, "conversation_id": ids.conversation, "channel": message.channel}


def _named_party(message: InboundMessage, ids: _NewIds) -> Item:
    return {**_party(message, ids), "address": message.sender, "display_name": message.profile_name}


def _event(runtime: Runtime, posted: Posted, event_type: EventType, data: Mapping[str, Any]) -> Item:
    return new_event_row(
        runtime, posted.account.distributor_id, event_type, data, occurred_at=posted.received_at
    )


def status_item(runtime: Runtime, posted: Posted, update: StatusUpdate) -> Item:
    """One status as the accept statement takes it."""
    return {
        **_posted_item(runtime, posted, "status", f"status:{update.provider_key}"),
        "status_event_id": runtime.new_id(),
        "message_id": update.message_id,
        "provider_message_id": update.provider_message_id,
        "status": update.status,
        "status_rank": status_rank(posted.account.channel, update.status),
        "provider_status": update.provider_status,
        "error_code": update.error_code,
        **_status_events(runtime, posted, update),
        "opt_out_event": _opt_out_event(runtime, posted) if update.opted_out else None,
    }


def _status_events(runtime: Runtime, posted: Posted, update: StatusUpdate) -> Item:
    common = {
        # The statement lays the message's own ids, type and text over these.
        "message_id": _NOBODY,
        "conversation_id": _NOBODY,
        "customer_id": None,
        "channel": posted.account.channel,
        "type": "TEXT",
        "text": "",
        "status": update.status,
    }
    sent = update.status in {MessageStatus.SENT, MessageStatus.DELIVERED, MessageStatus.READ}
    with_error = {**common, "error_code": update.error_code}
    with_id = {**common, "provider_message_id": update.provider_message_id}
    failed = update.status is MessageStatus.FAILED
    return {
        "sent_event": _event(runtime, posted, EventType.MESSAGE_SENT, with_id) if sent else None,
        "changed_event": _event(runtime, posted, EventType.MESSAGE_STATUS_CHANGED, with_error),
        "failed_event": _event(runtime, posted, EventType.MESSAGE_FAILED, with_error) if failed else None,
    }


def _opt_out_event(runtime: Runtime, posted: Posted) -> Item:
    """The statement lays the contact's own data over it."""
    nobody = {"customer_id": None, "conversation_id": _NOBODY, "address": "", "display_name": None}
    data = {**nobody, "channel": posted.account.channel}
    return _event(runtime, posted, EventType.CUSTOMER_OPTED_OUT, data)


def consent_item(runtime: Runtime, posted: Posted, update: ConsentUpdate) -> Item:
    """A word about an address as the accept statement takes it. A provider's clock that is ahead of ours must not
    outlast newer words.
    """
    told_at = min(update.occurred_at or posted.received_at, posted.received_at)
    changed = (
        EventType.CUSTOMER_OPTED_OUT if update.change is ConsentChange.OUT else EventType.CUSTOMER_OPTED_IN
    )
    data = {"customer_id": None, "channel": posted.account.channel, "address": update.address}
    return {
        **_posted_item(runtime, posted, "consent", f"consent:{update.provider_key}"),
        "channel": posted.account.channel,
        "address": storable_text(update.address),
        "consent": update.change,
        "opt_out_reason": None if update.reason is SuppressionReason.RESUBSCRIBE else update.reason,
        "told_at": told_at.isoformat(),
        "contact_id": runtime.new_id(),
        "changed_event": _event(runtime, posted, changed, data),
    }


def deferred_item(runtime: Runtime, posted: Posted, deferred: DeferredPost) -> Item:
    """A post that only tells of something as the accept statement takes it."""
    return _posted_item(runtime, posted, "deferred", f"deferred:{deferred.provider_key}")
