"""Times as providers write them in JSON, and the one that they are compared with."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """This machine's time."""
    return datetime.now(UTC)


def utc_time(text: str) -> datetime | None:
    """An aware UTC time of ISO 8601; None where it is none. Without a zone it is UTC."""
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
