"""Applies migrations under a lock, makes the roles, and finds the DSN that the program runs with
afterwards.
"""

import asyncio
import contextlib
import hashlib
import random
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import asyncpg

from db.connecting import connected, with_login
from db.errors import DatabaseRefused, KeysMissing, MigrationFailed, SchemaOutdated
from db.jobs import install_jobs
from db.logins import change_roles, mark_logins, retire_logins
from db.resealing import SealedCount, count_by_key
from db.sealing import (
    derive_login_name,
    derive_login_password,
    derive_login_verifier,
    key_id,
    shown_key_id,
)

_LOCK = 0x57617973  # any constant; one program of this name migrates a database at a time
_LOCK_TRIES = 30
_FILE = re.compile(r"^(?P<version>\d{4})_(?P<name>[a-z0-9_]+)\.sql$")
_FOLDER = "db/migrations"
_HOLDS_SEALED = """
select bool_and(to_regclass(name) is not null)
from unnest(array['public.channel_accounts', 'public.webhook_endpoints', 'public.idempotency_keys']) name
"""
# Who may make roles, and has not made these, must first let itself in.
_BECOME_OWNER = """
do $$
begin
    if not pg_has_role(current_user, 'waystation_owner', 'member') then
        grant waystation_owner to current_user;
    end if;
end
$$;
set local role waystation_owner;
"""
_LEDGER = """
create table if not exists schema_migrations (
    version int primary key, name text not null, checksum text not null,
    applied_at timestamptz not null default now()
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of ``db/migrations``; ``checksum`` proves that a landed one was not edited."""

    version: int
    name: str
    sql: str
    checksum: str

    @property
    def file(self) -> str:
        """Its path in the source."""
        return f"{_FOLDER}/{self.version:04d}_{self.name}.sql"


def read_migrations() -> tuple[Migration, ...]:
    """All migrations in order; raises MigrationFailed for a name that does not fit, a gap or a double number."""
    folder = resources.files("db").joinpath("migrations")
    return in_order(
        read_migration(entry.name, entry.read_text(encoding="utf-8"))
        for entry in folder.iterdir()
        if entry.name.endswith(".sql")
    )


def in_order(migrations: Iterable[Migration]) -> tuple[Migration, ...]:
    """The migrations by number; raises MigrationFailed, which names the first number that is wrong."""
    found = sorted(migrations, key=lambda migration: migration.version)
    for wanted, migration in enumerate(found, 1):
        if migration.version > wanted:
            raise MigrationFailed(
                f"migration {wanted:04d} is missing in {_FOLDER}: this installation is incomplete; install it anew"
            )
        if migration.version < wanted:
            raise MigrationFailed(f"two migrations in {_FOLDER} have the number {migration.version:04d}")
    return tuple(found)


def read_migration(file_name: str, sql: str) -> Migration:
    """A file as a migration; raises MigrationFailed for a name of another form."""
    match = _FILE.match(file_name)
    if match is None:
        raise MigrationFailed(
            f"{_FOLDER}/{file_name} is no migration's name; it must look like 0001_what.sql"
        )
    return Migration(int(match["version"]), match["name"], sql, hashlib.sha256(sql.encode()).hexdigest())


async def _pause() -> None:
    """Of uneven length, so that two programs that want the same lock do not meet again."""
    await asyncio.sleep(random.uniform(0.1, 1.0))  # noqa: S311 - jitter, nothing secret


async def migrate(
    dsn: str,
    master_keys: Sequence[bytes],
    *,
    dry_run: bool = False,
    through: int | None = None,
    on_step: Callable[[str], None] = lambda _: None,
    pause: Callable[[], Awaitable[None]] = _pause,
    on_note: Callable[[str], None] = lambda _: None,
) -> tuple[Migration, ...]:
    """Brings the schema up to date and gives back what was (or, on a dry run, would be) applied.

    ``dsn`` is a superuser's, the database owner's or a member of waystation_owner's. Safe to run from many
    places at once. ``through`` is the last version to
    apply, for the schema of an older release; ``pause`` is awaited between two tries for a lock. Raises
    DatabaseUnavailable, DatabaseRefused (missing rights), SchemaOutdated (an edited migration), MigrationFailed
    (an incomplete installation, SQL that fails, or a lock that nobody gives up) and KeysMissing (the database
    holds what these keys do not open). ``on_note`` hears what became of old logins.
    """
    async with connected(dsn) as connection:
        await connection.execute("select pg_advisory_lock($1)", _LOCK)
        missing = _pending(await _applied(connection))
        pending = tuple(step for step in missing if through is None or step.version <= through)
        try:
            await _refuse_missing_keys(connection, master_keys)
            if not dry_run:
                await _apply(connection, pending, master_keys, on_step, pause)
                await mark_logins(connection, master_keys)
                await retire_logins(connection, master_keys, on_note)
        except asyncpg.InsufficientPrivilegeError as error:
            raise DatabaseRefused(
                f"this login may not migrate: {error}; use a superuser's DSN, or the owner's with CREATEROLE"
            ) from error
    return pending


async def _refuse_missing_keys(connection: Any, master_keys: Sequence[bytes]) -> None:
    """Before a login is made: with a wrong key it would be one more way in, and of no use."""
    known = {key_id(key) for key in master_keys}
    missing = [counted for counted in await _count_sealed(connection) if counted.key_id not in known]
    if any(counted.needed for counted in missing):
        raise KeysMissing(sorted(shown_key_id(counted.key_id) for counted in missing if counted.needed))


async def count_sealed(dsn: str) -> list[SealedCount]:
    """What each master key seals, over all tenants; ``dsn`` as for ``migrate``."""
    async with connected(dsn) as connection:
        return await _count_sealed(connection)


async def _count_sealed(connection: Any) -> list[SealedCount]:
    if not await connection.fetchval(_HOLDS_SEALED):
        return []
    look = connection.transaction()
    await look.start()
    try:
        await connection.execute(_BECOME_OWNER)
        return await count_by_key(connection)
    finally:
        await look.rollback()  # and with it the role


async def _apply(
    connection: Any,
    pending: Sequence[Migration],
    master_keys: Sequence[bytes],
    on_step: Callable[[str], None],
    pause: Callable[[], Awaitable[None]],
) -> None:
    login = derive_login_name(master_keys[0])
    await connection.execute("select set_config('waystation.login', $1, false)", login)
    await change_roles(connection, _read_sql("roles.sql"))
    await connection.execute("set role waystation_owner")
    await connection.execute(_LEDGER)
    await connection.execute("grant select on schema_migrations to waystation_app, waystation_worker")
    for migration in pending:
        on_step(f"{migration.version:04d} {migration.name}")
        await _apply_patiently(connection, migration, pause)
    await install_jobs(connection)
    await connection.execute(_read_sql("jobs.sql"))
    await connection.execute("reset role")
    await connection.execute(_read_sql("identity.sql"))
    # ALTER ROLE takes no parameters; a verifier's characters are those of base64.
    await change_roles(connection, f"alter role {login} password '{derive_login_verifier(master_keys[0])}'")


async def _apply_patiently(
    connection: Any, migration: Migration, pause: Callable[[], Awaitable[None]]
) -> None:
    """A migration waits a moment for a lock and gives up, so that nobody queues behind it; then it tries again."""
    for _ in range(_LOCK_TRIES):
        with contextlib.suppress(asyncpg.LockNotAvailableError):  # the next try, or the end of them
            return await _apply_whole(connection, migration)
        await pause()
    raise MigrationFailed(
        f"{migration.file} waited too long for tables that others use; nothing of it was applied, try again"
    )


async def _apply_whole(connection: Any, migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute("set local lock_timeout = '200ms'; set local statement_timeout = '5s'")
        await _run_file(connection, migration)
        await connection.execute(
            "insert into schema_migrations (version, name, checksum) values ($1, $2, $3)",
            migration.version,
            migration.name,
            migration.checksum,
        )


async def _run_file(connection: Any, migration: Migration) -> None:
    try:
        await connection.execute(migration.sql)
    except (asyncpg.LockNotAvailableError, asyncpg.InsufficientPrivilegeError):
        raise  # waited for, and told in words of its own
    except asyncpg.PostgresError as error:
        # The message without its details: those hold the values of rows.
        raise MigrationFailed(
            f"{migration.file}{_line_of(error, migration.sql)}: {error.args[0]}; nothing of it was applied"
        ) from error


def _line_of(error: asyncpg.PostgresError, sql: str) -> str:
    """Where in a file the server found a mistake; it says so for those of syntax and names only."""
    position = getattr(error, "position", None)
    return f", line {sql.count(chr(10), 0, int(position) - 1) + 1}" if position else ""


def _read_sql(name: str) -> str:
    return resources.files("db").joinpath(name).read_text(encoding="utf-8")


async def _applied(connection: Any) -> dict[int, str]:
    if await connection.fetchval("select to_regclass('public.schema_migrations')") is None:
        return {}
    rows = await connection.fetch("select version, checksum from schema_migrations")
    return {row["version"]: row["checksum"] for row in rows}


def _pending(applied: dict[int, str]) -> tuple[Migration, ...]:
    migrations = read_migrations()
    newer = [version for version in applied if version > len(migrations)]
    if newer:
        raise SchemaOutdated(f"the schema is newer than this program (version {max(newer)}); run its release")
    for migration in migrations:
        if applied.get(migration.version, migration.checksum) != migration.checksum:
            raise SchemaOutdated(
                f"migration {migration.version:04d} was applied in another form; a landed one is never edited: run the "
                "release that applied it, or begin with a new database (the embedded one is in .waystation)"
            )
    return tuple(migration for migration in migrations if migration.version not in applied)


async def find_runtime_dsn(dsn: str, master_keys: Sequence[bytes]) -> str:
    """The DSN to run with: ``dsn`` itself if its login has no more rights than it needs, else the run-time
    login's.

    Raises SchemaOutdated when migrations are missing, DatabaseRefused when no master key opens the login.
    """
    async with connected(dsn) as connection:
        if await connection.fetchval("select to_regclass('public.schema_migrations')") is None:
            raise SchemaOutdated
        privileged = await connection.fetchval(
            "select rolsuper or rolbypassrls or pg_has_role(current_user, 'waystation_owner', 'member')"
            " from pg_roles where rolname = current_user"
        )
    return await _check_schema(await _login_dsn(dsn, master_keys) if privileged else dsn)


async def _login_dsn(dsn: str, master_keys: Sequence[bytes]) -> str:
    for key in master_keys:
        candidate = with_login(dsn, derive_login_name(key), derive_login_password(key))
        try:
            async with connected(candidate):
                return candidate
        except DatabaseRefused:
            continue
    raise DatabaseRefused(
        "no configured master key opens the run-time login; run `waystation migrate` with the current keys"
    )


async def _check_schema(dsn: str) -> str:
    async with connected(dsn) as connection:
        try:
            await connection.execute("set role waystation_app")
            missing = _pending(await _applied(connection))
        except asyncpg.InsufficientPrivilegeError as error:
            raise DatabaseRefused(
                "this login may not work as waystation_app; use the login that `waystation migrate` made, or the"
                " owner's DSN"
            ) from error
    if missing:
        raise SchemaOutdated(
            f"{len(missing)} migration(s) missing from {missing[0].version:04d} on; run `waystation migrate`"
        )
    return dsn
