"""Rows as values: one class per result of a statement, its fields the statement's columns in their order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

# What a UUIDv7 can tell, and a day less.
EARLIEST, LATEST = datetime(1970, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
LAST_ID = UUID(int=2**128 - 1)  # after every id: where a list begins that shows the newest first


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """Whose API key it is, and whether it was revoked."""

    distributor_id: UUID
    id: UUID
    revoked: bool


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as people may see it; the key itself is stored nowhere."""

    id: UUID
    name: str
    prefix: str
    created_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Tenant:
    """A distributor with its settings."""

    id: UUID
    name: str
    time_zone: str
    locale: str
    currency: str
    auto_reply: str
    ai_confidence_threshold: Decimal
    catalogue_version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What stands under an idempotency key; status and sealed answer are None while it is worked on."""

    request_hash: bytes
    response_status: int | None
    response_sealed: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Product:
    """A product in its sale unit."""

    id: UUID
    sku: str
    name: str
    unit: str
    unit_price: Decimal | None
    brand: str | None
    aliases: Sequence[str]
    pack_size: int | None
    max_quantity: Decimal | None
    active: bool
    category_id: UUID | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ImportCounts:
    """What an import did."""

    created: int
    updated: int


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """A tenant's account at a provider, its credentials still sealed."""

    id: UUID
    channel: str
    provider: str
    address: str
    credentials_sealed: bytes = field(repr=False)
    settings: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime
    route: str | None = None  # what the provider calls it in a post to several accounts


@dataclass(frozen=True, slots=True)
class EndpointRecord:
    """A webhook endpoint; secrets, custom headers and credentials are sealed. ``url`` is None where it is pulled."""

    id: UUID
    name: str
    description: str
    transport: str
    url: str | None
    event_types: Sequence[str]
    filter: Mapping[str, Any] | None
    payload: str
    headers_sealed: bytes | None = field(repr=False)
    secrets_sealed: bytes = field(repr=False)
    public_keys: Sequence[Mapping[str, Any]]
    auth_sealed: bytes | None = field(repr=False)
    signing: str
    ordering: str
    rate_limit_per_second: Decimal | None
    max_in_flight: int
    verification: str
    enabled: bool
    disabled_reason: str | None
    disabled_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event as it happened; ``body`` is what receivers get, None once its time is over. ``sequence`` is its place in
    its conversation.
    """

    id: UUID
    type: str
    body: Mapping[str, Any] | None
    conversation_id: UUID | None
    sequence: int | None
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """One event on its way to one endpoint."""

    id: UUID
    event_id: UUID
    endpoint_id: UUID
    event_type: str
    status: str
    trigger: str
    replay_id: UUID | None
    sequence: int | None
    attempt_count: int
    next_attempt_at: datetime | None
    is_waiting: bool | None
    transport: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One post of a delivery and what came of it; ``evidence`` only where it was asked for."""

    endpoint_id: UUID
    event_id: UUID
    number: int
    trigger: str
    probe: bool
    started_at: datetime
    duration_ms: int | None
    status_code: int | None
    error_class: str | None
    outcome: str
    next_attempt_at: datetime | None
    response_excerpt: str | None
    response_excerpt_truncated: bool
    evidence: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointAttemptRecord(AttemptRecord):
    """One of an endpoint's, with what it was to deliver."""

    delivery_id: UUID
    event_type: str


@dataclass(frozen=True, slots=True)
class ConversationRecord:
    """A conversation in the inbox, with who it is with."""

    id: UUID
    channel: str
    channel_account_id: UUID
    status: str
    handoff: str
    language: str | None
    customer_id: UUID | None
    customer_name: str | None
    contact_address: str
    contact_name: str | None
    unread_count: int
    last_message_at: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """A message in or out."""

    id: UUID
    conversation_id: UUID
    channel: str
    direction: str
    type: str
    status: str
    text: str
    metadata: Mapping[str, Any]
    provider_message_id: str | None
    reply_to_provider_id: str | None
    error_code: str | None
    customer_id: UUID | None
    ai_processed: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class AttachmentRecord:
    """A file of a message; ``content_type`` is what its sender says, ``sniffed_type`` what it is."""

    message_id: UUID
    id: UUID
    url: str
    content_type: str
    filename: str | None
    state: str
    sniffed_type: str | None
    size_bytes: int | None
    scanned_at: datetime | None


@dataclass(frozen=True, slots=True)
class StatusRecord:
    """A status that was told of a message; ``applied`` is false for one that came too late."""

    status: str
    provider_status: str
    error_code: str | None
    applied: bool
    occurred_at: datetime
    part: int | None
    provider_message_id: str | None


@dataclass(frozen=True, slots=True)
class AnalysisRecord:
    """What an engine made of the burst that ended with a message."""

    id: UUID
    status: str
    engine: str
    engine_version: str
    model: str | None
    intent: str | None
    language: str | None
    confidence: Decimal | None
    extracted_data: Mapping[str, Any]
    error_class: str | None
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_micro_usd: int
    request_id: str | None
    processing_ms: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class CustomerRecord:
    """A business that buys from the tenant."""

    id: UUID
    business_name: str
    customer_code: str
    status: str
    total_orders: int
    total_spent: Decimal
    last_ordered_at: datetime | None
    expected_order_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ContactRecord:
    """An address of a customer, with its consent."""

    customer_id: UUID
    id: UUID
    channel: str
    address: str
    display_name: str | None
    opted_out_at: datetime | None
    opt_out_reason: str | None
    last_inbound_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """An order without its lines."""

    id: UUID
    status: str
    conversation_id: UUID | None
    customer_id: UUID | None
    channel: str
    total_amount: Decimal
    currency: str
    requires_review: bool
    review_reasons: Sequence[str]
    unmatched: Sequence[str]
    delivery_date: date | None
    confidence: Decimal | None
    source_message_id: UUID | None
    confirmed_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class OrderLineRecord:
    """A line of an order; name, unit and price are the catalogue's at the time."""

    order_id: UUID
    sku: str
    product_name: str
    unit: str
    quantity: Decimal
    unit_price: Decimal | None
    line_total: Decimal
    confidence: Decimal
    band: str
    original_text: str
