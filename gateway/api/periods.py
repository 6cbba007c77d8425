"""The time that a report is asked for: given, or the last days; never longer than the report can bear."""

from datetime import datetime, timedelta

from pydantic import Field

from gateway.api.problems import invalid
from gateway.api.schemas import Moment, NoQuery

DEFAULT_DAYS = 30


class PeriodQuery(NoQuery):
    """A time, of which both ends may be left out."""

    since: Moment | None = Field(
        default=None, description=f"Inclusive; absent: {DEFAULT_DAYS} days before the end."
    )
    until: Moment | None = Field(default=None, description="Exclusive; absent: now.")


def read_period(
    since: datetime | None, until: datetime | None, now: datetime, *, most_days: int
) -> tuple[datetime, datetime]:
    """Beginning and end; raises ApiError 422 where it ends before it begins or is too long."""
    end = until or now
    try:
        begin = since or end - timedelta(days=DEFAULT_DAYS)
    except OverflowError:
        raise invalid("query", "until", "is out of range") from None
    if not timedelta(0) < end - begin <= timedelta(days=most_days):
        raise invalid("query", "since", f"The time must be longer than nothing and at most {most_days} days.")
    return begin, end
