"""The run-time logins of a database: one per master key, and gone when its key is no longer listed.

Roles are the cluster's, so a login that one database needs no more may still be another one's. A database therefore
names its logins in its own list of privileges, by CONNECT: every database of the cluster can read that list, no
database made from a template inherits it, and it goes with its database.
"""

from collections.abc import Callable, Sequence
from typing import Any

import asyncpg

from db.sealing import derive_login_name

_ROLE_TRIES = 100  # each failure is another migration's success

_THERE = "select rolname from pg_roles where rolname = any($1::text[])"
_MARKED = """
select r.rolname from pg_database d cross join lateral aclexplode(d.datacl) a join pg_roles r on r.oid = a.grantee
where d.datname = current_database() and a.privilege_type = 'CONNECT' and r.rolname ~ '^waystation_login_[0-9a-f]{12}$'
"""
_MARKED_ELSEWHERE = """
select exists (
    select from pg_database d cross join lateral aclexplode(d.datacl) a join pg_roles r on r.oid = a.grantee
    where d.datname <> current_database() and r.rolname = $1
)
"""
# A database with tables of ours that marks nothing, since an older release or a template made it, may use any login.
_MAYBE_USED_ELSEWHERE = """
select exists (
    select from pg_stat_activity where usename = $1 and datname <> current_database()
) or exists (
    select from pg_database d
    where d.datname <> current_database()
        and exists (
            select from pg_shdepend s
            where s.dbid = d.oid and s.refclassid = 'pg_authid'::regclass and s.refobjid = 'waystation_owner'::regrole
        )
        and not exists (
            select from aclexplode(d.datacl) a join pg_roles r on r.oid = a.grantee
            where r.rolname ~ '^waystation_login_[0-9a-f]{12}$'
        )
)
"""


async def mark_logins(connection: Any, master_keys: Sequence[bytes]) -> None:
    """Writes down that the logins of these keys, as far as they exist, are this database's."""
    names = [derive_login_name(key) for key in master_keys]
    there = {row["rolname"] for row in await connection.fetch(_THERE, names)}
    for login in sorted(there - await _marked(connection)):
        await change_roles(connection, f"grant connect on database {await _database(connection)} to {login}")


async def retire_logins(
    connection: Any, master_keys: Sequence[bytes], on_note: Callable[[str], None]
) -> None:
    """Drops this database's logins of other keys than these; ``on_note`` hears what became of each."""
    listed = {derive_login_name(key) for key in master_keys}
    for login in sorted(await _marked(connection) - listed):
        on_note(f"{login}, the login of a key that is no longer listed, {await _retire(connection, login)}")


async def _retire(connection: Any, login: str) -> str:
    revoke = f"revoke connect on database {await _database(connection)} from {login}"
    if await connection.fetchval(_MARKED_ELSEWHERE, login):
        await change_roles(connection, revoke)
        return "is left to another database of this server"
    if await connection.fetchval(_MAYBE_USED_ELSEWHERE, login):
        return (
            "stays: another database of this server may use it; `waystation migrate` there, then here again"
        )
    try:
        await change_roles(connection, f"{revoke}; drop role {login}")
    except (asyncpg.InsufficientPrivilegeError, asyncpg.DependentObjectsStillExistError):
        return f"could not be dropped by this user; let its maker do it: drop role {login}"
    return "was dropped"


async def _marked(connection: Any) -> set[str]:
    return {row["rolname"] for row in await connection.fetch(_MARKED)}


async def _database(connection: Any) -> str:
    name: str = await connection.fetchval("select quote_ident(current_database())")
    return name


async def change_roles(connection: Any, statements: str) -> None:
    """Roles are the cluster's and our lock is one database's: where another database is migrated at the same
    time, the second change of a role is refused. By then the first one is committed, so it is tried at once.
    """
    for tries_left in reversed(range(_ROLE_TRIES)):
        try:
            await connection.execute(statements)
        except (asyncpg.InternalServerError, asyncpg.UniqueViolationError) as error:
            if not tries_left or not _came_second(error):
                raise
        else:
            return


def _came_second(error: asyncpg.PostgresError) -> bool:
    """PostgreSQL has no code of its own for it: "tuple concurrently updated", or a grant that exists by now."""
    return isinstance(error, asyncpg.UniqueViolationError) or "tuple concurrently" in str(error)
