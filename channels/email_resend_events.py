"""What Resend posts, turned into values; and received mails, which are fetched afterwards and kept as a post of our own.

Source: Resend docs, "Event types" and "Receiving emails". Fields that are not known are ignored.
"""

import base64
import binascii
import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from channels.abilities import MediaContent
from channels.base import (
    ChannelAccount,
    ConsentChange,
    ConsentUpdate,
    DeferredPost,
    Ignored,
    InboundItem,
    MessageStatus,
    StatusUpdate,
    SuppressionReason,
)
from channels.errors import ContentRefused, InvalidRecipient, MalformedPayload
from channels.iso_times import utc_time
from channels.json_posts import object_of, objects_of, read_json, text_of
from channels.mail import Headers, Mail, MailPart
from channels.mail_bounces import items_of_mail
from channels.mail_events import address_of, error_code, our_id
from channels.mail_posts import bare_id, content_type
from channels.mail_reading import inbound_mail, mail_of_fields
from channels.mime import clean_filename, read_mail

Post = Mapping[str, Any]

RECEIVED = "email.received"
FETCHED = "waystation.fetched"  # a post of our own: the hint and what was fetched for it
EMAIL_ID = re.compile(r"[0-9A-Za-z_-]{1,64}", re.ASCII)
STATUSES: Mapping[str, MessageStatus] = {
    "sent": MessageStatus.SENT,
    "delivery_delayed": MessageStatus.SENT,
    "delivered": MessageStatus.DELIVERED,
    "opened": MessageStatus.READ,
    "clicked": MessageStatus.READ,
    "bounced": MessageStatus.FAILED,
    "failed": MessageStatus.FAILED,
    "suppressed": MessageStatus.FAILED,
}
GONE_FOR_EVER = "Permanent"
REFUSED_CONTENT = frozenset(
    {"ContentRejected", "AttachmentRejected", "MessageTooLarge"}
)  # subtypes of a bounce
COMPLAINED = "complained"
_PARTIES = ("received_for", "to", "cc", "bcc")
_KEPT = ("id", "from", "to", "cc", "bcc", "reply_to", "subject", "message_id", "created_at", "received_for")


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A file of a mail whose MIME was not to be had; ``content`` is None where the file was not, either."""

    described: Post  # as the API lists it
    content: MediaContent | None


def post_of(body: bytes) -> Post:
    """The object of a body; raises MalformedPayload."""
    document = read_json(body)
    if not isinstance(document, dict):
        raise MalformedPayload("The body is not a JSON object.")
    return document


def parse_post(account: ChannelAccount, post: Post) -> tuple[InboundItem, ...]:
    """The items of a verified or fetched post; raises MalformedPayload."""
    kind, data = text_of(post, "type"), object_of(post, "data")
    if not kind:
        raise MalformedPayload("type is missing.")
    if kind == RECEIVED:
        return (DeferredPost(f"email:{email_id_of(data)}"),)
    if kind == FETCHED:
        mail = mail_of_fetched(post)
        message = inbound_mail(account, mail, email_id_of(data))
        return items_of_mail(mail, replace(message, sent_at=utc_time(text_of(data, "created_at"))))
    family, _, word = kind.partition(".")
    if family == "email" and word == COMPLAINED:
        return (_consent(post, data, SuppressionReason.COMPLAINT),)
    if family == "email" and word in STATUSES:
        return _status(post, data, word)
    return (Ignored("A kind of event that is not known."),)


def email_id_of(data: Post) -> str:
    """Resend's id of a mail; raises MalformedPayload."""
    identifier = text_of(data, "email_id")
    if not EMAIL_ID.fullmatch(identifier):
        raise MalformedPayload("email_id is missing or not of Resend's form.")
    return identifier


def received_post(listed: Post) -> bytes:
    """The hint that the hook would have posted for a mail of Resend's list; ``listed`` is the list's entry."""
    data = {name: listed[name] for name in _KEPT if name in listed} | {"email_id": text_of(listed, "id")}
    document = {"type": RECEIVED, "created_at": text_of(listed, "created_at"), "data": data}
    return json.dumps(document).encode("ascii")


def fetched_post(hint: Post, email: Post, raw: bytes | None, files: Sequence[FetchedFile]) -> bytes:
    """The body under which a fetched mail is kept: the hint's data and the API's, and the MIME; without that the texts,
    the headers and the files.
    """
    texts = () if raw is not None else ("html", "text", "headers")
    kept = {name: source[name] for source in (hint, email) for name in (*_KEPT, *texts) if source.get(name)}
    document = {
        "type": FETCHED,
        "data": kept | {"email_id": email_id_of(hint)},
        "raw": _encoded(raw),
        "files": [_kept_file(one) for one in files],
    }
    return json.dumps(document).encode("ascii")


def mail_of_fetched(post: Post) -> Mail:
    """The mail of a fetched post: from its MIME where that is there and names a sender, else from the fields. Raises
    MalformedPayload.
    """
    data = object_of(post, "data")
    recipients = tuple(dict.fromkeys(one for name in _PARTIES for one in _texts(data.get(name))))
    raw = _decoded(post.get("raw"))
    if raw:
        # The fields, which Resend filled in from the envelope, may name a sender where the mail does not.
        with contextlib.suppress(MalformedPayload):
            return read_mail(raw, envelope_to=recipients)
    return mail_of_fields(
        headers=_headers(data),
        text=text_of(data, "text"),
        html=text_of(data, "html"),
        envelope_to=recipients,
        parts=_parts(objects_of(post, "files")),
    )


def _status(post: Post, data: Post, word: str) -> tuple[InboundItem, ...]:
    update = StatusUpdate(
        provider_message_id=email_id_of(data),
        status=STATUSES[word],
        message_id=_our_id(data),
        provider_status=word,
        error_code=_error_code(data, word),
        reason=_reason(data, word),
        occurred_at=utc_time(text_of(post, "created_at")),
    )
    if word == "bounced" and text_of(object_of(data, "bounce"), "type") == GONE_FOR_EVER:
        return (update, _consent(post, data, SuppressionReason.BOUNCE))
    return (update,)


def _error_code(data: Post, word: str) -> str | None:
    """What went wrong, in Resend's own words where it has a word for it."""
    bounce, suppressed = object_of(data, "bounce"), object_of(data, "suppressed")
    found = {
        "bounced": "-".join(filter(None, (text_of(bounce, "type"), text_of(bounce, "subType")))),
        "failed": text_of(object_of(data, "failed"), "reason"),
        "suppressed": text_of(suppressed, "type"),
    }.get(word)
    return None if found is None else error_code(found) or word


def _reason(data: Post, word: str) -> str | None:
    """Our word for it. Why a mail ``failed`` before it left is said in words that have no list."""
    if word not in {"bounced", "suppressed"}:
        return None
    refused = text_of(object_of(data, "bounce"), "subType") in REFUSED_CONTENT
    return (ContentRefused if refused else InvalidRecipient).code


def _our_id(data: Post) -> UUID | None:
    """Our id among the tags: an object by the docs, and the list of the request in older events."""
    listed = {text_of(one, "name"): one.get("value") for one in objects_of(data, "tags")}
    return our_id(object_of(data, "tags") or listed)


def _consent(post: Post, data: Post, reason: SuppressionReason) -> InboundItem:
    """Of a mail to several (another program's, at the same account) nobody knows whom the event is about."""
    recipients = _texts(data.get("to"))
    address = address_of(recipients[0].rpartition("<")[2].rstrip("> ")) if len(recipients) == 1 else None
    if address is None:
        return Ignored("The event is of no one address.")
    key = f"{reason}:{email_id_of(data)}"
    return ConsentUpdate(key, address, ConsentChange.OUT, reason, utc_time(text_of(post, "created_at")))


def _headers(data: Post) -> Headers:
    """The headers that the API gives, and those that it has fields of their own for."""
    given = [(name, value) for name, held in object_of(data, "headers").items() for value in _texts(held)]
    there = {name.lower() for name, _ in given}
    fields = [
        *((name, text_of(data, name.lower())) for name in ("From", "Subject")),
        *((name, ", ".join(_texts(data.get(name.lower())))) for name in ("To", "Cc")),
        ("Reply-To", ", ".join(_texts(data.get("reply_to")))),
        ("Message-ID", text_of(data, "message_id")),
    ]
    return (*given, *((name, value) for name, value in fields if value and name.lower() not in there))


def _parts(files: Sequence[Post]) -> tuple[MailPart, ...]:
    read = ((number, one, _decoded(one.get("content"))) for number, one in enumerate(files))
    return tuple(_part(number, one, content) for number, one, content in read if content is not None)


def _part(number: int, file: Post, content: bytes) -> MailPart:
    return MailPart(
        number=number,
        content_type=content_type(text_of(file, "content_type")),
        filename=clean_filename(text_of(file, "filename")) or None,
        content_id=bare_id(text_of(file, "content_id")),
        content=content,
    )


def _kept_file(file: FetchedFile) -> dict[str, Any]:
    kept = {name: text_of(file.described, name) for name in ("filename", "content_type", "content_id")}
    return kept | {"content": _encoded(file.content.content if file.content else None)}


def _texts(held: object) -> list[str]:
    """The texts of a list, or the one text that stands in its place."""
    values = held if isinstance(held, list) else [held]
    return [value for value in values if isinstance(value, str) and value]


def _encoded(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode("ascii")


def _decoded(encoded: object) -> bytes | None:
    if encoded is None:
        return None
    try:
        return base64.b64decode(encoded, validate=True)  # type: ignore[arg-type]  # what is no text raises TypeError
    except (TypeError, ValueError, binascii.Error):
        raise MalformedPayload("A file is not base64.") from None
