"""Replays: past events sent again to a webhook endpoint, and how far that is."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPMethod, HTTPStatus
from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from channels.errors import NotFound
from db import webhook_replays as rows_of
from db.endpoints import read_endpoint
from db.webhook_replays import ReplayRecord
from gateway.api.operations import Call, Operation
from gateway.api.paging import BY_ID, make_page, read_position
from gateway.api.schemas import Answer, Body, Line, Moment, NoQuery, Page, PageQuery
from handlers.webhooks.events import parse_event_id
from handlers.webhooks.replay import (
    MAX_EVENT_IDS,
    EndReason,
    ReplayRequest,
    ReplayStatus,
    Selection,
    cancel_replay,
    start_replay,
)

_ENDPOINT = "/v1/webhook-endpoints/{id}"
_ONE = "/v1/replays/{id}"
_TAG = "webhook endpoints"

_ONLY = (
    "missing: those that match the endpoint as it is now and were never tried; failed: those tried without success;"
    " all: every one that matches. What still waits to be sent is left alone."
)
_SENT_AGAIN = (
    "The same events under the same `webhook-id`, the oldest first, as fast as the endpoint takes them without new events"
    " having to wait. With `dry_run` nothing is sent or stored: `matched` tells how many would be. Events whose payload"
    " is no longer kept cannot be sent: `skipped`. Test events are never replayed."
)


EventIdText = Annotated[str, StringConstraints(pattern=r"^evt_[0-9a-f]{32}$")]


class ReplayCreate(Body):
    """Which events are to be sent again: at least `since` or `event_ids`."""

    since: Moment | None = Field(default=None, description="When they happened, inclusive.")
    until: Moment | None = Field(default=None, description="When they happened, exclusive; null: until now.")
    event_types: list[Line] | None = Field(
        default=None, min_length=1, max_length=100, description="Types, `family.*` or `*`; null: all."
    )
    event_ids: list[EventIdText] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_EVENT_IDS,
        description="These only; unknown ones match nothing.",
    )
    only: Selection = Field(default=Selection.MISSING, description=_ONLY)
    dry_run: bool = False


class ReplayStarted(Answer):
    """What a replay covers."""

    replay_id: UUID | None = Field(description="Null where it was a dry run.")
    matched: int = Field(description="Events that are sent.")
    matched_is_minimum: bool = Field(description="There were too many to count; these are the oldest ones.")
    skipped: int = Field(description="Events that it covers and whose payload is no longer kept.")


class Replay(Answer):
    """A replay and how far it is."""

    id: UUID
    endpoint_id: UUID
    status: ReplayStatus
    reason: EndReason | None = Field(description="Why it was cancelled.")
    only: Selection
    since: datetime | None
    until: datetime | None
    event_types: Sequence[str] | None
    event_ids: Sequence[str] | None
    matched: int
    matched_is_minimum: bool
    replayed: int = Field(description="Events put on their way; their deliveries tell what came of them.")
    skipped: int
    rate_per_second: float = Field(description="The most that are put on their way in a second.")
    created_at: datetime
    updated_at: datetime


async def replay_events(call: Call[ReplayCreate, NoQuery]) -> ReplayStarted:
    body = call.body
    request = ReplayRequest(
        only=body.only,
        since=body.since,
        until=body.until,
        event_types=body.event_types,
        event_ids=None if body.event_ids is None else [parse_event_id(text) for text in body.event_ids],
    )
    started = await start_replay(call.runtime, call.distributor_id, call.id, request, dry_run=body.dry_run)
    return ReplayStarted(
        replay_id=started.replay_id,
        matched=started.count.matched,
        matched_is_minimum=not started.count.counted_all,
        skipped=started.count.skipped,
    )


async def list_endpoint_replays(call: Call[None, PageQuery]) -> Page[Replay]:
    (before,) = read_position(call, BY_ID)
    async with call.transaction() as connection:
        if await read_endpoint(connection, call.id) is None:
            raise NotFound
        rows = await rows_of.list_replays(connection, call.id, before, call.query.limit + 1)
    return make_page(call, BY_ID, rows, map(_replay, rows), Page[Replay])


async def read_replay(call: Call[None, NoQuery]) -> Replay:
    async with call.transaction() as connection:
        record = await rows_of.read_replay(connection, call.id)
    if record is None:
        raise NotFound
    return _replay(record)


async def cancel_endpoint_replay(call: Call[None, NoQuery]) -> Replay:
    return _replay(await cancel_replay(call.runtime, call.distributor_id, call.id))


def _replay(record: ReplayRecord) -> Replay:
    asked = record.request
    return Replay(
        id=record.id,
        endpoint_id=record.endpoint_id,
        status=ReplayStatus(record.status),
        reason=None if record.end_reason is None else EndReason(record.end_reason),
        only=Selection(record.selection),
        since=asked["since"],
        until=asked["until"],
        event_types=asked["event_types"],
        event_ids=asked["event_ids"],
        matched=record.matched,
        matched_is_minimum=not record.counted_all and record.status != ReplayStatus.DONE,
        replayed=record.replayed,
        skipped=record.skipped,
        rate_per_second=float(record.rate_per_second),
        created_at=record.created_at,
        updated_at=record.updated_at,
    )


OPERATIONS = (
    Operation(
        method=HTTPMethod.POST,
        path=f"{_ENDPOINT}/replay",
        tag=_TAG,
        summary="Send past events again",
        description=_SENT_AGAIN,
        handle=replay_events,
        body=ReplayCreate,
        response=ReplayStarted,
        status=HTTPStatus.ACCEPTED,
        errors=(HTTPStatus.CONFLICT,),
    ),
    Operation(
        method=HTTPMethod.GET,
        path=f"{_ENDPOINT}/replays",
        tag=_TAG,
        summary="List an endpoint's replays",
        handle=list_endpoint_replays,
        query=PageQuery,
        response=Page[Replay],
    ),
    Operation(
        method=HTTPMethod.GET,
        path=_ONE,
        tag=_TAG,
        summary="Read how far a replay is",
        handle=read_replay,
        response=Replay,
    ),
    Operation(
        method=HTTPMethod.POST,
        path=f"{_ONE}/cancel",
        tag=_TAG,
        summary="Cancel a replay; what it has put on its way still goes",
        handle=cancel_endpoint_replay,
        response=Replay,
        errors=(HTTPStatus.CONFLICT,),
    ),
)
