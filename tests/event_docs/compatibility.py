"""Whether a receiver that was written for one JSON Schema of an event takes every body of another.

A schema is a promise to whoever reads bodies. So a change breaks receivers where a new body may be what the old schema
did not allow: a field that is gone or may be absent, a value of another type, a value out of a closed set that was
closed without it, null where there was none, a looser bound. Fields that are added, that are now always there, and
values that no longer come break nobody. What is compared is the part of JSON Schema 2020-12 that pydantic writes; an
assertion that is not known here must stay as it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

_NOTES = frozenset({"title", "description", "default", "examples", "$defs"})
_LOWER, _UPPER = (
    ("minimum", "exclusiveMinimum", "minLength", "minItems"),
    ("maximum", "exclusiveMaximum", "maxLength", "maxItems"),
)
_SHAPES = frozenset({"type", "enum", "const", "properties", "required", "items", "anyOf", "$ref"})


def breaking_changes(old: Json, new: Json) -> list[str]:
    """One sentence for each way in which a body of ``new`` may be none of ``old``; none where receivers go on."""
    return list(_Comparison(old.get("$defs", {}), new.get("$defs", {})).schema("body", old, new))


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Two documents, whose references lead into their own definitions. Payloads do not refer to themselves."""

    old_definitions: Mapping[str, Json]
    new_definitions: Mapping[str, Json]

    def schema(self, path: str, old: Json, new: Json) -> Iterator[str]:
        olds, news = _options(old, self.old_definitions), _options(new, self.new_definitions)
        if len(olds) == len(news) == 1:
            yield from self._plain(path, olds[0], news[0])
            return
        for option in news:
            if all(any(self._plain(path, known, option)) for known in olds):
                yield f"{path} may be {_shown(option)} now"

    def _plain(self, path: str, old: Json, new: Json) -> Iterator[str]:
        yield from _values(path, old, new)
        yield from _bounds(path, old, new)
        yield from _others(path, old, new)
        if "properties" in old:
            yield from self._fields(path, old, new)
        if "items" in old:
            yield from self.schema(f"{path}[]", old["items"], new.get("items", {}))

    def _fields(self, path: str, old: Json, new: Json) -> Iterator[str]:
        known = new.get("properties", {})
        for name, field in old["properties"].items():
            if name not in known:
                yield f"{path}.{name} is gone"
                continue
            if name in old.get("required", ()) and name not in new.get("required", ()):
                yield f"{path}.{name} may be absent now"
            yield from self.schema(f"{path}.{name}", field, known[name])


def _options(schema: Json, definitions: Mapping[str, Json]) -> Sequence[Json]:
    """The schemas of which one holds, references followed; keywords beside a reference hold too."""
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        beside = {name: value for name, value in schema.items() if name != "$ref"}
        return [{**option, **beside} for option in _options(target, definitions)]
    if "anyOf" in schema:
        return [option for member in schema["anyOf"] for option in _options(member, definitions)]
    return [schema]


def _closed(schema: Json) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _values(path: str, old: Json, new: Json) -> Iterator[str]:
    """Types and closed sets."""
    before, after = _closed(old), _closed(new)
    if before is not None:
        if after is None:
            yield f"{path} may be any {new.get('type', 'value')} now"
            return
        for value in after:
            if value not in before:
                yield f"{path} may be {value!r} now"
        return
    kinds = {_kind(value) for value in after} if after is not None else {new.get("type")}
    for kind in kinds:
        if "type" in old and kind != old["type"] and (kind, old["type"]) != ("integer", "number"):
            yield f"{path} was {old['type']} and may be {kind or 'anything'} now"


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case _:
            return "string"


def _bounds(path: str, old: Json, new: Json) -> Iterator[str]:
    if _closed(new) is not None:
        return
    for name in (*_LOWER, *_UPPER):
        if name in old and not _keeps(name, old[name], new.get(name)):
            yield f"{path} keeps no {name} of {old[name]} any more"


def _keeps(name: str, old: float, new: float | None) -> bool:
    return new is not None and (new >= old if name in _LOWER else new <= old)


def _others(path: str, old: Json, new: Json) -> Iterator[str]:
    """``format``, ``pattern`` and whatever else asserts something: the same, or nobody can tell."""
    if _closed(new) is not None:
        return
    for name in sorted(old.keys() - _NOTES - _SHAPES - {*_LOWER, *_UPPER}):
        if old[name] != new.get(name):
            yield f"{path} had {name} {old[name]!r} and has {new.get(name)!r} now"


def _shown(schema: Json) -> str:
    closed = _closed(schema)
    return " or ".join(map(repr, closed)) if closed is not None else str(schema.get("type", "anything"))
