"""The catalogue of outgoing events: which payload goes with which type, and how an event becomes a row.

The envelope is Standard Webhooks' advice (spec 1.0.0, "Payload structure"): a dotted ``type``, the
``timestamp`` of what happened (not of the attempt) and ``data``; ours adds ``distributor_id``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

from channels.errors import InvalidInput
from handlers.webhooks import payloads
from handlers.webhooks.event_types import EventType
from handlers.webhooks.payloads import Payload

EVENT_MODELS: Mapping[EventType, type[Payload]] = MappingProxyType(
    {
        EventType.MESSAGE_RECEIVED: payloads.MessageReceived,
        EventType.MESSAGE_SENT: payloads.MessageSent,
        EventType.MESSAGE_STATUS_CHANGED: payloads.MessageStatusChanged,
        EventType.MESSAGE_FAILED: payloads.MessageFailed,
        EventType.CONVERSATION_CREATED: payloads.ConversationCreated,
        EventType.CONVERSATION_HANDOFF_REQUESTED: payloads.ConversationHandoffRequested,
        EventType.CONVERSATION_HANDOFF_ENDED: payloads.ConversationHandoffEnded,
        EventType.CUSTOMER_CREATED: payloads.CustomerCreated,
        EventType.CUSTOMER_OPTED_OUT: payloads.CustomerOptedOut,
        EventType.CUSTOMER_OPTED_IN: payloads.CustomerOptedIn,
        EventType.AI_COMPLETED: payloads.AICompleted,
        EventType.AI_FAILED: payloads.AIFailed,
        EventType.ORDER_CREATED: payloads.OrderCreated,
        EventType.ORDER_UPDATED: payloads.OrderUpdated,
        EventType.ORDER_REVIEW_REQUIRED: payloads.OrderReviewRequired,
        EventType.ORDER_CONFIRMED: payloads.OrderConfirmed,
        EventType.ORDER_CANCELLED: payloads.OrderCancelled,
        EventType.ENDPOINT_FAILING: payloads.EndpointFailing,
        EventType.ENDPOINT_DISABLED: payloads.EndpointDisabled,
        EventType.ENDPOINT_TEST: payloads.EndpointTest,
    }
)
_HEAD_SCHEMAS: Mapping[str, Any] = MappingProxyType(
    {
        "timestamp": {"type": "string", "format": "date-time", "description": "When it happened, UTC."},
        "distributor_id": {"type": "string", "format": "uuid", "description": "The tenant."},
        "sequence": {
            "type": "integer",
            "minimum": 1,
            "description": (
                "The event's place among all events of its conversation, from 1 and without gaps, of whatever type;"
                " absent where it is of no conversation. Who subscribes to some types sees gaps that are none. After a"
                " silence longer than events are kept it begins at 1 again."
            ),
        },
    }
)
_ID_PREFIX = "evt_"
_PUBLIC_ID = re.compile(r"evt_[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a tenant; ``conversation_id`` orders deliveries where that is asked for.

    Raises ValueError unless ``data`` is of the type's model in EVENT_MODELS and ``occurred_at`` is aware.
    """

    id: UUID
    distributor_id: UUID
    type: EventType
    data: Payload
    occurred_at: datetime
    conversation_id: UUID | None = None

    def __post_init__(self) -> None:
        if type(self.data) is not EVENT_MODELS[self.type]:
            raise ValueError(f"{type(self.data).__name__} is not the payload of {self.type}")
        if self.occurred_at.tzinfo is None:
            raise ValueError("occurred_at must be aware")


def event_row(event: Event, first_wait: float) -> dict[str, Any]:
    """What ``record_events(jsonb)`` takes for one event: JSON values only, ready for a serializer.

    ``first_wait`` (seconds), the first of the retry schedule, lies between ``occurred_at`` and ``due_at``.
    """
    due_at = event.occurred_at + timedelta(seconds=first_wait)
    return {
        "id": str(event.id),
        "distributor_id": str(event.distributor_id),
        "type": str(event.type),
        "conversation_id": str(event.conversation_id) if event.conversation_id else None,
        "occurred_at": iso_utc(event.occurred_at),
        "due_at": iso_utc(due_at),
        "body": event_body(event),
    }


def event_body(event: Event) -> dict[str, Any]:
    """What receivers get, as JSON values: type, timestamp (ISO 8601 UTC), distributor_id and data."""
    return {
        "type": str(event.type),
        "timestamp": iso_utc(event.occurred_at),
        "distributor_id": str(event.distributor_id),
        "data": event.data.model_dump(mode="json"),
    }


def thin_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """An event's body for an endpoint that asks for thin payloads: the head as it is, of ``data`` what the type's model
    names in ``thin_fields``, and so nothing that a customer wrote or is called. Raises ValueError for an unknown type.
    """
    kept = EVENT_MODELS[EventType(body["type"])].thin_fields
    return {**body, "data": {name: value for name, value in body["data"].items() if name in kept}}


def schema_version(event_type: EventType) -> int:
    """From 1; rises with a change that receivers of the version before would not understand."""
    return EVENT_MODELS[event_type].version


def json_schema(event_type: EventType, *, thin: bool = False) -> dict[str, Any]:
    """The JSON Schema (2020-12) of an event's whole body, full or ``thin``, for the OpenAPI ``webhooks`` and for
    receivers. References point into its own ``$defs``.
    """
    model = EVENT_MODELS[event_type]
    data = model.model_json_schema(mode="serialization")
    definitions = data.pop("$defs", {})
    if thin:
        data = _thinned(data, model.thin_fields)
        definitions = {name: definitions[name] for name in _referred(data, definitions)}
    head = _HEAD_SCHEMAS if "conversation_id" in model.model_fields else _without_sequence(_HEAD_SCHEMAS)
    schema = {
        "type": "object",
        "title": event_type.value,
        "description": data.get("description", ""),
        "required": ["type", "timestamp", "distributor_id", "data"],
        "properties": {"type": {"const": event_type.value}, **head, "data": data},
    }
    return schema | ({"$defs": definitions} if definitions else {})


def _without_sequence(head: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in head.items() if name != "sequence"}


def _thinned(data: Mapping[str, Any], kept: frozenset[str]) -> dict[str, Any]:
    return {
        **data,
        "properties": {name: value for name, value in data["properties"].items() if name in kept},
        "required": [name for name in data.get("required", ()) if name in kept],
    }


def _referred(data: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[str]:
    """The definitions that a thin ``data`` refers to: closed sets, which refer to nothing themselves."""
    text = str(data)
    return [name for name in definitions if f"'#/$defs/{name}'" in text]


def public_event_id(event_id: UUID) -> str:
    """How an event is called outside: ``evt_`` and 32 hex digits; the ``webhook-id`` of every try."""
    return _ID_PREFIX + event_id.hex


def parse_event_id(text: str, *, field: str = "event_id") -> UUID:
    """The event behind its public id; raises InvalidInput for any other form."""
    if _PUBLIC_ID.fullmatch(text) is None:
        raise InvalidInput("An event's id is evt_ followed by 32 hexadecimal digits.", field=field)
    return UUID(hex=text.removeprefix(_ID_PREFIX))


def iso_utc(moment: datetime) -> str:
    """An aware time as ISO 8601 in UTC with microseconds, such as ``2026-08-01T12:00:00.000000Z``."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
