"""An example of every event, shown in the documentation and checked against its schema by a test."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID

from channels.base import Channel, MessageStatus, MessageType
from handlers.ai.types import Intent, Language
from handlers.webhooks import payloads
from handlers.webhooks.event_types import EventType
from handlers.webhooks.events import Event, event_body
from handlers.webhooks.payloads import Direction, OrderStatus, Payload

_EVENT = UUID("0198c0de-0000-7000-8000-000000000001")
_DISTRIBUTOR = UUID("0198c0de-0000-7000-8000-000000000002")
_MESSAGE = UUID("0198c0de-0000-7000-8000-000000000003")
_CONVERSATION = UUID("0198c0de-0000-7000-8000-000000000004")
_CUSTOMER = UUID("0198c0de-0000-7000-8000-000000000005")
_ORDER = UUID("0198c0de-0000-7000-8000-000000000006")
_ENDPOINT = UUID("0198c0de-0000-7000-8000-000000000007")
_OCCURRED_AT = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
_ADDRESS = "+5215512345678"

_OUTBOUND = payloads.MessageData(
    message_id=_MESSAGE,
    conversation_id=_CONVERSATION,
    customer_id=_CUSTOMER,
    channel=Channel.WHATSAPP,
    direction=Direction.OUTBOUND,
    type=MessageType.TEXT,
    status=MessageStatus.SENT,
    text="2 cajas de Agua Mineral 600 ml, $240.00 en total. ¿Confirmas?",
    address=_ADDRESS,
).model_dump()
_CONVERSATION_FIELDS = payloads.ConversationData(
    conversation_id=_CONVERSATION, customer_id=_CUSTOMER, channel=Channel.WHATSAPP
).model_dump()
_CUSTOMER_FIELDS = payloads.CustomerData(
    customer_id=_CUSTOMER,
    conversation_id=_CONVERSATION,
    channel=Channel.WHATSAPP,
    address=_ADDRESS,
    display_name="Abarrotes Lupita",
).model_dump()
_AI = payloads.AIData(
    message_id=_MESSAGE,
    conversation_id=_CONVERSATION,
    customer_id=_CUSTOMER,
    channel=Channel.WHATSAPP,
    engine="rules",
    processing_ms=7,
).model_dump()
_DRAFT = payloads.OrderData(
    order_id=_ORDER,
    status=OrderStatus.PENDING,
    conversation_id=_CONVERSATION,
    customer_id=_CUSTOMER,
    channel=Channel.WHATSAPP,
    lines=(
        payloads.OrderLineData(
            sku="AGUA-600",
            product_name="Agua Mineral 600 ml",
            unit="caja",
            quantity=Decimal(2),
            unit_price=Decimal("120.00"),
            line_total=Decimal("240.00"),
        ),
    ),
    total_amount=Decimal("240.00"),
    currency="MXN",
    delivery_date=date(2026, 8, 3),
    requires_review=False,
).model_dump()
_TO_REVIEW = _DRAFT | {
    "status": OrderStatus.REVIEW,
    "requires_review": True,
    "review_reasons": ("unmatched",),
    "unmatched": ("las galletas de siempre",),
}

_EXAMPLES: Mapping[EventType, Payload] = MappingProxyType(
    {
        EventType.MESSAGE_RECEIVED: payloads.MessageReceived(
            message_id=_MESSAGE,
            conversation_id=_CONVERSATION,
            customer_id=_CUSTOMER,
            channel=Channel.WHATSAPP,
            type=MessageType.IMAGE,
            text="Hola, quiero 2 cajas de agua como estas",
            attachments=(payloads.AttachmentData(content_type="image/jpeg", filename="agua.jpg"),),
            address=_ADDRESS,
        ),
        EventType.MESSAGE_SENT: payloads.MessageSent(
            **_OUTBOUND, provider_message_id="SM0123456789abcdef0123456789abcdef"
        ),
        EventType.MESSAGE_STATUS_CHANGED: payloads.MessageStatusChanged(
            **_OUTBOUND | {"status": MessageStatus.DELIVERED}, previous=MessageStatus.SENT
        ),
        EventType.MESSAGE_FAILED: payloads.MessageFailed(
            **_OUTBOUND | {"status": MessageStatus.FAILED}, error_code="63016", reason="window_closed"
        ),
        EventType.CONVERSATION_CREATED: payloads.ConversationCreated(**_CONVERSATION_FIELDS),
        EventType.CONVERSATION_HANDOFF_REQUESTED: payloads.ConversationHandoffRequested(
            **_CONVERSATION_FIELDS, reason="customer_asked", message_id=_MESSAGE
        ),
        EventType.CONVERSATION_HANDOFF_ENDED: payloads.ConversationHandoffEnded(**_CONVERSATION_FIELDS),
        EventType.CUSTOMER_CREATED: payloads.CustomerCreated(**_CUSTOMER_FIELDS),
        EventType.CUSTOMER_OPTED_OUT: payloads.CustomerOptedOut(**_CUSTOMER_FIELDS),
        EventType.CUSTOMER_OPTED_IN: payloads.CustomerOptedIn(**_CUSTOMER_FIELDS),
        EventType.AI_COMPLETED: payloads.AICompleted(
            **_AI, intent=Intent.BUY, language=Language.ES, confidence=0.97, order_id=_ORDER
        ),
        EventType.AI_FAILED: payloads.AIFailed(**_AI, error_class="budget_exceeded"),
        EventType.ORDER_CREATED: payloads.OrderCreated(**_DRAFT),
        EventType.ORDER_UPDATED: payloads.OrderUpdated(**_DRAFT),
        EventType.ORDER_REVIEW_REQUIRED: payloads.OrderReviewRequired(**_TO_REVIEW),
        EventType.ORDER_CONFIRMED: payloads.OrderConfirmed(**_DRAFT | {"status": OrderStatus.CONFIRMED}),
        EventType.ORDER_CANCELLED: payloads.OrderCancelled(**_DRAFT | {"status": OrderStatus.CANCELLED}),
        EventType.ENDPOINT_FAILING: payloads.EndpointFailing(
            endpoint_id=_ENDPOINT,
            name="ERP",
            percent=50,
            failing_since=_OCCURRED_AT,
            failed_attempts=31,
            disabled_from=_OCCURRED_AT + timedelta(days=5),
        ),
        EventType.ENDPOINT_DISABLED: payloads.EndpointDisabled(
            endpoint_id=_ENDPOINT, name="ERP", reason="gone"
        ),
        EventType.ENDPOINT_TEST: payloads.EndpointTest(endpoint_id=_ENDPOINT),
    }
)


def example(event_type: EventType) -> Event:
    """An event of the type with every id fixed, as the documentation shows it."""
    data = _EXAMPLES[event_type]
    conversation_id = getattr(data, "conversation_id", None)
    return Event(_EVENT, _DISTRIBUTOR, event_type, data, _OCCURRED_AT, conversation_id)


def example_body(event_type: EventType) -> dict[str, Any]:
    """What a receiver gets of the example, with its place in its conversation."""
    event = example(event_type)
    body = event_body(event)
    data = {"data": body.pop("data")}
    return body | ({} if event.conversation_id is None else {"sequence": 7}) | data
