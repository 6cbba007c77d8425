"""No tenant sees, changes or links to another's rows, and no setting helps: every table of the catalogue × command.

Policies are looked at apart from grants: in the database that these tests share, the application role may do
everything with every table. Who may do what in truth is test_rights.py's.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from db.migrate import find_runtime_dsn
from db.tenant import open_database
from handlers.runtime import new_uuid7
from tests.catalogue import read_comments, read_references
from tests.seeds import APPEND_ONLY, TABLES, insert_row, tenant_column, tenant_rows
from tests.servers import MASTER_KEY, run_apart

pytestmark = pytest.mark.every_postgres
Tenants = tuple[UUID, UUID]


@pytest.fixture(scope="module")
def tenants(shared_dsn: str) -> Tenants:
    """Two tenants with a row in every table, all of which the application role may use."""
    mine, theirs = new_uuid7(), new_uuid7()
    run_apart(fill(shared_dsn, mine, theirs))
    return mine, theirs


async def fill(dsn: str, *tenants: UUID) -> None:
    admin = await asyncpg.connect(dsn)
    for tenant in tenants:
        for table, row in tenant_rows(tenant).items():
            await insert_row(admin, table, row)
    for table in TABLES:
        await admin.execute(f"grant all on {table} to waystation_app")
    await admin.close()


@pytest.fixture
async def app(catalogue: Any, tenants: Tenants) -> Any:
    """The application role in a transaction of the first tenant's; undone afterwards."""
    await catalogue.execute("set local role waystation_app")
    await choose(catalogue, str(tenants[0]))
    return catalogue


async def choose(connection: Any, tenant: str) -> None:
    await connection.execute("select set_config('app.current_distributor_id', $1, true)", tenant)


async def refuse(
    connection: Any, error: type[asyncpg.PostgresError], match: str, statement: str, *values: Any
) -> None:
    """The statement fails so; the transaction goes on."""
    with pytest.raises(error, match=match):
        async with connection.transaction():
            await connection.execute(statement, *values)


async def test_the_matrix_covers_every_table(catalogue: Any):
    assert set(await read_comments(catalogue)) == set(TABLES)


@pytest.mark.parametrize("table", TABLES)
async def test_another_tenants_rows_cannot_be_seen(app: Any, tenants: Tenants, table: str):
    rows = await app.fetch(f"select distinct {tenant_column(table)} from {table}")

    assert [row[0] for row in rows] == [tenants[0]]


@pytest.mark.parametrize("unset", ["", "never set"])
@pytest.mark.parametrize("table", TABLES)
async def test_without_a_tenant_there_is_nothing_to_see_change_or_add(
    catalogue: Any, tenants: Tenants, table: str, unset: str
):
    await catalogue.execute("set local role waystation_app")
    if not unset:
        await choose(catalogue, unset)
    column = tenant_column(table)
    done = [
        await catalogue.execute(statement)
        for statement in (
            f"select from {table}",
            f"update {table} set {column} = {column}",
            f"delete from {table}",
        )
    ]

    assert done == ["SELECT 0", "UPDATE 0", "DELETE 0"]
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        await insert_row(catalogue, table, tenant_rows(new_uuid7())[table])


@pytest.mark.parametrize("table", TABLES)
async def test_another_tenants_rows_cannot_be_changed_or_deleted(app: Any, tenants: Tenants, table: str):
    column = tenant_column(table)
    count = f"select count(*) from {table} where {column} = $1"
    updated = await app.execute(f"update {table} set {column} = {column} where {column} = $1", tenants[1])
    deleted = await app.execute(f"delete from {table} where {column} = $1", tenants[1])
    await app.execute("reset role")

    assert (updated, deleted) == ("UPDATE 0", "DELETE 0")
    assert await app.fetchval(count, tenants[1]) == 1


@pytest.mark.parametrize("table", TABLES)
async def test_the_own_row_can_be_changed_and_deleted_unless_it_is_a_record(app: Any, table: str):
    """Also shows that the tests around it are refused by the policies and by nothing else."""
    column = tenant_column(table)
    own = 0 if table in APPEND_ONLY else 1

    assert await app.execute(f"update {table} set {column} = {column}") == f"UPDATE {own}"
    assert await app.execute(f"delete from {table}") == f"DELETE {own}"


@pytest.mark.parametrize("table", TABLES)
async def test_a_row_cannot_be_given_to_another_tenant(app: Any, tenants: Tenants, table: str):
    row = tenant_rows(new_uuid7() if table == "distributors" else tenants[1])[table]
    move = f"update {table} set {tenant_column(table)} = $1"

    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        async with app.transaction():
            await insert_row(app, table, row)
    if table in APPEND_ONLY:
        assert await app.execute(move, tenants[1]) == "UPDATE 0"
    else:
        await refuse(app, asyncpg.InsufficientPrivilegeError, "row-level security", move, tenants[1])


@pytest.mark.parametrize("table", [table for table in TABLES if table != "distributors"])
async def test_a_row_cannot_point_into_another_tenant(catalogue: Any, tenants: Tenants, table: str):
    """Each reference of the table, one at a time, aimed at the other tenant's parent, by the superuser: the
    composite key refuses it whatever policies say.
    """
    mine, theirs = tenants
    for reference in await read_references(catalogue):
        if reference.child != table or reference.parent == "distributors":
            continue
        other = await catalogue.fetchrow(
            f"select * from {reference.parent} where distributor_id = $1", theirs
        )
        links = dict(zip(reference.columns, (other[target] for target in reference.targets), strict=True))
        assert links.pop("distributor_id") == theirs, reference
        assignments = ", ".join(f"{column} = ${number}" for number, column in enumerate(links, 2))
        link = f"update {table} set {assignments} where distributor_id = $1"
        await refuse(catalogue, asyncpg.ForeignKeyViolationError, "foreign key", link, mine, *links.values())


async def test_two_tenants_on_one_pooled_connection(shared_dsn: str, tenants: Tenants):
    """The setting of one transaction must not reach the next one on the same connection."""
    database = await open_database(await find_runtime_dsn(shared_dsn, [MASTER_KEY]), app=1, worker=1)
    seen, pids = [], set()
    for tenant in (*tenants, *tenants):
        async with database.tenant(tenant) as connection:
            pids.add(await connection.fetchval("select pg_backend_pid()"))
            seen.append(
                {
                    table: {
                        row[0]
                        for row in await connection.fetch(f"select {tenant_column(table)} from {table}")
                    }
                    for table in TABLES
                }
            )
    await database.close()

    assert seen == [{table: {tenant} for table in TABLES} for tenant in (*tenants, *tenants)]
    assert len(pids) == 1


@pytest.fixture
async def login(shared_dsn: str, tenants: Tenants) -> AsyncIterator[Any]:
    """The run-time login as the program finds it, in the first tenant's transaction."""
    connection = await asyncpg.connect(await find_runtime_dsn(shared_dsn, [MASTER_KEY]))
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("set local role waystation_app")
    await choose(connection, str(tenants[0]))
    yield connection
    await transaction.rollback()
    await connection.close()


BYPASSES = (
    "app.bypass_rls", "app.is_service_role", "app.role", "app.service_role", "app.is_admin", "app.distributor_id",
    "request.jwt.claim.role", "request.jwt.claims", "waystation.login",
)  # fmt: skip


@pytest.mark.parametrize("name", BYPASSES)
async def test_no_setting_opens_another_tenants_rows(login: Any, tenants: Tenants, name: str):
    for value in ("on", "true", "service_role", '{"role": "service_role"}', str(tenants[1])):
        await login.execute("select set_config($1, $2, true)", name, value)

        assert [row["id"] for row in await login.fetch("select id from distributors")] == [tenants[0]]


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("set local role waystation_owner", "permission denied to set role"),
        ("set session authorization waystation_owner", "permission denied to set session authorization"),
        ("set session authorization postgres", "permission denied to set session authorization"),
        ("set local session_replication_role = replica", "permission denied to set parameter"),
        ("alter role waystation_app bypassrls", "permission denied|must be superuser"),
        ("alter table customers disable row level security", "must be owner"),
        ("alter table customers no force row level security", "must be owner"),
        ("create policy mine on customers to waystation_app using (true)", "must be owner"),
        ("alter function get_current_distributor_id() owner to waystation_app", "must be owner"),
        ("create function public.get_current_distributor_id(int) returns uuid return null", "permission denied for schema public"),
        ("create view public.all_customers as select * from customers", "permission denied for schema public"),
        ("copy customers to program 'cat'", "to COPY to or from an external program"),
        ("set local role none; select * from customers", "permission denied for table"),
        ("set local row_security = off; select * from customers", "would be affected by row-level security"),
    ],
)  # fmt: skip
async def test_the_login_cannot_lift_its_own_limits(login: Any, statement: str, problem: str):
    await refuse(login, asyncpg.InsufficientPrivilegeError, problem, statement)


async def test_no_partition_can_be_reached_past_its_table(login: Any, catalogue: Any):
    partitions = await catalogue.fetch(
        "select oid::regclass::text from pg_class where relispartition and relkind = 'r'"
    )

    for role in ("none", "waystation_app", "waystation_worker"):
        await login.execute(f"set local role {role}")
        for (partition,) in partitions:
            for statement in (
                f"select * from {partition}",
                f"delete from {partition}",
                f"insert into {partition} default values",
            ):
                await refuse(login, asyncpg.InsufficientPrivilegeError, "permission denied", statement)
    assert len(partitions) > 8


OWNERS_FUNCTIONS = """
    select p.proname::text as name, a.grantee::regrole::text as role,
        (select string_agg(format('null::%s', format_type(t, null)), ', ') from unnest(p.proargtypes) t) as arguments
    from pg_proc p cross join aclexplode(p.proacl) a
    where p.prosecdef and a.grantee <> p.proowner and p.pronamespace = 'public'::regnamespace
"""
# A sequence keeps what it counted when a call fails and is undone.
SPY = """
    create temp sequence witness;
    grant all on witness to public;
    create function pg_temp.spy(pg_catalog.uuid) returns boolean language plpgsql as $$
    begin
        if current_user = 'waystation_owner' then
            perform nextval(format('%s.witness', pg_my_temp_schema()::regnamespace));
        end if;
        return true;
    end $$;
    create domain pg_temp.uuid as pg_catalog.uuid check (pg_temp.spy(value));
"""


async def test_what_a_session_slips_in_never_runs_as_the_owner(login: Any, catalogue: Any):
    """The functions that run as the owner look into a session's temporary schema last: anybody may put a type there
    that runs what it likes.
    """
    functions = await catalogue.fetch(OWNERS_FUNCTIONS)
    await login.execute(SPY)
    for name, role, arguments in functions:
        await login.execute(f"set local role {role}")
        with suppress(asyncpg.PostgresError):
            async with login.transaction():
                await login.execute(f"select {name}({arguments or ''})")
    await login.execute("set local role none")

    assert not await login.fetchval("select is_called from witness")
    assert {name for name, _, _ in functions} == {
        "set_user_role", "make_partition", "retire_partition", "delete_orphans", "record_denials", "expire_payloads",
        "expire_evidence",
    }  # fmt: skip
