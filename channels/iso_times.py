"""Times as providers write them, and the one that they are compared with."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def utc_now() -> datetime:
    """This machine's time."""
    return datetime.now(UTC)


def utc_time(text: str) -> datetime | None:
    """An aware UTC time of ISO 8601; None where it is none. Without a zone it is UTC."""
    try:
        return _in_utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def mail_time(text: str) -> datetime | None:
    """An aware UTC time of a mail's header (RFC 5322 section 3.3); None where it is none."""
    try:
        return _in_utc(parsedate_to_datetime(text[:128]))
    except (ValueError, OverflowError, TypeError, IndexError):  # the stdlib raises whatever it stumbles over
        return None


def _in_utc(found: datetime) -> datetime:
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
