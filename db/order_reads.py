"""Orders as they are listed and read; what changes them is elsewhere."""

from collections.abc import Sequence
from datetime import date, datetime
from uuid import UUID

from db.named_sql import load_statements
from db.rows import OrderLineRecord, OrderRecord
from db.tenant import Connection

_SQL = load_statements("order_reads")


async def list_orders(
    connection: Connection,
    before: UUID,
    *,
    status: str | None,
    conversation_id: UUID | None,
    customer_id: UUID | None,
    since: datetime | None,
    until: datetime | None,
    channel: str | None,
    requires_review: bool | None,
    delivery_date: date | None,
    limit: int,
) -> Sequence[OrderRecord]:
    """Newest first; ``until`` is exclusive."""
    rows = await connection.fetch(
        _SQL["list_orders"],
        before,
        status,
        conversation_id,
        customer_id,
        since,
        until,
        channel,
        requires_review,
        delivery_date,
        limit,
    )
    return [OrderRecord(**row) for row in rows]


async def read_order(connection: Connection, order_id: UUID) -> OrderRecord | None:
    row = await connection.fetchrow(_SQL["read_order"], order_id)
    return OrderRecord(**row) if row else None


async def list_lines(connection: Connection, order_ids: Sequence[UUID]) -> Sequence[OrderLineRecord]:
    """The lines of these orders, in their order."""
    return [OrderLineRecord(**row) for row in await connection.fetch(_SQL["list_lines"], list(order_ids))]
