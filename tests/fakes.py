"""Fakes that tests pass in: a clock that moves when told to."""

from datetime import UTC, datetime, timedelta

START = datetime(2026, 7, 6, 15, 0, tzinfo=UTC)


class FakeClock:
    """Calling it gives the time; ``advance`` moves it."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now
