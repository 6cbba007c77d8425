"""The relationships' generated parts: a Mermaid diagram per area, the foreign keys by rule, who runs as what."""

from collections import Counter
from collections.abc import Iterable, Iterator

from tests.database_docs.catalogue import Catalogue, Category, Column, Reference, Table
from tests.database_docs.markdown import Value, code, codes, grid
from tests.database_docs.notes import Notes
from tests.database_docs.texts import COMMANDS, ROLES, column_list, guide_link, on_delete_text

TENANT = "distributors"
_RULES = {"c": "goes with it", "n": "emptied"}
_DIAGRAM = "```mermaid\n{}\n```"


def diagram_values(catalogue: Catalogue, notes: Notes) -> dict[str, Value]:
    """What the template of the relationships may ask for."""
    return {
        "areas": "\n\n".join(_area(*item, catalogue, notes) for item in catalogue.categories.items()),
        "area_map": _area_map(catalogue),
        "cascades": _references(catalogue, "c"),
        "emptied": _references(catalogue, "n"),
        "preventing": _named(each for each in catalogue.references if each.on_delete not in _RULES),
        "unindexed": _named(
            each for each in catalogue.references if not catalogue.tables[each.table].finds_quickly(each)
        ),
        "tenant_children": codes(sorted({each.table for each in catalogue.children(TENANT)})),
        "unlinked": _unlinked(catalogue, notes),
        "partition_order": codes(name for name, _ in _partitioned(catalogue)),
        "role_counts": _role_counts(catalogue),
        "definers": grid(
            ("function", "may be called by", "what it does"),
            (
                (code(each.signature), codes(each.callers), each.comment)
                for each in catalogue.functions
                if each.runs_as_owner
            ),
        ),
    }


def _area(category: Category, tables: tuple[Table, ...], catalogue: Catalogue, notes: Notes) -> str:
    lines = ["erDiagram"]
    for table in tables:
        lines += _entity(table, notes)
    for table in tables:
        lines += _lines_of(table, category, catalogue, notes)
    return f"### {category.title}\n\n{_DIAGRAM.format(chr(10).join(lines))}"


def _entity(table: Table, notes: Notes) -> Iterator[str]:
    yield f"    {table.name} {{"
    for column in table.columns:
        if marks := _marks(table, column) or (
            "" if column.name not in notes.tables[table.name].unlinked else '"no key"'
        ):
            yield f"        {column.type} {column.name} {marks}"
    yield "    }"


def _marks(table: Table, column: Column) -> str:
    unique = {name for key in table.constraints if key.kind == "u" for name in key.columns}
    linked = {name for reference in table.references for name in reference.columns}
    marks = (
        ("PK", column.name in table.primary_key),
        ("FK", column.name in linked),
        ("UK", column.name in unique and column.name not in table.primary_key),
    )
    return ", ".join(mark for mark, holds in marks if holds)


def _lines_of(table: Table, category: Category, catalogue: Catalogue, notes: Notes) -> Iterator[str]:
    """What a table refers to; the tenant is drawn in its own area only, or every picture would be a star."""
    for reference in table.references:
        if reference.parent != TENANT or catalogue.tables[TENANT].category == category:
            yield _line(
                table,
                reference.parent,
                reference.own_columns,
                "--",
                _RULES.get(reference.on_delete, "prevents"),
            )
    for column, parent in notes.tables[table.name].unlinked.items():
        if parent != "*":
            yield _line(table, parent, (column,), "..", "no key")


def _line(table: Table, parent: str, columns: tuple[str, ...], stroke: str, rule: str) -> str:
    nullable = any(not column.not_null for column in table.columns if column.name in columns)
    whole = {"distributor_id", *columns}
    single = any(set(key.columns) == whole for key in table.constraints if key.kind in ("p", "u"))
    ends = ("|o" if nullable else "||") + stroke + ("o|" if single else "o{")
    return f'    {parent} {ends} {table.name} : "{", ".join(columns)}: {rule}"'


def _area_map(catalogue: Catalogue) -> str:
    """How many foreign keys lead from area to area, those to the tenant left out."""
    area = {table.name: table.category for table in catalogue.tables.values()}
    counts = Counter(
        (area[each.table], area[each.parent]) for each in catalogue.references if each.parent != TENANT
    )
    lines = ["flowchart LR"]
    for category, tables in catalogue.categories.items():
        lines.append(f'    a{category.number}["{category.title}<br>{len(tables)} tables"]')
    for (child, parent), count in sorted(counts.items()):
        if child != parent:
            lines.append(f"    a{child.number} -- {count} --> a{parent.number}")
    return _DIAGRAM.format("\n".join(lines))


def _references(catalogue: Catalogue, rule: str) -> str:
    rows = (
        (
            guide_link(each.table),
            code(column_list(each.columns)),
            guide_link(each.parent),
            on_delete_text(each),
        )
        for each in catalogue.references
        if each.on_delete == rule and each.parent != TENANT
    )
    return grid(("table", "columns", "refers to", "when that row is deleted, this one"), rows)


def _named(references: Iterable[Reference]) -> str:
    return ", ".join(f"`{each.table}` → `{each.parent}`" for each in references) or "none"


def _unlinked(catalogue: Catalogue, notes: Notes) -> str:
    rows = (
        (
            guide_link(table.name),
            code(column),
            "rows of several tables" if parent == "*" else guide_link(parent),
        )
        for table in catalogue.tables.values()
        for column, parent in notes.tables[table.name].unlinked.items()
    )
    return grid(("table", "column", "names a row of"), rows)


def _partitioned(catalogue: Catalogue) -> list[tuple[str, int]]:
    plans = [(table.name, table.plan.place) for table in catalogue.tables.values() if table.plan]
    return sorted(plans, key=lambda plan: plan[1])


def _role_counts(catalogue: Catalogue) -> str:
    """For each run-time role and command: on how many tables."""
    rows = ((code(role), *(_count(catalogue, role, command) for command in COMMANDS)) for role in ROLES)
    return grid(("role", *COMMANDS), rows)


def _count(catalogue: Catalogue, role: str, command: str) -> str:
    rights = [
        right
        for table in catalogue.tables.values()
        for right in table.rights
        if (right.role, right.command) == (role, command)
    ]
    whole = sum(not right.columns for right in rights)
    parts = len(rights) - whole
    return f"{len(rights)}" + (f" ({parts} by column)" if parts else "")


def references_drawn(catalogue: Catalogue) -> tuple[Reference, ...]:
    """The foreign keys that the diagrams have to show."""
    tenants_area = catalogue.tables[TENANT].category
    return tuple(
        each
        for each in catalogue.references
        if each.parent != TENANT or catalogue.tables[each.table].category == tenants_area
    )
