"""What Mailgun's event webhooks post, turned into values.

Source of the fields: Mailgun docs, "Webhook Payloads" and "Event Types". Our id travels as a user variable.
"""

import re
from collections.abc import Mapping
from typing import Any

from channels.base import (
    ConsentChange,
    ConsentUpdate,
    Ignored,
    InboundItem,
    MessageStatus,
    StatusUpdate,
    SuppressionReason,
)
from channels.errors import MalformedPayload
from channels.json_posts import object_of, read_json, text_of
from channels.mail_events import address_of, error_code, our_id, time_of

TEMPORARY = "failed_temporarily"  # Mailgun's word is ``failed`` for both severities
STATUSES: Mapping[str, MessageStatus] = {
    "accepted": MessageStatus.SENT,
    TEMPORARY: MessageStatus.SENT,  # it is tried again for eight hours
    "delivered": MessageStatus.DELIVERED,
    "opened": MessageStatus.READ,
    "clicked": MessageStatus.READ,
    "failed": MessageStatus.FAILED,
    "rejected": MessageStatus.FAILED,
    "complained": MessageStatus.DELIVERED,  # who calls it spam has it
}
_OUT = ConsentChange.OUT
CONSENT: Mapping[str, SuppressionReason] = {
    "complained": SuppressionReason.COMPLAINT,
    "unsubscribed": SuppressionReason.UNSUBSCRIBE,
}
# Reasons of a permanent failure: the address itself, or what its owner asked for earlier.
BOUNCES = frozenset({"bounce", "suppress-bounce"})
OPTED_OUT = frozenset({"suppress-unsubscribe", "suppress-complaint"})
SOFT = "soft"
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}", re.ASCII)  # RFC 3463
_ID_LIMIT = 200
BODY_LIMIT = (
    1024 * 1024
)  # an event is of a few kilobytes, and it must be read before anybody knows who sent it

Event = Mapping[str, Any]


def read_document(body: bytes) -> Event:
    """The JSON object of an event post; raises MalformedPayload."""
    if len(body) > BODY_LIMIT:
        raise MalformedPayload("The post is too large for an event.")
    document = read_json(body)
    if not isinstance(document, dict):
        raise MalformedPayload("The event is no object.")
    return document


def parse_event(body: bytes) -> tuple[InboundItem, ...]:
    """The items of a verified post; raises MalformedPayload where it is not of the documented form."""
    event = object_of(read_document(body), "event-data")
    if not text_of(event, "event"):
        raise MalformedPayload("event-data is missing or names no event.")
    if object_of(event, "flags").get("is-routed") is True:
        return (Ignored("An event of a received mail."),)
    items: tuple[InboundItem | None, ...] = (_status(event), _consent(event))
    found = tuple(item for item in items if item is not None)
    return found or (Ignored("An event of no use, or one that names neither a message nor an address."),)


def message_id_of(event: Event) -> str:
    """The Message-ID of an event's mail without brackets: what the send was answered with."""
    headers = object_of(object_of(event, "message"), "headers")
    return text_of(headers, "message-id").strip("<> ")[:_ID_LIMIT]


def _status(event: Event) -> StatusUpdate | None:
    word, identifier = _word(event), message_id_of(event)
    if word not in STATUSES or not identifier:
        return None
    failed = STATUSES[word] is MessageStatus.FAILED
    return StatusUpdate(
        provider_message_id=identifier,
        status=STATUSES[word],
        message_id=our_id(object_of(event, "user-variables")),
        provider_status=word,
        error_code=_code(event) if failed else None,
        opted_out=failed and text_of(event, "reason") in OPTED_OUT,
        occurred_at=time_of(event.get("timestamp")),
    )


def _word(event: Event) -> str:
    word = text_of(event, "event")
    return TEMPORARY if word == "failed" and text_of(event, "severity") == "temporary" else word


def _code(event: Event) -> str:
    """Why: what Mailgun suppressed itself, else the server's enhanced status code, its code, Mailgun's reason."""
    reason, delivery = text_of(event, "reason"), object_of(event, "delivery-status")
    if reason.startswith("suppress-"):
        return error_code(reason)
    enhanced, code = text_of(delivery, "enhanced-code"), delivery.get("code")
    if _ENHANCED.fullmatch(enhanced):
        return enhanced
    if isinstance(code, int) and 0 < code < 1000:  # noqa: PLR2004 - SMTP's have three digits
        return str(code)
    return error_code(reason) or text_of(event, "event")


def _consent(event: Event) -> ConsentUpdate | None:
    word = _word(event)
    reason = SuppressionReason.BOUNCE if word == "failed" and _bounced(event) else CONSENT.get(word)
    address = address_of(text_of(event, "recipient"))
    if reason is None or address is None:
        return None
    occurred_at = time_of(event.get("timestamp"))
    # An event's id is unique within its day only (docs, "Event Structure").
    day = occurred_at.date().isoformat() if occurred_at else ""
    key = text_of(event, "id") or f"{message_id_of(event)}:{word}:{address}"
    return ConsentUpdate(
        provider_key=f"{day}:{key}"[:_ID_LIMIT],
        address=address,
        change=_OUT,
        reason=reason,
        occurred_at=occurred_at,
    )


def _bounced(event: Event) -> bool:
    soft = text_of(object_of(event, "delivery-status"), "bounce-type") == SOFT
    return text_of(event, "reason") in BOUNCES and not soft
