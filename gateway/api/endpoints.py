"""``/v1/webhook-endpoints``: where an integrator wants events posted."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from http import HTTPMethod, HTTPStatus
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BeforeValidator, Field

from channels.errors import NotFound
from db import endpoints as rows_of
from db.rows import EndpointRecord
from gateway.api.deliveries import Delivery, load_delivery
from gateway.api.operations import Call, Operation
from gateway.api.paging import BY_ID, make_page, read_position
from gateway.api.schemas import Answer, Body, JsonObject, Line, NoQuery, Page, PageQuery, Patch, absent
from handlers import endpoints
from handlers.endpoints import CheckedUrl, EndpointDraft

_PATH = "/v1/webhook-endpoints"
_ONE = f"{_PATH}/{{id}}"
_TAG = "webhook endpoints"


def _not_enforced(value: Any) -> Any:
    if value is not None:
        raise ValueError("a rate limit is not in this release; leave it null")
    return value


Ordering = Literal["none", "conversation"]
EventTypes = Annotated[list[Line], Field(min_length=1, max_length=100)]
Headers = Annotated[
    dict[str, str], Field(description="Added to every delivery; write-only.", max_length=20, repr=False)
]
RateLimit = Annotated[
    None,
    Field(description="Not in this release: anything but null is 422."),
    BeforeValidator(_not_enforced),
]
_FILTER = (
    'Over the event\'s body, such as `{"data.total_amount": {"$gte": 100}}`; null or {} takes every event.'
)
_ORDERING = (
    "conversation: the events of one conversation one after the other, a failed one holds back the next."
)


class Endpoint(Answer):
    """A webhook endpoint, without its secret and the values of its headers."""

    id: UUID
    name: str
    url: str
    event_types: Sequence[str]
    filter: Mapping[str, Any] | None
    header_names: Sequence[str]
    ordering: str
    rate_limit_per_second: None = None
    enabled: bool
    disabled_reason: str | None
    created_at: datetime
    updated_at: datetime


class EndpointWithSecret(Endpoint):
    """An endpoint with its new secret, shown this once."""

    secret: str = Field(description="Standard Webhooks' `whsec_…`; never shown again.")


class EndpointCreate(Body):
    """A webhook endpoint to be made."""

    name: Line = Field(examples=["erp"])
    url: str = Field(max_length=2048, examples=["https://erp.example.com/hooks/waystation"])
    event_types: EventTypes = Field(description="Types, `family.*` or `*`.", examples=[["order.*"]])
    filter: JsonObject | None = Field(default=None, description=_FILTER)
    headers: Headers = Field(default_factory=dict)
    ordering: Ordering = Field(default="none", description=_ORDERING)
    rate_limit_per_second: RateLimit = None


class EndpointPatch(Patch):
    """What may change of an endpoint; custom headers are replaced as a whole."""

    name: Line = absent()
    url: str = absent(max_length=2048)
    event_types: EventTypes = absent()
    filter: JsonObject | None = Field(default=None, description=_FILTER)
    headers: Headers = absent()
    ordering: Ordering = absent(description=_ORDERING)
    rate_limit_per_second: RateLimit = None


async def check_url(call: Call[EndpointCreate | EndpointPatch, NoQuery]) -> CheckedUrl | None:
    """The checked URL of a body, if it names one."""
    if "url" not in call.body.model_fields_set:
        return None
    check = partial(call.egress.check_url, party=str(call.distributor_id))
    return await endpoints.check_endpoint_url(check, call.body.url)


async def list_endpoints(call: Call[None, PageQuery]) -> Page[Endpoint]:
    (before,) = read_position(call, BY_ID)
    async with call.transaction() as connection:
        rows = await rows_of.list_endpoints(connection, before, call.query.limit + 1)
    return make_page(call, BY_ID, rows, (_endpoint(call, row) for row in rows), Page[Endpoint])


async def create_endpoint(call: Call[EndpointCreate, NoQuery]) -> EndpointWithSecret:
    body = call.body
    draft = EndpointDraft(
        body.name, call.prepared, body.event_types, body.filter, body.headers, body.ordering
    )
    return _with_secret(call, await endpoints.create_endpoint(call.runtime, call.distributor_id, draft))


async def read_endpoint(call: Call[None, NoQuery]) -> Endpoint:
    async with call.transaction() as connection:
        record = await rows_of.read_endpoint(connection, call.id)
    if record is None:
        raise NotFound
    return _endpoint(call, record)


async def update_endpoint(call: Call[EndpointPatch, NoQuery]) -> Endpoint:
    changes = call.body.changes()
    changes.pop("rate_limit_per_second", None)
    if call.prepared is not None:
        changes["url"] = call.prepared
    return _endpoint(
        call, await endpoints.patch_endpoint(call.runtime, call.distributor_id, call.id, changes)
    )


async def delete_endpoint(call: Call[None, NoQuery]) -> None:
    await endpoints.delete_endpoint(call.runtime, call.distributor_id, call.id)


async def test_endpoint(call: Call[None, NoQuery]) -> Delivery:
    async with call.transaction() as connection:
        one = call.joined(connection)  # read before a worker can have it
        return await load_delivery(one, await endpoints.send_test(one.runtime, call.distributor_id, call.id))


async def rotate_endpoint_secret(call: Call[None, NoQuery]) -> EndpointWithSecret:
    return _with_secret(call, await endpoints.rotate_secret(call.runtime, call.distributor_id, call.id))


async def enable_endpoint(call: Call[None, NoQuery]) -> Endpoint:
    return _endpoint(call, await endpoints.enable_endpoint(call.runtime, call.distributor_id, call.id))


async def disable_endpoint(call: Call[None, NoQuery]) -> Endpoint:
    return _endpoint(call, await endpoints.disable_endpoint(call.runtime, call.distributor_id, call.id))


def _endpoint(call: Call[Any, Any], record: EndpointRecord) -> Endpoint:
    return Endpoint(
        id=record.id,
        name=record.name,
        url=record.url,
        event_types=record.event_types,
        filter=record.filter,
        header_names=endpoints.header_names(call.runtime, call.distributor_id, record),
        ordering=record.ordering,
        enabled=record.enabled,
        disabled_reason=record.disabled_reason,
        created_at=record.created_at,
        updated_at=record.updated_at,
    )


def _with_secret(call: Call[Any, Any], made: endpoints.EndpointWithSecret) -> EndpointWithSecret:
    return EndpointWithSecret(**_endpoint(call, made.record).model_dump(), secret=made.secret)


def _action(name: str, summary: str, **more: Any) -> Operation:
    return Operation(method=HTTPMethod.POST, path=f"{_ONE}/{name}", tag=_TAG, summary=summary, **more)


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path=_PATH,
        tag=_TAG,
        summary="List webhook endpoints",
        handle=list_endpoints,
        query=PageQuery,
        response=Page[Endpoint],
    ),
    Operation(
        method=HTTPMethod.POST,
        path=_PATH,
        tag=_TAG,
        summary="Create a webhook endpoint; its secret is shown once",
        handle=create_endpoint,
        prepare=check_url,
        body=EndpointCreate,
        response=EndpointWithSecret,
        status=HTTPStatus.CREATED,
    ),
    Operation(
        method=HTTPMethod.GET,
        path=_ONE,
        tag=_TAG,
        summary="Read a webhook endpoint",
        handle=read_endpoint,
        response=Endpoint,
    ),
    Operation(
        method=HTTPMethod.PATCH,
        path=_ONE,
        tag=_TAG,
        summary="Change a webhook endpoint",
        handle=update_endpoint,
        prepare=check_url,
        body=EndpointPatch,
        response=Endpoint,
    ),
    Operation(
        method=HTTPMethod.DELETE,
        path=_ONE,
        tag=_TAG,
        summary="Delete a webhook endpoint; what waits for it is cancelled",
        handle=delete_endpoint,
        status=HTTPStatus.NO_CONTENT,
    ),
    _action(
        "test",
        "Send a test event to the endpoint, whatever it subscribes to",
        handle=test_endpoint,
        response=Delivery,
        status=HTTPStatus.ACCEPTED,
        errors=(HTTPStatus.CONFLICT,),
    ),
    _action(
        "rotate-secret",
        "Make a new secret; the old one still signs for 24 hours",
        handle=rotate_endpoint_secret,
        response=EndpointWithSecret,
    ),
    _action(
        "enable",
        "Enable the endpoint; it gets events from now on",
        handle=enable_endpoint,
        response=Endpoint,
    ),
    _action(
        "disable",
        "Disable the endpoint; what waits for it is cancelled",
        handle=disable_endpoint,
        response=Endpoint,
    ),
)
