"""JSON that a provider posts, read so that whatever it holds can be stored: the part that JSON lets through and
PostgreSQL does not (NUL, lone surrogates, numbers without end) is dealt with here, once.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from channels.errors import MalformedPayload

DEEPEST = 64  # no provider's documents come near; far below what json and Python's stack can take
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
REPLACEMENT = "\ufffd"


def read_json(body: bytes) -> Any:
    """The document of a body in UTF-8; NUL and lone surrogates in its texts become U+FFFD.

    Raises MalformedPayload where it is no JSON (RFC 8259: no NaN, no Infinity), or too deep.
    """
    try:
        document = json.loads(body.decode("utf-8"), parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        raise MalformedPayload("The body is not JSON.") from None
    return _storable(document, DEEPEST)


def text_of(holder: Mapping[str, Any], name: str) -> str:
    """The text of that name; empty where there is none."""
    value = holder.get(name)
    return value if isinstance(value, str) else ""


def object_of(holder: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object of that name; empty where there is none."""
    value = holder.get(name)
    return value if isinstance(value, dict) else {}


def objects_of(holder: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects of the list of that name; what is no object is left out."""
    value = holder.get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _refuse(_name: str) -> NoReturn:
    raise ValueError


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _storable(value: Any, depth: int) -> Any:
    if depth == 0:
        raise MalformedPayload("The body is nested too deeply.")
    if isinstance(value, str):
        return UNSTORABLE.sub(REPLACEMENT, value)
    if isinstance(value, list):
        return [_storable(item, depth - 1) for item in value]
    if isinstance(value, dict):
        return {UNSTORABLE.sub(REPLACEMENT, name): _storable(item, depth - 1) for name, item in value.items()}
    return value
