"""``/v1/webhook-deliveries``: which event went to which endpoint, every attempt, and another try."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPMethod, HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, PlainSerializer, WithJsonSchema

from channels.errors import NotFound
from db import delivery_log
from db.rows import AttemptRecord, DeliveryRecord
from db.tenant import Connection
from gateway.api.operations import Call, Operation
from gateway.api.paging import BY_EVENT, make_page, read_position
from gateway.api.schemas import Answer, Moment, NoQuery, Page, PageQuery, SearchText
from handlers import endpoints
from handlers.webhooks.delivery import DeliveryStatus
from handlers.webhooks.events import public_event_id

_PATH = "/v1/webhook-deliveries"
_ONE = f"{_PATH}/{{id}}"
_TAG = "webhook deliveries"

EventId = Annotated[
    UUID,
    PlainSerializer(public_event_id, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^evt_[0-9a-f]{32}$"}),
]


class Attempt(Answer):
    """One post and what came of it."""

    number: int
    started_at: datetime
    duration_ms: int | None
    status_code: int | None
    error_class: str | None
    response_excerpt: str | None
    outcome: str = Field(description="success, failure, or unknown while it runs or if it was interrupted.")


class Delivery(Answer):
    """One event on its way to one endpoint."""

    id: UUID
    event_id: EventId
    endpoint_id: UUID
    event_type: str
    status: DeliveryStatus
    attempt_count: int
    next_attempt_at: datetime | None
    attempts: Sequence[Attempt]
    created_at: datetime
    updated_at: datetime


class DeliveryQuery(PageQuery):
    """Filters of the list."""

    endpoint_id: UUID | None = None
    status: DeliveryStatus | None = None
    event_type: SearchText | None = None
    since: Moment | None = Field(default=None, description="Of the event, inclusive.")
    until: Moment | None = Field(default=None, description="Of the event, exclusive.")


async def list_deliveries(call: Call[None, DeliveryQuery]) -> Page[Delivery]:
    event_id, delivery_id = read_position(call, BY_EVENT)
    query = call.query
    async with call.transaction() as connection:
        rows = await delivery_log.list_deliveries(
            connection,
            (event_id, delivery_id),
            endpoint_id=query.endpoint_id,
            status=query.status,
            event_type=query.event_type,
            since=query.since,
            until=query.until,
            limit=query.limit + 1,
        )
        items = await _with_attempts(connection, rows)
    return make_page(call, BY_EVENT, rows, items, Page[Delivery])


async def read_delivery(call: Call[None, NoQuery]) -> Delivery:
    return await load_delivery(call, call.id)


async def redeliver(call: Call[None, NoQuery]) -> Delivery:
    async with call.transaction() as connection:
        one = call.joined(connection)  # read before a worker can have it: what is answered is PENDING
        await endpoints.redeliver(one.runtime, call.distributor_id, call.id)
        return await load_delivery(one, call.id)


async def load_delivery(call: Call[Any, Any], delivery_id: UUID) -> Delivery:
    """A delivery as it is answered; raises NotFound."""
    async with call.transaction() as connection:
        record = await delivery_log.read_delivery(connection, delivery_id)
        if record is None:
            raise NotFound
        (delivery,) = await _with_attempts(connection, [record])
    return delivery


async def _with_attempts(connection: Connection, rows: Sequence[DeliveryRecord]) -> list[Delivery]:
    attempts = await delivery_log.list_attempts(connection, rows)
    groups: dict[tuple[UUID, UUID], list[AttemptRecord]] = {}
    for attempt in attempts:
        groups.setdefault((attempt.endpoint_id, attempt.event_id), []).append(attempt)
    return [_delivery(row, groups.get((row.endpoint_id, row.event_id), [])) for row in rows]


def _delivery(row: DeliveryRecord, attempts: Sequence[AttemptRecord]) -> Delivery:
    return Delivery(
        id=row.id,
        event_id=row.event_id,
        endpoint_id=row.endpoint_id,
        event_type=row.event_type,
        status=DeliveryStatus(row.status),
        attempt_count=row.attempt_count,
        next_attempt_at=row.next_attempt_at,
        attempts=[Attempt.model_validate(attempt) for attempt in attempts],
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path=_PATH,
        tag=_TAG,
        summary="List webhook deliveries",
        handle=list_deliveries,
        query=DeliveryQuery,
        response=Page[Delivery],
    ),
    Operation(
        method=HTTPMethod.GET,
        path=_ONE,
        tag=_TAG,
        summary="Read a webhook delivery with its attempts",
        handle=read_delivery,
        response=Delivery,
    ),
    Operation(
        method=HTTPMethod.POST,
        path=f"{_ONE}/redeliver",
        tag=_TAG,
        summary="Deliver again, with the whole retry schedule",
        description="Refused while an attempt runs, and where the endpoint is disabled or deleted.",
        handle=redeliver,
        response=Delivery,
        status=HTTPStatus.ACCEPTED,
        errors=(HTTPStatus.CONFLICT,),
    ),
)
