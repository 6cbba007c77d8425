"""What /metrics shows of the queues in the database. Nobody is asked for a key there, so that the database is asked only so
often, however often that is read.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Final

from aiohttp import web

from db import lane_figures
from db.errors import DatabaseUnavailable
from gateway import keys
from gateway.metrics import BREAKERS, LANE_AGE, show_metrics
from handlers.runtime import Runtime

REFRESHED_AFTER: Final = timedelta(seconds=10)
BREAKER_STATES: Final = ("CLOSED", "OPEN", "HALF_OPEN")


class QueueGauges:
    """The gauges, and when they were set."""

    def __init__(self) -> None:
        self._set_at: datetime | None = None
        self._lock = asyncio.Lock()

    async def show(self, request: web.Request) -> web.Response:
        """All metrics; where the database is away, its gauges say what they last did."""
        runtime = request.app[keys.RUNTIME]
        async with self._lock:
            if self._set_at is None or runtime.clock() - self._set_at >= REFRESHED_AFTER:
                self._set_at = runtime.clock()
                await _refresh(runtime)
        return await show_metrics(request)


async def _refresh(runtime: Runtime) -> None:
    now = runtime.clock()
    try:
        async with runtime.database.queue_statements() as connection:
            lanes = await lane_figures.list_lanes(connection, now)
            breakers = await lane_figures.count_breakers(connection)
    except DatabaseUnavailable:
        return
    for lane, oldest in lanes.items():
        LANE_AGE.labels(lane=lane).set(0.0 if oldest is None else (now - oldest).total_seconds())
    for state in BREAKER_STATES:
        BREAKERS.labels(state=state).set(breakers.get(state, 0))
