"""What people wrote about tables, beside what the catalogue says: ``notes/*.toml``, one file per category.

A table has ``why`` (why it exists by itself), maybe ``reads`` (how it behaves when large), ``indexes`` (which read each
one serves) and ``unlinked`` (columns that hold another table's id without a foreign key, and whose; ``*`` where rows of
several tables or of no table are meant).
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.database_docs.catalogue import Catalogue, CatalogueError, Column, Table

FOLDER = Path(__file__).with_name("notes")
_COMMON = FOLDER / "common.toml"


@dataclass(frozen=True, slots=True)
class TableNotes:
    """One table's notes."""

    why: str
    reads: str = ""
    indexes: Mapping[str, str] = field(default_factory=dict)
    unlinked: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Notes:
    """All notes; ``columns`` says what a column's name means wherever it stands."""

    tables: Mapping[str, TableNotes]
    columns: Mapping[str, str]

    def meaning(self, column: Column) -> str:
        """The column's comment, else what its name means everywhere, else nothing."""
        return column.comment or self.columns.get(column.name, "")


def read_notes(catalogue: Catalogue) -> Notes:
    """The notes; raises CatalogueError that lists everything that is missing or left over."""
    notes = Notes(tables=_read_tables(), columns=_read(_COMMON)["columns"])
    problems = list(_problems(catalogue, notes))
    if problems:
        raise CatalogueError("tests/database_docs/notes: " + "; ".join(problems))
    return notes


def _read_tables() -> dict[str, TableNotes]:
    files = sorted(path for path in FOLDER.glob("*.toml") if path != _COMMON)
    return {name: TableNotes(**raw) for path in files for name, raw in _read(path).items()}


def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _problems(catalogue: Catalogue, notes: Notes) -> Iterator[str]:
    for name in catalogue.tables.keys() - notes.tables.keys():
        yield f"{name} has no notes"
    for name in notes.tables.keys() - catalogue.tables.keys():
        yield f"{name} is no table"
    for name in catalogue.tables.keys() & notes.tables.keys():
        yield from _table_problems(catalogue.tables[name], notes)


def _table_problems(table: Table, notes: Notes) -> Iterator[str]:
    own = notes.tables[table.name]
    indexes = {index.name: table.reference_of(index) is None for index in table.indexes}
    yield from _difference(f"{table.name}.indexes", indexes, own.indexes)
    unlinked = dict.fromkeys(_unlinked_columns(table), True)
    yield from _difference(f"{table.name}.unlinked", unlinked, own.unlinked)
    linked = {name for reference in table.references for name in reference.own_columns}
    for column in table.columns:
        if not notes.meaning(column) and column.name not in linked:
            yield f"{table.name}.{column.name} needs a `comment on column` in its migration"


def _difference(place: str, known: Mapping[str, bool], given: Mapping[str, str]) -> Iterator[str]:
    """``known`` says of each name whether it has to be given."""
    for name, wanted in known.items():
        if wanted and name not in given:
            yield f"{place} does not tell of {name}"
    for name in given.keys() - known.keys():
        yield f"{place} tells of {name}, which is none"


def _unlinked_columns(table: Table) -> Iterator[str]:
    """Ids of something else that no foreign key holds."""
    linked = {name for reference in table.references for name in reference.columns}
    for column in table.columns:
        is_id = column.type == "uuid" and not column.name.endswith("_token")
        if is_id and column.name != "id" and column.name not in linked:
            yield column.name
