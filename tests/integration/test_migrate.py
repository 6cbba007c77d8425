"""Migrations: from nothing, once, from many places; roles with least rights; an old schema is refused."""

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import db.migrate
from db.embedded import EmbeddedPostgres
from db.errors import DatabaseRefused, DatabaseUnavailable, MigrationFailed, SchemaOutdated
from db.migrate import Migration, find_runtime_dsn, in_order, migrate, read_migration, read_migrations
from db.sealing import derive_login_name, derive_login_password
from tests.catalogue import read_everything
from tests.integration.test_concurrency import blocked_by
from tests.servers import MASTER_KEY

pytestmark = pytest.mark.every_postgres
KEYS = [MASTER_KEY]
ROOT = Path(db.migrate.__file__).parent.parent
MIGRATE = """
import asyncio, sys
from db.migrate import migrate
print(len(asyncio.run(migrate(sys.argv[1], [bytes.fromhex(sys.argv[2])]))))
"""


@pytest.fixture
async def empty_dsn(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """A database without a schema."""
    connection = await asyncpg.connect(postgres.dsn)
    await connection.execute("create database empty")
    yield postgres.dsn_for("empty")
    await connection.execute("drop database empty with (force)")
    await connection.close()


async def test_from_nothing_once_and_again(empty_dsn: str):
    steps: list[str] = []

    first = await migrate(empty_dsn, KEYS, on_step=steps.append)
    second = await migrate(empty_dsn, KEYS)

    assert [migration.version for migration in first] == list(range(1, len(read_migrations()) + 1))
    assert len(steps) == len(first)
    assert second == ()


@pytest.mark.parametrize("version", range(len(read_migrations())))
async def test_from_every_earlier_version_to_the_same_schema(empty_dsn: str, catalogue: Any, version: int):
    await migrate(empty_dsn, KEYS, through=version)
    applied = await migrate(empty_dsn, KEYS)

    assert [migration.version for migration in applied] == list(
        range(version + 1, len(read_migrations()) + 1)
    )
    connection = await asyncpg.connect(empty_dsn)
    assert await read_everything(connection) == await read_everything(catalogue)
    await connection.close()


async def test_from_four_processes_at_once(empty_dsn: str):
    command = [sys.executable, "-c", MIGRATE, empty_dsn, MASTER_KEY.hex()]
    processes = [
        await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
        for _ in range(4)
    ]
    outputs = [(await process.communicate())[0] for process in processes]

    assert [process.returncode for process in processes] == [0] * 4
    assert sorted(int(output) for output in outputs) == [0, 0, 0, len(read_migrations())]


@pytest.fixture
async def holder(empty_dsn: str) -> AsyncIterator[Any]:
    """Somebody who works long with a table that the migration after the sixth refers to."""
    await migrate(empty_dsn, KEYS, through=6)
    connection = await asyncpg.connect(empty_dsn)
    await connection.execute("begin; lock table channel_accounts in access exclusive mode")
    yield connection
    await connection.close()


async def test_a_migration_keeps_nobody_waiting_for_a_lock_and_tries_again(empty_dsn: str, holder: Any):
    pauses = []

    async def pause() -> None:
        pauses.append(await holder.fetchval("select count(*) from pg_locks where not granted"))
        if len(pauses) == 3:
            await holder.execute("commit")

    applied = await migrate(empty_dsn, KEYS, pause=pause)

    assert pauses == [0, 0, 0]
    assert [migration.version for migration in applied] == list(range(7, len(read_migrations()) + 1))


async def test_a_lock_that_nobody_gives_up_ends_it_with_the_migrations_name(
    empty_dsn: str, holder: Any, monkeypatch: pytest.MonkeyPatch
):
    async def pause() -> None:
        """Does not wait."""

    monkeypatch.setattr(db.migrate, "_LOCK_TRIES", 2)
    with pytest.raises(MigrationFailed, match=r"0007_messaging\.sql waited too long"):
        await migrate(empty_dsn, KEYS, pause=pause)
    await holder.execute("rollback")

    assert next(migration.version for migration in await migrate(empty_dsn, KEYS)) == 7


async def test_from_many_places_at_once(empty_dsn: str):
    applied = await asyncio.gather(*(migrate(empty_dsn, KEYS) for _ in range(5)))

    assert sorted(len(migrations) for migrations in applied) == [0, 0, 0, 0, len(read_migrations())]


async def test_of_several_databases_of_one_cluster_at_once(postgres: EmbeddedPostgres):
    """They share the roles; each runs with a key of its own and with one that they have in common."""
    names = [f"empty_{number}" for number in range(5)]
    admin = await asyncpg.connect(postgres.dsn)
    for name in names:
        await admin.execute(f"create database {name}")

    done = await asyncio.gather(
        *(migrate(postgres.dsn_for(name), KEYS, through=1) for name in names for _ in range(2)),
        return_exceptions=True,
    )

    for name in names:
        await admin.execute(f"drop database {name} with (force)")
    await admin.close()
    assert [result for result in done if isinstance(result, BaseException)] == []


async def test_a_role_that_somebody_else_changes_at_that_moment_is_changed_afterwards(
    empty_dsn: str, postgres: EmbeddedPostgres
):
    login = derive_login_name(MASTER_KEY)
    other = await asyncpg.connect(postgres.dsn)
    for change in ("nologin", "connection limit 50"):
        async with other.transaction():
            await other.execute(f"alter role {login} {change}")
            migrating = asyncio.create_task(migrate(empty_dsn, KEYS, through=1))
            await blocked_by(postgres.dsn)
        await migrating
    await other.execute(f"alter role {login} connection limit -1")
    may_log_in = await other.fetchval("select rolcanlogin from pg_roles where rolname = $1", login)
    await other.close()

    assert may_log_in


async def test_the_logins_password_is_in_no_statement(empty_dsn: str, postgres: EmbeddedPostgres):
    """A server that logs what it is told (log_statement) must not hold the password in its log."""
    admin = await asyncpg.connect(empty_dsn)
    await admin.execute("alter database empty set log_statement = 'all'")
    await admin.close()

    await migrate(empty_dsn, KEYS)

    log = (postgres.data_dir / "postgres.log").read_text(encoding="utf-8")
    assert f"alter role {derive_login_name(MASTER_KEY)} password" in log
    assert derive_login_password(MASTER_KEY) not in log
    connection = await asyncpg.connect(await find_runtime_dsn(empty_dsn, KEYS))
    assert await connection.fetchval("select current_user") == derive_login_name(MASTER_KEY)
    await connection.close()


async def test_a_dry_run_changes_nothing(empty_dsn: str):
    assert len(await migrate(empty_dsn, KEYS, dry_run=True)) == len(read_migrations())
    with pytest.raises(SchemaOutdated):
        await find_runtime_dsn(empty_dsn, KEYS)


async def test_an_older_schema_is_refused_and_named(empty_dsn: str):
    last = read_migrations()[-1].version
    await migrate(empty_dsn, KEYS, through=last - 1)

    with pytest.raises(SchemaOutdated, match=f"from {last:04d} on"):
        await find_runtime_dsn(empty_dsn, KEYS)


async def test_an_edited_migration_is_refused(admin_dsn: str, monkeypatch: pytest.MonkeyPatch):
    edited = (replace(read_migrations()[0], checksum="other"), *read_migrations()[1:])
    monkeypatch.setattr(db.migrate, "read_migrations", lambda: edited)

    with pytest.raises(SchemaOutdated, match="never edited"):
        await migrate(admin_dsn, KEYS)


def test_a_missing_a_double_and_a_misnamed_file_are_told_by_number():
    first, second, third, *_ = read_migrations()

    with pytest.raises(MigrationFailed, match="migration 0002 is missing"):
        in_order([first, third])
    with pytest.raises(MigrationFailed, match="migration 0001 is missing"):
        in_order([third, second])
    with pytest.raises(MigrationFailed, match=r"two migrations .* number 0002"):
        in_order([first, second, second, third])
    with pytest.raises(MigrationFailed, match=r"7_x.sql is no migration's name"):
        read_migration("7_x.sql", "")


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("select 1;\n\ncrate table t ();", r"db/migrations/0002_broken.sql, line 3: syntax error .*crate"),
        (
            "create table t (a int);\nselect 1 / a from generate_series(0, 2) a;",
            r"0002_broken.sql: division by zero",
        ),
    ],
)
async def test_a_file_that_fails_is_named_and_undone(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch, sql: str, told: str
):
    broken = (read_migrations()[0], Migration(2, "broken", sql, "checksum"))
    monkeypatch.setattr(db.migrate, "read_migrations", lambda: broken)

    with pytest.raises(MigrationFailed, match=told):
        await migrate(empty_dsn, KEYS)
    connection = await asyncpg.connect(empty_dsn)
    assert await connection.fetchval("select max(version) from schema_migrations") == 1
    assert await connection.fetchval("select to_regclass('t')") is None
    await connection.close()


async def test_an_administrators_dsn_is_never_run_with(admin_dsn: str):
    dsn = await find_runtime_dsn(admin_dsn, KEYS)

    assert f"//{derive_login_name(MASTER_KEY)}:" in dsn
    assert await find_runtime_dsn(dsn, KEYS) == dsn


async def test_a_rotated_master_key_still_finds_the_login(admin_dsn: str):
    assert await find_runtime_dsn(admin_dsn, [bytes(32), MASTER_KEY])
    with pytest.raises(DatabaseRefused, match="master key"):
        await find_runtime_dsn(admin_dsn, [bytes(32)])


async def test_a_rotation_cuts_nobody_off(admin_dsn: str):
    """Processes with the old key go on while others come up with the new one first."""
    new = bytes(reversed(MASTER_KEY))
    await migrate(admin_dsn, [new, MASTER_KEY])

    for keys in ([MASTER_KEY], [new, MASTER_KEY], [new]):
        connection = await asyncpg.connect(await find_runtime_dsn(admin_dsn, keys))
        assert await connection.fetchval("select 1") == 1
        await connection.close()


async def test_a_login_without_rights_may_not_migrate(empty_dsn: str, admin_dsn: str):
    runtime_dsn = await find_runtime_dsn(admin_dsn, KEYS)
    limited = runtime_dsn.replace(runtime_dsn.rpartition("/")[2], empty_dsn.rpartition("/")[2])

    with pytest.raises(DatabaseRefused, match="may not migrate"):
        await migrate(limited, KEYS)


async def test_a_server_that_is_away_is_unavailable():
    with pytest.raises(DatabaseUnavailable):
        await migrate("postgresql://nobody@127.0.0.1:9/none", KEYS)


async def test_the_run_time_login_can_change_no_table(runtime_dsn: str):
    connection = await asyncpg.connect(runtime_dsn)
    for role in ("none", "waystation_app", "waystation_worker"):
        await connection.execute(f"set role {role}")
        for statement in (
            "create table t (a int)",
            "drop table messages",
            "alter table messages disable row level security",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("set role waystation_owner")
    await connection.close()
