"""A tenant's templates: kept, and found for a conversation."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from db.conflicts import unique_or_conflict
from db.named_sql import load_statements
from db.rows import LAST_ID
from db.tenant import Connection

_SQL = load_statements("templates")
_TAKEN = "A template of this name, language and channel exists already."


@dataclass(frozen=True, slots=True)
class TemplateRecord:
    """A template."""

    id: UUID
    name: str
    language: str
    channel: str | None
    body: str
    variables: Sequence[str]
    provider_template_id: str | None
    approval: str
    active: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class FoundTemplate:
    """A conversation's channel and provider, and the template for it; all of the latter is None where there is none."""

    channel: str
    provider: str
    name: str | None
    language: str | None
    body: str | None
    provider_template_id: str | None
    approval: str | None


async def list_templates(
    connection: Connection, before: UUID, limit: int, *, template_id: UUID | None = None
) -> Sequence[TemplateRecord]:
    """Newest first; with an id that one alone."""
    rows = await connection.fetch(_SQL["list_templates"], before, template_id, limit)
    return [TemplateRecord(**row) for row in rows]


async def read_template(connection: Connection, template_id: UUID) -> TemplateRecord | None:
    rows = await list_templates(connection, LAST_ID, 1, template_id=template_id)
    return rows[0] if rows else None


async def insert_template(
    connection: Connection,
    template_id: UUID,
    *,
    name: str,
    language: str,
    channel: str | None,
    body: str,
    variables: Sequence[str],
    provider_template_id: str | None,
    approval: str,
    active: bool,
    now: datetime,
) -> None:
    """Stores a new template; raises Conflict where there is one of that name, language and channel."""
    arguments = (name, language, channel, body, list(variables), provider_template_id, approval, active, now)
    with unique_or_conflict(_TAKEN):
        await connection.execute(_SQL["insert_template"], template_id, *arguments)


async def update_template(
    connection: Connection,
    template_id: UUID,
    *,
    name: str | None,
    language: str | None,
    body: str | None,
    variables: Sequence[str] | None,
    provider_template_id: str | None,
    sets_provider_id: bool,
    approval: str | None,
    active: bool | None,
    now: datetime,
) -> bool:
    """Whether there is such a template. A None changes nothing, but for a provider's id that is set to it; raises
    Conflict where the name is taken.
    """
    named = None if variables is None else list(variables)
    arguments = (name, language, body, named, provider_template_id, sets_provider_id, approval, active, now)
    with unique_or_conflict(_TAKEN):
        return await connection.fetchval(_SQL["update_template"], template_id, *arguments) is not None


async def delete_template(connection: Connection, template_id: UUID) -> bool:
    """Whether there was such a template."""
    return await connection.fetchval(_SQL["delete_template"], template_id) is not None


async def find_template(
    connection: Connection, conversation_id: UUID, name: str, language: str | None
) -> FoundTemplate | None:
    """The template of that name that suits a conversation best; None where there is no such conversation."""
    row = await connection.fetchrow(_SQL["find_template"], conversation_id, name, language)
    return FoundTemplate(**row) if row else None
