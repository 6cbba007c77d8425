"""A gateway that listens, for tests that post to it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from channels.base import ChannelAdapter
from channels.egress import EgressClient
from channels.registry import build_adapters
from db.wake import Notifier
from gateway.app import build_app
from gateway.services import Services
from gateway.settings import Settings
from handlers.runtime import Runtime
from tests.media_stage import media_tools


@asynccontextmanager
async def services_of(
    runtime: Runtime, home: Path, adapters: Mapping[str, ChannelAdapter] | None = None
) -> AsyncIterator[Services]:
    """A gateway's services over the test's own runtime; ``home`` holds its spool."""
    egress = EgressClient()
    settings = Settings(public_url=runtime.public_url)
    notifier = Notifier(runtime.database)
    yield Services(settings, runtime, adapters or build_adapters(), egress, media_tools(), notifier, "", home)
    await egress.aclose()


@asynccontextmanager
async def serving(
    runtime: Runtime, home: Path, adapters: Mapping[str, ChannelAdapter] | None = None
) -> AsyncIterator[TestClient[Any, Any]]:
    """A client of a gateway with these adapters, or the registry's."""
    async with (
        services_of(runtime, home, adapters) as services,
        TestClient(TestServer(build_app(services))) as client,
    ):
        yield client
