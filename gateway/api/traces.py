"""``/v1/events/{id}/trace``: why an endpoint got an event, did not, or did not yet."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPMethod
from uuid import UUID

from pydantic import Field

from gateway.api.deliveries import EventId
from gateway.api.operations import Call, Operation
from gateway.api.schemas import Answer, NoQuery
from handlers.webhooks.trace import MOST_ENDPOINTS, CheckName, Verdict, trace_event

_ABOUT = (
    "Each endpoint's `verdict`, the checks that it rests on (`because`), and all that was looked at, in order. A check"
    " that does not apply, or can no longer be made, has `passed` null."
)


class TraceQuery(NoQuery):
    """Of which endpoint."""

    endpoint_id: UUID | None = Field(default=None, description="Absent: of every endpoint.")


class TraceCheck(Answer):
    """One thing that was looked at."""

    check: CheckName
    passed: bool | None
    detail: str


class EndpointTrace(Answer):
    """What became of the event for one endpoint."""

    endpoint_id: UUID
    name: str
    verdict: Verdict
    detail: str = Field(description="The verdict in words.")
    because: Sequence[CheckName]
    delivery_id: UUID | None
    checks: Sequence[TraceCheck]


class EventTrace(Answer):
    """An event and what became of it."""

    event_id: EventId
    event_type: str
    timestamp: datetime
    endpoints: Sequence[EndpointTrace] = Field(description=f"Newest first, {MOST_ENDPOINTS} at most.")
    complete: bool = Field(description="False: there are more endpoints; ask for one by its id.")


async def trace_webhook_event(call: Call[None, TraceQuery]) -> EventTrace:
    trace = await trace_event(call.runtime, call.distributor_id, call.id, call.query.endpoint_id)
    return EventTrace(
        event_id=trace.event.id,
        event_type=trace.event.type,
        timestamp=trace.event.occurred_at,
        endpoints=[EndpointTrace.model_validate(one) for one in trace.endpoints],
        complete=trace.complete,
    )


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path="/v1/events/{event_id}/trace",
        tag="events",
        summary="Say why an endpoint got an event or did not",
        description=_ABOUT,
        handle=trace_webhook_event,
        query=TraceQuery,
        response=EventTrace,
    ),
)
