"""Templates: texts with ``{{names}}`` that are filled in, and that WhatsApp approves beforehand."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from channels.base import Channel, OutboundTemplate
from channels.errors import InvalidInput, NotFound
from db import templates
from db.templates import FoundTemplate, TemplateRecord
from db.tenant import Connection
from handlers.runtime import Runtime

_VARIABLE = re.compile(r"\{\{\s*([A-Za-z0-9_]{1,40})\s*\}\}")
# Providers that know an approved text by an id of theirs (Twilio: ContentSid), not by its name and language.
_KNOWN_BY_ID = frozenset({"twilio"})


class Approval(StrEnum):
    """How far the provider's approval of a text is."""

    NONE = "NONE"
    PENDING = "PENDING"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True)
class FilledTemplate:
    """What is sent: the text as people read it, and on WhatsApp the template that the provider fills in itself."""

    text: str
    template: OutboundTemplate | None


def find_variables(body: str) -> tuple[str, ...]:
    """The names in a body, each once, in their order. Raises InvalidInput for braces that hold no name."""
    rest = _VARIABLE.sub("", body)
    if "{{" in rest or "}}" in rest:
        raise InvalidInput(
            "Variables are {{name}}: letters, digits and underscores, 40 at most.", field="body"
        )
    return tuple(dict.fromkeys(_VARIABLE.findall(body)))


async def create_template(
    runtime: Runtime,
    distributor_id: UUID,
    *,
    name: str,
    language: str,
    channel: str | None,
    body: str,
    provider_template_id: str | None,
    approval: str,
    active: bool,
) -> TemplateRecord:
    """Stores a template; raises InvalidInput, and Conflict where name, language and channel are taken."""
    template_id = runtime.new_id()
    async with runtime.database.tenant(distributor_id) as connection:
        await templates.insert_template(
            connection,
            template_id,
            name=name,
            language=language,
            channel=channel,
            body=body,
            variables=find_variables(body),
            provider_template_id=provider_template_id,
            approval=approval,
            active=active,
            now=runtime.clock(),
        )
        return await _read(connection, template_id)


async def patch_template(
    runtime: Runtime, distributor_id: UUID, template_id: UUID, **changes: Any
) -> TemplateRecord:
    """Changes what is given: name, language, body, provider_template_id (None too), approval, active. Another body has
    no approval unless one is given. Raises NotFound, InvalidInput, Conflict.
    """
    body = changes.get("body")
    async with runtime.database.tenant(distributor_id) as connection:
        await templates.update_template(
            connection,
            template_id,
            name=changes.get("name"),
            language=changes.get("language"),
            body=body,
            variables=None if body is None else find_variables(body),
            provider_template_id=changes.get("provider_template_id"),
            sets_provider_id="provider_template_id" in changes,
            approval=changes.get("approval"),
            active=changes.get("active"),
            now=runtime.clock(),
        )
        return await _read(connection, template_id)


async def delete_template(runtime: Runtime, distributor_id: UUID, template_id: UUID) -> None:
    """Removes a template; what was sent of it stays. Raises NotFound."""
    async with runtime.database.tenant(distributor_id) as connection:
        if not await templates.delete_template(connection, template_id):
            raise NotFound


async def _read(connection: Connection, template_id: UUID) -> TemplateRecord:
    record = await templates.read_template(connection, template_id)
    if record is None:
        raise NotFound
    return record


async def fill_template(
    runtime: Runtime,
    distributor_id: UUID,
    conversation_id: UUID,
    *,
    name: str,
    language: str | None,
    variables: Mapping[str, str],
) -> FilledTemplate:
    """A template filled in for a conversation: in the language given, else the conversation's, else the tenant's. Raises
    NotFound for the conversation, and InvalidInput where there is no such template, a variable is missing or unknown, or
    WhatsApp would not take it.
    """
    async with runtime.database.tenant(distributor_id) as connection:
        found = await templates.find_template(connection, conversation_id, name, language)
    if found is None:
        raise NotFound
    if found.body is None:
        problem = "There is no active template of this name, in this language, for this channel."
        raise InvalidInput(problem, field="template.name", code="template_not_found")
    ordered = _check_variables(found.body, variables)
    text = _VARIABLE.sub(lambda place: ordered[place[1]], found.body)
    return FilledTemplate(text, _approved(found, ordered) if found.channel == Channel.WHATSAPP else None)


def _check_variables(body: str, given: Mapping[str, str]) -> dict[str, str]:
    """The values in the body's order."""
    wanted = find_variables(body)
    missing = [name for name in wanted if name not in given]
    if missing:
        problem = f"The template needs {', '.join(missing)}."
        raise InvalidInput(problem, field="template.variables", code="variable_missing")
    if len(given) > len(wanted):
        problem = f"The template has only: {', '.join(wanted) or 'no variables'}."
        raise InvalidInput(problem, field="template.variables", code="variable_unknown")
    return {name: given[name] for name in wanted}


def _approved(found: FoundTemplate, variables: Mapping[str, str]) -> OutboundTemplate:
    if found.approval != Approval.APPROVED:
        problem = "WhatsApp takes a template only once it is APPROVED."
        raise InvalidInput(problem, field="template.name", code="template_not_approved")
    if found.provider in _KNOWN_BY_ID and not found.provider_template_id:
        problem = "The provider knows its templates by an id: set provider_template_id."
        raise InvalidInput(problem, field="template.name", code="template_without_provider_id")
    assert found.name is not None
    assert found.language is not None
    return OutboundTemplate(found.name, found.language, found.provider_template_id, variables)
