"""Our mails: as a whole MIME message, and as the header fields that a provider's API takes."""

import base64
import re
from collections.abc import Sequence
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from channels.base import Attachment, ChannelAccount, MailHeaders, OutboundMessage
from channels.errors import ContentRefused, InvalidRecipient
from channels.mail_words import mail_address, one_line

MOST_REFERENCES = 20
SUBJECT_LIMIT = 255
_LINE_END = "\r\n"
_FOLD = f"{_LINE_END} "
_WORD_BYTES = 45  # 60 characters of base64
_TYPE = re.compile(
    r"(?!multipart/|message/|text/)([a-z0-9][a-z0-9!#$&^_.+-]{0,80})/([a-z0-9][a-z0-9!#$&^_.+-]{0,80})",
    re.ASCII,
)
_POLICY = SMTP.clone(cte_type="7bit")  # any server takes it, with 8BITMIME or without
# What strangers call their mails, as long as it is one word that nothing decodes; stricter rules would part threads.
_ID = re.compile(r"(?!.*=\?)[!-;=?-~]{1,250}", re.ASCII)


def build_mime(account: ChannelAccount, message: OutboundMessage, *, at: datetime | None = None) -> bytes:
    """The whole mail with CRLF line ends; ``at`` is its date (without it the next server sets one).

    Raises InvalidRecipient for what is no address, and ContentRefused for a file without its content.
    """
    mail = EmailMessage(policy=_POLICY)
    mail.set_content(message.text, subtype="plain", charset="utf-8")
    for attachment in message.attachments:
        _attach(mail, attachment)
    if mail.is_multipart():
        mail.set_boundary(f"=_{message.id.hex}")  # no line of base64 or quoted-printable can be it
    fields = _address_fields(account, message, at) | _fields(headers_of(account, message))
    head = "".join(
        f"{name}: {value.replace('> <', f'>{_FOLD}<')}{_LINE_END}" for name, value in fields.items()
    )
    return head.encode("ascii") + mail.as_bytes()


def _address_fields(account: ChannelAccount, message: OutboundMessage, at: datetime | None) -> dict[str, str]:
    """Headers with words of people. They are encoded here: the stdlib decodes what looks encoded in a text that it is to
    write, so that a subject could end its header.
    """
    headers, name = headers_of(account, message), _sender_name(account)
    fields = {
        "From": _mailbox(name, account.address),
        "To": _mailbox("", message.recipient),
        "Subject": _words(one_line(headers.subject)[:SUBJECT_LIMIT]),
    }
    if at is not None:
        fields["Date"] = format_datetime(at)
    if headers.reply_to:
        fields["Reply-To"] = _mailbox(name, headers.reply_to)
    return fields


def _mailbox(name: str, address: str) -> str:
    if mail_address(address) is None or not address.isascii():
        raise InvalidRecipient
    if not name:
        return address.strip()
    shown = f'"{_escaped(name)}"' if _is_plain(name) else _words(name)
    return f"{shown}{_FOLD}<{address.strip()}>"


def _words(text: str) -> str:
    """The text as it may stand in a header: in encoded words (RFC 2047) of at most 75 characters where it must."""
    if _is_plain(text):
        return text
    words, waiting = [], b""
    for sign in text:
        encoded = sign.encode("utf-8", "replace")
        if len(waiting) + len(encoded) > _WORD_BYTES:
            words.append(waiting)
            waiting = b""
        waiting += encoded
    return _FOLD.join(f"=?utf-8?B?{base64.b64encode(word).decode()}?=" for word in (*words, waiting))


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and "=?" not in text


def header_fields(message: OutboundMessage) -> dict[str, str]:
    """The headers that a provider's API takes by name, beside those it has fields of its own for (From, To, Subject,
    Reply-To, Date). Empty for a message without mail headers.
    """
    return _fields(message.mail) if message.mail is not None else {}


def sender_field(account: ChannelAccount) -> str:
    """``"Name" <address>`` by ``settings.sender_name``, or the bare address."""
    name = _sender_name(account)
    return f'"{_escaped(name)}" <{account.address}>' if name else account.address


def headers_of(account: ChannelAccount, message: OutboundMessage) -> MailHeaders:
    """The message's mail headers, or the least that a mail must have."""
    domain = account.address.rpartition("@")[2]
    return message.mail or MailHeaders(subject="", message_id=f"{message.id.hex}@{domain}")


def _fields(headers: MailHeaders) -> dict[str, str]:
    fields = {
        "Message-ID": _bracketed([headers.message_id]),
        "In-Reply-To": _bracketed([headers.in_reply_to or ""]),
        "References": _bracketed(_bounded(headers.references)),
    }
    if headers.automatic:
        fields["Auto-Submitted"] = "auto-replied"
        fields["X-Auto-Response-Suppress"] = "OOF, AutoReply"
    return {name: value for name, value in fields.items() if value}


def _bounded(references: tuple[str, ...]) -> tuple[str, ...]:
    """The first, which names the thread, and the latest (RFC 5537 section 3.4.4 allows to leave out between)."""
    if len(references) <= MOST_REFERENCES:
        return references
    return (references[0], *references[-(MOST_REFERENCES - 1) :])


def _bracketed(ids: Sequence[str]) -> str:
    """The ids in angle brackets; those that a stranger wrote so that they could break a header are left out."""
    return " ".join(f"<{text}>" for text in ids if _ID.fullmatch(text))


def _sender_name(account: ChannelAccount) -> str:
    name = account.settings.get("sender_name")
    return one_line(name)[:128] if isinstance(name, str) else ""


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"')


def _attach(mail: EmailMessage, attachment: Attachment) -> None:
    if attachment.content is None:
        raise ContentRefused("The file's content is not at hand.")
    found = _TYPE.fullmatch(attachment.content_type.partition(";")[0].strip().lower())
    main, sub = found.groups() if found else ("application", "octet-stream")
    mail.add_attachment(
        attachment.content,
        maintype=main,
        subtype=sub,
        filename=one_line(attachment.filename or "").replace("=?", "_") or None,  # see _address_fields
    )
