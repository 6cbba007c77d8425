"""No tenant sees, changes or links to another's rows: every table × command, generated from the catalogue."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from db.sealing import derive_login_name
from db.tenant import Database, open_database
from handlers.runtime import new_uuid7
from tests.seeds import insert_row, tenant_rows
from tests.servers import MASTER_KEY

TABLES = tuple(tenant_rows(UUID(int=1)))
LOGIN = derive_login_name(MASTER_KEY)
# References that are not composite, each with its reason.
PLAIN_REFERENCES_ALLOWED_TO = {"distributors"}  # the tenant itself
# What carries no tenant.
NOT_A_TENANTS = {"schema_migrations"}


@pytest.fixture
async def admin(admin_dsn: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(admin_dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def tenants(admin: Any) -> tuple[UUID, UUID]:
    """Two tenants with a row in every table."""
    mine, theirs = new_uuid7(), new_uuid7()
    for tenant in (mine, theirs):
        for table, row in tenant_rows(tenant).items():
            await insert_row(admin, table, row)
    return mine, theirs


def tenant_column(table: str) -> str:
    return "id" if table == "distributors" else "distributor_id"


async def test_the_matrix_covers_every_table(admin: Any):
    rows = await admin.fetch(
        "select relname, relrowsecurity, relforcerowsecurity from pg_class"
        " where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
    )

    assert {row["relname"] for row in rows} - NOT_A_TENANTS == set(TABLES)
    for row in rows:
        if row["relname"] not in NOT_A_TENANTS:
            assert row["relrowsecurity"], f"{row['relname']}: row-level security is off"
            assert row["relforcerowsecurity"], f"{row['relname']}: row-level security is not forced"


async def test_every_policy_names_its_role_and_one_command(admin: Any):
    rows = await admin.fetch(
        "select tablename, policyname, roles, cmd from pg_policies where schemaname = 'public'"
    )

    for row in rows:
        assert row["roles"] in (["waystation_app"], ["waystation_worker"], ["waystation_owner"])
        assert (row["cmd"] == "ALL") == (row["roles"] == ["waystation_owner"]), row
    for table in TABLES:
        commands = {
            row["cmd"] for row in rows if row["tablename"] == table and row["roles"] == ["waystation_app"]
        }
        assert commands == {"SELECT", "INSERT", "UPDATE", "DELETE"}


async def test_every_reference_between_tenants_rows_carries_the_tenant(admin: Any):
    rows = await admin.fetch(
        "select c.conrelid::regclass::text as child, c.confrelid::regclass::text as parent,"
        " array(select a.attname::text from unnest(c.conkey) k join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k)"
        " as columns from pg_constraint c where c.contype = 'f'"
    )

    for row in rows:
        if row["parent"] not in PLAIN_REFERENCES_ALLOWED_TO:
            assert row["columns"][0] == "distributor_id", (
                f"{row['child']} -> {row['parent']}: {row['columns']}"
            )


async def test_the_runtime_login_has_no_rights_of_its_own(admin: Any):
    row = await admin.fetchrow(
        "select rolsuper, rolbypassrls, rolcreaterole, rolinherit from pg_roles where rolname = $1",
        LOGIN,
    )
    memberships = await admin.fetch(
        "select b.rolname from pg_auth_members m join pg_roles r on r.oid = m.member join pg_roles b on b.oid = m.roleid"
        " where r.rolname = $1",
        LOGIN,
    )

    assert tuple(row) == (False, False, False, False)
    assert {row["rolname"] for row in memberships} == {"waystation_app", "waystation_worker"}


@pytest.mark.parametrize("table", TABLES)
async def test_another_tenants_rows_cannot_be_seen(
    database: Database, tenants: tuple[UUID, UUID], table: str
):
    mine, theirs = tenants
    column = tenant_column(table)
    async with database.tenant(mine) as connection:
        seen = {row[0] for row in await connection.fetch(f"select {column} from {table}")}
        joined = await connection.fetchval(f"select count(*) from {table} where {column} = $1", theirs)

    assert seen == {mine}
    assert joined == 0


@pytest.mark.parametrize("table", TABLES)
async def test_without_a_tenant_there_are_no_rows(admin: Any, tenants: tuple[UUID, UUID], table: str):
    async with admin.transaction():
        await admin.execute("set local role waystation_app")
        unset = await admin.fetchval(f"select count(*) from {table}")
        await admin.execute("select set_config('app.current_distributor_id', '', true)")
        empty = await admin.fetchval(f"select count(*) from {table}")

    assert (unset, empty) == (0, 0)


@pytest.mark.parametrize("table", TABLES)
async def test_another_tenants_rows_cannot_be_changed_or_deleted(
    admin: Any, tenants: tuple[UUID, UUID], table: str
):
    """Policies alone, apart from grants: the application role is given every right on the table for this
    test.
    """
    mine, theirs = tenants
    column = tenant_column(table)
    await admin.execute(f"grant all on {table} to waystation_app")
    before = await admin.fetch(f"select * from {table} where {column} = $1", theirs)
    async with admin.transaction():
        await admin.execute("set local role waystation_app")
        await admin.execute("select set_config('app.current_distributor_id', $1, true)", str(mine))
        updated = await admin.execute(f"update {table} set {column} = {column} where {column} = $1", theirs)
        deleted = await admin.execute(f"delete from {table} where {column} = $1", theirs)

    assert (updated, deleted) == ("UPDATE 0", "DELETE 0")
    assert await admin.fetch(f"select * from {table} where {column} = $1", theirs) == before


@pytest.mark.parametrize("table", TABLES)
async def test_a_row_cannot_be_given_to_another_tenant(admin: Any, tenants: tuple[UUID, UUID], table: str):
    mine, theirs = tenants
    await admin.execute(f"grant all on {table} to waystation_app")
    rows = tenant_rows(new_uuid7() if table == "distributors" else theirs)
    await admin.execute("set role waystation_app")
    await admin.execute("select set_config('app.current_distributor_id', $1, false)", str(mine))

    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        await insert_row(admin, table, rows[table])
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        await admin.execute(f"update {table} set {tenant_column(table)} = $1", theirs)


@pytest.mark.parametrize("table", [table for table in TABLES if table != "distributors"])
async def test_a_row_cannot_point_into_another_tenant(admin: Any, tenants: tuple[UUID, UUID], table: str):
    """Each reference of the table, one at a time, aimed at the other tenant's parent: the composite key
    refuses it.
    """
    mine, theirs = tenants
    references = await admin.fetch(
        "select c.confrelid::regclass::text as parent,"
        " array(select a.attname::text from unnest(c.conkey) with ordinality k(n, o) join pg_attribute a"
        "   on a.attrelid = c.conrelid and a.attnum = k.n order by k.o) as columns,"
        " array(select a.attname::text from unnest(c.confkey) with ordinality k(n, o) join pg_attribute a"
        "   on a.attrelid = c.confrelid and a.attnum = k.n order by k.o) as targets"
        " from pg_constraint c where c.contype = 'f' and c.conrelid = $1::regclass",
        table,
    )
    for reference in references:
        if reference["parent"] in PLAIN_REFERENCES_ALLOWED_TO:
            continue
        other = await admin.fetchrow(f"select * from {reference['parent']} where distributor_id = $1", theirs)
        links = zip(reference["columns"][1:], reference["targets"][1:], strict=True)
        values = {column: other[target] for column, target in links}
        assignments = ", ".join(f"{column} = ${number}" for number, column in enumerate(values, 2))
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await admin.execute(
                f"update {table} set {assignments} where distributor_id = $1", mine, *values.values()
            )


@pytest.mark.parametrize("table", TABLES)
async def test_two_tenants_on_one_pooled_connection(runtime_dsn: str, tenants: tuple[UUID, UUID], table: str):
    """The setting of one transaction must not reach the next one on the same connection."""
    database = await open_database(runtime_dsn, app=1, worker=1)
    column = tenant_column(table)
    seen, pids = [], set()
    for tenant in (*tenants, *tenants):
        async with database.tenant(tenant) as connection:
            seen.append({row[0] for row in await connection.fetch(f"select {column} from {table}")})
            pids.add(await connection.fetchval("select pg_backend_pid()"))
    await database.close()

    assert seen == [{tenant} for tenant in (*tenants, *tenants)]
    assert len(pids) == 1


WORKER_WRITES = {
    "inbound_events", "external_message_mappings", "customers", "customer_contacts", "conversations", "messages",
    "attachments", "message_status_events", "webhook_events", "webhook_deliveries", "webhook_delivery_attempts",
}  # fmt: skip


@pytest.mark.parametrize("table", TABLES)
async def test_the_worker_writes_only_where_it_must(admin: Any, table: str):
    rights = await admin.fetchrow(
        "select has_any_column_privilege('waystation_worker', $1, 'insert') as inserts,"
        " has_any_column_privilege('waystation_worker', $1, 'update') as updates,"
        " has_table_privilege('waystation_worker', $1, 'delete') as deletes,"
        " has_column_privilege('waystation_worker', $1, $2, 'update') as moves",
        table,
        tenant_column(table),
    )

    assert rights["inserts"] == (table in WORKER_WRITES)
    assert not rights["updates"] or table in WORKER_WRITES
    assert not rights["deletes"]
    assert not rights["moves"]


@pytest.mark.parametrize("table", TABLES)
async def test_no_runtime_role_may_move_a_row_to_another_tenant(admin: Any, table: str):
    assert not await admin.fetchval(
        "select has_column_privilege('waystation_app', $1, $2, 'update')", table, tenant_column(table)
    )
