"""What the ``data`` of each event holds: one frozen model per type, with the version of its schema.

A published payload only ever grows: fields may be added, none is renamed, removed or given another meaning, or
``version`` rises (``tests/event_docs`` compares with what was published).
Ids are UUID strings, money and quantities JSON numbers, dates ISO 8601. Text never holds NUL or a lone
surrogate, which PostgreSQL's jsonb refuses; U+FFFD stands in their place.
"""

import re
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)

from channels.base import Channel, MessageStatus, MessageType
from handlers.ai.types import Intent, Language

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_LARGEST_EXACT_INTEGER = 2**53  # of a double; beyond 64 bits serializers refuse an integer


def is_storable_text(text: str) -> bool:
    """Whether PostgreSQL's jsonb takes the text: it refuses NUL and lone surrogates."""
    return _UNSTORABLE.search(text) is None


def storable_text(value: Any) -> Any:
    """Text with NUL and lone surrogates replaced by U+FFFD; anything else as it is."""
    return _UNSTORABLE.sub("\ufffd", value) if isinstance(value, str) else value


def json_number(value: Decimal) -> int | float:
    """A decimal as a JSON number, whole values up to 2**53 without a fraction.

    Receivers read JSON numbers as doubles (RFC 8259 §6): exact up to 15 significant digits, which prices and
    quantities keep below; a larger total is the nearest double, the exact one stands in the database.
    """
    is_exact = abs(value) <= _LARGEST_EXACT_INTEGER and value == value.to_integral_value()
    return int(value) if is_exact else float(value)


Text = Annotated[str, BeforeValidator(storable_text)]
Number = Annotated[
    Decimal,
    Field(allow_inf_nan=False),
    PlainSerializer(json_number, when_used="json"),
    WithJsonSchema({"type": "number"}),
]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class Direction(StrEnum):
    """Which way a message went."""

    INBOUND = "INBOUND"
    OUTBOUND = "OUTBOUND"


class ConversationStatus(StrEnum):
    ACTIVE = "ACTIVE"
    ARCHIVED = "ARCHIVED"


class OrderStatus(StrEnum):
    PENDING = "PENDING"
    REVIEW = "REVIEW"
    CONFIRMED = "CONFIRMED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"
    DELIVERED = "DELIVERED"


def _open_to_growth(schema: dict[str, Any]) -> None:
    """We refuse unknown fields of our own making; a receiver must not refuse those of a later release."""
    schema.pop("additionalProperties", None)


class Payload(BaseModel):
    """The base of every ``data``: frozen, unknown fields refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, json_schema_extra=_open_to_growth
    )
    # Raised with every change that a receiver of the version before would not understand.
    version: ClassVar[int] = 1
    # What thin payloads keep: ids of our own, and words of closed sets. A provider's id is none: WhatsApp's hold the
    # customer's number.
    thin_fields: ClassVar[frozenset[str]] = frozenset()


class AttachmentData(Payload):
    """A file of a message."""

    url: Text | None = Field(
        default=None, description="Where the provider keeps the file, if the address holds no secret."
    )
    content_type: Text = Field(description="The media type as the provider named it, such as `image/jpeg`.")
    filename: Text | None = Field(default=None, description="The file's name, if the sender gave one.")


class MessageData(Payload):
    """What all message events share."""

    thin_fields = frozenset(
        {"message_id", "conversation_id", "customer_id", "channel", "direction", "type", "status"}
    )

    message_id: UUID = Field(description="The message.")
    conversation_id: UUID = Field(description="The conversation that it belongs to.")
    customer_id: UUID | None = Field(description="The customer; null for an address without a customer.")
    channel: Channel = Field(description="The channel that it came or went over.")
    direction: Direction = Field(description="INBOUND from the customer, OUTBOUND to the customer.")
    type: MessageType = Field(description="What kind of message it is.")
    status: MessageStatus = Field(description="The message's status when the event happened.")
    text: Text = Field(description="The message's text; empty if it has none.")
    attachments: tuple[AttachmentData, ...] = Field(default=(), description="The message's files, in order.")
    address: Text | None = Field(
        default=None,
        description="The customer's address on the channel: E.164 without a prefix, or an e-mail address.",
    )


class MessageReceived(MessageData):
    """A customer wrote."""

    direction: Literal[Direction.INBOUND] = Field(
        default=Direction.INBOUND, description="Always INBOUND: the customer wrote."
    )
    status: Literal[MessageStatus.RECEIVED] = Field(
        default=MessageStatus.RECEIVED, description="Always RECEIVED."
    )


class MessageSent(MessageData):
    """The provider took a message of ours."""

    direction: Literal[Direction.OUTBOUND] = Field(
        default=Direction.OUTBOUND, description="Always OUTBOUND: to the customer."
    )
    provider_message_id: Text | None = Field(default=None, description="What the provider calls the message.")


class MessageStatusChanged(MessageData):
    """A message of ours moved on: delivered, read or failed, as its provider tells."""

    direction: Literal[Direction.OUTBOUND] = Field(
        default=Direction.OUTBOUND, description="Always OUTBOUND: only sent messages change status."
    )
    previous: MessageStatus | None = Field(default=None, description="The status before, if it is known.")
    error_code: Text | None = Field(
        default=None, description="The provider's own code of the failure, if there is one."
    )


class MessageFailed(MessageData):
    """A message of ours will not be delivered: the provider or one of our own rules refused it."""

    direction: Literal[Direction.OUTBOUND] = Field(
        default=Direction.OUTBOUND, description="Always OUTBOUND: to the customer."
    )
    status: Literal[MessageStatus.FAILED] = Field(default=MessageStatus.FAILED, description="Always FAILED.")
    error_code: Text | None = Field(
        default=None, description="The provider's own code of the failure, if there is one."
    )
    reason: Text | None = Field(
        default=None, description="Our word for the failure, such as `opted_out` or `invalid_recipient`."
    )


class ConversationData(Payload):
    """What all conversation events share."""

    thin_fields = frozenset({"conversation_id", "customer_id", "channel", "status"})

    conversation_id: UUID = Field(description="The conversation.")
    customer_id: UUID | None = Field(description="The customer; null for an address without a customer.")
    channel: Channel = Field(description="The channel of the conversation.")
    status: ConversationStatus = Field(
        default=ConversationStatus.ACTIVE, description="The conversation's status when the event happened."
    )


class ConversationCreated(ConversationData):
    """A conversation began with its first message."""


class ConversationHandoffRequested(ConversationData):
    """A person is asked for. Nothing goes out by itself until the hand-off ends, unless what is asked for is only an
    answer (`question`, `follow_up`): then orders are answered as before, and each question is told.
    """

    thin_fields = ConversationData.thin_fields | {"message_id"}

    reason: Text = Field(
        description=(
            "Why: `customer_asked`, `complaint`, `cancel_requested`, `question`, `follow_up`, `engine_error`,"
            " `outcome_unknown` (a message to the customer perhaps arrived, perhaps not), `loop` (so many answers, or the"
            " same one again, that perhaps a machine writes), or `taken_over` by a person who was not asked."
        )
    )
    message_id: UUID | None = Field(default=None, description="The message that led to it, if there is one.")


class ConversationHandoffEnded(ConversationData):
    """The conversation is answered by the system again."""


class CustomerData(Payload):
    """What all customer events share."""

    thin_fields = frozenset({"conversation_id", "customer_id", "channel"})

    customer_id: UUID | None = Field(description="The customer; null for an address without a customer.")
    conversation_id: UUID | None = Field(
        default=None, description="The conversation that it came from; null if it came in another way."
    )
    channel: Channel = Field(description="The channel of the address.")
    address: Text | None = Field(
        default=None, description="The address: E.164 without a prefix, or an e-mail address."
    )
    display_name: Text | None = Field(default=None, description="The name that goes with the address.")


class CustomerCreated(CustomerData):
    """A customer was made, by a first message or by hand."""

    customer_id: UUID = Field(description="The customer.")


class CustomerOptedOut(CustomerData):
    """An address does not want to be written to any more."""


class CustomerOptedIn(CustomerData):
    """An address may be written to again."""


class AIData(Payload):
    """What all AI events share."""

    thin_fields = frozenset({"message_id", "conversation_id", "customer_id", "channel"})

    message_id: UUID = Field(description="The last message of the burst that was understood.")
    conversation_id: UUID = Field(description="The conversation of the burst.")
    customer_id: UUID | None = Field(description="The customer; null for an address without a customer.")
    channel: Channel = Field(description="The channel of the conversation.")
    engine: Text = Field(description="The engine that was asked: `rules`, `openai` or `hybrid`.")
    processing_ms: int = Field(ge=0, description="How long the engine took, in milliseconds.")


class AICompleted(AIData):
    """A burst of messages was understood."""

    thin_fields = AIData.thin_fields | {"order_id"}

    intent: Intent = Field(description="What the customer wants.")
    language: Language = Field(description="The language of the burst.")
    confidence: float = Field(ge=0, le=1, description="How sure the engine is, from 0 to 1.")
    order_id: UUID | None = Field(
        default=None, description="The order that the burst made or changed, if any."
    )
    unmatched: tuple[Text, ...] = Field(
        default=(), description="The customer's words that no product was found for."
    )


class AIFailed(AIData):
    """A burst of messages could not be understood; a person should look."""

    error_class: Text = Field(description="The kind of the failure, such as `budget_exceeded`.")


class OrderLineData(Payload):
    """A line of an order; name, unit and price are the catalogue's at the time."""

    sku: Text = Field(description="The product's code in the catalogue.")
    product_name: Text = Field(description="The product's name.")
    unit: Text = Field(description="The unit that the product is sold in.")
    quantity: Number = Field(gt=0, description="How many units.")
    unit_price: Number | None = Field(description="The price of one unit; null if the catalogue has none.")
    line_total: Number = Field(description="Quantity times unit price; 0 without a price.")


class OrderData(Payload):
    """An order as it stood when the event happened."""

    thin_fields = frozenset({"order_id", "conversation_id", "customer_id", "channel", "status"})

    order_id: UUID = Field(description="The order.")
    status: OrderStatus = Field(description="The order's status when the event happened.")
    conversation_id: UUID | None = Field(description="The conversation it came from; null if by hand.")
    customer_id: UUID | None = Field(description="The customer.")
    channel: Channel = Field(description="The channel that it was ordered over.")
    lines: tuple[OrderLineData, ...] = Field(description="The lines, in order.")
    total_amount: Number = Field(description="The sum of the lines.")
    currency: Currency = Field(description="The ISO 4217 code of all amounts.")
    delivery_date: date | None = Field(
        default=None, description="The day it is wanted, if the customer said."
    )
    requires_review: bool = Field(description="Whether a person must look before it is confirmed.")
    review_reasons: tuple[Text, ...] = Field(
        default=(),
        description="Why a person must look; on a cancelled order, `expired` says that a newer one took its place.",
    )
    unmatched: tuple[Text, ...] = Field(
        default=(), description="The customer's words that no product was found for."
    )


class OrderCreated(OrderData):
    """A first product was ordered: the draft is open."""


class OrderUpdated(OrderData):
    """The open draft changed."""


class OrderReviewRequired(OrderData):
    """A person must look at the order before it is confirmed."""


class OrderConfirmed(OrderData):
    """The customer or a person confirmed the order."""

    status: Literal[OrderStatus.CONFIRMED] = Field(
        default=OrderStatus.CONFIRMED, description="Always CONFIRMED."
    )


class OrderCancelled(OrderData):
    """The customer or a person cancelled the order, or it was left open for a day and a newer one took its place."""

    status: Literal[OrderStatus.CANCELLED] = Field(
        default=OrderStatus.CANCELLED, description="Always CANCELLED."
    )


class EndpointFailing(Payload):
    """A webhook endpoint has been failing and will be disabled if it goes on."""

    thin_fields = frozenset({"endpoint_id"})

    endpoint_id: UUID = Field(description="The endpoint.")
    name: Text = Field(description="The endpoint's name.")
    percent: int = Field(ge=1, le=99, description="How far it is on its way to being disabled.")
    failing_since: AwareDatetime = Field(description="When it first failed since its last success.")
    failed_attempts: int = Field(ge=1, description="Attempts that failed since then.")
    disabled_from: AwareDatetime = Field(description="When it is disabled at the earliest.")


class EndpointDisabled(Payload):
    """One of the tenant's webhook endpoints gets nothing any more until it is enabled again."""

    thin_fields = frozenset({"endpoint_id"})

    endpoint_id: UUID = Field(description="The endpoint.")
    name: Text = Field(description="The endpoint's name.")
    reason: Text = Field(description="Why, such as `gone`: the receiver answered 410.")


class EndpointTest(Payload):
    """A test asked for by the integrator; sent to that endpoint whatever it subscribes to."""

    thin_fields = frozenset({"endpoint_id", "example"})  # that is as thin as the event that it stands for

    endpoint_id: UUID = Field(description="The endpoint under test.")
    message: Text = Field(
        default="This is a test event.", description="A sentence for the person who reads the log."
    )
    example: dict[str, Any] | None = Field(
        default=None,
        description="The body of an invented event of the type that was asked for. Only this wraps it, so that nobody"
        " takes it for a real one.",
    )
