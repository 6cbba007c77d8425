"""What the tenant sells. Every change counts the catalogue's version up in the same transaction.

The count comes first: it locks the tenant's row, so that changes of one catalogue follow one another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from channels.errors import NotFound
from db import distributors, products
from db.rows import ImportCounts, Product
from handlers.categories import check_category
from handlers.runtime import Runtime


@dataclass(frozen=True, slots=True)
class ImportRow:
    """A valid row of an import: its number, counted from 1, and the product's fields that it names."""

    number: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RowError:
    """Why a row of an import was left out."""

    row: int
    sku: str | None
    message: str


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did; rows with errors changed nothing."""

    created: int
    updated: int
    errors: tuple[RowError, ...]


async def create_product(runtime: Runtime, distributor_id: UUID, values: Mapping[str, Any]) -> Product:
    """Stores a product of these fields. Raises InvalidInput for an unknown category, Conflict where its sku is taken."""
    now = runtime.clock()
    product = Product(id=runtime.new_id(), **values, created_at=now, updated_at=now)
    async with runtime.database.tenant(distributor_id) as connection:
        await distributors.bump_catalogue_version(connection, now)
        await check_category(connection, product.category_id)
        await products.insert_product(connection, product)
    return product


async def patch_product(
    runtime: Runtime, distributor_id: UUID, product_id: UUID, changes: Mapping[str, Any]
) -> Product:
    """The product with ``changes``. Raises NotFound, InvalidInput for an unknown category, and Conflict where the new
    sku is taken.
    """
    now = runtime.clock()
    async with runtime.database.tenant(distributor_id) as connection:
        await distributors.bump_catalogue_version(connection, now)
        product = await products.read_product(connection, product_id)
        if product is None:
            raise NotFound
        changed = replace(product, **changes, updated_at=now)
        await check_category(connection, changes.get("category_id"))
        await products.update_product(connection, changed)
    return changed


async def delete_product(runtime: Runtime, distributor_id: UUID, product_id: UUID) -> None:
    """Removes a product; orders keep its name and price. Raises NotFound."""
    async with runtime.database.tenant(distributor_id) as connection:
        await distributors.bump_catalogue_version(connection, runtime.clock())
        if not await products.delete_product(connection, product_id):
            raise NotFound


async def import_products(runtime: Runtime, distributor_id: UUID, rows: Sequence[ImportRow]) -> ImportResult:
    """Stores rows by sku, in one statement. A sku's second row is an error and changes nothing."""
    first_rows, errors = _split_repetitions(rows)
    counts = await _store(runtime, distributor_id, first_rows) if first_rows else ImportCounts(0, 0)
    return ImportResult(counts.created, counts.updated, errors)


def _split_repetitions(rows: Sequence[ImportRow]) -> tuple[list[ImportRow], tuple[RowError, ...]]:
    first: dict[str, ImportRow] = {}
    errors = []
    for row in rows:
        sku = row.values["sku"]
        earlier = first.setdefault(sku, row)
        if earlier is not row:
            errors.append(RowError(row.number, sku, f"sku: row {earlier.number} has the same one"))
    return list(first.values()), tuple(errors)


async def _store(runtime: Runtime, distributor_id: UUID, rows: Sequence[ImportRow]) -> ImportCounts:
    now = runtime.clock()
    stored = [{**row.values, "id": runtime.new_id()} for row in rows]
    async with runtime.database.tenant(distributor_id) as connection:
        await distributors.bump_catalogue_version(connection, now)
        return await products.upsert_products(connection, stored, now)
