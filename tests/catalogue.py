"""What the schema is, as PostgreSQL itself tells it: the questions that tests of the schema ask the catalogue."""

from dataclasses import dataclass
from typing import Any

NOT_A_TENANTS = ("schema_migrations",)

_TABLES = """
    select c.relname::text as name, coalesce(obj_description(c.oid, 'pg_class'), '') as comment
    from pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
        and c.relname <> all ($1)
    order by c.relname
"""
_COLUMNS = """
    select c.relname::text as table, a.attname::text as name, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as filled
    from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
        and c.relname <> all ($1)
    order by c.relname, a.attnum
"""
_REFERENCES = """
    select c.relname::text as child, p.relname::text as parent, k.confdeltype::text as on_delete,
        (select array_agg(a.attname::text order by n.place) from unnest(k.conkey) with ordinality n(number, place)
            join pg_attribute a on a.attrelid = k.conrelid and a.attnum = n.number) as columns,
        (select array_agg(a.attname::text order by n.place) from unnest(k.confkey) with ordinality n(number, place)
            join pg_attribute a on a.attrelid = k.confrelid and a.attnum = n.number) as targets
    from pg_constraint k
    join pg_class c on c.oid = k.conrelid
    join pg_class p on p.oid = k.confrelid
    where k.contype = 'f' and k.conparentid = 0 and c.relnamespace = 'public'::regnamespace
    order by c.relname, k.conname
"""
_INDEXES = """
    select c.relname::text as table, x.relname::text as name, i.indisunique as unique, i.indnullsnotdistinct as nulls_equal,
        coalesce(pg_get_expr(i.indpred, i.indrelid), '') as predicate,
        (select array_agg(pg_get_indexdef(i.indexrelid, place, true) order by place) from generate_series(1, i.indnkeyatts) place)
            as columns
    from pg_index i
    join pg_class c on c.oid = i.indrelid
    join pg_class x on x.oid = i.indexrelid
    where c.relnamespace = 'public'::regnamespace and not c.relispartition and c.relname <> all ($1)
    order by c.relname, x.relname
"""
_EVERYTHING = """
    with ours as (
        select c.oid, c.relname, c.relkind, c.relacl, c.reloptions, c.relrowsecurity, c.relforcerowsecurity from pg_class c
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'S') and not c.relispartition
    )
    select format('%s %s %s', relname, obj_description(oid, 'pg_class'), row(relkind, relacl, reloptions, relrowsecurity, relforcerowsecurity))
        from ours
    union all select format('%s.%s %s', o.relname, a.attname, row(format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated,
            a.attacl, col_description(o.oid, a.attnum), pg_get_expr(d.adbin, d.adrelid)))
        from ours o join pg_attribute a on a.attrelid = o.oid and a.attnum > 0
        left join pg_attrdef d on d.adrelid = o.oid and d.adnum = a.attnum
    union all select format('%s %s', o.relname, pg_get_constraintdef(k.oid)) from ours o join pg_constraint k on k.conrelid = o.oid
        where k.conparentid = 0
    union all select pg_get_indexdef(i.indexrelid) from ours o join pg_index i on i.indrelid = o.oid
    union all select format('%s %s', o.relname, row(p.polname, p.polcmd, p.polroles, pg_get_expr(p.polqual, p.polrelid),
            pg_get_expr(p.polwithcheck, p.polrelid))) from ours o join pg_policy p on p.polrelid = o.oid
    union all select format('%s %s %s', pg_get_functiondef(oid), proacl, obj_description(oid, 'pg_proc'))
        from pg_proc where pronamespace = 'public'::regnamespace
"""


@dataclass(frozen=True, slots=True)
class Column:
    table: str
    name: str
    type: str
    filled: bool  # NOT NULL

    def __str__(self) -> str:
        return f"{self.table}.{self.name}"


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key; ``on_delete`` is PostgreSQL's letter: a(ction refused), c(ascade), n(ull)."""

    child: str
    parent: str
    on_delete: str
    columns: tuple[str, ...]
    targets: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.child}({', '.join(self.columns)}) -> {self.parent}"


@dataclass(frozen=True, slots=True)
class Index:
    """``columns`` are names or expressions, in order."""

    table: str
    name: str
    unique: bool
    nulls_equal: bool
    predicate: str
    columns: tuple[str, ...]


async def read_comments(connection: Any) -> dict[str, str]:
    """Every table with its comment; partitions belong to theirs and are not named."""
    return {row["name"]: row["comment"] for row in await connection.fetch(_TABLES, NOT_A_TENANTS)}


async def read_columns(connection: Any) -> list[Column]:
    return [Column(**row) for row in await connection.fetch(_COLUMNS, NOT_A_TENANTS)]


async def read_references(connection: Any) -> list[Reference]:
    rows = await connection.fetch(_REFERENCES)
    return [
        Reference(row["child"], row["parent"], row["on_delete"], tuple(row["columns"]), tuple(row["targets"]))
        for row in rows
    ]


async def read_indexes(connection: Any) -> list[Index]:
    rows = await connection.fetch(_INDEXES, NOT_A_TENANTS)
    return [Index(**{**row, "columns": tuple(row["columns"])}) for row in rows]


async def read_everything(connection: Any) -> list[str]:
    """Tables, columns, constraints, indexes, policies, functions, grants and comments, each as a line, sorted."""
    return sorted(row[0] for row in await connection.fetch(_EVERYTHING))
