"""A tenant's product categories: a tree."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from db.conflicts import unique_or_conflict
from db.named_sql import load_statements
from db.rows import LAST_ID
from db.tenant import Connection

_SQL = load_statements("categories")
_NAME_TAKEN = "A category of this name exists already under the same parent."


@dataclass(frozen=True, slots=True)
class CategoryRecord:
    """A category; ``path`` are the names from the top to its own, ``products`` those directly in it."""

    id: UUID
    parent_id: UUID | None
    name: str
    position: int
    path: Sequence[str]
    products: int
    created_at: datetime
    updated_at: datetime


async def list_categories(
    connection: Connection, before: UUID, limit: int, *, category_id: UUID | None = None
) -> Sequence[CategoryRecord]:
    """Newest first; with an id that one alone."""
    rows = await connection.fetch(_SQL["list_categories"], before, category_id, limit)
    return [CategoryRecord(**row) for row in rows]


async def read_category(connection: Connection, category_id: UUID) -> CategoryRecord | None:
    rows = await list_categories(connection, LAST_ID, 1, category_id=category_id)
    return rows[0] if rows else None


async def list_ancestors(connection: Connection, category_id: UUID) -> Sequence[UUID]:
    """The category itself and all above it; empty where there is no such category."""
    return [row["id"] for row in await connection.fetch(_SQL["list_ancestors"], category_id)]


async def insert_category(
    connection: Connection,
    category_id: UUID,
    *,
    parent_id: UUID | None,
    name: str,
    position: int,
    now: datetime,
) -> None:
    """Stores a new category; raises Conflict where its parent has one of this name."""
    with unique_or_conflict(_NAME_TAKEN):
        await connection.execute(_SQL["insert_category"], category_id, parent_id, name, position, now)


async def update_category(
    connection: Connection,
    category_id: UUID,
    *,
    parent_id: UUID | None,
    name: str,
    position: int,
    now: datetime,
) -> None:
    """Writes every field; raises Conflict where the parent has one of this name."""
    with unique_or_conflict(_NAME_TAKEN):
        await connection.execute(_SQL["update_category"], category_id, parent_id, name, position, now)


async def delete_category(connection: Connection, category_id: UUID) -> bool:
    """Whether there was such a category; raises Conflict where one below it cannot move to the top."""
    with unique_or_conflict("A category below it has a name that is taken at the top."):
        return await connection.fetchval(_SQL["delete_category"], category_id) is not None
