"""The API over real HTTP, two tenants with a key each, and a tenant's rows as inbound traffic would make them."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from channels.egress import EgressClient
from channels.networks import Network
from channels.registry import build_adapters
from db.wake import Notifier
from gateway.accounts import AccountDirectory
from gateway.api.openapi import build_document
from gateway.api.routes import OPERATIONS, add_api_routes
from gateway.arrivals import Arrivals
from gateway.denials import DenialLog
from gateway.keys import ACCOUNTS, ADAPTERS, ARRIVALS, DENIALS, EGRESS, MEDIA_STORE, NOTIFIER, RUNTIME
from gateway.middleware import MIDDLEWARES
from handlers.runtime import Runtime
from handlers.tenants import create_tenant
from tests.integration.api.documents import Document
from tests.integration.api.seeds import Seeds
from tests.media_stage import MemoryStore

AioClient = TestClient[web.Request, web.Application]


@dataclass(frozen=True, slots=True)
class Api:
    """A tenant's view of the API."""

    http: AioClient
    document: Document
    distributor_id: UUID
    api_key: str

    def headers(self, more: dict[str, str] | None = None) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}", **(more or {})}

    async def call(self, method: str, path: str, *, headers=None, **more):
        """Status and JSON of an answer (None without a body)."""
        async with self.http.request(method, path, headers=self.headers(headers), **more) as response:
            text = await response.text()
            answer = json.loads(text) if text else None
            self.document.check(method, path, response.status, response.content_type, answer)
            return response.status, answer

    async def get(self, path: str, **more):
        return await self.call("GET", path, **more)

    async def post(self, path: str, json=None, **more):
        return await self.call("POST", path, json=json, **more)

    async def patch(self, path: str, json=None, **more):
        return await self.call("PATCH", path, json=json, **more)

    async def delete(self, path: str, **more):
        return await self.call("DELETE", path, **more)

    async def walk(self, path: str, limit: int):
        """All items of a list, page by page."""
        items, cursor = [], None
        joiner = "&" if "?" in path else "?"
        while True:
            more = f"&cursor={cursor}" if cursor else ""
            status, page = await self.get(f"{path}{joiner}limit={limit}{more}")
            assert status == 200, page
            assert len(page["data"]) <= limit
            items += page["data"]
            cursor = page["next_cursor"]
            if cursor is None:
                return items


@pytest.fixture
def store(runtime: Runtime) -> MemoryStore:
    """The store of files."""
    return MemoryStore(runtime.clock)


@pytest.fixture
def egress_allow() -> tuple[Network, ...]:
    """The private networks that endpoints may be in."""
    return ()


@pytest.fixture
async def http(
    aiohttp_client, runtime: Runtime, runtime_dsn: str, store: MemoryStore, egress_allow: tuple[Network, ...]
) -> AsyncIterator[AioClient]:
    egress = EgressClient(egress_allow)
    app = web.Application(middlewares=MIDDLEWARES)
    app[RUNTIME] = runtime
    app[ADAPTERS] = build_adapters()
    app[EGRESS] = egress
    app[ACCOUNTS] = AccountDirectory(runtime)
    app[MEDIA_STORE] = store
    app[ARRIVALS] = Arrivals(runtime_dsn)
    app[NOTIFIER] = Notifier(runtime.database)
    app[DENIALS] = DenialLog(runtime)
    add_api_routes(app)
    yield await aiohttp_client(app)
    await egress.aclose()


NewTenant = Callable[[str], Awaitable[Api]]


@pytest.fixture
def new_tenant(http: AioClient, document: Document, runtime: Runtime) -> NewTenant:
    async def make(name: str) -> Api:
        created = await create_tenant(runtime, name)
        return Api(http, document, created.distributor_id, created.api_key)

    return make


@pytest.fixture
async def api(new_tenant: NewTenant) -> Api:
    """The tenant under test."""
    return await new_tenant("Norte")


@pytest.fixture
async def other(new_tenant: NewTenant) -> Api:
    """Another tenant, who must see nothing of the first and be seen by nobody."""
    return await new_tenant("Sur")


@pytest.fixture
async def admin(admin_dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(admin_dsn)
    yield connection
    await connection.close()


@pytest.fixture
def seeds(admin, runtime: Runtime, api: Api) -> Seeds:
    """Rows of the tenant under test."""
    return Seeds(admin, runtime, api.distributor_id)


@pytest.fixture(scope="session")
def document() -> Document:
    """The OpenAPI document, which every answer that a test gets is held against."""
    return Document(build_document(OPERATIONS))
