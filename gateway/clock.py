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
_FIRST_HEARINGS = 5
# CLOCK_MONOTONIC stands still while Linux sleeps and goes on while macOS does.
_SLEEPLESS = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_log = structlog.get_logger("waystation.clock")


class DatabaseClock:
    """Gives the machine's time and ids, moved where they are more than ``TOLERANCE`` off the database's.

    Between two hearings a clock that nobody sets tells how much time has passed, so that a machine whose clock jumps is
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


def elapsed() -> float:
    """Seconds of a clock that nobody sets and that goes on while the machine sleeps, where the system has one: a laptop
    that was closed over night must not be taken for one whose clock is wrong (clock_gettime(2)).
    """
    return time.clock_gettime(_SLEEPLESS)


async def open_clock(database: Database) -> DatabaseClock:
    """A clock in step with the database; raises DatabaseUnavailable."""
    clock = DatabaseClock(utc_now(), monotonic=elapsed)
    for _ in range(_FIRST_HEARINGS):
        if await _hear(clock, database):
            break
    return clock


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
        with contextlib.suppress(DatabaseUnavailable):  # the machine's own clock goes on
            await _hear(clock, database)


async def _hear(clock: DatabaseClock, database: Database) -> bool:
    """Whether the answer came quickly enough to say what time it is."""
    asked = elapsed()
    heard = await read_time(database)
    took = elapsed() - asked
    if took > TOLERANCE.total_seconds() / 2:
        return False
    clock.hear(heard + timedelta(seconds=took / 2))
    return True
