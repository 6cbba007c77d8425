"""What is in a WhatsApp message, by its type: one reader per type, in one table.

Source of the fields: Meta docs, "messages webhook reference" and its pages per type (as of August 2026). Meta adds
fields and types without notice: an unknown field is ignored, an unknown type is kept as UNSUPPORTED.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from channels.base import Attachment, MessageType
from channels.errors import MalformedPayload
from channels.json_posts import object_of, objects_of, read_json, text_of

MEDIA_SCHEME = "media:"  # the URL of a file that is fetched by its id
DEFAULT_MIME = "application/octet-stream"
MEDIA_ID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
KIND = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
COUNT = re.compile(r"[0-9]{1,9}", re.ASCII)
MEDIA_TYPES: Mapping[str, MessageType] = {
    "image": MessageType.IMAGE,
    "sticker": MessageType.IMAGE,
    "audio": MessageType.AUDIO,
    "voice": MessageType.AUDIO,
    "video": MessageType.VIDEO,
    "document": MessageType.FILE,
}

Json = Mapping[str, Any]


class _UnreadableError(Exception):
    """A message's content is not of the documented form; it is kept, and a person can look at it."""


@dataclass(frozen=True, slots=True)
class Content:
    """A message's content. ``automated``: nobody typed it, WhatsApp did."""

    type: MessageType
    text: str = ""
    attachments: tuple[Attachment, ...] = ()
    reply_to: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    automated: str | None = None


def read_content(message: Json) -> Content:
    """The content of a message. Never raises: what cannot be read becomes UNSUPPORTED, its ``provider_kind`` and what
    came with it kept in the metadata.
    """
    kind = text_of(message, "type")
    reader = READERS.get(kind, _unsupported)
    try:
        content = reader(message, kind)
    except _UnreadableError:
        content = replace(_unsupported(message, kind), metadata={**_kept(message, kind), "unreadable": True})
    named = {"provider_kind": kind if KIND.fullmatch(kind) else "unknown"}
    return replace(content, metadata={**_circumstances(message), **named, **content.metadata})


def _circumstances(message: Json) -> dict[str, Any]:
    """What may come with a message of any type: forwarding, the advertisement or product it is about, errors."""
    context = object_of(message, "context")
    found: dict[str, Any] = {
        name: True for name in ("forwarded", "frequently_forwarded") if context.get(name) is True
    }
    named = {
        "reply_to_sender": text_of(context, "from"),
        "referred_product": object_of(context, "referred_product"),
        "referral": object_of(message, "referral"),
        "errors": objects_of(message, "errors"),
    }
    return found | {name: value for name, value in named.items() if value}


def _part(message: Json, name: str) -> dict[str, Any]:
    found = object_of(message, name)
    if not found:
        raise _UnreadableError
    return found


def _needed(part: Json, name: str) -> str:
    found = text_of(part, name)
    if not found:
        raise _UnreadableError
    return found


def _kept(message: Json, kind: str) -> dict[str, Any]:
    content = message.get(kind)
    return {"content": content} if content else {}


def _unsupported(message: Json, kind: str) -> Content:
    return Content(MessageType.UNSUPPORTED, metadata=_kept(message, kind))


def _text(message: Json, _kind: str) -> Content:
    return Content(MessageType.TEXT, _needed(_part(message, "text"), "body"))


def _media(message: Json, kind: str) -> Content:
    """The file by its id: the ``url`` of newer payloads ends after five minutes, the id after days."""
    part = _part(message, kind)
    media_id = _needed(part, "id")
    if not MEDIA_ID.fullmatch(media_id):
        raise _UnreadableError
    attachment = Attachment(
        url=MEDIA_SCHEME + media_id,
        content_type=text_of(part, "mime_type") or DEFAULT_MIME,
        filename=text_of(part, "filename") or None,
    )
    about = {"sha256": text_of(part, "sha256")}
    about |= {name: part[name] for name in ("voice", "animated") if isinstance(part.get(name), bool)}
    return Content(
        MEDIA_TYPES[kind],
        text_of(part, "caption"),
        (attachment,),
        metadata={"media": {name: value for name, value in about.items() if value != ""}},
    )


def _location(message: Json, _kind: str) -> Content:
    part = _part(message, "location")
    place: dict[str, Any] = {
        "latitude": _degrees(part.get("latitude"), 90),
        "longitude": _degrees(part.get("longitude"), 180),
    }
    named = {"label": text_of(part, "name"), "address": text_of(part, "address"), "url": text_of(part, "url")}
    return Content(
        MessageType.LOCATION,
        metadata={"location": place | {name: value for name, value in named.items() if value}},
    )


def _degrees(value: Any, limit: int) -> float:
    try:
        degrees = float(value)
    except (TypeError, ValueError, OverflowError):
        raise _UnreadableError from None
    if isinstance(value, bool) or not math.isfinite(degrees) or abs(degrees) > limit:
        raise _UnreadableError
    return degrees


def _contacts(message: Json, _kind: str) -> Content:
    cards = objects_of(message, "contacts")
    if not cards:
        raise _UnreadableError
    return Content(MessageType.CONTACT, metadata={"contacts": cards})


def _button(message: Json, _kind: str) -> Content:
    part = _part(message, "button")
    return _reply(_needed(part, "text"), text_of(part, "payload"))


def _reply(label: str, payload: str, **more: str) -> Content:
    told = {"button_text": label, "button_payload": payload, **more}
    return Content(
        MessageType.BUTTON_REPLY, label, metadata={name: value for name, value in told.items() if value}
    )


def _interactive(message: Json, kind: str) -> Content:
    part = _part(message, "interactive")
    match text_of(part, "type"):
        case "button_reply" | "list_reply" as form:
            chosen = _part(part, form)
            description = text_of(chosen, "description")
            return _reply(_needed(chosen, "title"), text_of(chosen, "id"), button_description=description)
        case "nfm_reply":
            return _flow_reply(_part(part, "nfm_reply"))
        case _:
            return _unsupported(message, kind)


def _flow_reply(part: Json) -> Content:
    """The answers of a filled-in form are JSON in a text; kept as that text where it is none."""
    answers: Any = _needed(part, "response_json")
    try:
        answers = read_json(answers.encode())
    except MalformedPayload:
        answers = {"text": answers}
    body = text_of(part, "body")
    flow = {"name": text_of(part, "name"), "response": answers}
    return Content(MessageType.BUTTON_REPLY, body, metadata={"button_text": body, "flow_reply": flow})


def _reaction(message: Json, _kind: str) -> Content:
    """Docs, "Reaction messages": without an emoji the reaction was taken back."""
    part = _part(message, "reaction")
    target, emoji = _needed(part, "message_id"), text_of(part, "emoji")
    reaction = {"message_id": target, "emoji": emoji or None, "removed": not emoji}
    return Content(MessageType.REACTION, emoji, reply_to=target, metadata={"reaction": reaction})


def _order(message: Json, _kind: str) -> Content:
    """A cart: its ``lines`` for whoever takes products by SKU, and the same for readers as lines ``3 x SKU``, then the
    customer's note. One line that cannot be read makes all of it a person's business: a part of an order is a wrong
    order.
    """
    part = _part(message, "order")
    listed = part.get("product_items")
    items = objects_of(part, "product_items")
    if not items or not isinstance(listed, list) or len(items) != len(listed):
        raise _UnreadableError
    lines = [_order_line(item) for item in items]
    note = text_of(part, "text")
    written = [f"{line['quantity']} x {line['sku']}" for line in lines]
    cart = {"catalog_id": text_of(part, "catalog_id"), "note": note, "lines": lines, "product_items": items}
    return Content(
        MessageType.ORDER, "\n".join([*written, *([note] if note else [])]), metadata={"order": cart}
    )


def _order_line(item: Json) -> dict[str, Any]:
    quantity = item.get("quantity")
    written = str(quantity) if isinstance(quantity, int | str) and not isinstance(quantity, bool) else ""
    if not COUNT.fullmatch(written) or int(written) == 0:
        raise _UnreadableError
    return {"sku": " ".join(_needed(item, "product_retailer_id").split()), "quantity": int(written)}


def _system(message: Json, _kind: str) -> Content:
    """A user has another number or another user id. What was there before and what is now, by name."""
    part = _part(message, "system")
    told = {
        "type": text_of(part, "type"),
        "old_number": text_of(message, "from"),
        "new_number": text_of(part, "wa_id") or text_of(part, "new_wa_id"),
        "old_user_id": text_of(part, "previous_user_id"),
        "new_user_id": text_of(part, "user_id"),
        "old_parent_user_id": text_of(part, "previous_parent_user_id"),
        "new_parent_user_id": text_of(part, "parent_user_id"),
    }
    return Content(
        MessageType.UNSUPPORTED,
        text_of(part, "body"),
        metadata={"system": {name: value for name, value in told.items() if value}},
        automated="system",
    )


def _edit(message: Json, _kind: str) -> Content:
    """The message as it is now; which one it takes the place of is in the metadata."""
    part = _part(message, "edit")
    inner = _part(part, "message")
    content = READERS_OF_EDITED.get(text_of(inner, "type"), _unsupported)(inner, text_of(inner, "type"))
    edited = {"edited_message_id": _needed(part, "original_message_id")}
    reply_to = text_of(object_of(inner, "context"), "id") or None
    return replace(content, reply_to=reply_to, metadata={**content.metadata, **edited})


def _revoke(message: Json, _kind: str) -> Content:
    revoked = _needed(_part(message, "revoke"), "original_message_id")
    return Content(MessageType.UNSUPPORTED, metadata={"revoked_message_id": revoked})


Reader = Callable[[Json, str], Content]


def _readers(pairs: Iterable[tuple[str, Reader]]) -> Mapping[str, Reader]:
    return MappingProxyType(dict(pairs))


# Docs, "Edit messages": texts, and media with a caption.
READERS_OF_EDITED = _readers([("text", _text), *((kind, _media) for kind in MEDIA_TYPES)])
# Known and without content that we could read: request_welcome, ephemeral, unsupported. They are in no reader's hands
# on purpose, so that one that gets content some day keeps it in the metadata.
READERS = _readers(
    [
        *READERS_OF_EDITED.items(),
        ("location", _location),
        ("contacts", _contacts),
        ("button", _button),
        ("interactive", _interactive),
        ("reaction", _reaction),
        ("order", _order),
        ("system", _system),
        ("edit", _edit),
        ("revoke", _revoke),
    ]
)
