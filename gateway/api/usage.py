"""``/v1/usage`` and ``/v1/dashboard``: what a tenant used, and where it stands."""

from collections.abc import Mapping
from datetime import date, datetime
from http import HTTPMethod
from typing import Any

from pydantic import Field

from db import reports
from db.usage import MonthUsage
from gateway.api.operations import Call, Operation
from gateway.api.problems import invalid
from gateway.api.schemas import Answer, NoQuery
from handlers.usage import read_month
from handlers.webhooks.payloads import Number

_TAG = "usage"
_MONTH = r"^[1-9][0-9]{3}-(0[1-9]|1[0-2])$"


class Usage(Answer):
    """What a tenant used in a calendar month of UTC."""

    month: str = Field(pattern=_MONTH, examples=["2026-07"])
    customers: int = Field(description="At the time of counting; all other counts are of the month.")
    messages_in: int
    messages_out: int
    orders: int
    ai_requests: int
    ai_tokens: int
    ai_cost_micro_usd: int
    counted_at: datetime


class MonthQuery(NoQuery):
    """Which month."""

    month: str | None = Field(
        default=None, pattern=_MONTH, description="Absent: the present one.", examples=["2026-07"]
    )


class Dashboard(Answer):
    """A tenant at a glance."""

    customers: int
    customers_by_status: Mapping[str, int] = Field(description="A status without any is not named.")
    orders_30_days: int
    orders_30_days_by_status: Mapping[str, int]
    revenue_30_days: Number = Field(
        description="Of orders that are CONFIRMED or DELIVERED, in the tenant's currency."
    )
    currency: str
    active_conversations_7_days: int
    conversations_waiting: int = Field(description="For a person.")
    orders_for_review: int
    unread_messages: int
    month: Usage = Field(description="The present month's usage.")


async def read_usage(call: Call[None, MonthQuery]) -> Usage:
    month = call.query.month
    return await _usage(call, None if month is None else date.fromisoformat(f"{month}-01"))


async def read_dashboard(call: Call[None, NoQuery]) -> Dashboard:
    month = await _usage(call, None)
    async with call.transaction() as connection:
        row = await reports.read_dashboard(connection, call.runtime.clock())
    fields = {name: getattr(row, name) for name in reports.DashboardRecord.__slots__}
    return Dashboard.model_validate(
        {
            **fields,
            "customers": sum(row.customers_by_status.values()),
            "orders_30_days": sum(row.orders_30_days_by_status.values()),
            "month": month,
        }
    )


async def _usage(call: Call[None, Any], month: date | None) -> Usage:
    counted = await read_month(call.runtime, call.distributor_id, month)
    if counted is None:
        raise invalid("query", "month", "The tenant has not seen this month.")
    return _shown(counted)


def _shown(counted: MonthUsage) -> Usage:
    fields = {name: getattr(counted, name) for name in MonthUsage.__slots__ if name != "period"}
    return Usage.model_validate({**fields, "month": counted.period.strftime("%Y-%m")})


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path="/v1/usage",
        tag=_TAG,
        summary="Read what was used in a month",
        description="Not older than a minute; a month that is over stays as it was counted.",
        handle=read_usage,
        query=MonthQuery,
        response=Usage,
    ),
    Operation(
        method=HTTPMethod.GET,
        path="/v1/dashboard",
        tag=_TAG,
        summary="Read the tenant at a glance",
        handle=read_dashboard,
        response=Dashboard,
    ),
)
