"""Twilio's answers and error codes, turned into our errors; the codes are in ``twilio_errors.toml``."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from types import MappingProxyType

from channels.errors import (
    BadCredentials,
    ContentRefused,
    GatewayError,
    InvalidRecipient,
    OptedOut,
    ProviderUnavailable,
    Throttled,
    WindowClosed,
)
from channels.provider_api import ApiAnswer, error_of_status

SERVER_FAULT = 500
_KINDS: Mapping[str, type[GatewayError]] = {
    kind.code: kind
    for kind in (
        BadCredentials,
        ContentRefused,
        InvalidRecipient,
        OptedOut,
        ProviderUnavailable,
        Throttled,
        WindowClosed,
    )
}


class Concern(StrEnum):
    """What has to change before the like of a refused message can be delivered."""

    RECIPIENT = "recipient"
    CONSENT = "consent"
    CONTENT = "content"
    TEMPLATE = "template"
    MEDIA = "media"
    RATE = "rate"
    PROVIDER = "provider"
    CONFIG = "config"


@dataclass(frozen=True, slots=True)
class ErrorMeaning:
    """What a code of Twilio's means."""

    error: type[GatewayError]
    concern: Concern
    meaning: str


def _read_meanings() -> Mapping[str, ErrorMeaning]:
    text = resources.files("channels").joinpath("twilio_errors.toml").read_text(encoding="utf-8")
    return MappingProxyType(
        {
            code: ErrorMeaning(_KINDS[error], Concern(concern), meaning)
            for error, codes in tomllib.loads(text).items()
            for code, (concern, meaning) in codes.items()
        }
    )


ERRORS = _read_meanings()
_ERROR_TYPES: Mapping[str, type[GatewayError]] = MappingProxyType(
    {code: known.error for code, known in ERRORS.items()}
)


def error_of_code(code: str | None) -> type[GatewayError] | None:
    """What a code of an answer or of a status callback means; None where the table does not know it."""
    return _ERROR_TYPES.get(code or "")


def error_of_answer(answer: ApiAnswer, *, creates: bool) -> GatewayError:
    """The error that an answer without success means. ``creates``: the request was to send a message.

    A 5xx may come from a hop behind which the message was already taken, whatever code it carries, so a send is then
    of unknown outcome. Nothing of Twilio's own text is kept: it quotes phone numbers.
    """
    code = answer.document().get("code")
    known = _ERROR_TYPES if answer.status < SERVER_FAULT else None
    return error_of_status(answer, str(code) if isinstance(code, int) else None, creates=creates, kinds=known)
