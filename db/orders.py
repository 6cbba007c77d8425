"""Orders and their lines as turns and people change them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from asyncpg import Record

from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("orders")


@dataclass(frozen=True, slots=True)
class OrderRow:
    """An order's head."""

    id: UUID
    conversation_id: UUID | None
    customer_id: UUID | None
    channel: str
    status: str
    requires_review: bool
    review_reasons: list[str]
    unmatched: list[str]
    delivery_date: date | None
    currency: str
    total_amount: Decimal
    confidence: Decimal | None
    confirmed_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class LineRow:
    """A line of an order; quantity in the sale unit, money in the order's currency."""

    sku: str
    product_id: UUID | None
    product_name: str
    unit: str
    quantity: Decimal
    unit_price: Decimal | None
    line_total: Decimal
    confidence: Decimal
    band: str
    original_text: str


@dataclass(frozen=True, slots=True)
class NewLine:
    """A line to be stored; name, unit and price come from the catalogue."""

    id: UUID
    sku: str
    quantity: Decimal
    confidence: float
    band: str
    original_text: str


def _order(row: Record | None) -> OrderRow | None:
    return OrderRow(**row) if row else None


async def find_open_draft(connection: Connection, conversation_id: UUID) -> OrderRow | None:
    """The conversation's open draft, locked."""
    return _order(await connection.fetchrow(_SQL["find_open_draft"], conversation_id))


async def lock_order(connection: Connection, order_id: UUID) -> OrderRow | None:
    """One order, locked."""
    return _order(await connection.fetchrow(_SQL["lock_order"], order_id))


async def list_lines(connection: Connection, order_id: UUID) -> list[LineRow]:
    """An order's lines in their order."""
    return [LineRow(**row) for row in await connection.fetch(_SQL["list_lines"], order_id)]


async def insert_order(
    connection: Connection,
    order_id: UUID,
    *,
    conversation_id: UUID,
    customer_id: UUID | None,
    channel: str,
    currency: str,
    source_message_id: UUID,
    now: datetime,
) -> None:
    """A new PENDING order without lines."""
    await connection.execute(
        _SQL["insert_order"],
        order_id,
        conversation_id,
        customer_id,
        channel,
        currency,
        source_message_id,
        now,
    )


async def save_order(connection: Connection, order: OrderRow) -> None:
    """Stores the head as given; the total is summed from the stored lines."""
    await connection.execute(
        _SQL["save_order"],
        order.id,
        order.status,
        order.requires_review,
        order.review_reasons,
        order.unmatched,
        order.delivery_date,
        order.confidence,
        order.confirmed_at,
        order.updated_at,
    )


async def replace_lines(connection: Connection, order_id: UUID, lines: Sequence[NewLine]) -> None:
    """Makes the order's lines these; known lines keep their id and price."""
    await connection.execute(_SQL["delete_lines_except"], order_id, [line.sku for line in lines])
    rows = [_line_json(line, position) for position, line in enumerate(lines, 1)]
    await connection.execute(_SQL["save_lines"], order_id, rows)


def _line_json(line: NewLine, position: int) -> dict[str, Any]:
    return {
        "id": line.id,
        "sku": line.sku,
        "quantity": str(line.quantity),
        "confidence": round(line.confidence, 3),
        "band": line.band,
        "original_text": line.original_text,
        "position": position,
    }


async def list_known_skus(connection: Connection, skus: Sequence[str]) -> set[str]:
    """Those of ``skus`` that the tenant's catalogue has."""
    return {row["sku"] for row in await connection.fetch(_SQL["list_known_skus"], list(skus))}
