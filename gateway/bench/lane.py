"""A worker process of the benchmarks: the product's own, or one of the variants that it is compared with."""

import asyncio
import cProfile
import pstats
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

from db.delivery_lane import ClaimedDeliveryRow, EndpointKey
from db.lanes import ClaimTerms
from gateway.delivery_claims import DeliveryClaims
from gateway.processes import notifying, run_loop, stop_signals, working
from gateway.services import Services, open_services
from gateway.settings import Settings
from gateway.worker import DELIVERIES_AT_ONCE, DELIVERY_LEASE, DELIVERY_SHARE, POLL_SECONDS, Lane, LaneRunner
from handlers.deliveries import deliver
from handlers.webhooks.delivery_tools import delivery_tools

_SHOWN = 40  # lines of a profile


class Variant(StrEnum):
    """What is measured, and what it is compared with."""

    RECORDED = "recorded"  # the product's worker
    UNRECORDED = "unrecorded"  # the same, on a database that keeps no record of attempts
    POSTS = "posts"  # the same posts, signed, by the same client, out of memory


class RepeatedPosts:
    """The deliveries that are due, over and over, each time as another event; no database is asked."""

    def __init__(self, services: Services, rows: Sequence[ClaimedDeliveryRow], number: int) -> None:
        self._runtime = services.runtime
        self._tools = delivery_tools(services.runtime, services.egress)
        self._rows = rows
        self._left = number

    async def claim(self, room: int) -> Sequence[ClaimedDeliveryRow]:
        """Up to ``room`` posts, until there were so many as were asked for."""
        count = min(room, self._left)
        self._left -= count
        return [
            replace(self._rows[(self._left + index) % len(self._rows)], event_id=self._runtime.new_id())
            for index in range(count)
        ]

    async def post(self, row: ClaimedDeliveryRow) -> str:
        """One attempt, of which nothing is kept."""
        finished = await deliver(self._runtime, self._tools, row)
        return finished.settlement.status


async def run_lane(settings: Settings, home: Path, variant: Variant, number: int) -> None:
    """One worker until a signal. ``number``: of the posts that are made out of memory."""
    async with (
        stop_signals() as stop,
        open_services(settings, home) as services,
        _lane_of(services, variant, number) as lane,
    ):
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({stopped, lane}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()


@asynccontextmanager
async def _lane_of(services: Services, variant: Variant, number: int) -> AsyncIterator[asyncio.Task[None]]:
    if variant is Variant.POSTS:
        async with _posting(services, number) as lane:
            yield lane
        return
    async with notifying(services), working(services) as lane:
        yield lane


@asynccontextmanager
async def _posting(services: Services, number: int) -> AsyncIterator[asyncio.Task[None]]:
    posts = RepeatedPosts(services, await _claim_one_each(services), number)
    runner = LaneRunner(Lane("posts", posts.claim, posts.post, DELIVERIES_AT_ONCE))
    task = asyncio.create_task(runner.run(), name="posts")
    try:
        yield task
    finally:
        runner.stop()
        await task


async def _claim_one_each(services: Services) -> Sequence[ClaimedDeliveryRow]:
    """One due delivery of every endpoint that has any."""
    claims = DeliveryClaims(services.runtime, POLL_SECONDS)
    terms = ClaimTerms(batch=DELIVERIES_AT_ONCE, share=DELIVERY_SHARE, lease=DELIVERY_LEASE)
    found: dict[EndpointKey, ClaimedDeliveryRow] = {}
    while rows := await claims.claim(terms):
        found |= {row.endpoint: row for row in rows}
    return list(found.values())


def run_profiled(settings: Settings, home: Path, variant: Variant, number: int, profile: Path | None) -> None:
    """``run_lane`` on a loop of its own; where its time went is written to ``profile``."""
    if profile is None:
        run_loop(run_lane(settings, home, variant, number))
        return
    profiler = cProfile.Profile()
    profiler.runcall(run_loop, run_lane(settings, home, variant, number))
    with profile.open("w", encoding="utf-8") as out:
        pstats.Stats(profiler, stream=out).strip_dirs().sort_stats("tottime").print_stats(_SHOWN)
