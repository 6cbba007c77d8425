"""The names of events: those that this release emits, those that are promised, and their families."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class EventType(StrEnum):
    """What can happen and be told to an integrator; every type here has an emitter in this release."""

    MESSAGE_RECEIVED = "message.received"
    MESSAGE_SENT = "message.sent"
    MESSAGE_STATUS_CHANGED = "message.status_changed"
    MESSAGE_FAILED = "message.failed"
    CONVERSATION_CREATED = "conversation.created"
    CONVERSATION_HANDOFF_REQUESTED = "conversation.handoff_requested"
    CONVERSATION_HANDOFF_ENDED = "conversation.handoff_ended"
    CUSTOMER_CREATED = "customer.created"
    CUSTOMER_OPTED_OUT = "customer.opted_out"
    CUSTOMER_OPTED_IN = "customer.opted_in"
    AI_COMPLETED = "ai.completed"
    AI_FAILED = "ai.failed"
    ORDER_CREATED = "order.created"
    ORDER_UPDATED = "order.updated"
    ORDER_REVIEW_REQUIRED = "order.review_required"
    ORDER_CONFIRMED = "order.confirmed"
    ORDER_CANCELLED = "order.cancelled"
    ENDPOINT_FAILING = "endpoint.failing"
    ENDPOINT_DISABLED = "endpoint.disabled"
    ENDPOINT_TEST = "endpoint.test"


# Named by the contract and subscribable today: an integrator need not come back when their emitters land.
PROMISED_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "customer.erased": "A customer's data was erased at their wish.",
        "ai.budget_alert": "The tenant's budget for AI is nearly used up, or is.",
        "order_session.closed": "A customer's ordering came to its end.",
    }
)
KNOWN_TYPES = frozenset(map(str, EventType)) | PROMISED_TYPES.keys()
FAMILIES = frozenset(name.partition(".")[0] for name in KNOWN_TYPES)
EVERYTHING = "*"
