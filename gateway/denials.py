"""Counts refusals and writes them down once a second: a flood of forged posts must not become a flood of rows."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import groupby
from typing import Final

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
        """Stores what was counted; while the database is away it goes on counting."""
        waiting, self._tallies = self._tallies, {}
        by_tenant = sorted(waiting.values(), key=lambda tally: tally.denial.distributor_id)
        for tenant, tallies in groupby(by_tenant, key=lambda tally: tally.denial.distributor_id):
            kept = list(tallies)
            try:
                await record_tallies(self._runtime, tenant, kept)
            except DatabaseUnavailable:
                self._keep(kept)

    def _keep(self, tallies: list[Tally]) -> None:
        for tally in tallies:
            newer = self._tallies.get(tally.denial)
            more = newer.occurrences if newer else 0
            last_at = newer.last_at if newer else tally.last_at
            self._tallies[tally.denial] = replace(
                tally, occurrences=tally.occurrences + more, last_at=last_at
            )


@asynccontextmanager
async def writing_denials(denials: DenialLog) -> AsyncIterator[None]:
    """Flushes every second while the block runs, and at its end."""
    task = asyncio.create_task(_flush_for_ever(denials), name="denials")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):  # that is what we asked for
            await task
        await denials.flush()


async def _flush_for_ever(denials: DenialLog) -> None:
    while True:
        await asyncio.sleep(FLUSH_SECONDS)
        try:
            await denials.flush()
        except Exception as error:  # noqa: BLE001 - one bad row must not end the log
            _log.error("denials not stored", error=type(error).__name__)
