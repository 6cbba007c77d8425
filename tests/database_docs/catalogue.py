"""The schema as the documents tell it, read from the catalogue of a migrated database."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import asyncpg

from db.named_sql import parse_statements

_SQL = parse_statements("catalogue", Path(__file__).with_name("catalogue.sql").read_text(encoding="utf-8"))
_COMMENT = re.compile(
    r"\[(?P<number>\d+) (?P<name>[^\]]+)\] (?P<purpose>.*?)(?: Coming: (?P<coming>.*))?", re.DOTALL
)
_TIME = ("timestamp with time zone", "timestamptz")


class CatalogueError(Exception):
    """The catalogue does not say what the documents need; the message names the place to mend."""


@dataclass(frozen=True, slots=True, order=True)
class Category:
    """One of the categories of the tables' comments."""

    number: int
    name: str

    @property
    def title(self) -> str:
        return f"{self.number} {self.name}"


@dataclass(frozen=True, slots=True)
class Column:
    """A column; ``default`` is PostgreSQL's text of the expression, also of a generated column."""

    name: str
    type: str
    not_null: bool
    generated: bool
    default: str | None
    comment: str | None


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key; ``on_delete`` is PostgreSQL's letter, ``forgotten`` the columns that SET NULL empties."""

    table: str
    columns: tuple[str, ...]
    parent: str
    on_delete: str
    forgotten: tuple[str, ...]

    @property
    def own_columns(self) -> tuple[str, ...]:
        """The columns beside the tenant's."""
        return tuple(name for name in self.columns if name != "distributor_id") or self.columns


@dataclass(frozen=True, slots=True)
class Constraint:
    """A key (p, u) or a check (c)."""

    kind: str
    columns: tuple[str, ...]
    definition: str


@dataclass(frozen=True, slots=True)
class Index:
    """An index that is no key's; ``definition`` begins with its columns."""

    name: str
    definition: str
    unique: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """What it is over, without the order; an expression stays as it is."""
        listed = self.definition.partition(" WHERE ")[0].removeprefix("btree (").partition(" NULLS")[0]
        return tuple(name.removesuffix(" DESC") for name in listed.removesuffix(")").split(", "))

    @property
    def predicate(self) -> str:
        """Which rows it holds; empty for all."""
        return self.definition.partition(" WHERE ")[2]


@dataclass(frozen=True, slots=True)
class Right:
    """What a role may do with a table: a command on the whole of it, or on ``columns`` only."""

    role: str
    command: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """Which rows a role's command meets: all, or the tenant's."""

    role: str
    command: str
    all_rows: bool


@dataclass(frozen=True, slots=True)
class PartitionPlan:
    """How a table is cut in time, and how far ahead."""

    step: str
    days_ahead: int
    days_kept: int
    place: int


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the schema and which run-time roles may call it."""

    signature: str
    comment: str
    runs_as_owner: bool
    callers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A logical table with all that belongs to it."""

    name: str
    category: Category
    purpose: str
    coming: str | None
    columns: tuple[Column, ...]
    constraints: tuple[Constraint, ...]
    references: tuple[Reference, ...]
    indexes: tuple[Index, ...]
    rights: tuple[Right, ...]
    policies: tuple[Policy, ...]
    partition_key: str | None
    plan: PartitionPlan | None

    @property
    def primary_key(self) -> tuple[str, ...]:
        return next((key.columns for key in self.constraints if key.kind == "p"), ())

    def reference_of(self, index: Index) -> Reference | None:
        """The foreign key that an index serves and nothing else: its columns are the key's."""
        if index.predicate or index.definition.endswith("DESC)"):
            return None
        return next((each for each in self.references if each.columns == index.columns), None)

    def finds_quickly(self, reference: Reference) -> bool:
        """Whether a key or an index leads with a foreign key's columns."""
        keys = [key.columns for key in self.constraints if key.kind in ("p", "u")]
        not_null = {"", *(f"({name} IS NOT NULL)" for name in reference.columns)}
        indexes = [index.columns for index in self.indexes if index.predicate in not_null]
        return any(
            set(columns[: len(reference.columns)]) == set(reference.columns) for columns in (*keys, *indexes)
        )


@dataclass(frozen=True)
class Catalogue:
    """The whole schema."""

    tables: Mapping[str, Table]
    functions: tuple[Function, ...]
    migrations: tuple[str, ...]

    @cached_property
    def categories(self) -> Mapping[Category, tuple[Table, ...]]:
        found: defaultdict[Category, list[Table]] = defaultdict(list)
        for table in self.tables.values():
            found[table.category].append(table)
        return {category: tuple(found[category]) for category in sorted(found)}

    @cached_property
    def references(self) -> tuple[Reference, ...]:
        return tuple(reference for table in self.tables.values() for reference in table.references)

    def children(self, parent: str) -> tuple[Reference, ...]:
        """The foreign keys that point to a table, its own included."""
        return tuple(reference for reference in self.references if reference.parent == parent)


Record = asyncpg.Record


async def read_catalogue(connection: "asyncpg.Connection[asyncpg.Record]") -> Catalogue:
    """The catalogue as one value; raises CatalogueError for a table whose comment does not have the form."""
    parts = {name: await connection.fetch(_SQL[name]) for name in _SQL}
    by_table = {
        name: _group(parts[name])
        for name in ("columns", "constraints", "indexes", "policies", "grants", "partitions")
    }
    tables = (
        _table(row, {name: groups[row["name"]] for name, groups in by_table.items()})
        for row in parts["tables"]
    )
    return Catalogue(
        tables={table.name: table for table in tables},
        functions=tuple(_function(row) for row in parts["functions"]),
        migrations=tuple(f"{row['version']:04d}_{row['name']}" for row in parts["migrations"]),
    )


def _group(rows: Iterable[Record]) -> defaultdict[str, list[Record]]:
    groups: defaultdict[str, list[Record]] = defaultdict(list)
    for row in rows:
        groups[row["table_name"]].append(row)
    return groups


def _table(row: Record, parts: Mapping[str, Sequence[Record]]) -> Table:
    comment = _COMMENT.fullmatch(row["comment"] or "")
    if comment is None:
        raise CatalogueError(
            f"{row['name']} needs `comment on table … is '[number Category] purpose. Coming: …'` in its migration"
        )
    return Table(
        name=row["name"],
        category=Category(int(comment["number"]), comment["name"]),
        purpose=comment["purpose"],
        coming=comment["coming"],
        columns=tuple(map(_column, parts["columns"])),
        constraints=tuple(_constraint(each) for each in parts["constraints"] if each["kind"] != "f"),
        references=tuple(_reference(each) for each in parts["constraints"] if each["kind"] == "f"),
        indexes=tuple(map(_index, parts["indexes"])),
        rights=tuple(map(_right, parts["grants"])),
        policies=tuple(map(_policy, parts["policies"])),
        partition_key=row["partition_key"],
        plan=next(map(_plan, parts["partitions"]), None),
    )


def _column(row: Record) -> Column:
    return Column(
        name=row["name"],
        type=row["type"].replace(*_TIME),
        not_null=row["not_null"],
        generated=row["generated"],
        default=row["default_value"],
        comment=row["comment"],
    )


def _constraint(row: Record) -> Constraint:
    return Constraint(row["kind"], tuple(row["columns"]), row["definition"])


def _reference(row: Record) -> Reference:
    return Reference(
        row["table_name"], tuple(row["columns"]), row["parent"], row["on_delete"], tuple(row["forgotten"])
    )


def _index(row: Record) -> Index:
    return Index(row["name"], row["definition"].partition(" USING ")[2], row["is_unique"])


def _right(row: Record) -> Right:
    return Right(row["role"], row["command"], tuple(row["columns"]))


def _policy(row: Record) -> Policy:
    return Policy(row["role"], row["command"], row["sees_all"] or row["writes_all"])


def _plan(row: Record) -> PartitionPlan:
    return PartitionPlan(row["step"], row["days_ahead"], row["days_kept"], row["place"])


def _function(row: Record) -> Function:
    if not row["comment"]:
        raise CatalogueError(f"the function {row['name']} needs a `comment on function` in its migration")
    arguments = row["arguments"].replace(*_TIME)
    return Function(
        f"{row['name']}({arguments})", row["comment"], row["runs_as_owner"], tuple(row["callers"])
    )
