"""``/v1/products``: the catalogue that customers' words are matched with."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPMethod, HTTPStatus
from uuid import UUID

from pydantic import Field

from channels.errors import NotFound
from db import products
from gateway.api.operations import JSON, Call, Operation
from gateway.api.paging import BY_ID, make_page, read_position
from gateway.api.product_rows import (
    CSV,
    IMPORT_CAP,
    Aliases,
    PackSize,
    ProductFields,
    ProductImport,
    ReadRows,
    read_import,
)
from gateway.api.schemas import (
    Answer,
    Line,
    Money,
    NoQuery,
    Page,
    PageQuery,
    Patch,
    Quantity,
    SearchText,
    absent,
)
from handlers import catalogue
from handlers.webhooks.payloads import Number

_PATH = "/v1/products"
_ONE = f"{_PATH}/{{id}}"
_TAG = "products"


class Product(Answer):
    """A product in its sale unit."""

    id: UUID
    sku: str
    name: str
    unit: str
    unit_price: Number | None
    brand: str | None
    aliases: Sequence[str]
    pack_size: int | None
    max_quantity: Number | None
    active: bool
    category_id: UUID | None
    created_at: datetime
    updated_at: datetime


class ProductCreate(ProductFields):
    """A product to be made; an import leaves categories as they are."""

    category_id: UUID | None = None


class ProductPatch(Patch):
    """What may change of a product."""

    sku: Line = absent()
    name: Line = absent()
    unit: Line = absent()
    unit_price: Money | None = None
    brand: Line | None = None
    aliases: Aliases = absent()
    pack_size: PackSize | None = None
    max_quantity: Quantity | None = None
    active: bool = absent()
    category_id: UUID | None = None


class ProductQuery(PageQuery):
    """Filters of the list."""

    q: SearchText | None = Field(default=None, description="A part of sku, name, brand or an alias.")
    active: bool | None = None
    category_id: UUID | None = Field(default=None, description="In the category, or in one below it.")


class ImportRowError(Answer):
    """Why a row was left out."""

    row: int = Field(description="Counted from 1; the header of a CSV file is not counted.")
    sku: str | None
    message: str


class ImportResult(Answer):
    """What an import did."""

    created: int
    updated: int
    errors: Sequence[ImportRowError]
    ignored_fields: Sequence[str] = Field(description="Names in the data that no product has.")


async def list_products(call: Call[None, ProductQuery]) -> Page[Product]:
    (before,) = read_position(call, BY_ID)
    query = call.query
    async with call.transaction() as connection:
        rows = await products.list_products(
            connection,
            before,
            active=query.active,
            text=query.q,
            category_id=query.category_id,
            limit=query.limit + 1,
        )
    return make_page(call, BY_ID, rows, map(Product.model_validate, rows), Page[Product])


async def create_product(call: Call[ProductCreate, NoQuery]) -> Product:
    created = await catalogue.create_product(call.runtime, call.distributor_id, call.body.model_dump())
    return Product.model_validate(created)


async def read_product(call: Call[None, NoQuery]) -> Product:
    async with call.transaction() as connection:
        product = await products.read_product(connection, call.id)
    if product is None:
        raise NotFound
    return Product.model_validate(product)


async def update_product(call: Call[ProductPatch, NoQuery]) -> Product:
    changed = await catalogue.patch_product(call.runtime, call.distributor_id, call.id, call.body.changes())
    return Product.model_validate(changed)


async def delete_product(call: Call[None, NoQuery]) -> None:
    await catalogue.delete_product(call.runtime, call.distributor_id, call.id)


async def import_products(call: Call[ReadRows, NoQuery]) -> ImportResult:
    read = call.body
    result = await catalogue.import_products(call.runtime, call.distributor_id, read.rows)
    errors = sorted((*read.errors, *result.errors), key=lambda error: error.row)
    return ImportResult(
        created=result.created,
        updated=result.updated,
        errors=[ImportRowError.model_validate(error) for error in errors],
        ignored_fields=read.ignored_fields,
    )


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path=_PATH,
        tag=_TAG,
        summary="List products",
        handle=list_products,
        query=ProductQuery,
        response=Page[Product],
    ),
    Operation(
        method=HTTPMethod.POST,
        path=_PATH,
        tag=_TAG,
        summary="Create a product",
        handle=create_product,
        body=ProductCreate,
        response=Product,
        status=HTTPStatus.CREATED,
        errors=(HTTPStatus.CONFLICT,),
    ),
    Operation(
        method=HTTPMethod.POST,
        path=f"{_PATH}/import",
        tag=_TAG,
        summary="Import products, by sku",
        description=(
            "JSON, or CSV with a header row (separated by commas, semicolons or tabs; aliases by `|`). A sku"
            " that exists is updated: fields that the data does not name stay, empty CSV cells empty the"
            " field. Rows with errors are left out and told; the others are stored."
        ),
        handle=import_products,
        body=ProductImport,
        read_body=read_import,
        body_types=(JSON, CSV),
        body_cap=IMPORT_CAP,
        response=ImportResult,
    ),
    Operation(
        method=HTTPMethod.GET,
        path=_ONE,
        tag=_TAG,
        summary="Read a product",
        handle=read_product,
        response=Product,
    ),
    Operation(
        method=HTTPMethod.PATCH,
        path=_ONE,
        tag=_TAG,
        summary="Change a product",
        handle=update_product,
        body=ProductPatch,
        response=Product,
        errors=(HTTPStatus.CONFLICT,),
    ),
    Operation(
        method=HTTPMethod.DELETE,
        path=_ONE,
        tag=_TAG,
        summary="Delete a product; orders keep its name and price",
        handle=delete_product,
        status=HTTPStatus.NO_CONTENT,
    ),
)
