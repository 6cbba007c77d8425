"""``/v1/message-templates``: texts with variables that are used again."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPMethod, HTTPStatus
from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from channels.base import Channel
from channels.errors import NotFound
from db import templates as rows_of
from gateway.api.operations import Call, Operation
from gateway.api.paging import BY_ID, make_page, read_position
from gateway.api.schemas import (
    Answer,
    Body,
    Line,
    NoQuery,
    Page,
    PageQuery,
    Patch,
    TemplateLanguage,
    absent,
)
from handlers import templates
from handlers.templates import Approval

_PATH = "/v1/message-templates"
_ONE = f"{_PATH}/{{id}}"
_TAG = "message-templates"
_BODY = "The text; `{{name}}` is filled in when it is sent. A changed body has no approval unless one is given with it."
_PROVIDER_ID = (
    "The provider's id of the approved text (Twilio: its ContentSid); Meta goes by name and language."
)
TemplateBody = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=4_096),
    Field(description=_BODY, examples=["Hola {{nombre}}, su pedido sale mañana."]),
]


class Template(Answer):
    """A template."""

    id: UUID
    name: str
    language: TemplateLanguage
    channel: Channel | None = Field(description="Null: for every channel.")
    body: str
    variables: Sequence[str] = Field(description="The names in the body, in their order.")
    provider_template_id: str | None
    approval: Approval
    active: bool
    created_at: datetime
    updated_at: datetime


class TemplateCreate(Body):
    """A template to be made."""

    name: Line = Field(description="As the provider knows it.", examples=["pedido_en_camino"])
    language: TemplateLanguage
    channel: Channel | None = Field(default=None, description="Null: for every channel.")
    body: TemplateBody
    provider_template_id: Line | None = Field(default=None, description=_PROVIDER_ID)
    approval: Approval = Field(
        default=Approval.NONE, description="What the provider said of it; WhatsApp takes only APPROVED ones."
    )
    active: bool = True


class TemplatePatch(Patch):
    """What may change of a template."""

    name: Line = absent()
    language: TemplateLanguage = absent()
    body: TemplateBody = absent()
    provider_template_id: Line | None = Field(default=None, description=_PROVIDER_ID)
    approval: Approval = absent()
    active: bool = absent(description="What is not active is not sent.")


async def list_templates(call: Call[None, PageQuery]) -> Page[Template]:
    (before,) = read_position(call, BY_ID)
    async with call.transaction() as connection:
        rows = await rows_of.list_templates(connection, before, call.query.limit + 1)
    return make_page(call, BY_ID, rows, map(Template.model_validate, rows), Page[Template])


async def create_template(call: Call[TemplateCreate, NoQuery]) -> Template:
    created = await templates.create_template(call.runtime, call.distributor_id, **call.body.model_dump())
    return Template.model_validate(created)


async def read_template(call: Call[None, NoQuery]) -> Template:
    async with call.transaction() as connection:
        record = await rows_of.read_template(connection, call.id)
    if record is None:
        raise NotFound
    return Template.model_validate(record)


async def update_template(call: Call[TemplatePatch, NoQuery]) -> Template:
    changed = await templates.patch_template(
        call.runtime, call.distributor_id, call.id, **call.body.changes()
    )
    return Template.model_validate(changed)


async def delete_template(call: Call[None, NoQuery]) -> None:
    await templates.delete_template(call.runtime, call.distributor_id, call.id)


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path=_PATH,
        tag=_TAG,
        summary="List message templates",
        handle=list_templates,
        query=PageQuery,
        response=Page[Template],
    ),
    Operation(
        method=HTTPMethod.POST,
        path=_PATH,
        tag=_TAG,
        summary="Create a message template",
        description="409 where there is one of this name, language and channel.",
        handle=create_template,
        body=TemplateCreate,
        response=Template,
        status=HTTPStatus.CREATED,
    ),
    Operation(
        method=HTTPMethod.GET,
        path=_ONE,
        tag=_TAG,
        summary="Read a message template",
        handle=read_template,
        response=Template,
    ),
    Operation(
        method=HTTPMethod.PATCH,
        path=_ONE,
        tag=_TAG,
        summary="Change a message template",
        handle=update_template,
        body=TemplatePatch,
        response=Template,
        errors=(HTTPStatus.CONFLICT,),
    ),
    Operation(
        method=HTTPMethod.DELETE,
        path=_ONE,
        tag=_TAG,
        summary="Delete a message template; what was sent of it stays",
        handle=delete_template,
        status=HTTPStatus.NO_CONTENT,
    ),
)
