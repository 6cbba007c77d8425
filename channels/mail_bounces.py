"""Mails that tell what became of a mail of ours: delivery status notifications (RFC 3464), and Exim's plain ones."""

import re
from collections.abc import Iterator, Mapping
from email.parser import BytesHeaderParser
from email.policy import compat32

from channels.base import (
    ConsentChange,
    ConsentUpdate,
    Ignored,
    InboundMessage,
    MessageStatus,
    StatusUpdate,
    SuppressionReason,
)
from channels.mail import Mail, MailPart
from channels.mail_tokens import named_mail, our_ids_in_text
from channels.mail_words import mail_address, one_line

Outcome = StatusUpdate | ConsentUpdate | Ignored

_STATUS_TYPES = frozenset({"message/delivery-status", "message/global-delivery-status"})
_RETURNED_TYPES = frozenset(
    {
        "message/rfc822",
        "message/global",
        "text/rfc822-headers",
        "message/rfc822-headers",
        "message/global-headers",
    }
)
_BLOCKS = re.compile(rb"\r?\n[ \t]*\r?\n")
_CODE = re.compile(r"[245]\.\d{1,3}\.\d{1,3}", re.ASCII)
# RFC 3463, X.1: the mailbox or its domain does not exist, or has moved. 5.1.0 and 5.1.8 (a bad sender) say less.
_NO_MAILBOX = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10"})
STATUS_LIMIT, RETURNED_LIMIT, MOST_RECIPIENTS = 64 * 1024, 64 * 1024, 50


def items_of_mail(mail: Mail, message: InboundMessage) -> tuple[Outcome | InboundMessage, ...]:
    """What a received mail comes to, whichever provider brought it: what it tells of a mail of ours, or ``message``, which
    is that mail as its adapter reads it.
    """
    return bounce_of(mail) or (message,)


def bounce_of(mail: Mail) -> tuple[Outcome, ...]:
    """What a notification says of a message of ours: FAILED or DELIVERED, and the address that does not exist.

    Empty for any other mail, and for a notification about a mail that is not of ours. A delay is Ignored: the last word
    comes later, and is FAILED though its code may still be one of a passing fault (4.4.7, given up). The message is the
    one whose Message-ID stands in the part that came back. A stranger can write all of this: each word says which mail of
    ours must have gone to whom for it to hold, and an address is named only where the mail that came back went to it.
    """
    ours = next(iter(_our_ids(mail)), None)
    if ours is None:
        return ()
    reports = [
        report for part in mail.parts if part.content_type in _STATUS_TYPES for report in _reports(part)
    ]
    if reports:
        return tuple(item for report in reports[:MOST_RECIPIENTS] for item in _items(ours, report, mail))
    if mail.headers.get("x-failed-recipients"):
        return (_status(ours, MessageStatus.FAILED, None, mail_address(mail.headers["x-failed-recipients"])),)
    return ()


def _our_ids(mail: Mail) -> Iterator[str]:
    """The mail that came back names itself; else the notification answers it (Exchange), or shows it (Exim)."""
    for part in mail.parts:
        if part.content_type in _RETURNED_TYPES:
            yield from our_ids_in_text(_fields(part.content[:RETURNED_LIMIT]).get("message-id", ""))
    if mail.automated:
        for replied in (*mail.thread.in_reply_to, *mail.thread.references):
            yield from our_ids_in_text(replied)
    if mail.headers.get("x-failed-recipients"):
        yield from our_ids_in_text(mail.text[:RETURNED_LIMIT])


def _reports(part: MailPart) -> Iterator[Mapping[str, str]]:
    """The fields of each recipient; the first block is about the mail as a whole."""
    for block in _BLOCKS.split(part.content[:STATUS_LIMIT].strip()):
        fields = _fields(block)
        if "action" in fields:
            yield fields


def _fields(block: bytes) -> dict[str, str]:
    message = BytesHeaderParser(policy=compat32).parsebytes(block)
    return {name.lower(): one_line(str(value)) for name, value in reversed(list(message.raw_items()))}


def _items(ours: str, report: Mapping[str, str], mail: Mail) -> Iterator[Outcome]:
    found = _CODE.search(report.get("status", "")) or _CODE.search(report.get("diagnostic-code", ""))
    code = found[0] if found else None
    action, address = report["action"].lower(), _recipient(report)
    if action == "delivered":
        yield _status(ours, MessageStatus.DELIVERED, None, address)
    elif action != "failed":
        yield Ignored(f"delivery_{action if action in {'delayed', 'relayed', 'expanded'} else 'unclear'}")
    else:
        yield _status(ours, MessageStatus.FAILED, code, address)
        if code in _NO_MAILBOX and address is not None and address in _sent_to(mail):
            yield _suppression(ours, address)


def _status(ours: str, status: MessageStatus, code: str | None, recipient: str | None) -> StatusUpdate:
    named = named_mail(ours, recipient)
    return StatusUpdate(
        provider_message_id=ours,
        status=status,
        message_id=named.message_id,
        provider_status="bounced" if status is MessageStatus.FAILED else "",
        error_code=code,
        named_mail=named,
    )


def _suppression(ours: str, address: str) -> ConsentUpdate:
    return ConsentUpdate(
        provider_key=f"{ours}:{address}:bounce",
        address=address,
        change=ConsentChange.OUT,
        reason=SuppressionReason.BOUNCE,
        named_mail=named_mail(ours, address),
    )


def _recipient(report: Mapping[str, str]) -> str | None:
    """Whom we wrote to: the original recipient, where another host passed the mail on."""
    stated = report.get("original-recipient") or report.get("final-recipient", "")
    return mail_address(stated.rpartition(";")[2].strip(" <>"))


def _sent_to(mail: Mail) -> frozenset[str | None]:
    """Whom the mail that came back was for, by its own headers."""
    return frozenset(
        mail_address(text.rpartition("<")[2].strip(" <>"))
        for part in mail.parts
        if part.content_type in _RETURNED_TYPES
        for text in _fields(part.content[:RETURNED_LIMIT]).get("to", "").split(",")
    )
