"""``/v1/security-events``: what was refused, and who changed a role."""

from datetime import datetime
from http import HTTPMethod
from typing import Literal
from uuid import UUID

from pydantic import Field

from db import audit
from gateway.api.operations import Call, Operation
from gateway.api.paging import BY_ID, make_page, read_position
from gateway.api.schemas import Answer, Page, PageQuery

EventType = Literal["signature.refused", "key.refused", "database.refused", "role.changed"]


class SecurityEvent(Answer):
    """A refusal or a change of a role; many of one kind within a moment are one."""

    id: UUID
    type: EventType
    subject_id: UUID | None = Field(description="The channel account, API key or person.")
    detail: str = Field(description="A code or a route; never what was sent.")
    occurrences: int
    first_at: datetime
    occurred_at: datetime


class SecurityEventQuery(PageQuery):
    """Filters of the list."""

    type: EventType | None = None


async def list_security_events(call: Call[None, SecurityEventQuery]) -> Page[SecurityEvent]:
    (before,) = read_position(call, BY_ID)
    async with call.transaction() as connection:
        rows = await audit.list_security_events(connection, before, call.query.type, call.query.limit + 1)
    return make_page(call, BY_ID, rows, map(SecurityEvent.model_validate, rows), Page[SecurityEvent])


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path="/v1/security-events",
        tag="security",
        summary="List what was refused",
        handle=list_security_events,
        query=SecurityEventQuery,
        response=Page[SecurityEvent],
    ),
)
