"""The labels by which a tenant sorts its customers, and who bears which."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from db.conflicts import unique_or_conflict
from db.named_sql import load_statements
from db.rows import LAST_ID
from db.tenant import Connection

_SQL = load_statements("labels")
_NAME_TAKEN = "A label of this name exists already."


@dataclass(frozen=True, slots=True)
class LabelRecord:
    """A label, and how many customers bear it."""

    id: UUID
    name: str
    color: str
    description: str
    customers: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class AssignedLabel:
    """A label that a customer bears."""

    customer_id: UUID
    id: UUID
    name: str
    color: str


async def list_labels(
    connection: Connection, before: UUID, limit: int, *, label_id: UUID | None = None
) -> Sequence[LabelRecord]:
    """Newest first; with an id that one alone."""
    rows = await connection.fetch(_SQL["list_labels"], before, label_id, limit)
    return [LabelRecord(**row) for row in rows]


async def read_label(connection: Connection, label_id: UUID) -> LabelRecord | None:
    rows = await list_labels(connection, LAST_ID, 1, label_id=label_id)
    return rows[0] if rows else None


async def insert_label(
    connection: Connection, label_id: UUID, *, name: str, color: str, description: str, now: datetime
) -> None:
    """Stores a new label; raises Conflict where the name is taken."""
    with unique_or_conflict(_NAME_TAKEN):
        await connection.execute(_SQL["insert_label"], label_id, name, color, description, now)


async def update_label(
    connection: Connection,
    label_id: UUID,
    *,
    name: str | None,
    color: str | None,
    description: str | None,
    now: datetime,
) -> bool:
    """Whether there is such a label. A None given changes nothing; raises Conflict where the name is taken."""
    with unique_or_conflict(_NAME_TAKEN):
        changed = await connection.fetchval(_SQL["update_label"], label_id, name, color, description, now)
    return changed is not None


async def delete_label(connection: Connection, label_id: UUID) -> bool:
    """Whether there was such a label; no customer bears it any more."""
    return await connection.fetchval(_SQL["delete_label"], label_id) is not None


async def list_labels_of(connection: Connection, customer_ids: Sequence[UUID]) -> Sequence[AssignedLabel]:
    """The labels of these customers, by name."""
    return [
        AssignedLabel(**row) for row in await connection.fetch(_SQL["list_labels_of"], list(customer_ids))
    ]


async def assign_label(connection: Connection, customer_id: UUID, label_id: UUID, now: datetime) -> bool:
    """Whether there are such a customer and such a label; once assigned, it stays so."""
    return bool(await connection.fetchval(_SQL["assign_label"], customer_id, label_id, now))


async def unassign_label(connection: Connection, customer_id: UUID, label_id: UUID) -> bool:
    """Whether the customer bore the label."""
    return await connection.fetchval(_SQL["unassign_label"], customer_id, label_id) is not None
