"""Every named statement is prepared against the migrated schema by the role that runs it, and every one is
used.
"""

import re
from pathlib import Path

import pytest

import db
from db.named_sql import load_statements, parse_statements, statement_files
from db.tenant import Database

# Run across tenants, by the worker's role; all others run in a tenant's transaction.
WORKER_FILES = {"lane_figures", "accept", "identities", "statuses", "lanes", "accounts"}
UPKEEP_ACROSS_TENANTS = (
    "read_time",
    "make_partition",
    "list_partitioned",
    "retire_partition",
    "delete_orphans",
    "list_tenants",
    "list_endpoints",
    "expire_payloads",
    "expire_evidence",
    "make_missing_states",
    "list_endpoint_states",
    "mend_endpoint_states",
    "release_stuck_heads",
    "cancel_forgotten",
)
WORKER_STATEMENTS = {
    ("api_keys", "find_key_owner"),
    ("endpoints", "find_public_keys"),
    ("inbound_events", "find_event"),
    ("reconcile", "list_due_accounts"),
    ("delivery_lane", "find_endpoints"),
    ("delivery_lane", "claim_deliveries"),
    ("delivery_lane", "settle_deliveries"),
    ("delivery_lane", "give_back_attempts"),
    ("webhook_replays", "list_due"),
    *(("upkeep", name) for name in UPKEEP_ACROSS_TENANTS),
}

# Run in a tenant's transaction without naming the tenant: functions of the schema do it, and what also runs across tenants.
NAMELESS = {
    ("distributors", "insert_distributor"),
    ("events", "record_events"),
    ("webhook_replays", "count_candidates"),
    ("webhook_replays", "read_page"),
    ("audit", "record_denials"),
    ("audit", "record_refusal"),
    ("upkeep", "refresh_customers"),
    ("upkeep", "refresh_usage"),
    ("upkeep", "refresh_ai_usage"),
    *(("resealing", name) for name in load_statements("resealing")),
}

_LOADED = re.compile(r"load_statements\(\"(\w+)\"\)")
_USED = re.compile(r"_SQL\[\"(\w+)\"")
STATEMENTS = [(source, name) for source in statement_files() for name in load_statements(source)]


@pytest.fixture
def admin_dsn(shared_dsn: str) -> str:
    """One database for all: statements are planned here, none is run."""
    return shared_dsn


@pytest.mark.parametrize(("source", "name"), STATEMENTS, ids=str)
async def test_a_statement_can_be_prepared_by_its_role(database: Database, runtime, source: str, name: str):
    worker = source in WORKER_FILES or (source, name) in WORKER_STATEMENTS
    door = database.worker() if worker else database.tenant(runtime.new_id())
    async with door as connection:
        # An EXPLAIN checks the role's rights too, which a bare prepare does not.
        sql = load_statements(source)[name]
        prepared = await connection.prepare(sql)
        nulls = ", ".join("null" for _ in prepared.get_parameters())
        types = ", ".join(type_name(parameter) for parameter in prepared.get_parameters())
        await connection.execute(f"prepare checked{f'({types})' if types else ''} as {sql}")
        await connection.execute(f"explain execute checked{f'({nulls})' if nulls else ''}")
        await connection.execute("deallocate checked")


def type_name(parameter) -> str:
    return f"{parameter.name.removesuffix('[]')}[]" if parameter.kind == "array" else parameter.name


def test_every_statement_is_used_exactly_where_it_belongs():
    """``_SQL["name"]`` in the module that loads the file; a statement that nobody runs is dead, a wrong name
    fails at once.
    """
    used = {
        (source, name)
        for path in Path(db.__file__).parent.glob("*.py")
        for source in _LOADED.findall(path.read_text(encoding="utf-8"))
        for name in _USED.findall(path.read_text(encoding="utf-8"))
    }

    assert used == set(STATEMENTS)


def test_every_statement_of_a_tenant_names_the_tenant():
    """Beside row-level security, which would be enough: a plan begins with the tenant, and a slip shows nothing."""
    across = {(source, name) for source, name in STATEMENTS if source in WORKER_FILES} | WORKER_STATEMENTS
    nameless = {
        (source, name)
        for source, name in STATEMENTS
        if "get_current_distributor_id()" not in load_statements(source)[name]
    }

    assert nameless - across == NAMELESS


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("-- name: one\nselect 1;\n-- name: one\nselect 2;\n", "twice"),
        ("-- name: one\n\n-- name: two\nselect 2;\n", "empty"),
    ],
)
def test_a_broken_file_says_what_is_wrong(text: str, problem: str):
    with pytest.raises(ValueError, match=problem):
        parse_statements("broken", text)


def test_an_unknown_statement_names_the_file():
    with pytest.raises(KeyError, match=r"lanes\.sql has no statement named nothing"):
        load_statements("lanes")["nothing"]
