"""Who may give which role to whom: by set_user_role() alone, which looks at the person who asks."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from db.tenant import Database
from tests.seeds import CHANGED, insert_row, tenant_rows
from tests.servers import run_apart

MINE, THEIRS = UUID(int=1), UUID(int=2)
# Everybody of one tenant, by name: role and status.
PEOPLE = {
    "olga": ("OWNER", "ACTIVE"),
    "otto": ("OWNER", "ACTIVE"),
    "adam": ("ADMIN", "ACTIVE"),
    "ada": ("ADMIN", "ACTIVE"),
    "max": ("MANAGER", "ACTIVE"),
    "ona": ("OPERATOR", "ACTIVE"),
    "oleg": ("OPERATOR", "ACTIVE"),
    "gone": ("OWNER", "SUSPENDED"),
    "new": ("ADMIN", "PENDING"),
}
IDS = {name: UUID(int=100 + number) for number, name in enumerate(PEOPLE)}
IDS["stranger"] = UUID(int=200)  # the other tenant's
IDS["nobody"] = UUID(int=300)
DENIED, UNKNOWN = asyncpg.InsufficientPrivilegeError, asyncpg.NoDataFoundError


@pytest.fixture(scope="module")
def staffed(shared_dsn: str) -> None:
    run_apart(hire(shared_dsn))


@pytest.fixture
async def staff(staffed: None, catalogue: Any) -> Any:
    """The application's transaction in the tenant; what was done in it is undone."""
    await catalogue.execute("set local role waystation_app")
    await catalogue.execute("select set_config('app.current_distributor_id', $1, true)", str(MINE))
    return catalogue


async def hire(dsn: str) -> None:
    admin = await asyncpg.connect(dsn)
    for tenant in (MINE, THEIRS):
        await insert_row(admin, "distributors", tenant_rows(tenant)["distributors"])
    for name, (role, status) in (*PEOPLE.items(), ("stranger", ("OPERATOR", "ACTIVE"))):
        person = {"id": IDS[name], "email": f"{name}@x.test", "role": role, "status": status, **CHANGED}
        tenant = THEIRS if name == "stranger" else MINE
        await insert_row(admin, "user_profiles", {"distributor_id": tenant, **person})
    await admin.close()


async def roles(connection: Any) -> dict[str, str]:
    """Whoever the tenant's people are, with their roles."""
    rows = await connection.fetch("select split_part(email, '@', 1) as name, role from user_profiles")
    return {row["name"]: row["role"] for row in rows}


async def run(connection: Any, asker: str, statement: str, *values: Any) -> None:
    """A statement on behalf of a person."""
    await connection.execute("select set_config('app.current_user_id', $1, true)", str(IDS[asker]))
    await connection.execute(statement, *values)


async def give(connection: Any, asker: str, target: str, role: str) -> None:
    await run(connection, asker, "select set_user_role($1, $2)", IDS[target], role)


@pytest.mark.parametrize(
    ("asker", "target", "role"),
    [
        ("olga", "ona", "OWNER"),
        ("olga", "otto", "OPERATOR"),
        ("olga", "adam", "MANAGER"),
        ("olga", "new", "OPERATOR"),
        ("olga", "gone", "OPERATOR"),
        ("adam", "ona", "MANAGER"),
        ("adam", "max", "OPERATOR"),
    ],
)
async def test_who_may_gives_a_role(staff: Any, asker: str, target: str, role: str):
    before = await roles(staff)

    await give(staff, asker, target, role)

    assert await roles(staff) == {**before, target: role}


@pytest.mark.parametrize(
    ("asker", "target", "role", "error"),
    [
        *(("adam", target, role, DENIED) for target in ("ona", "max") for role in ("ADMIN", "OWNER")),
        *(("adam", target, role, DENIED) for target in ("ada", "olga", "new", "gone") for role in ("OPERATOR", "MANAGER")),
        *((asker, "oleg", role, DENIED) for asker in ("max", "ona") for role in ("MANAGER", "OPERATOR", "OWNER")),
        *((name, name, role, DENIED) for name in PEOPLE for role in ("OWNER", "OPERATOR")),
        *((asker, "ona", "MANAGER", DENIED) for asker in ("gone", "new", "stranger", "nobody")),
        ("ona", "nobody", "MANAGER", DENIED),
        ("olga", "stranger", "MANAGER", UNKNOWN),
        ("adam", "stranger", "MANAGER", UNKNOWN),
        ("olga", "nobody", "MANAGER", UNKNOWN),
        ("olga", "ona", "KING", asyncpg.CheckViolationError),
        ("olga", "ona", None, asyncpg.NotNullViolationError),
        ("adam", "ona", None, asyncpg.NotNullViolationError),
    ],
)  # fmt: skip
async def test_who_may_not_changes_nothing(
    staff: Any, asker: str, target: str, role: str, error: type[Exception]
):
    before = await roles(staff)

    with pytest.raises(error):
        async with staff.transaction():
            await give(staff, asker, target, role)

    assert await roles(staff) == before


NEW_PERSON = "insert into user_profiles (distributor_id, id, email, role, created_at, updated_at) values ($1, $2, 'x@x.test', 'OWNER', now(), now())"
SAME_PERSON = (
    "insert into user_profiles (distributor_id, id, email, status, created_at, updated_at)"
    " values ($1, $2, 'ona@x.test', 'ACTIVE', now(), now()) on conflict"
)


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        ("update user_profiles set role = 'OWNER' where id = $1", [IDS["ona"]]),
        ("update user_profiles set (email, role) = ('ona@x.test', 'OWNER') where id = $1", [IDS["ona"]]),
        ("update user_profiles set id = $2 where id = $1", [IDS["ona"], IDS["nobody"]]),
        ("update user_profiles set distributor_id = $1 where id = $2", [THEIRS, IDS["ona"]]),
        (NEW_PERSON, [MINE, IDS["nobody"]]),
        (f"{SAME_PERSON} (distributor_id, id) do update set role = 'OWNER'", [MINE, IDS["ona"]]),
        (f"{SAME_PERSON} (distributor_id, email) do update set role = 'OWNER'", [MINE, IDS["nobody"]]),
        ("merge into user_profiles p using (select $1::uuid as id) s on p.id = s.id when matched then update set role = 'OWNER'", [IDS["ona"]]),
        ("insert into user_profiles (distributor_id, id, email, created_at, updated_at) values ($1, $2, 'eva@x.test', now(), now())", [MINE, IDS["nobody"]]),
        ("update user_profiles set status = 'SUSPENDED' where id = $1", [IDS["olga"]]),
        ("delete from user_profiles where id = $1", [IDS["ona"]]),
        ("truncate user_profiles", []),
        ("select set_user_role($1, 'OWNER')", [IDS["ona"]]),
        ("select set_user_role($1, 'MANAGER')", [IDS["oleg"]]),
        ("create or replace function set_user_role(uuid, text) returns void return null", []),
        ("alter function set_user_role(uuid, text) security invoker", []),
    ],
)  # fmt: skip
async def test_an_operator_cannot_raise_itself(staff: Any, statement: str, values: list[UUID]):
    before = await roles(staff)

    with pytest.raises(DENIED):
        async with staff.transaction():
            await run(staff, "ona", statement, *values)

    assert await roles(staff) == before


async def test_nobody_asks_without_being_named(staff: Any):
    with pytest.raises(DENIED, match="may not give that role"):
        await staff.execute("select set_user_role($1, 'MANAGER')", IDS["ona"])


async def test_the_worker_gives_no_role(staff: Any):
    await staff.execute("set local role waystation_worker")

    with pytest.raises(DENIED, match="permission denied for function"):
        await give(staff, "olga", "ona", "MANAGER")


async def test_who_changed_a_role_is_written_down(staff: Any):
    await give(staff, "olga", "ona", "MANAGER")

    row = await staff.fetchrow("select distributor_id, type, subject_id, detail from security_audit_log")
    assert tuple(row) == (MINE, "role.changed", IDS["ona"], f"OPERATOR -> MANAGER by {IDS['olga']}")


@pytest.fixture
async def office(admin_dsn: str, database: Database) -> Database:
    """A database of the test's own, for what happens at the same moment."""
    await hire(admin_dsn)
    return database


async def test_two_owners_who_demote_each_other_at_once_leave_one(office: Database):
    async def demote(asker: str, target: str) -> None:
        async with office.tenant(MINE) as connection:
            await give(connection, asker, target, "OPERATOR")

    results = await asyncio.gather(demote("olga", "otto"), demote("otto", "olga"), return_exceptions=True)

    assert [type(result) for result in results if result is not None] == [DENIED]
    async with office.tenant(MINE) as connection:
        now = await roles(connection)
    assert sorted((now["olga"], now["otto"])) == ["OPERATOR", "OWNER"]


async def test_an_owner_who_was_demoted_while_waiting_gives_no_role_any_more(office: Database):
    """The one who waits for the other's lock decides by what it finds afterwards."""
    async with office.tenant(MINE) as first, office.tenant(MINE) as second:
        await give(first, "olga", "otto", "OPERATOR")
        pid = await second.fetchval("select pg_backend_pid()")
        waiting = asyncio.create_task(give(second, "otto", "ona", "OWNER"))
        blocked = "select cardinality(pg_blocking_pids($1))"
        while not await first.fetchval(blocked, pid):  # noqa: ASYNC110 - a lock in the server has no event
            await asyncio.sleep(0)
        await first.execute("commit; begin")
        with pytest.raises(DENIED):
            await waiting
