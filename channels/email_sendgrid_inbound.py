"""What SendGrid's Inbound Parse posts, turned into a mail: raw MIME where it is set so, else the parsed fields.

Source of the fields: SendGrid docs, "Setting Up The Inbound Parse Webhook". The raw mode is the better one: the parsed
one leaves out how the parts of the mail stood to each other.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from channels.base import ChannelAccount, InboundItem, InboundRequest
from channels.errors import MalformedPayload
from channels.json_posts import object_of, text_of
from channels.mail import Headers, Mail, MailPart
from channels.mail_bounces import items_of_mail
from channels.mail_posts import (
    digest_key,
    header_lines,
    json_field,
    posted_files,
    posted_part,
    with_empty_return_path,
)
from channels.mail_reading import inbound_mail, mail_of_fields
from channels.mail_words import decoded
from channels.mime import read_mail
from channels.multipart import Form, read_form

RAW_FIELDS = ("email", "rawEmail")  # the docs name the one, some of Twilio's pages the other
_FILE = re.compile(r"attachment-?([0-9]{1,4})", re.ASCII)
_IN_HEADERS = (("From", "from"), ("To", "to"), ("Cc", "cc"), ("Subject", "subject"))
# What of a parsed post is the mail itself; the rest (spam score, results of checks) may differ when it comes again.
_CONTENT = ("headers", "text", "html")


@dataclass(frozen=True, slots=True)
class Envelope:
    """Whom the mail was handed over for; ``sender`` is None where the post does not say."""

    to: tuple[str, ...]
    sender: str | None


def parse_mail(account: ChannelAccount, request: InboundRequest) -> tuple[InboundItem, ...]:
    """The message of a verified post, or what a notification says of a mail of ours; raises MalformedPayload.

    The post has no id, so its key is made of the envelope, the Message-ID and the content: one mail to two addresses
    is one post, and a repeated post is the same.
    """
    form = read_form(request)
    envelope, mail = _envelope(form), _mail(form)
    words = (envelope.sender or "", *sorted(envelope.to), mail.thread.message_id)
    return items_of_mail(mail, inbound_mail(account, mail, digest_key(words, _contents(form))))


def read_post(request: InboundRequest) -> Mail:
    """The mail of a verified post; raises MalformedPayload."""
    return _mail(read_form(request))


def _mail(form: Form) -> Mail:
    envelope, raw = _envelope(form), _raw(form)
    if raw is not None:
        return read_mail(with_empty_return_path(raw, envelope.sender), envelope_to=envelope.to)
    if "headers" not in form and "from" not in form:
        raise MalformedPayload("The post holds no mail.")
    charsets = _document(form, "charsets")
    return mail_of_fields(
        headers=_headers(form, charsets, envelope),
        text=_field(form, charsets, "text"),
        html=_field(form, charsets, "html"),
        envelope_to=envelope.to,
        parts=_parts(form),
    )


def _raw(form: Form) -> bytes | None:
    parts = (form.part(name) for name in RAW_FIELDS)
    return next((part.content for part in parts if part is not None), None)


def _envelope(form: Form) -> Envelope:
    document = _document(form, "envelope")
    listed = document.get("to")
    to = tuple(text for text in listed if isinstance(text, str)) if isinstance(listed, list) else ()
    return Envelope(to, text_of(document, "from") if isinstance(document.get("from"), str) else None)


def _document(form: Form, name: str) -> Mapping[str, Any]:
    """A JSON object in a field; empty where it is not there, not of that form or of no use."""
    found = json_field(form, name)
    return found if isinstance(found, dict) else {}


def _field(form: Form, charsets: Mapping[str, Any], name: str) -> str:
    """A field in the charset that ``charsets`` names for it: SendGrid posts texts in that of the mail."""
    part = form.part(name)
    return decoded(part.content, text_of(charsets, name) or part.charset) if part else ""


def _headers(form: Form, charsets: Mapping[str, Any], envelope: Envelope) -> Headers:
    """The mail's own headers; those that the post has as fields only are added."""
    own = header_lines(form.text("headers"))
    there = {name.lower() for name, _ in own}
    added = (
        (name, _field(form, charsets, field)) for name, field in _IN_HEADERS if name.lower() not in there
    )
    bounced = (("Return-Path", "<>"),) if envelope.sender == "" and "return-path" not in there else ()
    return (*own, *((name, value) for name, value in added if value), *bounced)


def _parts(form: Form) -> tuple[MailPart, ...]:
    described = _document(form, "attachment-info")
    inline = {part: cid for cid, part in _document(form, "content-ids").items() if isinstance(part, str)}
    return tuple(
        posted_part(
            number,
            file,
            text_of(object_of(described, file.name), "type") or file.content_type,
            text_of(object_of(described, file.name), "filename") or file.filename or "",
            text_of(object_of(described, file.name), "content-id") or inline.get(file.name, ""),
        )
        for number, file in enumerate(posted_files(form, _FILE))
    )


def _contents(form: Form) -> Iterator[bytes]:
    raw = _raw(form)
    if raw is not None:
        yield raw
        return
    for name in _CONTENT:
        part = form.part(name)
        yield part.content if part else b""
    for file in posted_files(form, _FILE):
        yield file.content
