"""The events that may come of what a provider posted. The accept statements record those whose cause really happens, and
lay over them the ids that only they know.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from channels.base import (
    ChannelAccount,
    ConsentChange,
    ConsentUpdate,
    InboundMessage,
    MessageStatus,
    StatusUpdate,
)
from handlers.runtime import Runtime
from handlers.webhooks.event_types import EventType
from handlers.webhooks.outbox import new_event_row
from handlers.webhooks.payloads import AttachmentData

_NOBODY = UUID(int=0)  # stands where only the accept statement knows the id
_PROVES_SENT = frozenset({MessageStatus.SENT, MessageStatus.DELIVERED, MessageStatus.READ})
_CHANGES: Mapping[ConsentChange, EventType] = {
    ConsentChange.OUT: EventType.CUSTOMER_OPTED_OUT,
    ConsentChange.IN: EventType.CUSTOMER_OPTED_IN,
}

EventRow = dict[str, Any]


@dataclass(frozen=True, slots=True)
class NewIds:
    """Ids for what a message may create; those of things that exist already are dropped by the statement."""

    message: UUID
    contact: UUID
    customer: UUID
    conversation: UUID


@dataclass(frozen=True, slots=True)
class Telling:
    """What all events of one post share."""

    runtime: Runtime
    account: ChannelAccount
    at: datetime

    def event(self, event_type: EventType, data: Mapping[str, Any]) -> EventRow:
        return new_event_row(self.runtime, self.account.distributor_id, event_type, data, occurred_at=self.at)


def begun_events(telling: Telling, message: InboundMessage, ids: NewIds) -> dict[str, EventRow]:
    """Of what a message begins, should it be the first of its customer or conversation. What happens together is told in
    the order in which it is made: this, then ``consent_event``, then ``received_event``.
    """
    return {
        "customer_event": telling.event(EventType.CUSTOMER_CREATED, _named_party(message, ids)),
        "conversation_event": telling.event(EventType.CONVERSATION_CREATED, _party(message, ids)),
    }


def received_event(telling: Telling, message: InboundMessage, ids: NewIds) -> EventRow:
    """Of a message, whatever it turns out to have begun."""
    received = {
        **_party(message, ids),
        "message_id": ids.message,
        "type": message.type,
        "text": message.text,
        "address": message.sender,
        "attachments": tuple(
            AttachmentData(content_type=file.content_type, filename=file.filename)
            for file in message.attachments
        ),
    }
    return telling.event(EventType.MESSAGE_RECEIVED, received)


def consent_event(telling: Telling, message: InboundMessage, ids: NewIds, consent: ConsentChange) -> EventRow:
    """Of a word about consent in a message."""
    return telling.event(_CHANGES[consent], _named_party(message, ids))


def address_event(telling: Telling, update: ConsentUpdate) -> EventRow:
    """Of what the provider says of an address."""
    data = {"customer_id": None, "channel": telling.account.channel, "address": update.address}
    return telling.event(_CHANGES[update.change], data)


def refusal_event(telling: Telling) -> EventRow:
    """Of a message that was refused since its recipient had told the provider STOP."""
    nobody = {"customer_id": None, "conversation_id": _NOBODY, "address": "", "display_name": None}
    return telling.event(EventType.CUSTOMER_OPTED_OUT, {**nobody, "channel": telling.account.channel})


def status_events(telling: Telling, update: StatusUpdate) -> dict[str, EventRow | None]:
    """Of a status, should it move its message."""
    common = {
        "message_id": _NOBODY,
        "conversation_id": _NOBODY,
        "customer_id": None,
        "channel": telling.account.channel,
        "type": "TEXT",
        "text": "",
        "status": update.status,
    }
    with_error = {**common, "error_code": update.error_code}
    with_reason = {**with_error, "reason": update.reason}
    with_id = {**common, "provider_message_id": update.provider_message_id}
    sent, failed = update.status in _PROVES_SENT, update.status is MessageStatus.FAILED
    return {
        "sent_event": telling.event(EventType.MESSAGE_SENT, with_id) if sent else None,
        "changed_event": telling.event(EventType.MESSAGE_STATUS_CHANGED, with_error),
        "failed_event": telling.event(EventType.MESSAGE_FAILED, with_reason) if failed else None,
    }


def _party(message: InboundMessage, ids: NewIds) -> dict[str, Any]:
    return {"customer_id": ids.customer, "conversation_id": ids.conversation, "channel": message.channel}


def _named_party(message: InboundMessage, ids: NewIds) -> dict[str, Any]:
    return {**_party(message, ids), "address": message.sender, "display_name": message.profile_name}
