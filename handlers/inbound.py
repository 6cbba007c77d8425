"""What a provider posted, made into what the accept statements store: ids, events and when a turn is due."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar
from uuid import UUID

from channels.base import (
    Channel,
    ChannelAccount,
    ConsentChange,
    ConsentUpdate,
    DeferredPost,
    InboundMessage,
    InboundRequest,
    MessageType,
    StatusUpdate,
    SuppressionReason,
)
from channels.mail_tokens import NamedMail, without_token
from db import accept, statuses
from db.accept import AcceptedItem, AcceptedMessage, StoredPost
from db.errors import PartitionMissing
from db.identities import learn_identities, move_contact
from db.statuses import AcceptedStatus
from db.tenant import Connection
from handlers.consent import consent_change, opts_in_while_out, provider_helps
from handlers.inbound_events import (
    NewIds,
    Telling,
    address_event,
    begun_events,
    consent_event,
    received_event,
    refusal_event,
    status_events,
)
from handlers.moves import from_new_place, is_notice, move_of
from handlers.runtime import Runtime
from handlers.statuses import STATUS_RANKS, settle_statuses, status_rank
from handlers.threads import find_thread, is_message_id, is_of_another_gateway, named_mail_of
from handlers.upkeep import make_partitions
from handlers.webhooks.payloads import storable_text

# A burst may go on for so many quiet periods before its turn is due all the same.
CAP_FACTOR = 5
_PRIVATE_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})

Item = dict[str, Any]
Stored = TypeVar("Stored")
StoreIn = Callable[[Connection, Sequence[Item]], Awaitable[list[Stored]]]
_LONGEST_KEY = 512  # PostgreSQL: an entry of an index has at most 2,704 bytes
# By what adapters call it in a message's metadata.
_SKIPPED_KINDS: Mapping[str, str] = MappingProxyType(
    {"edit": "edited", "revoke": "revoked", "system": "system"}
)
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
    return await _store(runtime, items, partial(_accept_statuses, runtime), settle_statuses, refused=refused)


async def accept_consents(runtime: Runtime, items: Sequence[Item]) -> list[AcceptedItem]:
    """Stores what providers say of addresses; raises DatabaseUnavailable."""
    plain = partial(_in_transaction, runtime, store=_accept_consents_in)
    return await _store(runtime, items, plain, _accept_consents_in, refused=_REFUSED)


async def accept_deferred(runtime: Runtime, items: Sequence[Item]) -> list[AcceptedItem]:
    """Stores posts whose contents are still to be asked for; raises DatabaseUnavailable."""
    plain = partial(_in_transaction, runtime, store=accept.accept_deferred)
    return await _store(runtime, items, plain, accept.accept_deferred, refused=_REFUSED)


async def accept_ignored(runtime: Runtime, items: Sequence[Item]) -> list[AcceptedItem]:
    """Keeps the one-time tokens of posts of which nothing else is kept, so that none of them signs another body; raises
    DatabaseUnavailable.
    """
    plain = partial(_in_transaction, runtime, store=_keep_nothing)
    return await _store(runtime, items, plain, _keep_nothing, refused=_REFUSED)


async def _keep_nothing(_connection: Connection, items: Sequence[Item]) -> list[AcceptedItem]:
    return [AcceptedItem(duplicate=False) for _ in items]


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
    if not any(item["move"] for item in items):
        return await _accept_staying(runtime, items)
    # Who moved, moves first, one after the other: what comes from the new place in the same flush must find its contact.
    moved = [
        (await _in_transaction(runtime, [item], store=_accept_newcomers_in))[0]
        for item in items
        if item["move"]
    ]
    staying = [item for item in items if not item["move"]]
    answers = {True: iter(moved), False: iter(await _accept_staying(runtime, staying) if staying else ())}
    return [next(answers[bool(item["move"])]) for item in items]


async def _accept_staying(runtime: Runtime, items: Sequence[Item]) -> list[AcceptedMessage]:
    async with runtime.database.worker_statements() as connection:
        meant = await _as_meant(connection, await _as_mails(connection, items))
        known = await accept.accept_known(connection, meant)
    left = [item for item, answer in zip(meant, known, strict=True) if answer is None]
    met = iter(await _in_transaction(runtime, left, store=_accept_newcomers_in) if left else ())
    return [answer or next(met) for answer in known]


async def _accept_messages_in(connection: Connection, items: Sequence[Item]) -> list[AcceptedMessage]:
    mails = await _as_mails(connection, items)
    return await _accept_newcomers_in(connection, await _as_meant(connection, mails))


async def _accept_newcomers_in(connection: Connection, items: Sequence[Item]) -> list[AcceptedMessage]:
    """One flush after the other where they share an address or a user id: a number that writes on two channels for
    the first time must not become two customers.
    """
    await accept.lock_addresses(connection, items)
    for item in items:
        if item["move"]:
            await move_contact(connection, item)
    await learn_identities(connection, items)
    return await accept.accept_messages(connection, items)


async def _accept_consents_in(connection: Connection, items: Sequence[Item]) -> list[AcceptedItem]:
    await accept.lock_addresses(connection, items)
    return await accept.accept_consents(connection, items)


async def _as_mails(connection: Connection, items: Sequence[Item]) -> Sequence[Item]:
    """The items, those that name mails of ours or of the customer's in the threads of these, and those from the tenant's
    own addresses as what a machine wrote.
    """
    own = await accept.find_own_senders(connection, items)
    found = await accept.find_threads(connection, items)
    return [
        {
            **item,
            **({"thread_key": found[place]} if place in found else {}),
            **({**item["if_own_address"], "if_opted_out": {}} if place in own else {}),
        }
        if place in own or place in found
        else item
        for place, item in enumerate(items)
    ]


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
        return await _in_transaction(runtime, items, store=settle_statuses)
    async with runtime.database.worker_statements() as connection:
        plain = await statuses.accept_plain(connection, items, STATUS_RANKS)
    left = [item for item, answer in zip(items, plain, strict=True) if answer is None]
    rest = iter(await _in_transaction(runtime, left, store=settle_statuses) if left else ())
    return [answer or next(rest) for answer in plain]


def message_item(runtime: Runtime, posted: Posted, message: InboundMessage, quiet_seconds: float) -> Item:
    """One message as the accept statement takes it; ``quiet_seconds`` is how long its burst must be quiet."""
    message = _seen_through(runtime, posted.account, message)
    ids = NewIds(runtime.new_id(), runtime.new_id(), runtime.new_id(), runtime.new_id())
    if move := move_of(message):
        message = from_new_place(message, move)
    meaning = partial(_meaning, runtime, posted, message, ids, quiet_seconds)
    item = {
        **_posted_item(runtime, posted, "message", message.provider_key),
        **_message_fields(message, ids),
        "is_notice": is_notice(message),
        "move": asdict(move) if move else None,
        **_thread_fields(runtime, posted.account, message),
        **_own_address_fields(runtime, posted, message, ids),
        "attachments": _attachment_rows(runtime, message),
        **begun_events(telling := _telling(runtime, posted), message, ids),
    }
    # What a machine wrote is nobody's word, whatever stands in it; what the provider says, holds.
    words = "" if message.automated else message.text
    consent = consent_change(message.channel, words, message.consent)
    if message.consent is not ConsentChange.OUT and opts_in_while_out(message.channel, words):
        consent, item["if_opted_out"] = None, meaning(ConsentChange.IN)
    return {**item, **meaning(consent), "received_event": received_event(telling, message, ids)}


def _posted_item(runtime: Runtime, posted: Posted, kind: str, provider_key: str) -> Item:
    event_id = posted.event_ids.get(kind) or posted.event_ids.setdefault(kind, runtime.new_id())
    request = posted.request
    return {
        "distributor_id": posted.account.distributor_id,
        "channel_account_id": posted.account.id,
        "provider_key": _as_key(provider_key),
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


def _as_key(text: str) -> str:
    """What a provider calls something, as an index takes it: a long name, which a mail's writer may have made up, by its
    digest.
    """
    key: str = storable_text(text)
    return key if len(key) <= _LONGEST_KEY else hashlib.sha256(key.encode()).hexdigest()


def _token(posted: Posted) -> Item:
    return {
        "key": _as_key(f"token:{posted.token}"),
        "digest": hashlib.sha256(posted.request.body).hexdigest(),
    }


def _kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    kept = ((name, value) for name, value in headers.items() if name.casefold() not in _PRIVATE_HEADERS)
    # The server's names are a subclass of str, which JSON's encoder does not take as a key.
    return {str(name): storable_text(value) for name, value in kept}


def _message_fields(message: InboundMessage, ids: NewIds) -> Item:
    return {
        "message_id": ids.message,
        "contact_id": ids.contact,
        "customer_id": ids.customer,
        "conversation_id": ids.conversation,
        "channel": message.channel,
        "address": storable_text(message.sender),
        "user_id": storable_text(_user_id(message)),
        "profile_name": storable_text(message.profile_name),
        "type": message.type,
        "text": storable_text(message.text),
        "metadata": _storable(message.metadata),
        "reply_to_provider_id": storable_text(message.reply_to_provider_id),
    }


def _user_id(message: InboundMessage) -> str | None:
    """The provider's own id of the sender: WhatsApp's, beside a number or, without the + that each number has, in its
    place.
    """
    is_number = message.channel is not Channel.WHATSAPP or message.sender.startswith("+")
    return message.sender_user_id or (None if is_number else message.sender)


def _thread_fields(runtime: Runtime, account: ChannelAccount, message: InboundMessage) -> Item:
    """Where a mail belongs; every other message to its contact's one conversation."""
    thread = message.thread
    if thread is None:
        return {"thread_key": "", "thread_ids": (), "mail_message_id": None, "subject": None}
    hint = find_thread(runtime.sealer, account.distributor_id, account.id, thread, message.provider_key)
    return {
        "thread_key": hint.key,
        "thread_ids": [storable_text(named) for named in hint.named],
        "mail_message_id": storable_text(thread.message_id) if is_message_id(thread.message_id) else None,
        "subject": storable_text(thread.subject) or None,
    }


def _seen_through(runtime: Runtime, account: ChannelAccount, message: InboundMessage) -> InboundMessage:
    """The message; where it is another gateway's answer, as what a machine wrote."""
    if message.thread is None or message.automated:
        return message
    foreign = is_of_another_gateway(runtime.sealer, account.distributor_id, account.id, message.thread)
    return replace(message, automated="foreign_mark") if foreign else message


def _own_address_fields(runtime: Runtime, posted: Posted, message: InboundMessage, ids: NewIds) -> Item:
    """Whose address a mail comes from, and what it means if that is one of the tenant's own: then a machine wrote it, or
    a person who is no customer.
    """
    if message.thread is None:
        return {}
    own = replace(message, automated="own_address")
    return {
        "bare_sender": storable_text(without_token(message.sender)),
        "if_own_address": _meaning(runtime, posted, own, ids, 0, None),
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
    ids: NewIds,
    quiet_seconds: float,
    consent: ConsentChange | None,
) -> Item:
    """What a word about consent decides: whether a turn follows, and what is told."""
    skip_reason = _skip_reason(posted.account.provider, message, consent)
    return {
        "consent": consent,
        "opt_out_reason": "keyword" if message.consent is None else "provider",
        "ai_skip_reason": skip_reason,
        **_turn_times(posted.received_at, quiet_seconds, wanted=skip_reason is None),
        "consent_event": consent_event(_telling(runtime, posted), message, ids, consent) if consent else None,
    }


def _skip_reason(provider: str, message: InboundMessage, consent: ConsentChange | None) -> str | None:
    """Why no turn follows: a word about consent is never an order, and the provider answers it itself; a machine is
    not answered; a sign on another message, or a change of it, is nothing to be understood by itself.
    """
    if consent is not None:
        return "opt_out" if consent is ConsentChange.OUT else "opt_in"
    if message.automated:
        return "automated"
    if message.type is MessageType.REACTION:
        return "reaction"
    if kind := _SKIPPED_KINDS.get(message.metadata.get("provider_kind", "")):
        return kind
    told = message.metadata.get("opt_out_type") == "HELP"
    return "help" if told or provider_helps(provider, message.channel, message.text) else None


def _turn_times(received_at: datetime, quiet_seconds: float, *, wanted: bool) -> Item:
    if not wanted:
        return {"turn_due_at": None, "turn_cap_at": None}
    quiet = timedelta(seconds=quiet_seconds)
    return {
        "turn_due_at": (received_at + quiet).isoformat(),
        "turn_cap_at": (received_at + quiet * CAP_FACTOR).isoformat(),
    }


def status_item(runtime: Runtime, posted: Posted, update: StatusUpdate) -> Item:
    """One status as the accept statement takes it."""
    return {
        **_posted_item(runtime, posted, "status", f"status:{update.provider_key}"),
        "status_event_id": runtime.new_id(),
        "message_id": update.message_id,
        "provider_message_id": _as_key(update.provider_message_id),
        "part": update.part,
        "told_at": update.occurred_at.isoformat() if update.occurred_at else None,
        "status": update.status,
        "status_rank": status_rank(posted.account.channel, update.status),
        "provider_status": update.provider_status,
        "error_code": update.error_code,
        "named_mail": _named_mail(runtime, posted, update.named_mail),
        **status_events(_telling(runtime, posted), update),
        "opt_out_event": refusal_event(_telling(runtime, posted)) if update.opted_out else None,
    }


def consent_item(runtime: Runtime, posted: Posted, update: ConsentUpdate) -> Item:
    """A word about an address as the accept statement takes it. A provider's clock that is ahead of ours must not
    outlast newer words.
    """
    told_at = min(update.occurred_at or posted.received_at, posted.received_at)
    return {
        **_posted_item(runtime, posted, "consent", f"consent:{update.provider_key}"),
        "channel": posted.account.channel,
        "address": storable_text(update.address),
        "consent": update.change,
        "opt_out_reason": None if update.reason is SuppressionReason.RESUBSCRIBE else update.reason,
        "told_at": told_at.isoformat(),
        "contact_id": runtime.new_id(),
        "named_mail": _named_mail(runtime, posted, update.named_mail),
        "changed_event": address_event(_telling(runtime, posted), update),
    }


def _named_mail(runtime: Runtime, posted: Posted, named: NamedMail | None) -> Item | None:
    account = posted.account
    return named_mail_of(runtime.sealer, account.distributor_id, account.id, named)


def deferred_item(runtime: Runtime, posted: Posted, deferred: DeferredPost) -> Item:
    """A post that only tells of something as the accept statement takes it."""
    return _posted_item(runtime, posted, "deferred", f"deferred:{deferred.provider_key}")


def ignored_item(runtime: Runtime, posted: Posted) -> Item:
    """A post of which nothing but its token is kept."""
    return _posted_item(runtime, posted, "ignored", "ignored")


def _telling(runtime: Runtime, posted: Posted) -> Telling:
    return Telling(runtime, posted.account, posted.received_at)
