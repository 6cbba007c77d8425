"""What Postmark posts, turned into values: inbound mails and what became of ours.

Source of the fields: Postmark docs, "Inbound webhook", "Bounce", "Delivery", "Spam complaint", "Subscription change",
"Open" and "Click webhook". Fields that are not known are ignored.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from channels.base import (
    ChannelAccount,
    ConsentChange,
    ConsentUpdate,
    Ignored,
    InboundItem,
    MessageStatus,
    StatusUpdate,
    SuppressionReason,
)
from channels.errors import (
    BadCredentials,
    ContentRefused,
    GatewayError,
    InvalidRecipient,
    MalformedPayload,
    OptedOut,
)
from channels.iso_times import mail_time, utc_time
from channels.json_posts import object_of, objects_of, text_of
from channels.mail import Headers, Mail, MailPart
from channels.mail_bounces import items_of_mail
from channels.mail_events import address_of, our_id
from channels.mail_posts import bare_id, content_type
from channels.mail_reading import inbound_mail, mail_of_fields
from channels.mail_tokens import TOKEN, plus_address
from channels.mime import clean_filename, read_mail

Post = Mapping[str, Any]

MESSAGE_ID = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)
# Bounce types that are none: the mail arrived, or something else happened (docs, "Bounce types").
NO_FAILURE = frozenset({"AutoResponder", "AddressChange", "OpenRelayTest", "ChallengeVerification"})
DELAYED = "Transient"
ADDRESS_GONE = frozenset({"HardBounce", "BadEmailAddress"})
REASONS: Mapping[str, type[GatewayError]] = {
    **dict.fromkeys((*ADDRESS_GONE, "SoftBounce", "DnsError"), InvalidRecipient),
    **dict.fromkeys(("Blocked", "SpamNotification", "VirusNotification", "DMARCPolicy"), ContentRefused),
    "TemplateRenderingFailed": ContentRefused,
    "SMTPApiError": BadCredentials,
    "ManuallyDeactivated": OptedOut,
}
BOUNCED_CONSENT: Mapping[str, tuple[ConsentChange, SuppressionReason]] = {
    "Unsubscribe": (ConsentChange.OUT, SuppressionReason.UNSUBSCRIBE),
    "Subscribe": (ConsentChange.IN, SuppressionReason.RESUBSCRIBE),
    "SpamComplaint": (ConsentChange.OUT, SuppressionReason.COMPLAINT),
}
SUPPRESSIONS: Mapping[str, SuppressionReason] = {
    "HardBounce": SuppressionReason.BOUNCE,
    "SpamComplaint": SuppressionReason.COMPLAINT,
}


def parse_post(account: ChannelAccount, post: Post, body: bytes) -> tuple[InboundItem, ...]:
    """The items of a verified post, whichever hook it came to: what it says decides. ``body`` is what ``post`` was read
    from. Raises MalformedPayload.
    """
    kind = post.get("RecordType", "Inbound")
    if kind == "Inbound":
        return _received(account, post)
    if not isinstance(kind, str) or kind not in _READERS:
        return (Ignored("A kind of event that is not known."),)
    return _READERS[kind](post, hashlib.sha256(body).hexdigest()[:32])


def mail_of_post(account: ChannelAccount, post: Post) -> Mail:
    """The mail of an inbound post: from its MIME where Postmark includes that, else from its fields. Raises
    MalformedPayload.
    """
    recipients = _recipients(account, post)
    raw = text_of(post, "RawEmail")
    if raw:
        return read_mail(raw.encode("utf-8"), envelope_to=recipients)
    return mail_of_fields(
        headers=_headers(post),
        text=text_of(post, "TextBody"),
        html=text_of(post, "HtmlBody"),
        envelope_to=recipients,
        parts=_parts(post),
        stripped_reply=text_of(post, "StrippedTextReply") or None,
    )


def message_id_of(post: Post) -> str:
    """Postmark's own id of a message; raises MalformedPayload."""
    identifier = text_of(post, "MessageID")
    if not MESSAGE_ID.fullmatch(identifier):
        raise MalformedPayload("MessageID is missing or not of Postmark's form.")
    return identifier


def received_at(post: Post) -> datetime | None:
    """When Postmark's server took a mail, by the topmost trace of a server (RFC 5321 section 4.4) that it lists; else
    when the mail says that it was written.
    """
    traces = [
        text_of(one, "Value") for one in objects_of(post, "Headers") if text_of(one, "Name") == "Received"
    ]
    stamps = [trace.rpartition(";")[2] for trace in traces[:1]]
    return next(filter(None, map(mail_time, (*stamps, text_of(post, "Date")))), None)


def _received(account: ChannelAccount, post: Post) -> tuple[InboundItem, ...]:
    mail = mail_of_post(account, post)
    message = inbound_mail(account, mail, message_id_of(post))
    missing = [] if text_of(post, "RawEmail") else _names_of_missing(post)
    if missing:
        message = replace(message, metadata={**message.metadata, "missing_files": missing})
    return items_of_mail(mail, message)


def _names_of_missing(post: Post) -> list[str]:
    return [text_of(one, "Name") for one in objects_of(post, "Attachments") if _content(one) is None]


def _recipients(account: ChannelAccount, post: Post) -> tuple[str, ...]:
    """The addresses of the envelope. A hash that Postmark found in the address of its own inbox (a mailbox that is
    forwarded there) is a plus part of ours all the same.
    """
    named = [
        text_of(one, "Email") for name in ("ToFull", "CcFull", "BccFull") for one in objects_of(post, name)
    ]
    found = [text_of(post, "OriginalRecipient"), *named]
    hashed = text_of(post, "MailboxHash").lower()
    if TOKEN.fullmatch(hashed):
        found.append(plus_address(account.address, hashed))
    return tuple(dict.fromkeys(address for address in found if address))


def _headers(post: Post) -> Headers:
    """The headers as posted, and those that Postmark leaves out of its list since they have fields of their own."""
    listed = tuple((text_of(one, "Name"), text_of(one, "Value")) for one in objects_of(post, "Headers"))
    there = {name.lower() for name, _ in listed}
    fields = (
        ("From", _mailbox(object_of(post, "FromFull")) or text_of(post, "From")),
        ("To", _mailboxes(post, "ToFull") or text_of(post, "To")),
        ("Cc", _mailboxes(post, "CcFull") or text_of(post, "Cc")),
        ("Reply-To", text_of(post, "ReplyTo")),
        ("Subject", text_of(post, "Subject")),
        ("Date", text_of(post, "Date")),
    )
    added = tuple((name, value) for name, value in fields if value and name.lower() not in there)
    return (*listed, *added)


def _mailboxes(post: Post, name: str) -> str:
    return ", ".join(filter(None, (_mailbox(one) for one in objects_of(post, name))))


def _mailbox(party: Post) -> str:
    address, name = text_of(party, "Email"), text_of(party, "Name")
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{address}>' if name and address else address


def _parts(post: Post) -> tuple[MailPart, ...]:
    """The files that are in the post, numbered as they stand there: one whose content Postmark left out keeps its
    number and has no part.
    """
    numbered = enumerate(objects_of(post, "Attachments"))
    found = ((number, one, _content(one)) for number, one in numbered)
    return tuple(_part(number, one, content) for number, one, content in found if content is not None)


def _part(number: int, attachment: Post, content: bytes) -> MailPart:
    return MailPart(
        number=number,
        content_type=content_type(text_of(attachment, "ContentType")),
        filename=clean_filename(text_of(attachment, "Name")) or None,
        content_id=bare_id(text_of(attachment, "ContentID")),
        content=content,
    )


def _content(attachment: Post) -> bytes | None:
    """``Content``, or ``Data`` as in the posts of Postmark's own test button."""
    encoded = attachment.get("Content", attachment.get("Data"))
    if encoded is None:
        return None
    try:
        return base64.b64decode(encoded)
    except (TypeError, ValueError, binascii.Error):
        raise MalformedPayload("An attachment is not base64.") from None


def _delivery(post: Post, _digest: str) -> tuple[InboundItem, ...]:
    return (_status(post, MessageStatus.DELIVERED, "DeliveredAt"),)


def _seen(post: Post, _digest: str) -> tuple[InboundItem, ...]:
    return (_status(post, MessageStatus.READ, "ReceivedAt"),)


def _bounce(post: Post, digest: str) -> tuple[InboundItem, ...]:
    kind = text_of(post, "Type") or "Unknown"
    if kind in NO_FAILURE:
        return (Ignored(f"A bounce of type {kind} is none."),)
    if kind in BOUNCED_CONSENT:
        change, reason = BOUNCED_CONSENT[kind]
        return _consent(post, "Email", change, reason, digest, "BouncedAt")
    status = MessageStatus.SENT if kind == DELAYED else MessageStatus.FAILED
    update = _status(post, status, "BouncedAt", kind)
    if kind not in ADDRESS_GONE:
        return (update,)
    gone = _consent(post, "Email", ConsentChange.OUT, SuppressionReason.BOUNCE, digest, "BouncedAt")
    return (update, *gone)


def _complaint(post: Post, digest: str) -> tuple[InboundItem, ...]:
    return _consent(post, "Email", ConsentChange.OUT, SuppressionReason.COMPLAINT, digest, "BouncedAt")


def _subscription(post: Post, digest: str) -> tuple[InboundItem, ...]:
    """A suppression made by whomever holds; one that is lifted counts as the recipient's wish only where the recipient
    lifted it: what an operator lifts at Postmark must not undo somebody's STOP.
    """
    if post.get("SuppressSending") is True:
        reason = SUPPRESSIONS.get(text_of(post, "SuppressionReason"), SuppressionReason.UNSUBSCRIBE)
        return _consent(post, "Recipient", ConsentChange.OUT, reason, digest, "ChangedAt")
    if text_of(post, "Origin") != "Recipient":
        return (Ignored("A suppression that its recipient did not lift."),)
    return _consent(post, "Recipient", ConsentChange.IN, SuppressionReason.RESUBSCRIBE, digest, "ChangedAt")


def _status(post: Post, status: MessageStatus, time_field: str, code: str | None = None) -> StatusUpdate:
    failure = REASONS.get(code or "")
    return StatusUpdate(
        provider_message_id=message_id_of(post),
        status=status,
        message_id=our_id(object_of(post, "Metadata")),
        provider_status=text_of(post, "RecordType"),
        error_code=code[:64] if code else None,
        reason=failure.code if failure else None,
        occurred_at=utc_time(text_of(post, time_field)),
    )


def _consent(
    post: Post,
    address_field: str,
    change: ConsentChange,
    reason: SuppressionReason,
    digest: str,
    time_field: str,
) -> tuple[InboundItem, ...]:
    """Bounces and complaints have an id of their own; else the digest of the post is the key of the dedupe."""
    address = address_of(text_of(post, address_field))
    if address is None:
        return (Ignored("The address of the event is none."),)
    identifier = post.get("ID")
    key = str(identifier) if isinstance(identifier, int) and 0 < identifier < 2**63 else digest
    moment = utc_time(text_of(post, time_field))
    return (ConsentUpdate(f"{reason}:{key}", address, change, reason, moment),)


_READERS = {
    "Delivery": _delivery,
    "Bounce": _bounce,
    "SpamComplaint": _complaint,
    "SubscriptionChange": _subscription,
    "Open": _seen,
    "Click": _seen,
}
