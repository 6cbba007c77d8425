"""Counts refusals and writes them down once a second: a flood of forged posts must not become a flood of rows."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import groupby
from typing import Final
from uuid import UUID

import structlog

from db.errors import DatabaseUnavailable
from gateway.metrics import DENIED
from handlers.denials import Denial, Tally, record_tallies
from handlers.runtime import Runtime

FLUSH_SECONDS: Final = 1.0
MOST_KINDS: Final = 1_000  # between two flushes; what is beyond is in the metrics only
_log = structlog.get_logger("waystation.denials")


class DenialLog:
    """Refusals of this process that are not yet stored."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._tallies: dict[Denial, Tally] = {}

    def note(self, denial: Denial) -> None:
        """Counts one refusal; it is stored with the next flush."""
        DENIED.labels(type=denial.type).inc()
        now = self._runtime.clock()
        known = self._tallies.get(denial)
        if known is not None:
            self._tallies[denial] = replace(known, occurrences=known.occurrences + 1, last_at=now)
        elif len(self._tallies) < MOST_KINDS:
            self._tallies[denial] = Tally(denial, 1, now, now)

    async def flush(self) -> None:
        """Stores what was counted. What cannot be stored for one tenant stays counted and harms no other."""
        by_tenant = sorted(self._tallies.values(), key=lambda tally: tally.denial.distributor_id)
        for tenant, tallies in groupby(by_tenant, key=lambda tally: tally.denial.distributor_id):
            await self._store(tenant, list(tallies))

    async def _store(self, tenant: UUID, tallies: list[Tally]) -> None:
        try:
            await record_tallies(self._runtime, tenant, tallies)
        except DatabaseUnavailable:
            return
        except Exception as error:  # noqa: BLE001 - a tenant that is gone has no log; others have
            _log.error("denials not stored", error=type(error).__name__)
        for tally in tallies:
            self._subtract(tally)

    def _subtract(self, stored: Tally) -> None:
        """What came while it was being stored stays."""
        known = self._tallies.pop(stored.denial)
        more = known.occurrences - stored.occurrences
        if more:
            self._tallies[stored.denial] = replace(known, occurrences=more, first_at=stored.last_at)


@asynccontextmanager
async def writing_denials(denials: DenialLog) -> AsyncIterator[None]:
    """Flushes every second while the block runs, and at its end."""
    stop = asyncio.Event()
    task = asyncio.create_task(_flush_until(stop, denials), name="denials")
    try:
        yield
    finally:
        stop.set()
        await task
        await denials.flush()


async def _flush_until(stop: asyncio.Event, denials: DenialLog) -> None:
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), FLUSH_SECONDS)
        await denials.flush()
