"""Twilio's answers and error codes, turned into our errors: tables, and the one function that reads them.

Source of the codes: Twilio's error dictionary (docs, "Error and warning dictionary"). The same code may come
in the answer to a send or later in a status callback.
"""

import json
from collections.abc import Mapping
from typing import Any

from channels.errors import (
    BadCredentials,
    ContentRefused,
    GatewayError,
    InvalidRecipient,
    OptedOut,
    OutcomeUnknown,
    Permanent,
    ProviderUnavailable,
    Temporary,
    Throttled,
    WindowClosed,
)

CODES: Mapping[type[GatewayError], frozenset[int]] = {
    OptedOut: frozenset({21610}),
    WindowClosed: frozenset({63016}),
    InvalidRecipient: frozenset(
        {21211, 21214, 21217, 21604, 21612, 21614, 30003, 30005, 30006, 63003, 63024}
    ),
    ContentRefused: frozenset(
        {11751, 21602, 21605, 21617, 21619, 21620, 21623, 21655, 21656}  # form and media
        | {30004, 30007, 30032, 30034, 63013, 63032, 63033}  # filtered, or the sender is not registered
        | {63019, 63021, 63027, 63028, 63041}  # WhatsApp media and templates
    ),
    Throttled: frozenset({14107, 20429, 21611, 30001, 30022, 30023, 63017, 63018, 63038}),
    ProviderUnavailable: frozenset({30008, 30410, 63009, 63010, 63012}),
    BadCredentials: frozenset(
        {20003, 20005, 20404, 21212, 21408, 21603, 21606, 21608, 21609, 21659, 21660, 21703, 21705, 21910}
        | {63001, 63007, 63015}
    ),
}
ERRORS: Mapping[int, type[GatewayError]] = {code: kind for kind, codes in CODES.items() for code in codes}
TOO_MANY, SERVER_FAULT = 429, 500
AUTHORISATION = frozenset({401, 403})


def error_of_code(code: str | int | None) -> type[GatewayError] | None:
    """What a code of an answer or of a status callback means; None where the tables do not know it."""
    try:
        return ERRORS.get(int(code or 0))
    except ValueError:
        return None


def error_of_answer(status: int, headers: Mapping[str, str], text: str, *, creates: bool) -> GatewayError:
    """The error that an answer without success means. ``creates``: the request was to send a message.

    A 5xx may come from a hop behind which the message was already taken (a proxy says 503 when it lost the
    answer of the server behind it), so a send is then of unknown outcome. Nothing of Twilio's own text is
    kept: it quotes phone numbers.
    """
    code = _code(text)
    retry_after = _seconds(headers.get("Retry-After"))
    if status >= SERVER_FAULT:
        lost = OutcomeUnknown if creates else ProviderUnavailable
        return lost(provider_code=code, retry_after=retry_after)
    kind = Throttled if status == TOO_MANY else error_of_code(code) or _error_of_status(status)
    if issubclass(kind, Temporary):
        return kind(provider_code=code, retry_after=retry_after)
    return kind(provider_code=code)


def _error_of_status(status: int) -> type[GatewayError]:
    return BadCredentials if status in AUTHORISATION else Permanent


def _code(text: str) -> str | None:
    try:
        answer: Any = json.loads(text)
    except ValueError:
        return None
    code = answer.get("code") if isinstance(answer, dict) else None
    return str(code) if isinstance(code, int) else None


def _seconds(header: str | None) -> float | None:
    """Retry-After in seconds; its other form, a date (RFC 9110 section 10.2.3), is not used by Twilio."""
    return float(header) if header and header.isascii() and header.isdigit() else None
