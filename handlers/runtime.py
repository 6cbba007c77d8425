"""What every handler needs from outside: the database, the seal, the clock, ids and randomness, passed in
explicitly.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from uuid import UUID

import uuid_utils.compat

from db.sealing import Sealer
from db.tenant import Database

Clock = Callable[[], datetime]
NewId = Callable[[], UUID]


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """Waits in seconds; n values mean n attempts, each the wait after the previous attempt's end, the first
    after commit.
    """

    waits: tuple[float, ...]

    @property
    def first_wait(self) -> float:
        return self.waits[0]


@dataclass(frozen=True, slots=True)
class Runtime:
    """Explicit dependencies of the handlers. ``clock`` gives aware UTC times, ``new_id`` ids that sort by
    time.
    """

    database: Database
    sealer: Sealer
    clock: Clock
    new_id: NewId
    random: random.Random
    webhook_schedule: RetrySchedule
    public_url: str


def product_version() -> str:
    """The installed version; "source" where the tree is run without being installed."""
    try:
        return metadata.version("waystation")
    except metadata.PackageNotFoundError:
        return "source"


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_uuid7() -> UUID:
    """A UUIDv7 (RFC 9562): sorts by the time it was made."""
    return uuid_utils.compat.uuid7()
