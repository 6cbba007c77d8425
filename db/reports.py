"""Figures over a tenant's customers and orders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("reports")


@dataclass(frozen=True, slots=True)
class RiskRecord:
    """A customer who ordered and stopped, and how much there is to lose."""

    id: UUID
    business_name: str
    customer_code: str
    status: str
    total_orders: int
    total_spent: Decimal
    last_ordered_at: datetime
    expected_order_at: datetime | None
    days_since_order: int
    orders_per_month: Decimal
    last_inbound_at: datetime | None
    risk: str


@dataclass(frozen=True, slots=True)
class CustomerFigures:
    """What a customer ordered in a time."""

    id: UUID
    business_name: str
    customer_code: str
    status: str
    order_count: int
    total_spent: Decimal
    average_order: Decimal | None
    last_ordered_at: datetime | None
    currency: str


@dataclass(frozen=True, slots=True)
class AiOrdersRecord:
    """A day's orders, and what of them was the engines' work."""

    day: date
    currency: str
    orders: int
    ai_orders: int
    for_review: int
    without_review: int
    mean_confidence: Decimal | None
    high_confidence: int
    low_confidence: int
    total_amount: Decimal
    ai_amount: Decimal


@dataclass(frozen=True, slots=True)
class DashboardRecord:
    """A tenant at a glance; a status without any is not named."""

    currency: str
    customers_by_status: Mapping[str, int]
    orders_30_days_by_status: Mapping[str, int]
    revenue_30_days: Decimal
    active_conversations_7_days: int
    conversations_waiting: int
    orders_for_review: int
    unread_messages: int


async def list_risks(
    connection: Connection,
    after: tuple[datetime, UUID],
    *,
    now: datetime,
    min_days: int,
    risk: str | None,
    limit: int,
) -> Sequence[RiskRecord]:
    """Whose last order is the longest ago come first, from ``min_days`` on."""
    rows = await connection.fetch(_SQL["list_risks"], *after, now, min_days, risk, limit)
    return [RiskRecord(**row) for row in rows]


async def list_customer_figures(
    connection: Connection, before: UUID, *, since: datetime | None, until: datetime | None, limit: int
) -> Sequence[CustomerFigures]:
    """Every customer, also without an order, the newest first; ``until`` is exclusive."""
    rows = await connection.fetch(_SQL["list_customer_figures"], before, since, until, limit)
    return [CustomerFigures(**row) for row in rows]


async def list_ai_orders(connection: Connection, since: date, until: date) -> Sequence[AiOrdersRecord]:
    """By the tenant's own days, the newest first; days without orders are left out, ``until`` is exclusive."""
    return [AiOrdersRecord(**row) for row in await connection.fetch(_SQL["list_ai_orders"], since, until)]


async def read_dashboard(connection: Connection, now: datetime) -> DashboardRecord:
    """The tenant as it is, with the days before ``now``."""
    row = await connection.fetchrow(_SQL["read_dashboard"], now)
    assert row is not None, "a key's tenant exists"
    return DashboardRecord(**row)
