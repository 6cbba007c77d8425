"""docs/webhook-events.md: every type of event with its fields and an example, made from the models."""

import json
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from handlers.webhooks.catalogue import TypeEntry

DOCUMENT = Path(__file__).parents[2] / "docs" / "webhook-events.md"

_HEAD = """# Events

Made by `make docs` from the models in `handlers/webhooks/payloads.py`; a test fails where it drifts. The same is served by
`GET /v1/event-types`, and stands in `/openapi.json` under `webhooks`. Each type's JSON Schema is in
[event-schemas](event-schemas).

## Every body

```json
{"type": "order.created", "timestamp": "2026-08-01T12:00:00.000000Z", "distributor_id": "…", "sequence": 7, "data": {…}}
```

| field | type | meaning |
|---|---|---|
| `type` | string | One of the types below. A subscription names types, `family.*` or `*`. |
| `timestamp` | string, date-time | When it happened, UTC; the attempt's own time is in the header `webhook-timestamp`. |
| `distributor_id` | string, uuid | The tenant. |
| `sequence` | integer, from 1 | Its place among all events of its conversation; absent where it is of none. |
| `data` | object | As the type says. |

The event's id is in the header `webhook-id`, the same on every try: what you have seen, you can pass over.

**`sequence`** counts the events of one conversation, of whatever type, without gaps and in the order in which they were
committed. Who subscribes to all types of a conversation's events can tell by it what is missing or came too early; who
subscribes to some sees gaps that are none. After a silence longer than events are kept (90 days) it begins at 1 again.

**Thin payloads** (`"payload": "thin"` on an endpoint) have the same head; of `data` only ids, statuses, directions, kinds and
the channel are kept, and nothing that a customer wrote or is called. Read the rest over the API. Filters always look at the
full body.

**Versions.** Fields are added without notice: pass over what you do not know. A change that a receiver may not understand (a
field that goes or may be absent, another type, a new word in a closed set) raises the type's `schema_version`; a test compares
every change with what was published.
"""
_COLUMNS = "| field | type | meaning |\n|---|---|---|\n"


def render_document(catalogue: Mapping[str, TypeEntry]) -> str:
    """The whole document."""
    families = groupby(catalogue.values(), key=lambda entry: entry.family)
    return "\n".join([_HEAD, *(_family(family, list(entries)) for family, entries in families)])


def _family(family: str, entries: list[TypeEntry]) -> str:
    return "\n".join([f"## {family}.*\n", *map(_entry, entries)])


def _entry(entry: TypeEntry) -> str:
    title = f"### {entry.name}\n\n{' '.join(entry.description.split())}"
    if entry.full is None or entry.thin is None:
        return f"{title}\n\nPromised: it can be subscribed to, and nothing emits it yet.\n"
    kept = entry.thin.json_schema["properties"]["data"]["properties"]
    schema = entry.full.json_schema
    rows = "".join(_rows("", schema["properties"]["data"], schema.get("$defs", {})))
    example = json.dumps(entry.full.example, indent=2, ensure_ascii=False)
    return (
        f"{title}\n\nSchema version {entry.schema_version}. Thin: {', '.join(f'`{name}`' for name in kept)}.\n\n"
        f"{_COLUMNS}{rows}\n```json\n{example}\n```\n"
    )


def _rows(prefix: str, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[str]:
    """A row for each field of an object, and below it for those of the objects in it."""
    for name, field in schema["properties"].items():
        path = f"{prefix}{name}"
        meaning = field.get("description", "").replace("|", "\\|")
        yield f"| `{path}` | {_type(field, definitions)} | {meaning} |\n"
        member = _resolved(field.get("items", {}), definitions)
        if "properties" in member:
            yield from _rows(f"{path}[].", member, definitions)


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in schema:
        found: Mapping[str, Any] = definitions[schema["$ref"].rpartition("/")[2]]
        return found
    return schema


def _type(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    options = field.get("anyOf", [field])
    return " or ".join(_plain_type(_resolved(option, definitions), definitions) for option in options)


def _plain_type(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "array":
        return f"list of {_type(schema['items'], definitions)}"
    return f"{schema['type']}, {schema['format']}" if "format" in schema else str(schema["type"])
