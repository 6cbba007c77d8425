"""What a move to Citus would change is known: the script finds the exceptions that are written down, and new ones."""

import asyncio
import base64
import os
from pathlib import Path
from typing import Any

import pytest

import db
from db.citus_rules import Rule, find_obstacles, report
from tests.catalogue import NOT_A_TENANTS, read_references
from tests.integration.test_schema import UNIQUE_BY_THEMSELVES
from tests.servers import MASTER_KEY

ROOT = Path(db.__file__ or "").parent.parent


async def broken(connection: Any, rule: Rule) -> list[str]:
    return [finding.subject for finding in await find_obstacles(connection) if finding.rule is rule]


async def test_it_finds_the_known_exceptions_and_nothing_else(catalogue: Any):
    forgetting = [reference for reference in await read_references(catalogue) if reference.on_delete == "n"]

    assert await broken(catalogue, Rule.COLUMN) == list(NOT_A_TENANTS)
    assert set(await broken(catalogue, Rule.UNIQUE)) == set(UNIQUE_BY_THEMSELVES) - {"distributors_pkey"}
    assert await broken(catalogue, Rule.REFERENCE) == []
    assert len(await broken(catalogue, Rule.FORGETTING)) == len(forgetting)


@pytest.mark.parametrize(
    ("change", "rule", "subject"),
    [
        ("create table t (id uuid primary key)", Rule.COLUMN, "t"),
        ("create table t (distributor_id uuid, id uuid primary key)", Rule.UNIQUE, "t_pkey"),
        (
            "create table t (distributor_id uuid, a int, exclude using btree (a with =))",
            Rule.UNIQUE,
            "t_a_excl",
        ),
        ("create unique index products_name on products (name)", Rule.UNIQUE, "products_name"),
        (
            "create table t (distributor_id uuid, a uuid references customers (id))",
            Rule.REFERENCE,
            "t_a_fkey",
        ),
        (
            (
                "create table t (distributor_id uuid, a uuid,"
                " constraint crossed foreign key (a, distributor_id) references products (distributor_id, id))"
            ),
            Rule.REFERENCE,
            "crossed",
        ),
    ],
)
async def test_it_finds_what_a_new_table_breaks(catalogue: Any, change: str, rule: Rule, subject: str):
    before = await broken(catalogue, rule)
    await catalogue.execute(change)

    assert set(await broken(catalogue, rule)) - set(before) == {subject}


async def test_every_finding_says_what_would_take_its_place(catalogue: Any, shared_dsn: str):
    told = await report(shared_dsn)

    for finding in await find_obstacles(catalogue):
        assert finding.subject in told
        assert finding.change in told
    assert "has to be a part of it" not in told  # each known key has words of its own


async def test_the_script_reads_the_configured_database(shared_dsn: str):
    environment = {
        "PATH": os.environ["PATH"],
        "WAYSTATION_DATABASE_URL": shared_dsn,
        "WAYSTATION_MASTER_KEYS": base64.b64encode(MASTER_KEY).decode(),
    }
    process = await asyncio.create_subprocess_exec(
        ROOT / "scripts" / "citus-rules", env=environment, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()

    assert (process.returncode, output.decode().strip()) == (0, await report(shared_dsn))
