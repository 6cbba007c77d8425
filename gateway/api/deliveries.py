"""``/v1/webhook-deliveries``: which event went to which endpoint, every attempt, and another try."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from http import HTTPMethod, HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, PlainSerializer, WithJsonSchema

from channels.errors import NotFound
from db import delivery_log
from db.rows import DeliveryRecord
from db.tenant import Connection
from gateway.api.attempts import (
    SHORT_EXCERPT,
    WHOLE_EXCERPT,
    Attempt,
    AttemptWithEvidence,
    full_attempt,
    short_attempt,
)
from gateway.api.operations import Call, Operation
from gateway.api.paging import BY_EVENT, make_page, read_position
from gateway.api.schemas import Answer, Moment, NoQuery, Page, PageQuery, SearchText
from handlers.webhooks.delivery import DeliveryStatus
from handlers.webhooks.events import public_event_id
from handlers.webhooks.redelivery import redeliver as redeliver_once

_PATH = "/v1/webhook-deliveries"
_ONE = f"{_PATH}/{{id}}"
_TAG = "webhook deliveries"
_ATTEMPTS_LISTED, _ATTEMPTS_READ = 20, 100  # of a delivery; replays and probes may add without end

EventId = Annotated[
    UUID,
    PlainSerializer(public_event_id, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^evt_[0-9a-f]{32}$"}),
]


class WaitingFor(StrEnum):
    """What a delivery without a next attempt waits for."""

    ORDER = "order"  # an older one of its conversation
    PULL = "pull"


class Delivery(Answer):
    """One event on its way to one endpoint. Attempts are the newest 20, without evidence."""

    id: UUID
    event_id: EventId
    endpoint_id: UUID
    event_type: str
    status: DeliveryStatus
    trigger: str = Field(description="Why it is, or last was, on its way: event, test, manual or replay.")
    replay_id: UUID | None = Field(description="The replay that last sent it again.")
    sequence: int | None = Field(description="The event's place in its conversation, from 1.")
    attempt_count: int
    next_attempt_at: datetime | None
    waiting_for: WaitingFor | None = Field(
        description="order: an older event of its conversation; pull: the integrator fetches it."
    )
    attempts: Sequence[Attempt]
    created_at: datetime
    updated_at: datetime


class DeliveryWithEvidence(Delivery):
    """One event on its way to one endpoint, with the newest 100 attempts and all that is known of them."""

    attempts: Sequence[AttemptWithEvidence]


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


async def read_delivery(call: Call[None, NoQuery]) -> DeliveryWithEvidence:
    async with call.transaction() as connection:
        record = await _found(connection, call.id)
        attempts = await delivery_log.list_attempts(
            connection, [record], most=_ATTEMPTS_READ, excerpt=WHOLE_EXCERPT, with_evidence=True
        )
    return DeliveryWithEvidence.model_validate(
        {**_fields(record), "attempts": [*map(full_attempt, attempts)]}
    )


async def redeliver(call: Call[None, NoQuery]) -> Delivery:
    async with call.transaction() as connection:
        one = call.joined(connection)  # read before a worker can have it: what is answered is PENDING
        await redeliver_once(one.runtime, call.distributor_id, call.id)
        return await load_delivery(one, call.id)


async def load_delivery(call: Call[Any, Any], delivery_id: UUID) -> Delivery:
    """A delivery as lists and actions answer it; raises NotFound."""
    async with call.transaction() as connection:
        (delivery,) = await _with_attempts(connection, [await _found(connection, delivery_id)])
    return delivery


async def _found(connection: Connection, delivery_id: UUID) -> DeliveryRecord:
    record = await delivery_log.read_delivery(connection, delivery_id)
    if record is None:
        raise NotFound
    return record


async def _with_attempts(connection: Connection, rows: Sequence[DeliveryRecord]) -> list[Delivery]:
    attempts = await delivery_log.list_attempts(
        connection, rows, most=_ATTEMPTS_LISTED, excerpt=SHORT_EXCERPT, with_evidence=False
    )
    groups: dict[tuple[UUID, UUID], list[Attempt]] = {}
    for attempt in attempts:
        groups.setdefault((attempt.endpoint_id, attempt.event_id), []).append(short_attempt(attempt))
    return [
        Delivery.model_validate({**_fields(row), "attempts": groups.get((row.endpoint_id, row.event_id), [])})
        for row in rows
    ]


def _fields(row: DeliveryRecord) -> dict[str, Any]:
    waiting_for = WaitingFor.PULL if row.transport == "pull" else WaitingFor.ORDER
    fields = {name: getattr(row, name) for name in DeliveryRecord.__slots__}
    return {**fields, "waiting_for": waiting_for if row.is_waiting else None}


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
        summary="Read a webhook delivery with its attempts and their evidence",
        handle=read_delivery,
        response=DeliveryWithEvidence,
    ),
    Operation(
        method=HTTPMethod.POST,
        path=f"{_ONE}/redeliver",
        tag=_TAG,
        summary="Deliver again, with the whole retry schedule",
        description=(
            "Takes the place of a retry that is due later. Refused while an attempt runs, where the endpoint is disabled or"
            " deleted, and once the payload is no longer kept."
        ),
        handle=redeliver,
        response=Delivery,
        status=HTTPStatus.ACCEPTED,
        errors=(HTTPStatus.CONFLICT,),
    ),
)
