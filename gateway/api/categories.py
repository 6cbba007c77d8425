"""``/v1/product-categories``: the tree of shelves that products stand on."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPMethod, HTTPStatus
from typing import Annotated
from uuid import UUID

from pydantic import Field

from channels.errors import NotFound
from db import categories as rows_of
from gateway.api.operations import Call, Operation
from gateway.api.paging import BY_ID, make_page, read_position
from gateway.api.schemas import Answer, Body, Line, NoQuery, Page, PageQuery, Patch, absent
from handlers import categories

_PATH = "/v1/product-categories"
_ONE = f"{_PATH}/{{id}}"
_TAG = "product categories"
Position = Annotated[
    int, Field(ge=0, le=2**31 - 1, strict=True, description="Its place among those of one parent.")
]


class Category(Answer):
    """A category, and where it lies."""

    id: UUID
    parent_id: UUID | None = Field(description="Null at the top.")
    name: str
    position: int
    path: Sequence[str] = Field(description="The names from the top to its own.")
    products: int = Field(description="Those directly in it.")
    created_at: datetime
    updated_at: datetime


class CategoryCreate(Body):
    """A category to be made."""

    name: Line = Field(description="Once in its parent, whatever its capitals.", examples=["Bebidas"])
    parent_id: UUID | None = None
    position: Position = 0


class CategoryPatch(Patch):
    """What may change of a category; `parent_id` null moves it to the top."""

    name: Line = absent()
    parent_id: UUID | None = None
    position: Position = absent()


async def list_categories(call: Call[None, PageQuery]) -> Page[Category]:
    (before,) = read_position(call, BY_ID)
    async with call.transaction() as connection:
        rows = await rows_of.list_categories(connection, before, call.query.limit + 1)
    return make_page(call, BY_ID, rows, map(Category.model_validate, rows), Page[Category])


async def create_category(call: Call[CategoryCreate, NoQuery]) -> Category:
    created = await categories.create_category(call.runtime, call.distributor_id, **call.body.model_dump())
    return Category.model_validate(created)


async def read_category(call: Call[None, NoQuery]) -> Category:
    async with call.transaction() as connection:
        category = await rows_of.read_category(connection, call.id)
    if category is None:
        raise NotFound
    return Category.model_validate(category)


async def update_category(call: Call[CategoryPatch, NoQuery]) -> Category:
    changed = await categories.patch_category(call.runtime, call.distributor_id, call.id, call.body.changes())
    return Category.model_validate(changed)


async def delete_category(call: Call[None, NoQuery]) -> None:
    await categories.delete_category(call.runtime, call.distributor_id, call.id)


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path=_PATH,
        tag=_TAG,
        summary="List product categories, flat; `parent_id` and `path` tell the tree",
        handle=list_categories,
        query=PageQuery,
        response=Page[Category],
    ),
    Operation(
        method=HTTPMethod.POST,
        path=_PATH,
        tag=_TAG,
        summary="Create a product category",
        handle=create_category,
        body=CategoryCreate,
        response=Category,
        status=HTTPStatus.CREATED,
    ),
    Operation(
        method=HTTPMethod.GET,
        path=_ONE,
        tag=_TAG,
        summary="Read a product category",
        handle=read_category,
        response=Category,
    ),
    Operation(
        method=HTTPMethod.PATCH,
        path=_ONE,
        tag=_TAG,
        summary="Rename or move a product category",
        description="422 where it would lie in itself or below itself.",
        handle=update_category,
        body=CategoryPatch,
        response=Category,
        errors=(HTTPStatus.CONFLICT,),
    ),
    Operation(
        method=HTTPMethod.DELETE,
        path=_ONE,
        tag=_TAG,
        summary="Delete a product category",
        description="Those below it move to the top, its products stay without a category.",
        handle=delete_category,
        status=HTTPStatus.NO_CONTENT,
        errors=(HTTPStatus.CONFLICT,),
    ),
)
