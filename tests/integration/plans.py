"""What the server does for a statement: a connection that explains what is asked of it, and the plan as a value."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import asyncpg
import orjson

from db.tenant import Connection

_TIMES = 6  # five plans for their values, then the server may settle on one for all


@dataclass(frozen=True, slots=True)
class Plan:
    """An executed plan; what was never executed counts for nothing."""

    root: Mapping[str, Any]

    def nodes(self) -> Iterator[Mapping[str, Any]]:
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            waiting += node.get("Plans", ())
            if node["Actual Loops"]:
                yield node

    def indexes(self) -> set[str]:
        return {node["Index Name"] for node in self.nodes() if "Index Name" in node}

    def read_whole(self) -> set[str]:
        """The tables that were read from beginning to end, but for empty ones."""
        return {
            node["Relation Name"]
            for node in self.nodes()
            if node["Node Type"] == "Seq Scan" and _visited(node)
        }

    def rows_read(self, table: str = "") -> int:
        """Rows that were come upon, also those that a filter then refused: of a table, of its partitions, or of all."""
        return sum(
            _visited(node)
            for node in self.nodes()
            if "Relation Name" in node
            and node["Node Type"] != "ModifyTable"
            and node["Relation Name"].startswith(table)
        )

    def blocks(self) -> int:
        """Pages looked at, in memory or not."""
        return int(self.root["Shared Hit Blocks"] + self.root["Shared Read Blocks"])


def _visited(node: Mapping[str, Any]) -> int:
    looked = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
    return round(float(node["Actual Loops"] * sum(node.get(name, 0) for name in looked)))


class ExplainingConnection:
    """Explains each statement that it is given, by the driver's words for running one; it gives back no rows.

    ``often``: as a connection that ran it before and may have settled on a plan for any values. What is explained is run,
    so changes are made and undone.
    """

    def __init__(self, connection: Connection, *, often: bool) -> None:
        self._connection = connection
        self._times = _TIMES if often else 1
        self.plans: list[Plan] = []

    async def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        # EXECUTE takes no parameters of the driver's, hence the literals; only so is a generic plan to be had.
        kinds = [kind.name for kind in (await self._connection.prepare(statement)).get_parameters()]
        values = ", ".join(map(_literal, arguments, kinds))
        await self._connection.execute(f"prepare explained as {statement}")
        for _ in range(self._times):
            await self._connection.execute("savepoint before")
            explained = await self._connection.fetchval(
                "explain (analyze, buffers, timing off, format json)"
                f" execute explained{f'({values})' if values else ''}"
            )
            await self._connection.execute("rollback to savepoint before")
        await self._connection.execute("deallocate explained")
        self.plans.append(Plan(orjson.loads(explained)[0]["Plan"]))
        return []

    async def execute(self, statement: str, *arguments: Any) -> None:
        await self.fetch(statement, *arguments)

    async def fetchrow(self, statement: str, *arguments: Any) -> None:
        await self.fetch(statement, *arguments)

    async def fetchval(self, statement: str, *arguments: Any) -> None:
        await self.fetch(statement, *arguments)

    def as_connection(self) -> Connection:
        return cast(Connection, self)


def _literal(value: Any, kind: str) -> str:
    if value is None:
        return "null"
    if value and isinstance(value, list) and isinstance(value[0], bytes):
        return "array[" + ", ".join(f"'\\x{item.hex()}'::bytea" for item in value) + "]"
    if kind == "jsonb":
        text = orjson.dumps(value, default=str).decode()
    elif isinstance(value, list):
        text = f"{{{','.join(map(str, value))}}}"
    else:
        text = str(value)
    return "'" + text.replace("'", "''") + "'"
