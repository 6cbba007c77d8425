"""The names of events: those that this release emits, those that are promised, and their families."""

from enum import StrEnum


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
PROMISED_TYPES = frozenset({"customer.erased", "ai.budget_alert", "order_session.closed"})
KNOWN_TYPES = frozenset(map(str, EventType)) | PROMISED_TYPES
FAMILIES = frozenset(name.partition(".")[0] for name in KNOWN_TYPES)
EVERYTHING = "*"
