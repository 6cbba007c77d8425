"""The benchmarks' tenants with their endpoints and numbers, made over the management API as integrators make them."""

import asyncio
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from channels.base import Channel
from gateway.bench.stage import Stage
from gateway.dev.management import Management, ProviderLogin
from handlers.runtime import Runtime
from handlers.tenants import create_tenant

_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class BenchEndpoint:
    """An endpoint, its path at the receiver and its secret."""

    id: UUID
    path: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class BenchTenant:
    """A tenant and what it has."""

    id: UUID
    api: Management
    endpoints: Sequence[BenchEndpoint]


@dataclass(frozen=True, slots=True)
class BenchNumber:
    """A tenant's SMS number at Twilio, and where Twilio posts to."""

    number: str
    inbound_url: str
    login: ProviderLogin


@dataclass(frozen=True, slots=True)
class EndpointPlan:
    """An endpoint to be made at a path of the receiver."""

    path: str
    event_types: Sequence[str] = ("*",)
    ordering: str = "none"


async def make_tenants(
    stage: Stage, runtime: Runtime, plans: Sequence[Sequence[EndpointPlan]]
) -> list[BenchTenant]:
    """A tenant for each list of endpoints. Needs a running gateway."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def make(number: int, wanted: Iterable[EndpointPlan]) -> BenchTenant:
        async with turns:
            return await _make_tenant(stage, runtime, f"Bench {number}", wanted)

    return list(await asyncio.gather(*(make(number, wanted) for number, wanted in enumerate(plans))))


async def _make_tenant(
    stage: Stage, runtime: Runtime, name: str, wanted: Iterable[EndpointPlan]
) -> BenchTenant:
    created = await create_tenant(runtime, name)
    api = Management(stage.session, stage.gateway_url, created.api_key)
    endpoints = [await _make_endpoint(stage, api, plan) for plan in wanted]
    return BenchTenant(created.distributor_id, api, endpoints)


async def _make_endpoint(stage: Stage, api: Management, plan: EndpointPlan) -> BenchEndpoint:
    body = {
        "name": plan.path,
        "url": f"{stage.sink.url}{plan.path}",
        "event_types": list(plan.event_types),
        "ordering": plan.ordering,
    }
    made = await api.create("/v1/webhook-endpoints", body)
    return BenchEndpoint(UUID(made["id"]), plan.path, made["secret"])


async def make_number(tenant: BenchTenant, index: int) -> BenchNumber:
    """An SMS number for a tenant; ``index`` tells numbers apart."""
    login = ProviderLogin("AC" + secrets.token_hex(16), secrets.token_hex(16))
    number = f"+1202555{index:04}"
    made = await tenant.api.create(
        "/v1/channel-accounts",
        {
            "channel": Channel.SMS,
            "provider": "twilio",
            "address": number,
            "credentials": login.as_credentials(),
        },
    )
    return BenchNumber(number, made["inbound_url"], login)


def paths_of(tenants: Iterable[BenchTenant]) -> dict[str, str]:
    """Each path's secret."""
    return {endpoint.path: endpoint.secret for tenant in tenants for endpoint in tenant.endpoints}
