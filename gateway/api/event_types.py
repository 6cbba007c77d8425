"""``/v1/event-types``: what can be subscribed to, and what its bodies look like."""

from collections.abc import Mapping
from http import HTTPMethod
from typing import Any

from pydantic import Field

from channels.errors import NotFound
from gateway.api.operations import Call, Operation
from gateway.api.paging import BY_NAME, make_page, read_position
from gateway.api.schemas import Answer, NoQuery, Page, PageQuery
from handlers.webhooks.catalogue import build_catalogue

_PATH = "/v1/event-types"
_TAG = "events"
_CATALOGUE = build_catalogue()  # the same for as long as the program runs


class EventForm(Answer):
    """The bodies of a type as an endpoint gets them."""

    json_schema: Mapping[str, Any] = Field(description="JSON Schema 2020-12 of the whole body.")
    example: Mapping[str, Any]


class EventTypeEntry(Answer):
    """A type of event."""

    name: str
    description: str
    family: str = Field(description="`family.*` in a subscription means all types of it, also later ones.")
    emitted: bool = Field(
        description="False for a type that is promised: it can be subscribed to and does not happen yet."
    )
    schema_version: int | None = Field(
        description="Rises with a change that receivers may not understand; fields that are added raise nothing."
    )
    full: EventForm | None = Field(description="For endpoints with `payload` `full`; null while promised.")
    thin: EventForm | None = Field(
        description="For endpoints with `payload` `thin`: ids, statuses and channel only; null while promised."
    )


async def list_event_types(call: Call[None, PageQuery]) -> Page[EventTypeEntry]:
    (after,) = read_position(call, BY_NAME)
    entries = [entry for name, entry in _CATALOGUE.items() if name > after][: call.query.limit + 1]
    shown = map(EventTypeEntry.model_validate, entries)
    return make_page(call, BY_NAME, entries, shown, Page[EventTypeEntry])


async def read_event_type(call: Call[None, NoQuery]) -> EventTypeEntry:
    if call.word not in _CATALOGUE:
        raise NotFound
    return EventTypeEntry.model_validate(_CATALOGUE[call.word])


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path=_PATH,
        tag=_TAG,
        summary="List event types",
        description="All that can be subscribed to, by name.",
        handle=list_event_types,
        query=PageQuery,
        response=Page[EventTypeEntry],
    ),
    Operation(
        method=HTTPMethod.GET,
        path=f"{_PATH}/{{type}}",
        tag=_TAG,
        summary="Read an event type",
        handle=read_event_type,
        response=EventTypeEntry,
    ),
)
