"""``/v1/events``: what happened, as receivers are told."""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPMethod
from typing import Any
from uuid import UUID

from pydantic import Field

from channels.errors import NotFound
from db import events_log
from db.rows import EventRecord
from gateway.api.deliveries import EventId
from gateway.api.operations import Call, Operation
from gateway.api.paging import BY_ID, make_page, read_position
from gateway.api.schemas import Answer, Moment, NoQuery, Page, PageQuery, SearchText

_PATH = "/v1/events"
_TAG = "events"


class Event(Answer):
    """An event; `type`, `timestamp`, `distributor_id`, `sequence` and `data` are what receivers get."""

    id: EventId
    type: str
    timestamp: datetime
    distributor_id: UUID
    conversation_id: UUID | None
    sequence: int | None = Field(
        description="Its place among all events of its conversation; null where it is of none."
    )
    data: Mapping[str, Any] | None = Field(description="Null once the payload's time is over.")
    payload_expired: bool = Field(description="Whether `data` was kept and is not any more.")


class EventQuery(PageQuery):
    """Filters of the list."""

    event_type: SearchText | None = None
    conversation_id: UUID | None = None
    since: Moment | None = Field(default=None, description="Inclusive.")
    until: Moment | None = Field(default=None, description="Exclusive.")


async def list_events(call: Call[None, EventQuery]) -> Page[Event]:
    (before,) = read_position(call, BY_ID)
    query = call.query
    async with call.transaction() as connection:
        rows = await events_log.list_events(
            connection,
            before,
            event_type=query.event_type,
            conversation_id=query.conversation_id,
            since=query.since,
            until=query.until,
            limit=query.limit + 1,
        )
    return make_page(call, BY_ID, rows, (_event(call, row) for row in rows), Page[Event])


async def read_event(call: Call[None, NoQuery]) -> Event:
    async with call.transaction() as connection:
        record = await events_log.read_event(connection, call.id)
    if record is None:
        raise NotFound
    return _event(call, record)


def _event(call: Call[Any, Any], record: EventRecord) -> Event:
    return Event(
        id=record.id,
        type=record.type,
        timestamp=record.occurred_at,
        distributor_id=call.distributor_id,
        conversation_id=record.conversation_id,
        sequence=record.sequence,
        data=None if record.body is None else record.body["data"],
        payload_expired=record.body is None,
    )


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path=_PATH,
        tag=_TAG,
        summary="List events",
        handle=list_events,
        query=EventQuery,
        response=Page[Event],
    ),
    Operation(
        method=HTTPMethod.GET,
        path=f"{_PATH}/{{event_id}}",
        tag=_TAG,
        summary="Read an event",
        handle=read_event,
        response=Event,
    ),
)
