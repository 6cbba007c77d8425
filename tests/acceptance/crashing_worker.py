"""A real worker that kills itself (SIGKILL) at its n-th step: before or after any statement, any HTTP request.

Runs in processes forked from one that has imported everything, so that a hundred of them take seconds.
"""

import asyncio
import functools
import itertools
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from channels.downloads import DownloadClient
from channels.egress import EgressClient
from channels.provider_urls import ProviderUrls
from channels.registry import build_adapters
from db.sealing import Sealer
from db.tenant import open_database
from db.wake import Notifier
from gateway.local_media import FolderStore
from gateway.worker import Worker, WorkerTools
from handlers.ai.rules import RulesEngine
from handlers.catalogues import CatalogueCache
from handlers.media import MediaTools
from handlers.runtime import Clock, RetrySchedule, Runtime, new_uuid7
from handlers.turns import TurnTools
from tests.media_stage import deferred_tools

LOOPBACK = (ip_network("127.0.0.0/8"),)
POLLS = ("lanes.claim_", "delivery_lane.find_endpoints", "delivery_lane.claim_deliveries")
WAITS = (0.0, 0.1, 0.1, 0.1, 0.1)


async def build_worker(
    dsn: str, sandbox_url: str, public_url: str, master_key: bytes, folder: Path, clock: Clock
) -> tuple[Worker, AsyncExitStack]:
    """A worker as `waystation work` builds it, with the caller's clock; the stack closes what it uses."""
    stack = AsyncExitStack()
    database = await open_database(dsn, app=6, worker=6)
    runtime = Runtime(
        database=database,
        sealer=Sealer([master_key]),
        clock=clock,
        new_id=new_uuid7,
        random=random.Random(1),
        webhook_schedule=RetrySchedule(WAITS),
        public_url=public_url,
    )
    stack.push_async_callback(database.close)
    egress = EgressClient(LOOPBACK)
    stack.push_async_callback(egress.aclose)
    adapters = build_adapters(ProviderUrls(twilio=sandbox_url))
    stack.push_async_callback(adapters["twilio"].aclose)
    turns = TurnTools(RulesEngine(), CatalogueCache())
    downloads = DownloadClient(egress, [sandbox_url])
    stack.push_async_callback(downloads.aclose)
    media = MediaTools(adapters, downloads, FolderStore(folder))
    tools = WorkerTools(adapters, egress, turns, media, deferred_tools(adapters=adapters), Notifier(database))
    return Worker(runtime, tools), stack


def work_until_step(
    dsn: str,
    sandbox_url: str,
    public_url: str,
    master_key: bytes,
    folder: Path,
    clock: Clock,
    fatal_step: int,
) -> None:
    """Works for ever, or until step ``fatal_step`` kills this process."""
    steps = itertools.count(1)
    _count_steps(asyncpg.Connection, ("execute", "fetch", "fetchrow", "fetchval"), steps, fatal_step)
    _count_steps(aiohttp.ClientSession, ("_request",), steps, fatal_step)
    _count_steps(FolderStore, ("put",), steps, fatal_step)
    asyncio.run(_work(dsn, sandbox_url, public_url, master_key, folder, clock))


def _count_steps(owner: type, names: tuple[str, ...], steps: Iterator[int], fatal_step: int) -> None:
    for name in names:
        setattr(owner, name, _counted(getattr(owner, name), steps, fatal_step))


def _counted(method: Callable[..., Any], steps: Iterator[int], fatal_step: int) -> Callable[..., Any]:
    @functools.wraps(method)
    async def counted(self: Any, *arguments: Any, **options: Any) -> Any:
        # Polls for work that find none are no steps of any work.
        if _is_poll(arguments):
            answer = await method(self, *arguments, **options)
            return answer if not answer else _step(answer, steps, fatal_step)
        _step(None, steps, fatal_step)
        return _step(await method(self, *arguments, **options), steps, fatal_step)

    return counted


def _is_poll(arguments: tuple[Any, ...]) -> bool:
    return bool(arguments) and isinstance(arguments[0], str) and any(poll in arguments[0] for poll in POLLS)


def _step(value: Any, steps: Iterator[int], fatal_step: int) -> Any:
    if next(steps) == fatal_step:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


async def _work(
    dsn: str, sandbox_url: str, public_url: str, master_key: bytes, folder: Path, clock: Clock
) -> None:
    worker, _ = await build_worker(dsn, sandbox_url, public_url, master_key, folder, clock)
    await worker.run()
