"""What Meta posts for WhatsApp, turned into values: every message, status and preference of every change of a batch.

Source: Meta docs, "Webhooks" of the WhatsApp Business Platform: messages, status messages, system messages,
user_preferences, and "Business-scoped user IDs" (as of August 2026).

Only a body that is not Meta's envelope is malformed. What is wrong inside costs nothing but itself: one bad message of
a batch must not hold up the others, which Meta would post again and again for seven days and then drop.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from channels.addresses import E164, USER_ID, is_same_party
from channels.base import (
    Channel,
    ChannelAccount,
    ConsentChange,
    ConsentUpdate,
    Ignored,
    InboundItem,
    InboundMessage,
    InboundRequest,
    MessageStatus,
    StatusUpdate,
    SuppressionReason,
)
from channels.errors import MalformedPayload, OptedOut
from channels.json_posts import object_of, objects_of, read_json, text_of
from channels.whatsapp_cloud_content import read_content
from channels.whatsapp_cloud_credentials import GRAPH_ID
from channels.whatsapp_cloud_errors import error_of_code

OBJECT = "whatsapp_business_account"
STATUSES: Mapping[str, MessageStatus] = {
    "sent": MessageStatus.SENT,
    "delivered": MessageStatus.DELIVERED,  # left out by Meta where the message is read at once
    "read": MessageStatus.READ,
    "played": MessageStatus.READ,  # a voice message's first playing: who plays it has opened the chat
    "failed": MessageStatus.FAILED,
}
PREFERENCES: Mapping[str, tuple[ConsentChange, SuppressionReason]] = {
    "stop": (ConsentChange.OUT, SuppressionReason.UNSUBSCRIBE),
    "resume": (ConsentChange.IN, SuppressionReason.RESUBSCRIBE),
}
# wamid.… and base64 today, other letters before; what counts here is that a dedupe key has an end
MESSAGE_ID = re.compile(r"[!-~]{1,255}", re.ASCII)
OUR_DATA = re.compile(r"([0-9a-f]{32})(?::([1-9][0-9]{0,2}))?", re.ASCII)
WHOLE = re.compile(r"[0-9]{1,16}", re.ASCII)
MILLISECONDS_FROM = 10**11  # seconds would be after the year 5000
LONGEST_NAME = 256

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Change:
    """Whose a change is, and the senders that came with it."""

    route: str
    address: str  # of the number that was written to
    contacts: tuple[Json, ...]

    def ignored(self, reason: str) -> Ignored:
        return Ignored(reason, route=self.route)


@dataclass(frozen=True, slots=True)
class _Party:
    """A user: the number in E.164, and the business-scoped user id (``CC.…``); one of them may be missing."""

    number: str
    user_id: str

    @property
    def sender(self) -> str:
        return self.number or self.user_id

    @property
    def beside(self) -> str | None:
        return self.user_id if self.number and self.user_id else None


def parse_post(account: ChannelAccount, request: InboundRequest) -> tuple[InboundItem, ...]:
    """All items of a verified post, in their order, each with its ``route``; raises MalformedPayload."""
    document = read_json(request.body)
    if not isinstance(document, dict) or document.get("object") != OBJECT:
        raise MalformedPayload("The body is not a WhatsApp Business Account's.")
    entries = document.get("entry")
    if not isinstance(entries, list):
        raise MalformedPayload("The body has no entries.")
    items = tuple(
        item
        for entry in objects_of(document, "entry")
        for change in objects_of(entry, "changes")
        for item in _items(account, change)
    )
    return items or (Ignored("A post without a change."),)


def only_of(request: InboundRequest, route: str) -> InboundRequest:
    """A verified post with the changes of one number alone; entries that have none of them are left out."""
    document = read_json(request.body)
    entries = [
        {**entry, "changes": changes}
        for entry in objects_of(document if isinstance(document, dict) else {}, "entry")
        if (changes := [change for change in objects_of(entry, "changes") if _route_of(change) == route])
    ]
    body = json.dumps({"object": OBJECT, "entry": entries}).encode()
    return replace(request, body=body)


def _route_of(change: Json) -> str:
    return text_of(object_of(object_of(change, "value"), "metadata"), "phone_number_id")


def _items(account: ChannelAccount, change: Json) -> Iterator[InboundItem]:
    value = object_of(change, "value")
    metadata = object_of(value, "metadata")
    route = text_of(metadata, "phone_number_id")
    if text_of(change, "field") not in {"messages", "user_preferences"}:
        # among them smb_message_echoes, history and account_update: of no use until somebody needs them
        yield Ignored("A change of a field other than messages.", route if GRAPH_ID.fullmatch(route) else "")
        return
    if not GRAPH_ID.fullmatch(route):
        yield Ignored("A change that does not say whose it is.")
        return
    own = route == account.credentials["phone_number_id"]
    address = account.address if own else _number(text_of(metadata, "display_phone_number"))
    whose = _Change(route, address, tuple(objects_of(value, "contacts")))
    yield from (_message(whose, message) for message in objects_of(value, "messages"))
    yield from (_status(whose, status) for status in objects_of(value, "statuses"))
    yield from (_preference(whose, preference) for preference in objects_of(value, "user_preferences"))
    if objects_of(value, "errors"):
        yield whose.ignored("An error of the account, of no one message.")


def _message(change: _Change, message: Json) -> InboundMessage | Ignored:
    key = text_of(message, "id")
    if not MESSAGE_ID.fullmatch(key):
        return change.ignored("A message without an id.")
    if message.get("group_id"):
        # An answer would go to the one sender alone, and what others of the group see is not ours to store.
        return change.ignored("A message in a group.")
    party, contact = _sender(change, message)
    if not party.sender:
        return change.ignored("A message without a sender.")
    if change.address and is_same_party(party.sender, change.address):
        return change.ignored("A message from the account's own number.")
    content = read_content(message)
    return InboundMessage(
        provider_key=key,
        sender=party.sender,
        recipient=change.address,
        channel=Channel.WHATSAPP,
        type=content.type,
        text=content.text,
        attachments=content.attachments,
        reply_to_provider_id=_message_id(content.reply_to or text_of(object_of(message, "context"), "id")),
        profile_name=text_of(object_of(contact, "profile"), "name")[:LONGEST_NAME] or None,
        metadata={**content.metadata, **_about_sender(message, contact)},
        sender_user_id=party.beside,
        automated=content.automated,
        sent_at=_moment(message.get("timestamp")),
        route=change.route,
    )


def _sender(change: _Change, message: Json) -> tuple[_Party, Json]:
    """Who wrote, and the contact that tells of them. Either id may be missing in the message and stand in the contact;
    a system message has no contact and may name its user inside only.
    """
    source = text_of(message, "from")
    number, user_id = _number(source), _user_id(text_of(message, "from_user_id")) or _user_id(source)
    contact = _contact_of(change, source, user_id)
    system = object_of(message, "system")
    number = number or _number(text_of(contact, "wa_id"))
    user_id = user_id or _user_id(text_of(contact, "user_id"))
    if not number and not user_id:
        user_id = _user_id(text_of(system, "previous_user_id")) or _user_id(text_of(system, "user_id"))
    return _Party(number, user_id), contact


def _contact_of(change: _Change, source: str, user_id: str) -> Json:
    for contact in change.contacts:
        if source and contact.get("wa_id") == source:
            return contact
        if user_id and contact.get("user_id") == user_id:
            return contact
    # Numbers of some countries are written in two ways (docs: "may not always match"), so one contact alone is theirs.
    return change.contacts[0] if len(change.contacts) == 1 else {}


def _about_sender(message: Json, contact: Json) -> dict[str, str]:
    told = {
        "wa_id": text_of(contact, "wa_id"),
        "username": text_of(object_of(contact, "profile"), "username"),
        "parent_user_id": text_of(message, "from_parent_user_id") or text_of(contact, "parent_user_id"),
    }
    return {name: value for name, value in told.items() if value}


def _status(change: _Change, status: Json) -> StatusUpdate | Ignored:
    key, word = text_of(status, "id"), text_of(status, "status").lower()
    if not MESSAGE_ID.fullmatch(key):
        return change.ignored("A status without a message's id.")
    if status.get("recipient_type") == "group":
        return change.ignored("A status of a message to a group.")
    if word not in STATUSES:
        return change.ignored("A status that says nothing of a message's way.")
    code = _error_code(status) if STATUSES[word] is MessageStatus.FAILED else None
    failure = error_of_code(code)
    message_id, part = _ours(text_of(status, "biz_opaque_callback_data"))
    return StatusUpdate(
        provider_message_id=key,
        status=STATUSES[word],
        message_id=message_id,
        provider_status=word,
        error_code=code,
        opted_out=failure is OptedOut,
        reason=failure.code if failure else None,
        part=part,
        occurred_at=_moment(status.get("timestamp")),
        route=change.route,
    )


def _error_code(status: Json) -> str | None:
    for error in objects_of(status, "errors"):
        written = _whole(error.get("code"))
        if written:
            return written
    return None


def _ours(data: str) -> tuple[UUID | None, int | None]:
    """Our message's id and the part of it, as the send put them there; nothing where another program sent it."""
    found = OUR_DATA.fullmatch(data)
    if not found:
        return None, None
    return UUID(found[1]), int(found[2]) if found[2] else None


def _preference(change: _Change, preference: Json) -> ConsentUpdate | Ignored:
    """Docs, "user_preferences": the user stopped marketing messages in WhatsApp itself, or takes them again."""
    party = _Party(_number(text_of(preference, "wa_id")), _user_id(text_of(preference, "user_id")))
    wish = PREFERENCES.get(text_of(preference, "value"))
    if not party.sender or wish is None:
        return change.ignored("A preference that says nothing of consent.")
    moment = _whole(preference.get("timestamp"))
    return ConsentUpdate(
        provider_key=f"preference:{party.sender}:{wish[0]}:{moment}",
        address=party.sender,
        change=wish[0],
        reason=wish[1],
        occurred_at=_moment(moment),
        route=change.route,
    )


def _number(text: str) -> str:
    """E.164 of digits, as Meta writes numbers, or of a number as people read it; empty where it is none."""
    number = "+" + re.sub(r"[ ()+.-]", "", text)
    return number if E164.fullmatch(number) else ""


def _message_id(text: str) -> str | None:
    return text if MESSAGE_ID.fullmatch(text) else None


def _user_id(text: str) -> str:
    return text if USER_ID.fullmatch(text) else ""


def _whole(value: Any) -> str:
    """A whole number as digits; Meta writes some as numbers and some as texts."""
    written = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return written if WHOLE.fullmatch(written) else ""


def _moment(value: Any) -> datetime | None:
    """Meta's timestamps are seconds, rarely milliseconds; None where it is neither."""
    written = _whole(value)
    if not written:
        return None
    seconds = int(written) / 1000 if int(written) >= MILLISECONDS_FROM else int(written)
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        return None
