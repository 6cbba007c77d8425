"""What SendGrid's Event Webhook posts, turned into values: every event of the array.

Source of the fields: SendGrid docs, "Event Webhook Reference". Our id travels as a custom argument, which every event of
the mail repeats at its top level.
"""

import re
from collections.abc import Callable, Mapping
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
from channels.json_posts import read_json, text_of
from channels.mail_events import address_of, error_code, our_id, time_of

STATUSES: Mapping[str, MessageStatus] = {
    "processed": MessageStatus.SENT,
    "deferred": MessageStatus.SENT,  # the recipient's server asked for patience, SendGrid tries for 72 hours
    "delivered": MessageStatus.DELIVERED,
    "open": MessageStatus.READ,
    "click": MessageStatus.READ,
    "bounce": MessageStatus.FAILED,
    "dropped": MessageStatus.FAILED,
    "spamreport": MessageStatus.DELIVERED,  # who calls it spam has it
}
_OUT = ConsentChange.OUT
CONSENT: Mapping[str, tuple[ConsentChange, SuppressionReason]] = {
    "spamreport": (_OUT, SuppressionReason.COMPLAINT),
    "unsubscribe": (_OUT, SuppressionReason.UNSUBSCRIBE),
    "group_unsubscribe": (_OUT, SuppressionReason.UNSUBSCRIBE),
    "group_resubscribe": (ConsentChange.IN, SuppressionReason.RESUBSCRIBE),
}
# Reasons of a drop that are the recipient's own wish, by ``error_code``.
OPTED_OUT = frozenset({"unsubscribed-address", "spam-reporting-address"})
BOUNCED_BEFORE = "bounced-address"
HARD, BLOCKED = "bounce", "blocked"  # ``type`` of a bounce: the address, or the content and the sender
# "filter" in older and "recvd" in newer ids begin what SendGrid adds to the id that it answered the send with
_ADDED = re.compile(r"\.(?:filter|recvd)")
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}", re.ASCII)  # RFC 3463
_ID_LIMIT = 200
# Whoever has an account can sign what he likes. SendGrid's own batches are of some hundred events of a kilobyte each.
BODY_LIMIT = 8 * 1024 * 1024
MOST_EVENTS = 10_000

Event = Mapping[str, Any]


def parse_events(body: bytes) -> tuple[InboundItem, ...]:
    """The items of a verified post, at least one per event; raises MalformedPayload where it is no array."""
    if len(body) > BODY_LIMIT:
        raise MalformedPayload("The post is too large for events.")
    events = read_json(body)
    if not isinstance(events, list) or len(events) > MOST_EVENTS:
        raise MalformedPayload("The events are not an array, or too many.")
    items = (item for event in events for item in _items(event))
    return tuple(items) or (Ignored("No event."),)


def provider_id(event: Event) -> str:
    """The id with which SendGrid answered the send: the first part of its own, else of the mail's Message-ID."""
    own = text_of(event, "sg_message_id")
    if own:
        first = _ADDED.split(own)[0]
        return (first if first != own else own.partition(".")[0])[:_ID_LIMIT]
    header, _, host = text_of(event, "smtp-id").strip("<> ").partition("@")
    return (header if "ismtpd" in host or not host else f"{header}@{host}")[:_ID_LIMIT]


def _items(event: object) -> tuple[InboundItem, ...]:
    if not isinstance(event, dict):
        return (Ignored("An event that is no object."),)
    word = text_of(event, "event")
    if word not in STATUSES and word not in CONSENT:
        return (Ignored("An event of an unknown kind."),)
    makers: tuple[Callable[[Event], InboundItem | None], ...] = (_status, _consent)
    items = tuple(item for make in makers if (item := make(event)) is not None)
    return items or (Ignored("An event that names neither a message nor an address."),)


def _status(event: Event) -> StatusUpdate | None:
    word, identifier = text_of(event, "event"), provider_id(event)
    if word not in STATUSES or not identifier:
        return None
    status = STATUSES[word]
    code = _code(event) if status is MessageStatus.FAILED else None
    return StatusUpdate(
        provider_message_id=identifier,
        status=status,
        message_id=our_id(event),
        provider_status=word,
        error_code=code,
        opted_out=code in OPTED_OUT,
        occurred_at=time_of(event.get("timestamp")),
    )


def _code(event: Event) -> str:
    """Why the mail was dropped, else the server's enhanced status code, else the kind of bounce."""
    if event.get("event") == "dropped":
        return error_code(text_of(event, "reason")) or "dropped"
    enhanced = text_of(event, "status")
    return enhanced if _ENHANCED.fullmatch(enhanced) else error_code(text_of(event, "type")) or HARD


def _consent(event: Event) -> ConsentUpdate | None:
    change = CONSENT.get(text_of(event, "event")) or _bounced(event)
    address = address_of(text_of(event, "email"))
    if change is None or address is None:
        return None
    key = text_of(event, "sg_event_id") or f"{provider_id(event)}:{text_of(event, 'event')}:{address}"
    return ConsentUpdate(
        provider_key=key[:_ID_LIMIT],
        address=address,
        change=change[0],
        reason=change[1],
        occurred_at=time_of(event.get("timestamp")),
    )


def _bounced(event: Event) -> tuple[ConsentChange, SuppressionReason] | None:
    """A hard bounce, and a mail that SendGrid dropped because of an earlier one."""
    word = text_of(event, "event")
    hard = word == "bounce" and text_of(event, "type") != BLOCKED
    dropped = word == "dropped" and error_code(text_of(event, "reason")) == BOUNCED_BEFORE
    return (_OUT, SuppressionReason.BOUNCE) if hard or dropped else None
