"""The labels of a tenant: made, renamed, removed."""

from uuid import UUID

from channels.errors import NotFound
from db import labels
from db.labels import LabelRecord
from db.tenant import Connection
from handlers.runtime import Runtime


async def create_label(
    runtime: Runtime, distributor_id: UUID, *, name: str, color: str, description: str
) -> LabelRecord:
    """Stores a label; raises Conflict where the name is taken, whatever its capitals."""
    label_id = runtime.new_id()
    async with runtime.database.tenant(distributor_id) as connection:
        await labels.insert_label(
            connection, label_id, name=name, color=color, description=description, now=runtime.clock()
        )
        return await _read(connection, label_id)


async def patch_label(
    runtime: Runtime,
    distributor_id: UUID,
    label_id: UUID,
    *,
    name: str | None = None,
    color: str | None = None,
    description: str | None = None,
) -> LabelRecord:
    """Changes what is given; raises NotFound, and Conflict where the name is taken."""
    async with runtime.database.tenant(distributor_id) as connection:
        await labels.update_label(
            connection, label_id, name=name, color=color, description=description, now=runtime.clock()
        )
        return await _read(connection, label_id)


async def delete_label(runtime: Runtime, distributor_id: UUID, label_id: UUID) -> None:
    """Removes a label from the tenant and from all who bear it; raises NotFound."""
    async with runtime.database.tenant(distributor_id) as connection:
        if not await labels.delete_label(connection, label_id):
            raise NotFound


async def _read(connection: Connection, label_id: UUID) -> LabelRecord:
    label = await labels.read_label(connection, label_id)
    if label is None:
        raise NotFound
    return label
