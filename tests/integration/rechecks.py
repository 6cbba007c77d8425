"""Which plans PostgreSQL 18 crashes in when a row was changed behind them (docs/adr/0015-rows-that-changed.md).

A node that locks rows looks at such a row again in a copy of the plan: of what is below it, and of each subquery (CTEs are
such). The copy's end frees what the original needs to choose among partitions by values that only running it tells.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_LOCKS = re.compile(r"\bfor\s+(no\s+key\s+)?(update|share)\b|\bfor\s+key\s+share\b")
_BEGINNING = re.compile(r"^\s*(?:return query\s+)?(with|select|perform|update|insert|delete)\b", re.MULTILINE)
_NAMES = re.compile(r"\{RANGETBLENTRY .*?:eref \{ALIAS :aliasname (\S+)")
_INDEXES = re.compile(r":part_prune_index (\d+)")


@dataclass(frozen=True, slots=True)
class Variable:
    """What a statement of a function gets from outside: an argument, a variable or a record's field."""

    name: str
    type: str


async def find_endangered(connection: Any, statement: str, types: Sequence[str]) -> set[str]:
    """The names, in the statement, of partitioned tables that it would choose among partitions of by freed memory.

    It is planned for any values, by indexes and loops where there are any: what statistics may lead to.
    """
    plans: list[str] = []

    def keep(_connection: Any, message: Any) -> None:
        if message.detail and "{PLANNEDSTMT " in message.detail:
            plans.append(" ".join(message.detail.split()))

    brackets = f"({', '.join(types)})" if types else ""
    values = f"({', '.join('null' for _ in types)})" if types else ""
    await connection.execute(f"prepare looked_at{brackets} as {statement}")
    connection.add_log_listener(keep)
    await connection.execute(
        "set client_min_messages = log; set debug_pretty_print = off; set debug_print_plan = on;"
        " set plan_cache_mode = force_generic_plan;"
        " set enable_hashjoin = off; set enable_mergejoin = off; set enable_seqscan = off; set enable_bitmapscan = off"
    )
    await connection.execute(f"explain execute looked_at{values}")
    await connection.execute("set debug_print_plan = off; deallocate looked_at")
    await connection.execute("select")  # whatever the server told before this has come now
    connection.remove_log_listener(keep)
    assert plans, "the server does not tell its plans"
    return set().union(*map(_endangered_in, plans))


def _endangered_in(plan: str) -> set[str]:
    if "{LOCKROWS " not in plan:
        return set()
    top, _, rest = plan.partition(" :partPruneInfos ")
    infos, _, rest = rest.partition(" :rtable ")
    subplans = rest.partition(" :subplans ")[2].partition(" :rewindPlanIDs ")[0]
    copied = subplans + (top if "{LOCKROWS " in top else "")
    names = _NAMES.findall(rest)
    chosen = infos.split("{PARTITIONPRUNEINFO ")[1:]
    return {
        names[int(table) - 1]
        for index in map(int, _INDEXES.findall(copied))
        if ":exec_pruning_steps (" in chosen[index]
        for table in re.findall(r"\{PARTITIONEDRELPRUNEINFO :rtindex (\d+)", chosen[index])
    }


def locking_statements(source: str, variables: Sequence[Variable]) -> Iterator[tuple[str, list[str]]]:
    """The statements of a function's body that lock rows, as they can be prepared, and their parameters' types."""
    body = re.sub(r"--[^\n]*", "", source)
    for part in body.split(";"):
        beginning = _BEGINNING.search(part)
        if beginning and _LOCKS.search(part):
            statement = re.sub(r"^perform\b", "select", part[beginning.start(1) :])
            statement = re.sub(r"\binto\s+(strict\s+)?\w+(?=\s+from\b)", "", statement)
            yield _with_parameters(statement, variables)


def _with_parameters(statement: str, variables: Sequence[Variable]) -> tuple[str, list[str]]:
    types = []
    for variable in variables:
        pattern = rf"(?<![\w.'])(?<!as )(?<!for ){re.escape(variable.name)}(?![\w(.])"
        if re.search(pattern, statement):
            types.append(variable.type)
            statement = re.sub(pattern, f"${len(types)}", statement)
    return statement, types
