"""``/v1/tenant``: the tenant's own settings."""

from datetime import datetime
from decimal import Decimal
from http import HTTPMethod
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field

from db import distributors
from gateway.api.operations import Call, Operation
from gateway.api.schemas import Answer, Line, NoQuery, Patch, absent, no_boolean
from gateway.time_zones import named_by_region
from handlers.tenants import patch_tenant
from handlers.webhooks.payloads import Number

TimeZone = Annotated[Line, AfterValidator(named_by_region)]
AutoReply = Literal["off", "safe", "all"]
Locale = Literal["es", "en", "pt"]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", examples=["MXN"])]
Threshold = Annotated[Decimal, Field(ge=0, le=1, max_digits=3, decimal_places=2), BeforeValidator(no_boolean)]


class Tenant(Answer):
    """A distributor with its settings."""

    id: UUID
    name: str
    time_zone: str = Field(examples=["America/Mexico_City"])
    locale: str
    currency: str
    auto_reply: str = Field(
        description=(
            "Which replies go out by themselves. off: none. safe: those that code builds from templates. all: also a"
            " model's own wording; this release has no such replies, so it does what safe does."
        )
    )
    ai_confidence_threshold: Number = Field(description="A line below it must be looked at by a person.")
    created_at: datetime
    updated_at: datetime


class TenantPatch(Patch):
    """What may change of a tenant."""

    name: Line = absent()
    time_zone: TimeZone = absent(examples=["America/Mexico_City"])
    locale: Locale = absent()
    currency: Currency = absent()
    auto_reply: AutoReply = absent()
    ai_confidence_threshold: Threshold = absent()


async def read_tenant(call: Call[None, NoQuery]) -> Tenant:
    async with call.transaction() as connection:
        return Tenant.model_validate(await distributors.read_tenant(connection))


async def update_tenant(call: Call[TenantPatch, NoQuery]) -> Tenant:
    changed = await patch_tenant(call.runtime, call.distributor_id, call.body.changes())
    return Tenant.model_validate(changed)


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path="/v1/tenant",
        tag="tenant",
        summary="Read the tenant's settings",
        handle=read_tenant,
        response=Tenant,
    ),
    Operation(
        method=HTTPMethod.PATCH,
        path="/v1/tenant",
        tag="tenant",
        summary="Change the tenant's settings",
        handle=update_tenant,
        body=TenantPatch,
        response=Tenant,
    ),
)
