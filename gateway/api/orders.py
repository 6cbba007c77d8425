"""``/v1/orders``: what customers ordered, and what people decide on it."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from http import HTTPMethod, HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from channels.base import Channel
from channels.errors import NotFound
from db import order_reads
from db.rows import OrderLineRecord, OrderRecord
from gateway.api.operations import Call, Operation
from gateway.api.paging import BY_ID, grouped, make_page, read_position
from gateway.api.schemas import Answer, Body, Line, Moment, NoQuery, Page, PageQuery, Quantity
from handlers import orders
from handlers.webhooks.payloads import Number, OrderStatus

_PATH = "/v1/orders"
_ONE = f"{_PATH}/{{id}}"
_TAG = "orders"
_MAX_LINES = 500


class OrderLine(Answer):
    """A line of an order; name, unit and price are the catalogue's at the time."""

    sku: str
    product_name: str
    unit: str
    quantity: Number
    unit_price: Number | None
    line_total: Number
    confidence: Number
    band: str = Field(description="auto: sure enough; confirm: a person should look.")
    original_text: str = Field(description="The customer's words.")


class Order(Answer):
    """An order with its lines."""

    id: UUID
    status: OrderStatus
    conversation_id: UUID | None
    customer_id: UUID | None
    channel: Channel
    lines: Sequence[OrderLine]
    total_amount: Number
    currency: str
    requires_review: bool
    review_reasons: Sequence[str] = Field(
        description=(
            "Why a person must look: low_confidence, unmatched, consent_unasked, consent_late, earlier_unreviewed. On a"
            " cancelled order, expired says that a newer one took its place."
        )
    )
    unmatched: Sequence[str] = Field(description="The customer's words that no product was found for.")
    delivery_date: date | None
    confidence: Number | None
    source_message_id: UUID | None = Field(
        description="The last message of the burst that the order began with."
    )
    confirmed_at: datetime | None
    created_at: datetime
    updated_at: datetime


class LineChange(Body):
    """A line as it shall be."""

    sku: Line = Field(examples=["AGUA-600"])
    quantity: Quantity = Field(examples=[2])


class OrderPatch(Body):
    """The whole order as it shall be: what is not named goes."""

    lines: Annotated[list[LineChange], Field(max_length=_MAX_LINES)]
    delivery_date: date | None = Field(default=None, description="Absent or null: stays as it is.")


class OrderQuery(PageQuery):
    """Filters of the list."""

    status: OrderStatus | None = None
    conversation_id: UUID | None = None
    customer_id: UUID | None = None
    channel: Channel | None = None
    requires_review: bool | None = Field(default=None, description="Whether a person has to look at it.")
    delivery_date: date | None = None
    since: Moment | None = Field(default=None, description="Of its creation, inclusive.")
    until: Moment | None = Field(default=None, description="Of its creation, exclusive.")


async def list_orders(call: Call[None, OrderQuery]) -> Page[Order]:
    (before,) = read_position(call, BY_ID)
    query = call.query
    async with call.transaction() as connection:
        rows = await order_reads.list_orders(
            connection,
            before,
            status=query.status,
            conversation_id=query.conversation_id,
            customer_id=query.customer_id,
            since=query.since,
            until=query.until,
            channel=query.channel,
            requires_review=query.requires_review,
            delivery_date=query.delivery_date,
            limit=query.limit + 1,
        )
        lines = await order_reads.list_lines(connection, [row.id for row in rows])
    groups = grouped(lines, "order_id")
    items = (_order(row, groups.get(row.id, ())) for row in rows)
    return make_page(call, BY_ID, rows, items, Page[Order])


async def read_order(call: Call[None, NoQuery]) -> Order:
    return await _load_order(call)


async def update_order(call: Call[OrderPatch, NoQuery]) -> Order:
    lines = [(line.sku, line.quantity) for line in call.body.lines]
    await orders.patch_order_lines(call.runtime, call.distributor_id, call.id, lines, call.body.delivery_date)
    return await _load_order(call)


async def confirm_order(call: Call[None, NoQuery]) -> Order:
    await orders.confirm_order(call.runtime, call.distributor_id, call.id)
    return await _load_order(call)


async def cancel_order(call: Call[None, NoQuery]) -> Order:
    await orders.cancel_order(call.runtime, call.distributor_id, call.id)
    return await _load_order(call)


async def _load_order(call: Call[Any, NoQuery]) -> Order:
    async with call.transaction() as connection:
        row = await order_reads.read_order(connection, call.id)
        if row is None:
            raise NotFound
        return _order(row, await order_reads.list_lines(connection, [row.id]))


def _order(row: OrderRecord, lines: Sequence[OrderLineRecord]) -> Order:
    fields: Mapping[str, Any] = {name: getattr(row, name) for name in Order.model_fields if name != "lines"}
    return Order.model_validate({**fields, "lines": [OrderLine.model_validate(line) for line in lines]})


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path=_PATH,
        tag=_TAG,
        summary="List orders",
        handle=list_orders,
        query=OrderQuery,
        response=Page[Order],
    ),
    Operation(
        method=HTTPMethod.GET,
        path=_ONE,
        tag=_TAG,
        summary="Read an order",
        handle=read_order,
        response=Order,
    ),
    Operation(
        method=HTTPMethod.PATCH,
        path=_ONE,
        tag=_TAG,
        summary="Set an open order's lines",
        description="Only while it is PENDING or REVIEW.",
        handle=update_order,
        body=OrderPatch,
        response=Order,
        errors=(HTTPStatus.CONFLICT,),
    ),
    Operation(
        method=HTTPMethod.POST,
        path=f"{_ONE}/confirm",
        tag=_TAG,
        summary="Confirm an order",
        handle=confirm_order,
        response=Order,
        errors=(HTTPStatus.CONFLICT,),
    ),
    Operation(
        method=HTTPMethod.POST,
        path=f"{_ONE}/cancel",
        tag=_TAG,
        summary="Cancel an order",
        handle=cancel_order,
        response=Order,
        errors=(HTTPStatus.CONFLICT,),
    ),
)
