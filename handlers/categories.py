"""The tree of product categories. Whoever changes its shape holds the tenant's row, so that no two changes at once
make a circle, and a product's category does not go while the product is given it.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from channels.errors import InvalidInput, NotFound
from db import categories, distributors
from db.categories import CategoryRecord
from db.tenant import Connection
from handlers.runtime import Runtime


async def create_category(
    runtime: Runtime, distributor_id: UUID, *, name: str, parent_id: UUID | None, position: int
) -> CategoryRecord:
    """Stores a category. Raises InvalidInput for a parent that is not there, Conflict where the name is taken in it."""
    category_id = runtime.new_id()
    async with runtime.database.tenant(distributor_id) as connection:
        await distributors.lock_tenant(connection)
        await _check_parent(connection, category_id, parent_id)
        await categories.insert_category(
            connection, category_id, parent_id=parent_id, name=name, position=position, now=runtime.clock()
        )
        return await _read(connection, category_id)


async def patch_category(
    runtime: Runtime, distributor_id: UUID, category_id: UUID, changes: Mapping[str, Any]
) -> CategoryRecord:
    """The category with ``changes`` (name, parent_id, position).

    Raises NotFound, InvalidInput for a parent that is not there, is the category itself or lies below it, and Conflict
    where the name is taken in the parent.
    """
    async with runtime.database.tenant(distributor_id) as connection:
        await distributors.lock_tenant(connection)
        before = await _read(connection, category_id)
        fields = {"parent_id": before.parent_id, "name": before.name, "position": before.position, **changes}
        await _check_parent(connection, category_id, fields["parent_id"])
        await categories.update_category(connection, category_id, **fields, now=runtime.clock())
        return await _read(connection, category_id)


async def delete_category(runtime: Runtime, distributor_id: UUID, category_id: UUID) -> None:
    """Removes a category: those below it move to the top, its products stay. Raises NotFound, and Conflict where a
    name is taken at the top.
    """
    async with runtime.database.tenant(distributor_id) as connection:
        await distributors.lock_tenant(connection)
        if not await categories.delete_category(connection, category_id):
            raise NotFound


async def check_category(connection: Connection, category_id: UUID | None) -> None:
    """Raises InvalidInput for a category that is not there; the caller holds the tenant's row."""
    if category_id is not None and not await categories.list_ancestors(connection, category_id):
        raise InvalidInput("There is no such category.", field="category_id")


async def _check_parent(connection: Connection, category_id: UUID, parent_id: UUID | None) -> None:
    if parent_id is None:
        return
    line = await categories.list_ancestors(connection, parent_id)
    if not line:
        raise InvalidInput("There is no such category.", field="parent_id")
    if category_id in line:
        raise InvalidInput("A category cannot lie in itself or below itself.", field="parent_id")


async def _read(connection: Connection, category_id: UUID) -> CategoryRecord:
    category = await categories.read_category(connection, category_id)
    if category is None:
        raise NotFound
    return category
