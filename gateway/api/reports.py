"""``/v1/reports``: figures over customers and orders. Ordered is what is CONFIRMED or DELIVERED."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from http import HTTPMethod
from typing import Annotated, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import Field

from db import distributors, reports
from db.reports import AiOrdersRecord
from gateway.api.customers import CustomerStatus
from gateway.api.operations import Call, Operation
from gateway.api.paging import BY_ID, BY_LAST_ORDER, make_page, read_position
from gateway.api.problems import invalid
from gateway.api.schemas import Answer, Moment, NoQuery, Page, PageQuery
from handlers.webhooks.payloads import Number

_PATH = "/v1/reports"
_TAG = "reports"
_MOST_DAYS = 366
_DEFAULT_DAYS = 30
Risk = Literal["HIGH", "MEDIUM", "LOW"]
SilentDays = Annotated[int, Field(ge=14, le=3_650)]


class CustomerRisk(Answer):
    """A customer who ordered and stopped, and how much there is to lose."""

    id: UUID
    business_name: str
    customer_code: str
    status: CustomerStatus
    risk: Risk
    days_since_order: int
    orders_per_month: Number = Field(description="Of 30 days, from the first order to the last.")
    total_orders: int
    total_spent: Number = Field(description="In the tenant's currency.")
    last_ordered_at: datetime
    expected_order_at: datetime | None
    last_inbound_at: datetime | None


class RiskQuery(PageQuery):
    """Filters of the report."""

    min_days: SilentDays = Field(default=14, description="Since the last order.")
    risk: Risk | None = None


class CustomerFigures(Answer):
    """What a customer ordered in a time."""

    id: UUID
    business_name: str
    customer_code: str
    status: CustomerStatus
    order_count: int
    total_spent: Number = Field(description="Of the orders in `currency`.")
    average_order: Number | None
    currency: str
    last_ordered_at: datetime | None = Field(description="In this time.")


class CustomerFiguresQuery(PageQuery):
    """Which time; absent: all of it."""

    since: Moment | None = Field(default=None, description="Of the order's creation, inclusive.")
    until: Moment | None = Field(default=None, description="Of the order's creation, exclusive.")


class AiOrdersDay(Answer):
    """A day's orders, and what of them was the engines' work."""

    day: date
    orders: int
    ai_orders: int = Field(description="Begun by a burst of messages.")
    for_review: int = Field(description="Of those, with a reason for review on record.")
    without_review: int = Field(description="Of those, CONFIRMED or DELIVERED without one.")
    automation_rate: Number | None = Field(description="`without_review` of `ai_orders`; null without any.")
    mean_confidence: Number | None
    high_confidence: int = Field(description="0.8 or more.")
    low_confidence: int = Field(description="Under 0.5.")
    total_amount: Number = Field(description="Of all orders in `currency`, whatever their status.")
    ai_amount: Number
    currency: str


class AiOrders(Answer):
    """Orders by day."""

    since: date
    until: date
    data: Sequence[AiOrdersDay] = Field(description="Newest first; a day without orders is left out.")


class AiOrdersQuery(NoQuery):
    """Which of the tenant's own days."""

    since: date | None = Field(default=None, description="Inclusive; absent: 30 days before the end.")
    until: date | None = Field(default=None, description="Exclusive; absent: tomorrow.")


async def list_customer_risks(call: Call[None, RiskQuery]) -> Page[CustomerRisk]:
    last_ordered_at, after = read_position(call, BY_LAST_ORDER)
    query = call.query
    async with call.transaction() as connection:
        rows = await reports.list_risks(
            connection,
            (last_ordered_at, after),
            now=call.runtime.clock(),
            min_days=query.min_days,
            risk=query.risk,
            limit=query.limit + 1,
        )
    return make_page(call, BY_LAST_ORDER, rows, map(CustomerRisk.model_validate, rows), Page[CustomerRisk])


async def list_customer_figures(call: Call[None, CustomerFiguresQuery]) -> Page[CustomerFigures]:
    (before,) = read_position(call, BY_ID)
    query = call.query
    async with call.transaction() as connection:
        rows = await reports.list_customer_figures(
            connection, before, since=query.since, until=query.until, limit=query.limit + 1
        )
    return make_page(call, BY_ID, rows, map(CustomerFigures.model_validate, rows), Page[CustomerFigures])


async def read_ai_orders(call: Call[None, AiOrdersQuery]) -> AiOrders:
    async with call.transaction() as connection:
        tenant = await distributors.read_tenant(connection)
        today = call.runtime.clock().astimezone(ZoneInfo(tenant.time_zone)).date()
        since, until = _days(call.query, today)
        rows = await reports.list_ai_orders(connection, since, until)
    return AiOrders(since=since, until=until, data=[_day(row) for row in rows])


def _days(query: AiOrdersQuery, today: date) -> tuple[date, date]:
    try:
        until = query.until or today + timedelta(days=1)
        since = query.since or until - timedelta(days=_DEFAULT_DAYS)
    except OverflowError:
        raise invalid("query", "until", "is out of range") from None
    if not 0 < (until - since).days <= _MOST_DAYS:
        raise invalid(
            "query", "since", f"The time must be longer than nothing and at most {_MOST_DAYS} days."
        )
    return since, until


def _day(row: AiOrdersRecord) -> AiOrdersDay:
    fields = {name: getattr(row, name) for name in AiOrdersRecord.__slots__}
    rate = round(row.without_review / row.ai_orders, 4) if row.ai_orders else None
    return AiOrdersDay.model_validate({**fields, "automation_rate": rate})


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path=f"{_PATH}/risk",
        tag=_TAG,
        summary="List customers who may be lost, the longest silent first",
        description=(
            "HIGH: more than 60 days since the last order and more than one order a month before; MEDIUM: 30"
            " days and more than one in two months; LOW: 14 days and not a word for 7."
        ),
        handle=list_customer_risks,
        query=RiskQuery,
        response=Page[CustomerRisk],
    ),
    Operation(
        method=HTTPMethod.GET,
        path=f"{_PATH}/customers",
        tag=_TAG,
        summary="List customers with what they ordered in a time",
        description="Orders that are CONFIRMED or DELIVERED count; customers without one are shown, too.",
        handle=list_customer_figures,
        query=CustomerFiguresQuery,
        response=Page[CustomerFigures],
    ),
    Operation(
        method=HTTPMethod.GET,
        path=f"{_PATH}/ai-orders",
        tag=_TAG,
        summary="Read orders by day: how many engines made, and how sure they were",
        description=f"By days of the tenant's time zone, at most {_MOST_DAYS}.",
        handle=read_ai_orders,
        query=AiOrdersQuery,
        response=AiOrders,
    ),
)
