"""The schema guide's generated parts: every table by category, functions, migrations."""

from collections.abc import Iterator

from db.migrate import read_migrations
from tests.database_docs.catalogue import Catalogue, Category, Index, Table
from tests.database_docs.markdown import Value, code, codes, grid
from tests.database_docs.notes import Notes
from tests.database_docs.texts import (
    ROLES,
    column_list,
    column_meaning,
    default_text,
    key_text,
    on_delete_text,
    other_checks,
    partition_text,
    plain_sql,
    rights_text,
    scope_text,
    table_link,
)


def guide_values(catalogue: Catalogue, notes: Notes) -> dict[str, Value]:
    """What the guide's template may ask for."""
    return {
        "overview": _overview(catalogue),
        "categories": "\n\n".join(
            _category(*item, notes=notes, catalogue=catalogue) for item in catalogue.categories.items()
        ),
        "functions": _functions(catalogue),
        "migration_list": _migrations(catalogue),
    }


def _overview(catalogue: Catalogue) -> str:
    return grid(
        ("category", "tables"),
        (
            (f"[{category.title}](#{_anchor(category)})", ", ".join(table_link(each.name) for each in tables))
            for category, tables in catalogue.categories.items()
        ),
    )


def _anchor(category: Category) -> str:
    return category.title.lower().replace("&", "").replace(" ", "-")


def _category(category: Category, tables: tuple[Table, ...], *, catalogue: Catalogue, notes: Notes) -> str:
    sections = (_table(each, catalogue, notes) for each in tables)
    return "\n\n".join((f"## {category.title}", *sections))


def _table(table: Table, catalogue: Catalogue, notes: Notes) -> str:
    own = notes.tables[table.name]
    parts = (
        f"### `{table.name}`",
        table.purpose + (f"\n**Coming:** {table.coming}" if table.coming else ""),
        f"**Why it exists.** {own.why}",
        _columns(table, notes),
        "\n".join(_facts(table, catalogue)),
        _rights(table),
        _performance(table, notes),
    )
    return "\n\n".join(part for part in parts if part)


def _columns(table: Table, notes: Notes) -> str:
    rows = (
        (
            code(column.name),
            column.type,
            "" if column.not_null else "null",
            default_text(column),
            column_meaning(table, column, notes),
        )
        for column in table.columns
    )
    return grid(("column", "type", "null", "default", "what it says"), rows)


def _facts(table: Table, catalogue: Catalogue) -> Iterator[str]:
    """Keys, checks, foreign keys in both directions, partitions: one line each."""
    unique = [key_text(each) for each in table.constraints if each.kind == "u"]
    primary = f"primary {code(column_list(table.primary_key))}" if table.primary_key else "no primary key"
    yield f"- **Keys:** {'; '.join((primary, *(f'unique {each}' for each in unique)))}."
    if checks := other_checks(table):
        yield f"- **Checks:** {codes(checks, '; ')}."
    for reference in table.references:
        name = table_link(reference.parent)
        yield f"- **Refers to** {name} by {code(column_list(reference.columns))}; when that row is deleted, this one {on_delete_text(reference)}."
    if children := sorted({each.table for each in catalogue.children(table.name)}):
        yield f"- **Referred to by** {', '.join(map(table_link, children))}."
    if table.plan:
        yield f"- **Partitions:** {partition_text(table, table.plan)}"


def _rights(table: Table) -> str:
    lines = [
        f"- `{role}`, {scope_text(table, role)}: {rights_text(table, role)}."
        for role in ROLES
        if rights_text(table, role)
    ]
    if not lines:
        return (
            "**Who may.** No run-time role yet: policies are in place, rights are granted with the feature."
        )
    return "**Who may.**\n" + "\n".join(lines)


def _performance(table: Table, notes: Notes) -> str:
    own = notes.tables[table.name]
    rows = [
        (code(index.name), _index_columns(index), _index_purpose(table, index, notes))
        for index in table.indexes
    ]
    shown = grid(("index", "on", "which read it serves"), rows) if rows else ""
    text = own.reads or ("The keys serve every read." if not rows else "")
    parts = (f"**Performance.** {text}".rstrip() if text or shown else "", shown)
    return "\n\n".join(part for part in parts if part)


def _index_columns(index: Index) -> str:
    definition = plain_sql(index.definition.removeprefix("btree "))
    return ("unique " if index.unique else "") + code(definition.replace(" WHERE ", " where "))


def _index_purpose(table: Table, index: Index, notes: Notes) -> str:
    told = notes.tables[table.name].indexes.get(index.name)
    reference = table.reference_of(index)
    return told or (f"What refers to a row of {table_link(reference.parent)}." if reference else "")


def _functions(catalogue: Catalogue) -> str:
    rows = (
        (
            code(function.signature),
            codes(function.callers) or "the owner",
            "owner" if function.runs_as_owner else "caller",
            function.comment,
        )
        for function in catalogue.functions
    )
    return grid(("function", "may be called by", "runs as", "what it does"), rows)


def _migrations(catalogue: Catalogue) -> str:
    """Each applied migration with the sentence that its file begins with."""
    texts = {f"{each.version:04d}_{each.name}": _first_sentence(each.sql) for each in read_migrations()}
    return grid(("migration", "what it brings"), ((code(name), texts[name]) for name in catalogue.migrations))


def _first_sentence(sql: str) -> str:
    """The comment on top of a file, up to its first full stop."""
    lines = []
    for line in sql.splitlines():
        if not line.startswith("--"):
            break
        lines.append(line.removeprefix("--").strip())
    return " ".join(lines).partition(". ")[0].removesuffix(".") + "."
