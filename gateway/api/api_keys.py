"""``/v1/api-keys``: keys of this API."""

from datetime import datetime
from http import HTTPMethod, HTTPStatus
from uuid import UUID

from pydantic import Field

from db import api_keys
from gateway.api.operations import Call, Operation
from gateway.api.paging import BY_ID, make_page, read_position
from gateway.api.schemas import Answer, Body, Line, NoQuery, Page, PageQuery
from handlers import tenants

_PATH = "/v1/api-keys"
_TAG = "api keys"


class ApiKey(Answer):
    """A key, without the key itself."""

    id: UUID
    name: str
    prefix: str = Field(description="How the key begins, to tell keys apart.", examples=["wst_Qm3fX9aB"])
    created_at: datetime
    revoked_at: datetime | None


class NewApiKey(ApiKey):
    """A fresh key, shown this once."""

    api_key: str = Field(description="The key; it is stored nowhere and never shown again.")


class ApiKeyCreate(Body):
    """A key to be made."""

    name: Line = Field(description="What the key is for.", examples=["warehouse system"])


async def list_api_keys(call: Call[None, PageQuery]) -> Page[ApiKey]:
    (before,) = read_position(call, BY_ID)
    async with call.transaction() as connection:
        rows = await api_keys.list_keys(connection, before, call.query.limit + 1)
    return make_page(call, BY_ID, rows, map(ApiKey.model_validate, rows), Page[ApiKey])


async def create_api_key(call: Call[ApiKeyCreate, NoQuery]) -> NewApiKey:
    created = await tenants.create_api_key(call.runtime, call.distributor_id, call.body.name)
    return NewApiKey(**ApiKey.model_validate(created.row).model_dump(), api_key=created.api_key)


async def revoke_api_key(call: Call[None, NoQuery]) -> None:
    await tenants.revoke_api_key(call.runtime, call.owner, call.id)


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path=_PATH,
        tag=_TAG,
        summary="List API keys, also revoked ones",
        handle=list_api_keys,
        query=PageQuery,
        response=Page[ApiKey],
    ),
    Operation(
        method=HTTPMethod.POST,
        path=_PATH,
        tag=_TAG,
        summary="Create an API key; it is shown once",
        handle=create_api_key,
        body=ApiKeyCreate,
        response=NewApiKey,
        status=HTTPStatus.CREATED,
    ),
    Operation(
        method=HTTPMethod.DELETE,
        path=f"{_PATH}/{{id}}",
        tag=_TAG,
        summary="Revoke an API key at once",
        description="The key that this request is made with cannot be revoked.",
        handle=revoke_api_key,
        status=HTTPStatus.NO_CONTENT,
        errors=(HTTPStatus.CONFLICT,),
    ),
)
