"""What a move to Citus would change: the rules that Citus has for distributed tables, asked of this schema's catalogue.

Citus (https://docs.citusdata.com) spreads tables over machines by one column, here the tenant's. Checked is what it
refuses: unique keys without that column and references that are not co-located
(https://github.com/citusdata/citus, src/backend/distributed/commands/foreign_constraint.c). Nothing here was run on
Citus; see the README's Deployment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from types import MappingProxyType
from typing import Any

import asyncpg

DISTRIBUTED_BY = "distributor_id"
ROOT = "distributors"  # distributed by its own id, so that all of a tenant's rows lie on one machine

# By the key's name: what takes its place.
_CHANGES: Mapping[str, str] = MappingProxyType(
    {
        "customers_pkey": (
            "the primary key becomes (distributor_id, id), which is unique already; hand-written"
            " `select c.* … group by c.id` then groups by c.distributor_id, c.id"
        ),
        "channel_accounts_id": (
            "the lookup of an account before its tenant is known needs a reference table of account and tenant, or"
            " the tenant in the address that providers post to"
        ),
        "user_profiles_id": (
            "one identity in one tenant is no longer held by a key; a reference table of identity and tenant holds it,"
            " and sign-in reads that"
        ),
    }
)
_HASH = (
    "unique within the tenant is enough, as the hash is of 256 random bits; the lookup before the tenant is known needs"
    " a reference table of hash and tenant"
)
_OTHER_KEY = "distributor_id has to be a part of it"

BEYOND_THE_CATALOGUE = (
    (
        "db/tenant.py: set_config() reaches no other machine. The tenant is set by SET LOCAL, with"
        " citus.propagate_set_commands = 'local'; without it every policy answers with no rows."
    ),
    (
        "db/queries/lanes.sql: FOR UPDATE SKIP LOCKED works on one shard at a time, so claims run per tenant or per"
        " machine; lanes take a shard argument for it."
    ),
    "db/queries/accept.sql: one statement that stores rows of several tenants becomes one per tenant of the flush.",
    "db/migrations/0002: partitions are made and retired on the coordinator; the two functions stay there.",
    "The job library's schema stays on the coordinator, as its tables have no tenant.",
)


class Rule(StrEnum):
    """What Citus asks of a distributed table."""

    COLUMN = "has the distribution column"
    UNIQUE = "holds the distribution column in every primary key and unique key"
    REFERENCE = "refers to co-located tables by the distribution column, at the same place on both sides"
    FORGETTING = "forgets no parent where the reference holds the distribution column"


_WHAT_FOLLOWS: Mapping[Rule, str] = MappingProxyType(
    {
        Rule.COLUMN: "stays on the coordinator, or becomes a reference table",
        Rule.REFERENCE: "the reference has to go, or its parent becomes a reference table",
        Rule.FORGETTING: (
            "Citus refuses ON DELETE SET NULL there; whether it takes the form for one column, as here, is to be tried"
            " with the release at hand, else a cascade or a job takes its place"
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A thing of the schema that breaks a rule, and what takes its place; ``subject`` is a table or a key."""

    rule: Rule
    subject: str
    change: str


_TABLES = """
    select c.relname::text as name from pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
        and c.relname <> $2 and not exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = $1)
    order by c.relname
"""
_KEYS = """
    select x.relname::text as name
    from pg_index i
    join pg_class c on c.oid = i.indrelid
    join pg_class x on x.oid = i.indexrelid
    join pg_attribute d on d.attrelid = c.oid and d.attname = case c.relname when $2 then 'id' else $1 end
    where c.relnamespace = 'public'::regnamespace and not c.relispartition
        and (i.indisunique or i.indisexclusion) and d.attnum <> all (i.indkey::int2[])
    order by x.relname
"""
_REFERENCES = """
    select k.conname::text as name, k.confdeltype in ('n', 'd') as forgets,
        exists (
            select from unnest(k.conkey, k.confkey) as pair(child, parent)
            join pg_attribute a on a.attrelid = k.conrelid and a.attnum = pair.child
            join pg_attribute b on b.attrelid = k.confrelid and b.attnum = pair.parent
            where a.attname = case c.relname when $2 then 'id' else $1 end
                and b.attname = case p.relname when $2 then 'id' else $1 end
        ) as together
    from pg_constraint k
    join pg_class c on c.oid = k.conrelid
    join pg_class p on p.oid = k.confrelid
    where k.contype = 'f' and k.conparentid = 0 and c.relnamespace = 'public'::regnamespace
    order by k.conname
"""


async def find_obstacles(connection: Any) -> list[Finding]:
    """Whatever of the schema a distributed table may not have, by rule."""
    found = [
        Finding(Rule.COLUMN, name, _WHAT_FOLLOWS[Rule.COLUMN]) for name in await _names(connection, _TABLES)
    ]
    found += [Finding(Rule.UNIQUE, name, _key_change(name)) for name in await _names(connection, _KEYS)]
    references = await connection.fetch(_REFERENCES, DISTRIBUTED_BY, ROOT)
    for rule, breaks in (
        (Rule.REFERENCE, lambda row: not row["together"]),
        (Rule.FORGETTING, lambda row: row["together"] and row["forgets"]),
    ):
        found += [Finding(rule, row["name"], _WHAT_FOLLOWS[rule]) for row in references if breaks(row)]
    return found


async def _names(connection: Any, query: str) -> list[str]:
    return [row["name"] for row in await connection.fetch(query, DISTRIBUTED_BY, ROOT)]


def _key_change(name: str) -> str:
    return _CHANGES.get(name, _HASH if "_hash_" in name else _OTHER_KEY)


def describe(findings: Sequence[Finding]) -> str:
    """The findings for people: each rule, what breaks it, what a move would change; then what no catalogue tells."""
    lines = [f"Distributed by {DISTRIBUTED_BY} ({ROOT} by its id), a table …"]
    for rule in Rule:
        broken = sorted((finding for finding in findings if finding.rule is rule), key=_by_change)
        lines.append(f"\n… {rule}: {f'all but {len(broken)}' if broken else 'all do'}")
        for change, subjects in groupby(broken, key=_by_change):
            lines += [f"  {finding.subject}" for finding in subjects]
            lines.append(f"    → {change}")
    return "\n".join([*lines, "\nBeside the schema:", *(f"  {note}" for note in BEYOND_THE_CATALOGUE)])


def _by_change(finding: Finding) -> str:
    return finding.change


async def report(dsn: str) -> str:
    """The description for a database; says so where it has no schema yet."""
    connection = await asyncpg.connect(dsn)
    try:
        if await connection.fetchval("select to_regclass('public.schema_migrations')") is None:
            return "This database has no schema yet; run `waystation migrate`."
        return describe(await find_obstacles(connection))
    finally:
        await connection.close()
