"""What Mailgun's routes post, turned into a mail: raw MIME where the hook's URL ends in ``mime``, else the parsed fields,
with the files in the post or, of a stored mail, at Mailgun.

Source of the fields: Mailgun docs, "Receiving Messages via HTTP through a forward() action" and "Storing and Retrieving
Messages".
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from channels.base import Attachment, ChannelAccount, InboundItem, InboundRequest
from channels.email_mailgun_events import read_document
from channels.errors import MalformedPayload
from channels.json_posts import object_of, text_of
from channels.mail import Headers, Mail, MailPart
from channels.mail_bounces import items_of_mail
from channels.mail_posts import (
    MOST_FILES,
    bare_id,
    content_type,
    digest_key,
    json_field,
    posted_files,
    posted_part,
    with_empty_return_path,
)
from channels.mail_reading import inbound_mail, mail_of_fields
from channels.mime import clean_filename, read_mail
from channels.multipart import Form, read_form

RAW_FIELD = "body-mime"
SIGNED = ("timestamp", "token", "signature")
_FILE = re.compile(r"attachment-([0-9]{1,4})", re.ASCII)
_IN_HEADERS = (("From", "from"), ("Subject", "subject"), ("Message-Id", "Message-Id"))


def is_event(request: InboundRequest) -> bool:
    """Whether a post is of an event webhook: JSON, whichever hook it came to."""
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return kind == "application/json"


def signed_fields(request: InboundRequest) -> dict[str, str]:
    """Timestamp, token and signature of a post of either kind; of repeated fields the last one counts, here and where
    the post is read. Raises MalformedPayload.
    """
    if is_event(request):
        signature = object_of(read_document(request.body), "signature")
        return {name: _plain(signature.get(name)) for name in SIGNED}
    form = read_form(request)
    return {name: form.text(name) for name in SIGNED}


def parse_mail(account: ChannelAccount, request: InboundRequest) -> tuple[InboundItem, ...]:
    """The message of a verified post, or what a notification says of a mail of ours; raises MalformedPayload."""
    form = read_form(request)
    mail = _mail(form)
    message = inbound_mail(account, mail, mail_key(mail, form.text("recipient")))
    return items_of_mail(mail, replace(message, attachments=(*message.attachments, *_stored(form))))


def mail_key(mail: Mail, recipient: str) -> str:
    """The key of the dedupe: the Message-ID and whom Mailgun took the mail for. Not the post's token, since the mail
    that Mailgun holds (see ``email_mailgun_api``) has none, and both must agree.
    """
    return digest_key((mail.thread.message_id, recipient.strip().lower()))


def read_post(request: InboundRequest) -> Mail:
    """The mail of a verified post; raises MalformedPayload."""
    return _mail(read_form(request))


def _mail(form: Form) -> Mail:
    envelope_to = (form.text("recipient"),) if form.text("recipient") else ()
    sender = form.text("sender").strip() if "sender" in form else None
    raw = form.part(RAW_FIELD)
    if raw is not None:
        return read_mail(with_empty_return_path(raw.content, sender), envelope_to=envelope_to)
    if not any(field in form for field in ("message-headers", "from", "sender")):
        raise MalformedPayload("The post holds no mail.")
    return mail_of_fields(
        headers=_headers(form, sender),
        text=form.text("body-plain"),
        html=form.text("body-html"),
        envelope_to=envelope_to,
        parts=_parts(form),
        stripped_reply=form.text("stripped-text") or None,
    )


def _headers(form: Form, sender: str | None) -> Headers:
    """The mail's own headers; those that the post has as fields only are added."""
    listed = json_field(form, "message-headers")
    own = tuple(_header_pairs(listed if isinstance(listed, list) else ()))
    there = {name.lower() for name, _ in own}
    stated = {name: form.text(field) for name, field in _IN_HEADERS}
    if not stated["From"] and sender and sender != "<>":
        stated["From"] = sender  # the envelope's, where the post has no other
    added = ((name, value) for name, value in stated.items() if name.lower() not in there)
    bounced = (("Return-Path", "<>"),) if sender in {"", "<>"} and "return-path" not in there else ()
    return (*own, *((name, value) for name, value in added if value), *bounced)


def _header_pairs(listed: Sequence[object]) -> Iterator[tuple[str, str]]:
    for pair in listed:
        match pair:
            case [str(name), str(value)]:
                yield name, value


def _parts(form: Form) -> tuple[MailPart, ...]:
    inline = _content_ids(form)
    return tuple(
        posted_part(number, file, file.content_type, file.filename or "", inline.get(file.name, ""))
        for number, file in enumerate(posted_files(form, _FILE))
    )


def _stored(form: Form) -> tuple[Attachment, ...]:
    """The files of a stored mail, by their addresses at Mailgun."""
    listed = json_field(form, "attachments")
    files = listed[:MOST_FILES] if isinstance(listed, list) else []
    inline = _content_ids(form)
    return tuple(
        Attachment(
            url=text_of(file, "url"),
            content_type=content_type(text_of(file, "content-type")),
            filename=clean_filename(text_of(file, "name")) or None,
            content_id=bare_id(inline.get(text_of(file, "url"), "")),
        )
        for file in files
        if isinstance(file, dict) and text_of(file, "url").startswith(("https://", "http://"))
    )


def _content_ids(form: Form) -> Mapping[str, str]:
    """What the HTML calls inline files, by the field or the address of the file; the post has it the other way round."""
    found = json_field(form, "content-id-map")
    if not isinstance(found, dict):
        return {}
    return {text_of(found, cid): cid for cid in found}


def _plain(value: object) -> str:
    """A signed value as text: the timestamp is a text in the docs and was met as a number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)[:20]
    return value if isinstance(value, str) else ""
