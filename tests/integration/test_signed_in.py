"""Where the host signs people in, as Supabase does: the person's profile selects the tenant, and a login without a
superuser's rights migrates.

The host's schema, its function and who may use it are those of https://github.com/supabase/postgres (migrations/db):
the login that owns the database may use the schema auth and may grant that to nobody.
"""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg
import pytest

from db.embedded import EmbeddedPostgres
from db.errors import DatabaseRefused
from db.migrate import find_runtime_dsn, migrate, read_migrations
from db.tenant import open_database
from handlers.runtime import new_uuid7
from tests.seeds import CHANGED, insert_row, tenant_rows
from tests.servers import MASTER_KEY, Servers, execute, run_apart

pytestmark = pytest.mark.every_postgres
KEYS = [MASTER_KEY]
PLATFORM = "platform"  # the login that owns the database
ROLES = f"""
    create role {PLATFORM} login createrole password 'p';
    create role host_admin;
    create role authenticated nologin;
"""
HOST = """
    create schema auth authorization host_admin;
    create function auth.uid() returns uuid language sql stable as $$
        select coalesce(
            nullif(current_setting('request.jwt.claim.sub', true), ''),
            (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')
        )::uuid
    $$;
    grant usage on schema auth to authenticated;
"""
USED_BY_PLATFORM = f"grant all on schema auth to {PLATFORM};"


@dataclass(frozen=True, slots=True)
class Hosted:
    """A database of the host's, migrated, with two tenants and a person of each status in the first."""

    admin_dsn: str
    owner_dsn: str
    mine: UUID
    theirs: UUID
    people: dict[str, UUID]


@pytest.fixture(scope="module")
def postgres(servers: Servers, request: pytest.FixtureRequest) -> EmbeddedPostgres:
    """A server on which nobody has made our roles: here they are made without a superuser's rights."""
    server = servers.without_schema(getattr(request, "param", None), "hosted")
    run_apart(execute(server.dsn, ROLES))
    return server


@pytest.fixture(scope="module")
def hosted(postgres: EmbeddedPostgres) -> Iterator[Hosted]:
    run_apart(make_database(postgres, "hosted", HOST + USED_BY_PLATFORM))
    yield run_apart(fill(postgres.dsn_for("hosted")))
    run_apart(execute(postgres.dsn, "drop database hosted with (force)"))


@pytest.fixture
async def person(hosted: Hosted) -> AsyncIterator[Any]:
    """A connection in the host's role for whoever is signed in."""
    connection = await asyncpg.connect(hosted.admin_dsn)
    await connection.execute("begin; set local role authenticated")
    yield connection
    await connection.execute("rollback")
    await connection.close()


async def make_database(server: EmbeddedPostgres, name: str, sql: str = "select") -> None:
    await execute(server.dsn, f"create database {name} owner {PLATFORM}")
    await execute(server.dsn_for(name), sql)


def as_owner(dsn: str) -> str:
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(netloc=f"{PLATFORM}:p@{parts.netloc.rpartition('@')[2]}"))


async def fill(dsn: str) -> Hosted:
    await migrate(as_owner(dsn), KEYS)
    mine, theirs, people = new_uuid7(), new_uuid7(), {}
    admin = await asyncpg.connect(dsn)
    await admin.execute("grant waystation_app to authenticated")
    for tenant in (mine, theirs):
        for table, row in tenant_rows(tenant).items():
            await insert_row(admin, table, row)
    for status in ("ACTIVE", "PENDING", "SUSPENDED"):
        people[status] = new_uuid7()
        row = {"distributor_id": mine, "id": people[status], "email": f"{status.lower()}@x.test"}
        await insert_row(admin, "user_profiles", {**row, "status": status, **CHANGED})
    await admin.close()
    return Hosted(dsn, as_owner(dsn), mine, theirs, people)


async def set_local(connection: Any, **settings: str) -> None:
    for name, value in settings.items():
        await connection.execute("select set_config($1, $2, true)", name.replace("__", "."), value)


async def sign_in(connection: Any, person: UUID) -> None:
    await set_local(
        connection, request__jwt__claims=json.dumps({"sub": str(person), "role": "authenticated"})
    )


async def tenants_seen(connection: Any) -> set[UUID]:
    return {row["id"] for row in await connection.fetch("select id from distributors")}


@pytest.mark.parametrize("claims", ["request.jwt.claim.sub", "request.jwt.claims"])
async def test_the_signed_in_persons_profile_selects_the_tenant_whatever_the_setting_says(
    hosted: Hosted, person: Any, claims: str
):
    signed_in = str(hosted.people["ACTIVE"])
    await set_local(person, app__current_distributor_id=str(hosted.theirs))
    value = json.dumps({"sub": signed_in}) if claims.endswith("claims") else signed_in
    await person.execute("select set_config($1, $2, true)", claims, value)

    assert await tenants_seen(person) == {hosted.mine}
    assert await person.fetchval("select get_current_distributor_id()") == hosted.mine


async def test_while_nobody_is_signed_in_the_setting_selects_the_tenant(hosted: Hosted, person: Any):
    assert await tenants_seen(person) == set()
    await set_local(person, app__current_distributor_id=str(hosted.theirs), request__jwt__claims="")

    assert await tenants_seen(person) == {hosted.theirs}


@pytest.mark.parametrize("who", ["PENDING", "SUSPENDED", "unknown"])
async def test_without_an_active_profile_there_are_no_rows(hosted: Hosted, person: Any, who: str):
    await set_local(person, app__current_distributor_id=str(hosted.mine))
    await sign_in(person, hosted.people.get(who, new_uuid7()))

    assert await person.fetchval("select get_current_distributor_id()") is None
    assert await tenants_seen(person) == set()


async def test_every_table_answers_a_signed_in_person_with_the_own_tenants_rows(hosted: Hosted, person: Any):
    """No policy ends in itself, user_profiles' own included."""
    await sign_in(person, hosted.people["ACTIVE"])
    granted = await person.fetch(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
        " and not relispartition and relrowsecurity and has_table_privilege(oid, 'select')"
    )

    for (table,) in granted:
        column = "id" if table == "distributors" else "distributor_id"
        rows = await person.fetch(f"select distinct {column} from {table}")
        assert {row[0] for row in rows} == {hosted.mine}, table
    assert len(granted) > 20


async def test_the_signed_in_person_asks_for_a_role_whoever_the_setting_names(hosted: Hosted, person: Any):
    await person.execute("reset role")
    owner = await person.fetchval(
        "select id from user_profiles where email = 'ana@x.test' and distributor_id = $1", hosted.mine
    )
    await person.execute("update user_profiles set role = 'OWNER' where id = $1", owner)
    await person.execute("set local role authenticated")
    await set_local(person, app__current_user_id=str(owner))
    await sign_in(person, hosted.people["ACTIVE"])

    assert await person.fetchval("select get_current_user_id()") == hosted.people["ACTIVE"]
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="may not give that role"):
        await person.execute("select set_user_role($1, 'ADMIN')", hosted.people["PENDING"])


async def test_the_owner_alone_may_ask_the_host_who_is_signed_in(hosted: Hosted, person: Any):
    may_ask = await person.fetch(
        "select rolname from pg_roles where not rolsuper and rolname !~ '^pg_'"
        " and has_function_privilege(oid, 'get_signed_in_user_id()', 'execute') order by rolname"
    )

    assert [row["rolname"] for row in may_ask] == [PLATFORM, "waystation_owner"]


async def test_the_service_works_by_the_setting_with_a_login_that_a_plain_owner_made(hosted: Hosted):
    database = await open_database(await find_runtime_dsn(hosted.owner_dsn, KEYS), app=1, worker=1)
    async with database.tenant(hosted.theirs) as connection:
        assert await tenants_seen(connection) == {hosted.theirs}
    async with database.worker() as connection:
        assert await tenants_seen(connection) == {hosted.mine, hosted.theirs}
    await database.close()


async def test_the_hosts_schema_may_come_after_ours(postgres: EmbeddedPostgres):
    await make_database(postgres, "late")
    dsn = postgres.dsn_for("late")
    assert len(await migrate(as_owner(dsn), KEYS)) == len(read_migrations())
    await execute(dsn, HOST + USED_BY_PLATFORM)
    for _ in range(2):  # the second finds everything as it should be
        assert await migrate(as_owner(dsn), KEYS) == ()

    connection = await asyncpg.connect(dsn)
    await connection.execute("begin")
    await set_local(connection, app__current_distributor_id=str(new_uuid7()))
    await sign_in(connection, new_uuid7())
    assert await connection.fetchval("select get_current_distributor_id()") is None
    await connection.close()
    await execute(postgres.dsn, "drop database late with (force)")


async def test_a_login_that_may_not_use_the_hosts_schema_is_told_what_to_grant(postgres: EmbeddedPostgres):
    await make_database(postgres, "closed", HOST)

    with pytest.raises(DatabaseRefused, match=f"GRANT USAGE ON SCHEMA auth TO {PLATFORM}"):
        await migrate(as_owner(postgres.dsn_for("closed")), KEYS)
    await execute(postgres.dsn, "drop database closed with (force)")
