"""The database's time rules: a machine that is right is left alone, one that is wrong is corrected, order is kept."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.clock import DatabaseClock
from handlers.runtime import new_uuid7, utc_now
from tests.fakes import FakeClock

YEAR = timedelta(days=365)


class Machine:
    """A wall clock, ids made by it, and a monotonic clock that no jump moves."""

    def __init__(self, off: timedelta) -> None:
        self.off = off
        self.passed = 0.0

    def wall(self) -> datetime:
        return utc_now() + self.off + timedelta(seconds=self.passed)

    def new_id(self):
        made = new_uuid7()
        ahead = round((self.off + timedelta(seconds=self.passed)).total_seconds() * 1000)
        return type(made)(int=made.int + (ahead << 80))

    def monotonic(self) -> float:
        return self.passed + (utc_now() - datetime(2020, 1, 1, tzinfo=UTC)).total_seconds()

    def clock(self) -> DatabaseClock:
        return DatabaseClock(utc_now(), wall=self.wall, ids=self.new_id, monotonic=self.monotonic)


def made_at(uuid) -> datetime:
    return datetime.fromtimestamp((uuid.int >> 80) / 1000, UTC)


def near(one: datetime, other: datetime) -> bool:
    return abs(one - other) < timedelta(seconds=1)


@pytest.mark.parametrize("off", [YEAR, -YEAR, timedelta(seconds=3), timedelta(hours=-1)], ids=str)
def test_a_machine_that_is_wrong_gives_the_databases_time_and_ids(off):
    clock = Machine(off).clock()

    assert near(clock(), utc_now())
    assert near(made_at(clock.new_id()), utc_now())
    assert clock.new_id().version == 7


def test_a_machine_within_the_tolerance_is_left_alone():
    machine = Machine(timedelta(seconds=1.5))
    clock = machine.clock()

    assert near(clock(), machine.wall())
    assert near(made_at(clock.new_id()), machine.wall())


def test_a_clock_that_jumps_between_two_hearings_is_corrected():
    machine = Machine(timedelta())
    clock = machine.clock()
    machine.off = YEAR

    assert near(clock(), utc_now())
    machine.off = timedelta()
    assert near(clock(), utc_now())


def test_hearing_again_follows_a_database_whose_clock_was_set():
    wall = FakeClock()
    clock = DatabaseClock(wall(), wall=wall, monotonic=lambda: 0.0)
    clock.hear(wall() + YEAR)

    assert clock() == wall() + YEAR


@pytest.mark.parametrize("off", [timedelta(), YEAR, timedelta(seconds=2)], ids=str)
def test_ids_of_one_moment_keep_their_order(off):
    clock = Machine(off).clock()
    ids = [clock.new_id() for _ in range(5_000)]

    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
