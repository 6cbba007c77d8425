"""What the catalogue says, in the words of the documents."""

import re
from collections.abc import Sequence

from tests.database_docs.catalogue import Catalogue, Column, Constraint, PartitionPlan, Reference, Table
from tests.database_docs.markdown import code, codes
from tests.database_docs.notes import Notes

_CAST = re.compile(r"::(?:[a-z]+(?: [a-z]+)*)(?:\[\])?")
_LITERAL_NUMBER = re.compile(r"\((\d+)\)")
_CHOICE = re.compile(r"CHECK \(\((?P<column>\w+) = ANY \(ARRAY\[(?P<values>[^\]]+)\]\)\)\)")
COMMANDS = {"SELECT": "reads", "INSERT": "adds", "UPDATE": "changes", "DELETE": "deletes"}
ROLES = ("waystation_app", "waystation_worker")


def plain_sql(expression: str) -> str:
    """PostgreSQL's text of an expression without the casts that it adds."""
    return _LITERAL_NUMBER.sub(r"\1", _CAST.sub("", expression))


def choices(table: Table, column: Column) -> tuple[str, ...]:
    """The values that a check allows a column, if it names them."""
    for check in table.constraints:
        match = _CHOICE.fullmatch(plain_sql(check.definition)) if check.kind == "c" else None
        if match and match["column"] == column.name:
            return tuple(value.strip(" '") for value in match["values"].split(","))
    return ()


def other_checks(table: Table) -> tuple[str, ...]:
    """The checks that are no list of values."""
    checks = (plain_sql(check.definition) for check in table.constraints if check.kind == "c")
    return tuple(
        check.removeprefix("CHECK ").removeprefix("(").removesuffix(")")
        for check in checks
        if not _CHOICE.fullmatch(check)
    )


def column_meaning(table: Table, column: Column, notes: Notes) -> str:
    """What a column is for, the values it may have, and what it refers to."""
    parents = [each.parent for each in table.references if column.name in each.own_columns]
    unlinked = notes.tables[table.name].unlinked.get(column.name, "*")
    allowed = choices(table, column)
    parts = [
        notes.meaning(column),
        f"One of {codes(allowed, ' ')}." if allowed else "",
        *(f"→ {table_link(parent)}" for parent in parents),
        f"⇢ {table_link(unlinked)}" if unlinked != "*" else "",
    ]
    return " ".join(part for part in parts if part)


def default_text(column: Column) -> str:
    """The default as it is written, or that the column is generated."""
    if column.default is None:
        return ""
    text = code(plain_sql(column.default))
    return f"generated: {text}" if column.generated else text


def key_text(key: Constraint) -> str:
    """A key's columns, and whether NULL counts as a value in it."""
    nulls = ", NULL counts as a value" if "NULLS NOT DISTINCT" in key.definition else ""
    return f"{code(column_list(key.columns))}{nulls}"


def column_list(columns: Sequence[str]) -> str:
    """Columns as SQL writes a key."""
    return f"({', '.join(columns)})"


def on_delete_text(reference: Reference) -> str:
    """What becomes of a row when the row it refers to is deleted."""
    match reference.on_delete:
        case "c":
            return "goes with it"
        case "n":
            return f"stays, {codes(reference.forgotten or reference.columns)} is emptied"
        case _:
            return "prevents it"


def table_link(name: str) -> str:
    """A table's section in the schema guide, from within it."""
    return f"[`{name}`](#{name})"


def guide_link(name: str) -> str:
    """A table's section in the schema guide, from another document."""
    return f"[`{name}`](database-schema-guide.md#{name})"


def scope_text(table: Table, role: str) -> str:
    """Which rows the policies show a role."""
    scopes = {policy.all_rows for policy in table.policies if policy.role == role}
    return "no rows" if not scopes else "all tenants' rows" if scopes == {True} else "its tenant's rows"


def rights_text(table: Table, role: str) -> str:
    """What a role may do, with the columns where it is not the whole row; empty for nothing."""
    rights = {(right.command, bool(right.columns)): right for right in table.rights if right.role == role}
    parts = []
    for command, word in COMMANDS.items():
        if (command, False) in rights:
            parts.append(f"**{word}**")
        elif (command, True) in rights:
            parts.append(f"**{word}** {codes(rights[command, True].columns)}")
    return "; ".join(parts)


def partition_text(table: Table, plan: PartitionPlan) -> str:
    """How a table is cut, made ahead and retired."""
    key = (table.partition_key or "").lower()
    return (
        f"By {code(key)}, a UUIDv7, so by time: one per {plan.step} (UTC), made {plan.days_ahead} days ahead, dropped whole "
        f"{plan.days_kept} days after its end."
    )


def migrations_text(catalogue: Catalogue) -> str:
    return f"{len(catalogue.migrations)} migrations, the last is `{catalogue.migrations[-1]}`"
