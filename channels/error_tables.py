"""Providers' error codes as data: one TOML file a provider beside this module, and its reader.

A file has a table per class of ``channels.errors``, named by the class's code, and in it a line per code of the
provider's: what has to change, and what the code means. ``"200-299"`` stands for every code between.
"""

import tomllib
from collections.abc import Iterator, Mapping
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
    OutcomeUnknown,
    ProviderUnavailable,
    Throttled,
    WindowClosed,
)

_KINDS: Mapping[str, type[GatewayError]] = {
    kind.code: kind
    for kind in (
        BadCredentials,
        ContentRefused,
        InvalidRecipient,
        OptedOut,
        OutcomeUnknown,
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
    """What a provider's code means."""

    error: type[GatewayError]
    concern: Concern
    meaning: str


def read_meanings(file: str) -> Mapping[str, ErrorMeaning]:
    """The codes of the file of that name beside this module."""
    return meanings_of(resources.files("channels").joinpath(file).read_text(encoding="utf-8"))


def meanings_of(text: str) -> Mapping[str, ErrorMeaning]:
    """The codes of a table; raises ValueError where one is there twice, and KeyError for an unknown error."""
    found: dict[str, ErrorMeaning] = {}
    for error, codes in tomllib.loads(text).items():
        for written, (concern, meaning) in codes.items():
            for code in _codes(written):
                if code in found:
                    raise ValueError(f"{code} is there twice")
                found[code] = ErrorMeaning(_KINDS[error], Concern(concern), meaning)
    return MappingProxyType(found)


def error_types(meanings: Mapping[str, ErrorMeaning]) -> Mapping[str, type[GatewayError]]:
    """Which error each code is."""
    return MappingProxyType({code: known.error for code, known in meanings.items()})


def _codes(written: str) -> Iterator[str]:
    first, _, last = written.partition("-")
    yield from map(str, range(int(first), int(last or first) + 1))
