"""What an integrator may read of each type of event: what it means, its schemas and examples, full and thin."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from handlers.webhooks.event_types import KNOWN_TYPES, PROMISED_TYPES, EventType
from handlers.webhooks.events import json_schema, schema_version, thin_body
from handlers.webhooks.examples import example_body

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Form:
    """The bodies of a type as one kind of endpoint gets them: their JSON Schema and one of them."""

    json_schema: Json
    example: Json


@dataclass(frozen=True, slots=True)
class TypeEntry:
    """A type of event; a promised one, which nothing emits yet, has neither version nor forms."""

    name: str
    description: str
    emitted: bool
    schema_version: int | None
    full: Form | None
    thin: Form | None

    @property
    def family(self) -> str:
        """What ``family.*`` of a subscription names."""
        return self.name.partition(".")[0]


def build_catalogue() -> Mapping[str, TypeEntry]:
    """Every type that can be subscribed to, by name and in its order. Takes tens of milliseconds."""
    return MappingProxyType({name: _entry(name) for name in sorted(KNOWN_TYPES)})


def _entry(name: str) -> TypeEntry:
    if name in PROMISED_TYPES:
        return TypeEntry(name, PROMISED_TYPES[name], False, None, None, None)
    event_type = EventType(name)
    schema, body = json_schema(event_type), example_body(event_type)
    return TypeEntry(
        name=name,
        description=schema["description"],
        emitted=True,
        schema_version=schema_version(event_type),
        full=Form(schema, body),
        thin=Form(json_schema(event_type, thin=True), thin_body(body)),
    )
