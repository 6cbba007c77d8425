"""The schemas of events as they were published, in docs/event-schemas, and what a change of theirs means."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from handlers.webhooks.catalogue import TypeEntry
from tests.event_docs.compatibility import breaking_changes

FOLDER = Path(__file__).parents[2] / "docs" / "event-schemas"
FORMS = ("full", "thin")

Published = Mapping[str, Any]


def published_form(entry: TypeEntry) -> Published:
    """What is kept of a type that is emitted."""
    assert entry.full is not None
    assert entry.thin is not None
    return {
        "type": entry.name,
        "schema_version": entry.schema_version,
        "full": entry.full.json_schema,
        "thin": entry.thin.json_schema,
    }


def emitted(catalogue: Mapping[str, TypeEntry]) -> dict[str, Published]:
    """By type, in the order of their names."""
    return {name: published_form(entry) for name, entry in catalogue.items() if entry.emitted}


def read_published(folder: Path) -> dict[str, Published]:
    """By type, what was published last."""
    files = sorted(folder.glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}


def render_schema(published: Published) -> str:
    """The file's text."""
    return json.dumps(published, indent=2, ensure_ascii=False) + "\n"


def find_breaks(before: Mapping[str, Published], after: Mapping[str, Published]) -> Iterator[str]:
    """One line for each change that receivers do not survive and that no new version tells of, with its mend."""
    for name, old in before.items():
        if name not in after:
            yield f"{name}: no longer emitted; receivers wait for it. Keep it in EventType."
            continue
        new = after[name]
        if new["schema_version"] < old["schema_version"]:
            yield f"{name}: its version fell from {old['schema_version']} to {new['schema_version']}."
        if new["schema_version"] > old["schema_version"]:
            continue
        for form in FORMS:
            for change in breaking_changes(old[form], new[form]):
                yield (
                    f"{name}, {form}: {change}. Take it back, or set `version = {old['schema_version'] + 1}` in its model"
                    " (handlers/webhooks/payloads.py), tell of it in CHANGELOG.md and run `make docs`."
                )
