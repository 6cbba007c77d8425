"""Which events an endpoint asks for: names of types, and a filter over the body.

A filter (contract §4) is compiled once, at registration, to one PostgreSQL SQL/JSON path predicate, so that
matching happens in the statement that stores the event: ``jsonb_path_match(body, path, '{}', true)``. Rules
of the path language that this rests on (PostgreSQL manual, "The SQL/JSON Path Language", same in 15 to 18):
lax mode steps into arrays by itself, so a path through an array matches if any element does; an error inside
``? (...)`` makes the element not match; ``exists`` of a filtered path is never null, so ``!`` of it is exact.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import Any

from channels.errors import InvalidInput
from handlers.webhooks.event_types import EVERYTHING, FAMILIES, KNOWN_TYPES
from handlers.webhooks.payloads import is_storable_text

MAX_DEPTH = 10  # levels of $and, $or and $not
MAX_CONDITIONS = 100  # values compared with; each costs time for every event of the tenant
MAX_TEXT = 1_000  # characters of a path or a string
MAX_SEGMENTS = 10
MATCHES_ALL = "exists($)"
# What a body holds beside ``data``; of these, nothing lies deeper.
_HEAD_FIELDS = frozenset({"type", "timestamp", "distributor_id", "sequence"})
_DATA = "data."
_MAX_BITS = 1023  # of an integer: what a double holds
_MAX_NUMBER_TEXT = 400  # characters of a numeric string

# JSON's own grammar of numbers (RFC 8259 §6): "0012" or "+52" is a code or a telephone number, not an amount.
_NUMERIC = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?")
_OPPOSITES: Mapping[str, str] = MappingProxyType({"$ne": "$eq", "$nin": "$in"})


def validate_event_types(event_types: Sequence[str]) -> tuple[str, ...]:
    """The names without repetitions; each must be a known type, ``family.*`` of a known family, or ``*``.

    Raises InvalidInput for field ``event_types``, also if there is none.
    """
    unknown = [name for name in event_types if not _is_subscribable(name)]
    if unknown:
        raise InvalidInput(f"Unknown event type {_shown(unknown[0])}.", field="event_types")
    if not event_types:
        raise InvalidInput("Name at least one event type, or * for all.", field="event_types")
    return tuple(dict.fromkeys(event_types))


def _is_subscribable(name: str) -> bool:
    family, _, rest = name.partition(".")
    return name == EVERYTHING or name in KNOWN_TYPES or (rest == EVERYTHING and family in FAMILIES)


def compile_filter(filter_: Any) -> str:
    """A filter as the text of a SQL/JSON path predicate, true or false for every body: never null, no error.

    Paths lead over the event's body (``data.channel``); against them stands a value, a list (any of) or an
    object of operators. Numbers are also compared with numeric strings and the other way round. ``$ne``,
    ``$nin`` and ``$not`` hold where the path leads nowhere; ``null`` equals only a null that is there. ``{}``
    matches every event. Raises InvalidInput for field ``filter`` if it is malformed, over a cap or names an
    unknown operator.
    """
    return _Compiler().group(filter_, depth=1)


def check_filter_paths(filter_: Any) -> None:
    """Refuses a filter that was compiled and yet can never match, for a path of it leads to no place of a body.

    Only what an integrator writes now is checked: what was stored before goes on as it was. Raises InvalidInput
    for field ``filter``, which names the first such path.
    """
    lost = next((path for path in _paths(filter_) if not _is_reachable(path)), None)
    if lost is not None:
        raise _malformed(
            f"The path {_shown(lost)} leads nowhere in an event: paths begin with data., or are one of"
            f" {', '.join(sorted(_HEAD_FIELDS))}."
        )


def _paths(filter_: Any) -> Iterator[str]:
    """All paths of a filter that compiles, whose nesting is bounded."""
    members = filter_ if isinstance(filter_, list) else [filter_]
    for key, value in chain.from_iterable(member.items() for member in members):
        if key.startswith("$"):
            yield from _paths(value)
        else:
            yield key


def _is_reachable(path: str) -> bool:
    return path in _HEAD_FIELDS or path.startswith(_DATA)


class _Compiler:
    """One run over one filter; counts conditions, so that nesting cannot get around the cap."""

    def __init__(self) -> None:
        self._conditions = 0

    def group(self, group: Any, depth: int) -> str:
        """An object of paths and ``$and``/``$or``/``$not``: all of them must hold."""
        if not isinstance(group, Mapping):
            raise _malformed("Conditions must be an object of paths.")
        if depth > MAX_DEPTH:
            raise _malformed(f"Conditions may not be nested deeper than {MAX_DEPTH} levels.")
        return _all_of(self._member(key, value, depth) for key, value in group.items()) or MATCHES_ALL

    def _member(self, key: Any, value: Any, depth: int) -> str:
        if not isinstance(key, str):
            raise _malformed("Paths must be strings.")
        if not key.startswith("$"):
            return self._field(_path(key), value)
        match key:
            case "$and":
                return _all_of(self._groups(key, value, depth))
            case "$or":
                return _any_of(self._groups(key, value, depth))
            case "$not":
                return _negated(self.group(value, depth + 1))
            case _:
                raise _unknown_operator(key)

    def _groups(self, key: str, value: Any, depth: int) -> list[str]:
        if not isinstance(value, list) or not value:
            raise _malformed(f"{key} must be a list with at least one object.")
        return [self.group(member, depth + 1) for member in value]

    def _field(self, path: str, value: Any) -> str:
        if isinstance(value, Mapping):
            if not value:
                raise _malformed("An object of operators must not be empty.")
            return _all_of(self._operator(path, name, operand) for name, operand in value.items())
        return self._leaf(path, value if isinstance(value, list) else [value], _equal)

    def _operator(self, path: str, name: Any, operand: Any) -> str:
        match name:
            case "$ne" | "$nin":
                return _negated(self._operator(path, _OPPOSITES[name], operand))
            case "$in":
                return self._leaf(path, _values(operand), _equal)
            case "$exists":
                self._count(1)
                return _existence(path, operand)
            case str() if name in _CONDITIONS:
                return self._leaf(path, [operand], _CONDITIONS[name])
            case _:
                raise _unknown_operator(name)

    def _leaf(self, path: str, values: list[Any], condition: Callable[[Any], str]) -> str:
        """Something at the path meets the condition for one of the values."""
        if not values:
            raise _malformed("A list must hold at least one value.")
        self._count(len(values))
        return f"exists({path} ? ({' || '.join(condition(value) for value in values)}))"

    def _count(self, conditions: int) -> None:
        self._conditions += conditions
        if self._conditions > MAX_CONDITIONS:
            raise _malformed(f"A filter may compare with at most {MAX_CONDITIONS} values.")


def _path(key: str) -> str:
    """``data.channel`` as ``$."data"."channel"``."""
    segments = key.split(".")
    if len(key) > MAX_TEXT or len(segments) > MAX_SEGMENTS or not all(segments):
        raise _malformed(f"{_shown(key)} is not a dotted path of at most {MAX_SEGMENTS} names.")
    return "".join(["$", *(f".{_literal(segment)}" for segment in segments)])


def _equal(value: Any) -> str:
    """``@`` is the value; a number also equals the body's numeric string, a numeric string its number."""
    if isinstance(value, str):
        alternative = f" || @ == {value}" if _is_numeric(value) else ""
        return f"@ == {_literal(value)}{alternative}"
    if _is_number(value):
        return f"@ == {_number(value)} || @.double() == {_number(value)}"
    if value is None or isinstance(value, bool):
        return f"@ == {json.dumps(value)}"
    raise _malformed("A value must be a string, a number, true, false or null.")


def _ordered(sign: str, value: Any) -> str:
    """``@`` stands so to the value: by number where both sides are numeric, else by code points."""
    if _is_number(value):
        return _ordered_number(sign, _number(value))
    if not isinstance(value, str):
        raise _malformed("Only strings and numbers have an order.")
    if not _is_numeric(value):
        return f"@ {sign} {_literal(value)}"
    unordered = f"(@.double() {sign} {value}) is unknown"  # the body has no number here
    return f"{_ordered_number(sign, value)} || ({unordered} && @ {sign} {_literal(value)})"


def _ordered_number(sign: str, number: str) -> str:
    return f"@ {sign} {number} || @.double() {sign} {number}"


def _starts(value: Any) -> str:
    if not isinstance(value, str):
        raise _malformed("$prefix takes a string.")
    return f"@ starts with {_literal(value)}"


def _existence(path: str, wanted: Any) -> str:
    if not isinstance(wanted, bool):
        raise _malformed("$exists takes true or false.")
    return f"exists({path})" if wanted else _negated(f"exists({path})")


def _values(operand: Any) -> list[Any]:
    if not isinstance(operand, list):
        raise _malformed("$in and $nin take a list.")
    return operand


def _literal(text: str) -> str:
    """A jsonpath string literal: JSON's escapes are a subset of its own, and all but ASCII is escaped."""
    if len(text) > MAX_TEXT or not is_storable_text(text):
        raise _malformed(f"A text may have {MAX_TEXT} characters, and neither NUL nor a lone surrogate.")
    return json.dumps(text)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_numeric(text: str) -> bool:
    return len(text) <= _MAX_NUMBER_TEXT and _NUMERIC.fullmatch(text) is not None


def _number(value: float) -> str:
    # Beyond a double's range Python refuses to turn an integer into text or a float.
    bounded = value.bit_length() <= _MAX_BITS if isinstance(value, int) else math.isfinite(value)
    if not bounded:
        raise _malformed("A number must be finite and of a common size.")
    return repr(value)


_CONDITIONS: Mapping[str, Callable[[Any], str]] = MappingProxyType(
    {
        "$eq": _equal,
        "$gt": partial(_ordered, ">"),
        "$gte": partial(_ordered, ">="),
        "$lt": partial(_ordered, "<"),
        "$lte": partial(_ordered, "<="),
        "$prefix": _starts,
    }
)


def _all_of(predicates: Iterable[str]) -> str:
    return " && ".join(f"({predicate})" for predicate in predicates)


def _any_of(predicates: Iterable[str]) -> str:
    return " || ".join(f"({predicate})" for predicate in predicates)


def _negated(predicate: str) -> str:
    return f"!({predicate})"


def _unknown_operator(name: Any) -> InvalidInput:
    return _malformed(f"Unknown operator {_shown(name)}.")


def _malformed(message: str) -> InvalidInput:
    return InvalidInput(message, field="filter")


def _shown(name: Any) -> str:
    """A name of the integrator's own, short enough for a message."""
    return json.dumps(str(name)[:60])
