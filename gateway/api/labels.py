"""``/v1/labels``: the words by which a tenant sorts its customers."""

from datetime import datetime
from http import HTTPMethod, HTTPStatus
from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from channels.errors import NotFound
from db import labels as rows_of
from gateway.api.operations import Call, Operation
from gateway.api.paging import BY_ID, make_page, read_position
from gateway.api.schemas import Answer, Body, Line, NoQuery, Page, PageQuery, Patch, absent
from handlers import labels

_PATH = "/v1/labels"
_ONE = f"{_PATH}/{{id}}"
_TAG = "labels"
_GREY = "#6b7280"
Color = Annotated[
    str,
    StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$", to_lower=True),
    Field(description="Red, green and blue in hexadecimal.", examples=["#1d4ed8"]),
]
Description = Annotated[str, StringConstraints(strip_whitespace=True, max_length=1_000)]


class Label(Answer):
    """A label, and how many customers bear it."""

    id: UUID
    name: str
    color: str
    description: str
    customers: int = Field(description="How many customers bear it.")
    created_at: datetime
    updated_at: datetime


class LabelCreate(Body):
    """A label to be made."""

    name: Line = Field(description="Once per tenant, whatever its capitals.", examples=["Restaurant"])
    color: Color = _GREY
    description: Description = ""


class LabelPatch(Patch):
    """What may change of a label."""

    name: Line = absent()
    color: Color = absent()
    description: Description = absent()


async def list_labels(call: Call[None, PageQuery]) -> Page[Label]:
    (before,) = read_position(call, BY_ID)
    async with call.transaction() as connection:
        rows = await rows_of.list_labels(connection, before, call.query.limit + 1)
    return make_page(call, BY_ID, rows, map(Label.model_validate, rows), Page[Label])


async def create_label(call: Call[LabelCreate, NoQuery]) -> Label:
    created = await labels.create_label(call.runtime, call.distributor_id, **call.body.model_dump())
    return Label.model_validate(created)


async def read_label(call: Call[None, NoQuery]) -> Label:
    async with call.transaction() as connection:
        label = await rows_of.read_label(connection, call.id)
    if label is None:
        raise NotFound
    return Label.model_validate(label)


async def update_label(call: Call[LabelPatch, NoQuery]) -> Label:
    changed = await labels.patch_label(call.runtime, call.distributor_id, call.id, **call.body.changes())
    return Label.model_validate(changed)


async def delete_label(call: Call[None, NoQuery]) -> None:
    await labels.delete_label(call.runtime, call.distributor_id, call.id)


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path=_PATH,
        tag=_TAG,
        summary="List labels",
        handle=list_labels,
        query=PageQuery,
        response=Page[Label],
    ),
    Operation(
        method=HTTPMethod.POST,
        path=_PATH,
        tag=_TAG,
        summary="Create a label",
        handle=create_label,
        body=LabelCreate,
        response=Label,
        status=HTTPStatus.CREATED,
    ),
    Operation(
        method=HTTPMethod.GET,
        path=_ONE,
        tag=_TAG,
        summary="Read a label",
        handle=read_label,
        response=Label,
    ),
    Operation(
        method=HTTPMethod.PATCH,
        path=_ONE,
        tag=_TAG,
        summary="Change a label",
        handle=update_label,
        body=LabelPatch,
        response=Label,
        errors=(HTTPStatus.CONFLICT,),
    ),
    Operation(
        method=HTTPMethod.DELETE,
        path=_ONE,
        tag=_TAG,
        summary="Delete a label; no customer bears it any more",
        handle=delete_label,
        status=HTTPStatus.NO_CONTENT,
    ),
)
