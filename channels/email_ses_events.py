"""What Amazon SES tells through SNS, turned into values: mails that it received, and what became of ours.

Source of the fields: Amazon SES Developer Guide, "Contents of notifications for email receiving" and "Contents of event
data that Amazon SES publishes to Amazon SNS". With feedback notifications of an identity the kind is ``notificationType``
and there are no tags, so that only SES's id tells which mail is meant.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from channels.base import (
    ChannelAccount,
    ConsentChange,
    ConsentUpdate,
    DeferredPost,
    Ignored,
    InboundItem,
    InboundMessage,
    MessageStatus,
    StatusUpdate,
    SuppressionReason,
)
from channels.errors import MalformedPayload
from channels.json_posts import object_of, read_json, text_of
from channels.mail import Mail
from channels.mail_bounces import items_of_mail
from channels.mail_events import OUR_ID, address_of, error_code, our_id
from channels.mail_posts import with_empty_return_path
from channels.mail_reading import inbound_mail
from channels.mime import read_mail

Event = Mapping[str, Any]
RECEIVED = "Received"
STATUSES: Mapping[str, MessageStatus] = {
    "Send": MessageStatus.SENT,
    "Delivery": MessageStatus.DELIVERED,
    "Open": MessageStatus.READ,
    "Click": MessageStatus.READ,
    "Complaint": MessageStatus.DELIVERED,  # who calls it spam has it
    "Bounce": MessageStatus.FAILED,
    "Reject": MessageStatus.FAILED,
    "Rendering Failure": MessageStatus.FAILED,
}
PERMANENT = "Permanent"
# Permanent bounces that are of the content or of SES's own lists of other senders say nothing certain of the mailbox.
_OF_THE_MAILBOX = frozenset({"General", "NoEmail", "Suppressed", "OnAccountSuppressionList"})
_ID_LIMIT = 200
_FAILED = "FAIL"


def event_of(text: str) -> Event:
    """The object in the Message of a notification; raises MalformedPayload."""
    event = read_json(text.encode("utf-8", "replace"))
    if not isinstance(event, dict):
        raise MalformedPayload("The notification's Message is not an object.")
    return event


def kind_of(event: Event) -> str:
    """What an event is, under whichever of its two names; empty where it says nothing of the kind."""
    return text_of(event, "eventType") or text_of(event, "notificationType")


def parse_event(account: ChannelAccount, event: Event) -> tuple[InboundItem, ...]:
    """The items of a verified notification's event; raises MalformedPayload."""
    kind = kind_of(event)
    if kind == RECEIVED:
        return _received(account, event)
    if kind == "Subscription":
        return _preferences(event)
    if kind not in STATUSES:
        return (Ignored(f"An event of SES that says nothing of a mail's end: {kind[:40] or 'none'}."),)
    return (_status(event, kind), *_consents(event, kind))


def received_mail(event: Event, raw: bytes) -> Mail:
    """The mail that SES received, of its bytes; raises MalformedPayload."""
    mail = object_of(event, "mail")
    source = mail.get("source")
    raw = with_empty_return_path(raw, source if isinstance(source, str) else None)
    return read_mail(raw, envelope_to=_texts(object_of(event, "receipt").get("recipients")))


def received_items(account: ChannelAccount, event: Event, raw: bytes) -> tuple[InboundItem, ...]:
    """The message of a received mail's bytes, or what a notification says of a mail of ours; raises MalformedPayload."""
    mail = received_mail(event, raw)
    return items_of_mail(mail, _message(account, event, mail))


def _message(account: ChannelAccount, event: Event, mail: Mail) -> InboundMessage:
    """One that SES found to hold a virus, or to be spam, is kept, and neither understood nor answered; of a virus no file
    is fetched.
    """
    item = inbound_mail(account, mail, mail_key(event))
    receipt = object_of(event, "receipt")
    if _verdict(receipt, "virusVerdict") == _FAILED:
        return replace(item, automated="virus", attachments=())
    return replace(item, automated="spam") if _verdict(receipt, "spamVerdict") == _FAILED else item


def mail_key(event: Event) -> str:
    """The key of the dedupe of a received mail: SES's id of it; raises MalformedPayload."""
    return f"mail:{_mail_id(event)}"


def content_of(event: Event) -> bytes | None:
    """The mail's bytes where the notification brings them (SNS action); None where they are to be fetched (S3 action)."""
    content = event.get("content")
    if not isinstance(content, str):
        return None
    encoding = text_of(object_of(object_of(event, "receipt"), "action"), "encoding")
    if encoding != "BASE64":
        return content.encode("utf-8", "surrogateescape")
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedPayload("The notification's content is not base64.") from None


def _received(account: ChannelAccount, event: Event) -> tuple[InboundItem, ...]:
    raw = content_of(event)
    if raw is not None:
        return received_items(account, event, raw)
    if text_of(object_of(object_of(event, "receipt"), "action"), "type") != "S3":
        raise MalformedPayload("The notification neither brings the mail nor says where it is kept.")
    return (DeferredPost(f"fetch:{_mail_id(event)}"),)


def _status(event: Event, kind: str) -> StatusUpdate:
    detail = object_of(event, _DETAILS.get(kind, kind.lower()))
    failed = STATUSES[kind] is MessageStatus.FAILED
    return StatusUpdate(
        provider_message_id=_mail_id(event),
        status=STATUSES[kind],
        message_id=_our_id(event),
        provider_status=kind,
        error_code=_error(kind, detail) if failed else None,
        occurred_at=_time(text_of(detail, "timestamp") or text_of(object_of(event, "mail"), "timestamp")),
    )


_DETAILS: Mapping[str, str] = {"Rendering Failure": "failure"}


def _error(kind: str, detail: Event) -> str:
    if kind != "Bounce":
        return error_code(kind)
    statuses = (text_of(recipient, "status") for recipient in _objects(detail.get("bouncedRecipients")))
    return next((status[:20] for status in statuses if status), "") or error_code(
        f"{text_of(detail, 'bounceType')}-{text_of(detail, 'bounceSubType')}"
    )


def _consents(event: Event, kind: str) -> tuple[ConsentUpdate, ...]:
    """What a bounce or a complaint says of its recipients' addresses."""
    if kind == "Bounce":
        bounce = object_of(event, "bounce")
        certain = (
            text_of(bounce, "bounceType") == PERMANENT and text_of(bounce, "bounceSubType") in _OF_THE_MAILBOX
        )
        return _updates(event, bounce, "bouncedRecipients", SuppressionReason.BOUNCE) if certain else ()
    if kind == "Complaint":
        complaint = object_of(event, "complaint")
        # "not-spam" takes a complaint back, and does not undo what the customer may have said since.
        if text_of(complaint, "complaintFeedbackType") == "not-spam":
            return ()
        return _updates(event, complaint, "complainedRecipients", SuppressionReason.COMPLAINT)
    return ()


def _updates(event: Event, detail: Event, name: str, reason: SuppressionReason) -> tuple[ConsentUpdate, ...]:
    found = (address_of(text_of(recipient, "emailAddress")) for recipient in _objects(detail.get(name)))
    identifier = _mail_id(event)
    return tuple(
        ConsentUpdate(
            provider_key=f"{reason}:{identifier}:{address}",
            address=address,
            change=ConsentChange.OUT,
            reason=reason,
            occurred_at=_time(text_of(detail, "timestamp")),
        )
        for address in dict.fromkeys(address for address in found if address)
    )


def _preferences(event: Event) -> tuple[InboundItem, ...]:
    """A recipient chose by SES's own page what to get; ``unsubscribeAll`` is the whole address."""
    detail = object_of(event, "subscription")
    out = object_of(detail, "newTopicPreferences").get("unsubscribeAll")
    was_out = object_of(detail, "oldTopicPreferences").get("unsubscribeAll")
    if not isinstance(out, bool) or out == was_out:
        return (Ignored("A recipient's choice among topics."),)
    addresses = (address_of(text) for text in _texts(object_of(event, "mail").get("destination")))
    stamp = text_of(detail, "timestamp")
    return tuple(
        ConsentUpdate(
            provider_key=f"subscription:{_mail_id(event)}:{stamp[:40]}:{address}",
            address=address,
            change=ConsentChange.OUT if out else ConsentChange.IN,
            reason=SuppressionReason.UNSUBSCRIBE if out else SuppressionReason.RESUBSCRIBE,
            occurred_at=_time(stamp),
        )
        for address in dict.fromkeys(address for address in addresses if address)
    ) or (Ignored("A recipient's choice without an address."),)


def _our_id(event: Event) -> UUID | None:
    tags = object_of(object_of(event, "mail"), "tags")
    values = _texts(tags.get(OUR_ID))
    return our_id({OUR_ID: values[0]}) if values else None


def _mail_id(event: Event) -> str:
    identifier = text_of(object_of(event, "mail"), "messageId")
    if not 0 < len(identifier) <= _ID_LIMIT:
        raise MalformedPayload("The event's mail has no messageId.")
    return identifier


def _verdict(receipt: Event, name: str) -> str:
    return text_of(object_of(receipt, name), "status")


def _time(text: str) -> datetime | None:
    """An aware time of ISO 8601; None where it is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None


def _texts(value: object) -> Sequence[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _objects(value: object) -> Sequence[Event]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
