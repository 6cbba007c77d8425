"""A tenant's products."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from db.conflicts import unique_or_conflict
from db.named_sql import load_statements
from db.rows import ImportCounts, Product
from db.tenant import Connection

_SQL = load_statements("products")
_SKU_TAKEN = "A product with this sku exists already."


async def list_products(
    connection: Connection,
    before: UUID,
    *,
    active: bool | None,
    text: str | None,
    category_id: UUID | None,
    limit: int,
) -> Sequence[Product]:
    """Newest first; ``text`` is looked for in sku, name, brand and aliases, a category with those below it."""
    rows = await connection.fetch(_SQL["list_products"], before, active, text, category_id, limit)
    return [Product(**row) for row in rows]


async def read_product(connection: Connection, product_id: UUID) -> Product | None:
    row = await connection.fetchrow(_SQL["read_product"], product_id)
    return Product(**row) if row else None


async def insert_product(connection: Connection, product: Product) -> None:
    """Stores a new product; raises Conflict where its sku is taken."""
    with unique_or_conflict(_SKU_TAKEN):
        await connection.execute(
            _SQL["insert_product"], product.id, *_values(product), product.created_at, product.updated_at
        )


async def update_product(connection: Connection, product: Product) -> None:
    """Writes every field; raises Conflict where the new sku is taken."""
    with unique_or_conflict(_SKU_TAKEN):
        await connection.execute(_SQL["update_product"], product.id, *_values(product), product.updated_at)


async def delete_product(connection: Connection, product_id: UUID) -> bool:
    """Whether there was such a product."""
    return await connection.fetchval(_SQL["delete_product"], product_id) is not None


async def upsert_products(
    connection: Connection, rows: Sequence[Mapping[str, Any]], now: datetime
) -> ImportCounts:
    """Stores rows by sku, each sku once, each with an id if it is new; an absent field keeps its value."""
    row = await connection.fetchrow(_SQL["upsert_products"], rows, now)
    assert row is not None
    return ImportCounts(**row)


def _values(product: Product) -> tuple[Any, ...]:
    return (
        product.sku,
        product.name,
        product.unit,
        product.unit_price,
        product.brand,
        product.aliases,
        product.pack_size,
        product.max_quantity,
        product.active,
        product.category_id,
    )
