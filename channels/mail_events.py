"""Values that the events of every mail provider have in common."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from channels.addresses import normalise_email
from channels.errors import MalformedPayload
from channels.json_posts import text_of

OUR_ID = "waystation_message"  # the name under which a provider carries our message's id
CODE_LIMIT = 64
_NO_CODE = re.compile(r"[^a-z0-9.]+")
_LATEST = 253402300799  # the last second of year 9999


def our_id(document: Mapping[str, Any]) -> UUID | None:
    """Our message's id among what the provider carried along; None where there is none of ours."""
    try:
        return UUID(text_of(document, OUR_ID))
    except ValueError:
        return None


def address_of(text: str) -> str | None:
    """The address of an event in its canonical form; None where it is none."""
    try:
        return normalise_email(text)
    except MalformedPayload:
        return None


def time_of(seconds: object) -> datetime | None:
    """An aware time of Unix seconds, whole or not; None where they are none."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= _LATEST:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def error_code(text: str) -> str:
    """A provider's words as a code: lower case, joined by hyphens, at most ``CODE_LIMIT`` characters."""
    return _NO_CODE.sub("-", text.lower()).strip("-")[:CODE_LIMIT]
