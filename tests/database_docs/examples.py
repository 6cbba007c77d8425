"""Runs the examples of the templates against the story and puts what they really answer behind each.

A fence says how: ```` ```sql ```` runs as the application's role in the first tenant's transaction, ``tenant=sul`` in
the other's, ``role=worker`` across tenants, ``role=admin`` as the administrator; ``script`` begins and ends its own
transactions, statement by statement. Behind it stands the answer of its last statement as a table; with ``out=columns``
only the names of its columns, for what differs from day to day and machine to machine; with ``out=error`` the refusal;
with ``out=none`` nothing. ```` ```python run ```` is executed, and what its ``main`` prints is shown. Nothing that an
example writes is kept.
"""

import contextlib
import io
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from tests.database_docs.markdown import grid
from tests.database_docs.values import show_value

_FENCE = re.compile(
    r"^```(?P<language>sql|python)(?P<options>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
_STATEMENT = re.compile(r"(?:[^;']|'[^']*')+;")
_LONG_ROW = 7  # columns; a longer one is shown as psql's \x shows it

Connection = Any


@dataclass(frozen=True, slots=True)
class Stage:
    """Where examples run: the administrator's DSN of the story's database, the run-time login's, and the story's ids
    by name.
    """

    admin_dsn: str
    runtime_dsn: str
    ids: Mapping[str, UUID]


@dataclass(frozen=True, slots=True)
class _Example:
    """A fence of a template."""

    language: str
    options: dict[str, str]
    code: str

    @property
    def shown(self) -> str:
        return f"```{self.language}\n{self.code}```"


async def run_examples(template: str, stage: Stage) -> str:
    """The template with the answer of every example behind it; raises AssertionError for one that fails."""
    parts, end = [], 0
    for match in _FENCE.finditer(template):
        example = _Example(match["language"], _options(match["options"]), match["code"])
        parts += [template[end : match.start()], example.shown, await _answer(example, stage)]
        end = match.end()
    return "".join((*parts, template[end:]))


def _options(text: str) -> dict[str, str]:
    return {name: value for name, _, value in (word.partition("=") for word in text.split())}


async def _answer(example: _Example, stage: Stage) -> str:
    try:
        shown = await (_run_python if example.language == "python" else _run_sql)(example, stage)
    except Exception as error:
        raise AssertionError(f"this example fails with {error!r}:\n{example.code}") from error
    return f"\n\n{shown}" if shown else ""


async def _run_python(example: _Example, stage: Stage) -> str:
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(example.code, "example", "exec"), names)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        await names["main"](stage.runtime_dsn)
    return f"```text\n{output.getvalue()}```"


async def _run_sql(example: _Example, stage: Stage) -> str:
    statements = [statement.strip() for statement in _STATEMENT.findall(example.code)]
    wants = example.options.get("out", "rows")
    async with _connected(example, stage) as connection:
        if wants == "error":
            return await _refusal(connection, statements)
        columns, rows = await _run_all(connection, statements)
    match wants:
        case "rows":
            return _rows_text(columns, rows)
        case "columns":
            return f"Columns: {', '.join(f'`{name}`' for name in columns)}."
        case _:
            return ""


@asynccontextmanager
async def _connected(example: _Example, stage: Stage) -> AsyncIterator[Connection]:
    """A connection in the example's role; its transaction is rolled back, unless it is a script."""
    role = example.options.get("role", "app")
    connection: Connection = await asyncpg.connect(stage.admin_dsn if role == "admin" else stage.runtime_dsn)
    try:
        if "script" in example.options:
            yield connection
            return
        transaction = connection.transaction()
        await transaction.start()
        await _take_role(connection, role, stage.ids[example.options.get("tenant", "valle")])
        yield connection
        await transaction.rollback()
    finally:
        await connection.close()


async def _take_role(connection: Connection, role: str, tenant: UUID) -> None:
    """The two lines that every example of the documents begins with, where it does not show them itself."""
    if role != "admin":
        await connection.execute(f"set local role waystation_{role}")
    if role == "app":
        await connection.execute("select set_config('app.current_distributor_id', $1, true)", str(tenant))


async def _run_all(
    connection: Connection, statements: Sequence[str]
) -> tuple[list[str], list[Sequence[Any]]]:
    """Names and rows of the last statement that answers with rows."""
    columns: list[str] = []
    rows: list[Sequence[Any]] = []
    for statement in statements:
        prepared = await connection.prepare(statement)
        found = await prepared.fetch()
        if prepared.get_attributes():
            columns = [attribute.name for attribute in prepared.get_attributes()]
            rows = [tuple(row.values()) for row in found]
            if "order by" not in statement.lower():
                rows.sort(
                    key=str
                )  # PostgreSQL promises no order, the documents must not change with its plans
    return columns, rows


async def _refusal(connection: Connection, statements: Sequence[str]) -> str:
    try:
        await _run_all(connection, statements)
    except asyncpg.PostgresError as error:
        return f"```text\nERROR {error.sqlstate}: {error}\n```"
    raise AssertionError("nothing was refused")


def _rows_text(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    if not rows:
        return "*(no rows)*"
    shown = [[show_value(value) for value in row] for row in rows]
    if len(columns) <= _LONG_ROW:
        return grid(columns, shown)
    headers = ("column", *(f"row {number}" for number in range(1, len(rows) + 1)))
    return grid(headers, [(name, *values) for name, *values in zip(columns, *shown, strict=True)])
