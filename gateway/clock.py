"""One clock for all processes: the database's. Ids, due times and leases of every machine are of one time.

A machine whose own clock is right is left alone; one that is wrong would make turns due next year, and ids that
no partition takes or that are retired too early (docs/adr/0008).
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog

from db.errors import DatabaseUnavailable
from db.tenant import Database
from db.upkeep import read_time
from handlers.runtime import Clock, NewId, new_uuid7, utc_now

TOLERANCE = timedelta(seconds=2)
HEARING_SECONDS = 60.0
_log = structlog.get_logger("waystation.clock")


class DatabaseClock:
    """Gives the machine's time and ids, moved where they are more than ``TOLERANCE`` off the database's.

    Between two hearings the monotonic clock tells how much time has passed, so that a machine whose clock jumps is
    corrected at once.
    """

    def __init__(
        self,
        heard: datetime,
        *,
        wall: Clock = utc_now,
        ids: NewId = new_uuid7,
        monotonic: Callable[[], float],
    ) -> None:
        self._wall = wall
        self._ids = ids
        self._monotonic = monotonic
        self._shift = timedelta()
        self.hear(heard)

    def hear(self, heard: datetime) -> None:
        """The database's time of this moment."""
        self._heard, self._heard_at = heard, self._monotonic()
        if abs(self._correction(self._wall())) > TOLERANCE:
            _log.warning("this machine's clock is wrong", off_by_seconds=-round(self._shift.total_seconds()))

    def __call__(self) -> datetime:
        """Now, in UTC."""
        now = self._wall()
        return now + self._correction(now)

    def new_id(self) -> UUID:
        """A UUIDv7 (RFC 9562, 5.7: 48 bits of milliseconds lead) of this moment."""
        made = self._ids()
        made_at = datetime.fromtimestamp((made.int >> 80) / 1000, UTC)
        return UUID(int=made.int + (round(self._correction(made_at).total_seconds() * 1000) << 80))

    def _correction(self, told: datetime) -> timedelta:
        """What to add to a time that this machine tells. It stays the same until it is wrong by more than the tolerance,
        so that times and ids of one moment keep their order.
        """
        passed = timedelta(seconds=self._monotonic() - self._heard_at)
        off = self._heard + passed - told
        if abs(off - self._shift) > TOLERANCE:
            self._shift = off if abs(off) > TOLERANCE else timedelta()
        return self._shift


async def open_clock(database: Database) -> DatabaseClock:
    """A clock in step with the database; raises DatabaseUnavailable."""
    return DatabaseClock(await read_time(database), monotonic=time.monotonic)


@asynccontextmanager
async def staying_in_step(clock: DatabaseClock, database: Database) -> AsyncIterator[None]:
    """Hears the database's time every minute while the block runs."""
    task = asyncio.create_task(_hear_again(clock, database), name="clock")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):  # that is what we asked for
            await task


async def _hear_again(clock: DatabaseClock, database: Database) -> None:
    while True:
        await asyncio.sleep(HEARING_SECONDS)
        with contextlib.suppress(DatabaseUnavailable):  # the monotonic clock goes on
            clock.hear(await read_time(database))
