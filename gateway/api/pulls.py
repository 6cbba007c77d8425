"""``/v1/webhook-endpoints/{id}/pull`` and ``/ack``: events for those who cannot take posts."""

import asyncio
import base64
import binascii
import contextlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from http import HTTPMethod, HTTPStatus
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field, model_validator

from db.errors import SealBroken
from db.pulls import LeasedBatch
from gateway.api.deliveries import EventId
from gateway.api.operations import Call, Operation
from gateway.api.paging import INVALID_CURSOR
from gateway.api.problems import invalid
from gateway.api.schemas import Answer, Body, NoQuery
from gateway.arrivals import POLL_SECONDS
from handlers.webhooks import pulling
from handlers.webhooks.pulling import PulledBatch, PulledDelivery

_ONE = "/v1/webhook-endpoints/{id}"
_TAG = "webhook endpoints"
_MAX_BATCH = 200
_MAX_WAIT_SECONDS = 25  # proxies close what is silent for 30 s
_PULL = (
    "For an endpoint whose `transport` is `pull`. Oldest first; what is given out is held for `lease_seconds` and, unless"
    " it is acknowledged by then, given again. With `wait` the answer comes as soon as there is something; it may"
    " come empty before. Two that ask at once never get the same."
)
_ACK = (
    "Names a batch by its `cursor`, or single ones by `delivery_ids`. What was acknowledged is never given again;"
    " to acknowledge it once more changes nothing."
)


class PulledItem(Answer):
    """One event. Verify it as you would a post: `headers` sign the bytes of `body`."""

    id: UUID = Field(description="The delivery's; for `delivery_ids`.")
    event_id: EventId = Field(description="The same however often it is given: for telling what you have.")
    type: str
    sequence: int | None = Field(description="Its place among the events of its conversation; null without.")
    attempt: int = Field(description="How often it was given out, this time included.")
    headers: Mapping[str, str] = Field(
        description="`webhook-id`, `webhook-timestamp` (of this hand-out) and `webhook-signature`."
    )
    body: str = Field(description="The JSON text that is signed; parse it after verifying.")


class PulledItems(Answer):
    """What was given out."""

    data: Sequence[PulledItem]
    cursor: str | None = Field(description="Acknowledges all of `data`; null if that is empty.")


class PullQuery(NoQuery):
    """How much, and how long to wait."""

    limit: int = Field(default=50, ge=1, le=_MAX_BATCH, description="How many events at most.")
    wait: int = Field(
        default=0, ge=0, le=_MAX_WAIT_SECONDS, description="Seconds to wait while there is nothing."
    )
    lease_seconds: int = Field(
        default=60, ge=10, le=600, description="How long they are yours to acknowledge."
    )


class Acknowledgement(Body):
    """Which deliveries are done: a whole batch, or single ones."""

    cursor: str | None = Field(default=None, max_length=1_000, description="Of the answer to a pull.")
    delivery_ids: Annotated[list[UUID], Field(min_length=1, max_length=_MAX_BATCH)] | None = Field(
        default=None, description="`id` of each."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.cursor is None) == (self.delivery_ids is None):
            raise ValueError("name either cursor or delivery_ids")
        return self


class Acknowledged(Answer):
    """What an acknowledgement did."""

    acknowledged: int = Field(
        description="How many this call ended; not those that were ended, cancelled or given to another before."
    )


async def pull_deliveries(call: Call[None, PullQuery]) -> PulledItems:
    arrived = call.arrivals.next()
    batch = await _pull(call)
    if batch.lease is None and call.query.wait:
        async with call.arrivals.waiting(call.distributor_id) as may_wait:
            if may_wait:
                batch = await _pull_later(call, arrived)
    cursor = _seal(call, batch.lease) if batch.lease else None
    return PulledItems(data=[_item(delivery) for delivery in batch.deliveries], cursor=cursor)


async def _pull_later(call: Call[None, PullQuery], arrived: asyncio.Event) -> PulledBatch:
    """Looks whenever something was committed, until there is something or the time is over. Between two looks no
    connection is held; nothing is taken for a client that has left.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + call.query.wait
    while True:
        with contextlib.suppress(TimeoutError):  # the poll is the safety net
            async with asyncio.timeout(min(POLL_SECONDS, end - loop.time())):
                await arrived.wait()
        if call.is_gone() or call.arrivals.closing:
            return PulledBatch((), None)
        arrived = call.arrivals.next()
        batch = await _pull(call)
        if batch.lease is not None or loop.time() >= end:
            return batch


async def _pull(call: Call[None, PullQuery]) -> PulledBatch:
    lease = timedelta(seconds=call.query.lease_seconds)
    return await pulling.pull(call.runtime, call.distributor_id, call.id, limit=call.query.limit, lease=lease)


async def acknowledge_deliveries(call: Call[Acknowledgement, NoQuery]) -> Acknowledged:
    what: LeasedBatch | Sequence[UUID]
    what = _open(call, call.body.cursor) if call.body.cursor is not None else call.body.delivery_ids or ()
    count = await pulling.acknowledge(call.runtime, call.distributor_id, call.id, what)
    return Acknowledged(acknowledged=count)


def _item(delivery: PulledDelivery) -> PulledItem:
    return PulledItem(
        id=delivery.id,
        event_id=delivery.event_id,
        type=delivery.event_type,
        sequence=delivery.sequence,
        attempt=delivery.attempt,
        headers=delivery.headers,
        body=delivery.body,
    )


def _seal(call: Call[Any, Any], lease: LeasedBatch) -> str:
    parts = [lease.token.hex, lease.first_event_id.hex, lease.last_event_id.hex]
    sealed = call.runtime.sealer.seal_json(parts, _context(call))
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def _open(call: Call[Any, Any], cursor: str) -> LeasedBatch:
    """Raises ApiError 422 for a cursor that is not ours, or another endpoint's."""
    try:
        sealed = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4))
        parts = call.runtime.sealer.open_json(sealed, _context(call))
    except (SealBroken, binascii.Error, ValueError):
        raise invalid("body", "cursor", "This is no cursor of this endpoint.", INVALID_CURSOR) from None
    return LeasedBatch(*map(UUID, parts))


def _context(call: Call[Any, Any]) -> str:
    return f"pull:{call.distributor_id}:{call.id}"


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path=f"{_ONE}/pull",
        tag=_TAG,
        summary="Fetch the events that wait, to be acknowledged",
        description=_PULL,
        handle=pull_deliveries,
        query=PullQuery,
        response=PulledItems,
        errors=(HTTPStatus.CONFLICT,),
    ),
    Operation(
        method=HTTPMethod.POST,
        path=f"{_ONE}/ack",
        tag=_TAG,
        summary="Acknowledge events that were fetched",
        description=_ACK,
        handle=acknowledge_deliveries,
        body=Acknowledgement,
        response=Acknowledged,
        errors=(HTTPStatus.CONFLICT,),
    ),
)
