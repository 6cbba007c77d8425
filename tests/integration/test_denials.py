"""What is refused is written down for its tenant, in a transaction of its own, and a flood of it is one row."""

from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest

from db import audit
from db.errors import DatabaseUnavailable
from db.tenant import Database
from gateway.denials import MOST_KINDS, DenialLog, writing_denials
from handlers.denials import Denial, DenialType, list_security_events
from handlers.runtime import Runtime
from tests.factories import make_distributor
from tests.fakes import FakeClock

NEWEST = UUID(int=2**128 - 1)


async def seen(runtime: Runtime, tenant: UUID) -> list[dict[str, Any]]:
    events = await list_security_events(runtime, tenant, NEWEST, None, 100)
    return [
        {"type": event.type, "detail": event.detail, "occurrences": event.occurrences} for event in events
    ]


@pytest.fixture
async def tenant(runtime: Runtime) -> UUID:
    return await make_distributor(runtime)


@pytest.fixture
def denial(tenant: UUID) -> Denial:
    return Denial(tenant, DenialType.SIGNATURE, UUID(int=7), "/in/twilio/7")


async def test_a_flood_of_one_kind_is_one_row_with_its_number(
    runtime: Runtime, clock: FakeClock, denial: Denial
):
    log = DenialLog(runtime)
    for _ in range(500):
        log.note(denial)
        clock.advance(0.001)
    await log.flush()
    log.note(denial)
    await log.flush()
    await log.flush()

    rows = await seen(runtime, denial.distributor_id)
    assert [row["occurrences"] for row in rows] == [1, 500]
    (_, flood) = await list_security_events(runtime, denial.distributor_id, NEWEST, "signature.refused", 10)
    assert (flood.occurred_at - flood.first_at).total_seconds() == pytest.approx(0.499)


async def test_more_kinds_than_fit_are_counted_and_not_stored(runtime: Runtime, denial: Denial):
    log = DenialLog(runtime)
    for number in range(MOST_KINDS + 50):
        log.note(replace(denial, detail=str(number)))
    await log.flush()

    async with runtime.database.tenant(denial.distributor_id) as connection:
        assert await connection.fetchval("select count(*) from security_audit_log") == MOST_KINDS


class Leaving:
    """A database that is away until it is back."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.away = True

    def tenant(self, distributor_id: UUID) -> Any:
        if self.away:
            raise DatabaseUnavailable
        return self.database.tenant(distributor_id)


async def test_while_the_database_is_away_counting_goes_on(runtime: Runtime, denial: Denial):
    leaving = Leaving(runtime.database)
    log = DenialLog(replace(runtime, database=cast("Database", leaving)))
    log.note(denial)
    await log.flush()
    log.note(denial)
    leaving.away = False
    await log.flush()

    assert [row["occurrences"] for row in await seen(runtime, denial.distributor_id)] == [2]


async def test_a_tenant_that_is_gone_takes_no_other_tenants_denials_along(runtime: Runtime, denial: Denial):
    log = DenialLog(runtime)
    log.note(replace(denial, distributor_id=UUID(int=1)))
    log.note(denial)
    await log.flush()

    assert [row["occurrences"] for row in await seen(runtime, denial.distributor_id)] == [1]


async def test_what_was_noted_last_is_stored_at_the_end(runtime: Runtime, denial: Denial):
    log = DenialLog(runtime)
    async with writing_denials(log):
        log.note(denial)

    assert [row["occurrences"] for row in await seen(runtime, denial.distributor_id)] == [1]


async def test_nobody_forges_that_a_role_was_changed(runtime: Runtime, tenant: UUID):
    forged = [{"type": "role.changed", "detail": "OPERATOR -> OWNER"}]
    async with runtime.database.tenant(tenant) as connection:
        await audit.record_denials(connection, forged)
        assert await connection.fetchval("select count(*) from security_audit_log") == 0
        assert not await connection.fetchval(
            "select has_any_column_privilege('security_audit_log', 'insert')"
        )


async def test_a_statement_beyond_its_rights_is_undone_and_written_down(runtime: Runtime, tenant: UUID):
    async def overreach() -> None:
        async with runtime.database.tenant(tenant) as connection:
            await connection.execute("update distributors set name = 'changed'")
            await connection.execute("update customers set distributor_id = distributor_id")

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await overreach()

    (row,) = await seen(runtime, tenant)
    assert row["type"] == "database.refused"
    assert row["detail"] == "42501 permission denied for table customers"
    async with runtime.database.tenant(tenant) as connection:
        assert await connection.fetchval("select name from distributors") == "Bebidas del Valle"


async def test_a_tenant_that_is_not_there_has_no_log(runtime: Runtime):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with runtime.database.tenant(runtime.new_id()) as connection:
            await connection.execute("delete from distributors")


@pytest.mark.parametrize(
    "statement",
    [
        "update security_audit_log set occurrences = 1",
        "delete from security_audit_log",
        "truncate security_audit_log",
    ],
)
@pytest.mark.parametrize("role", ["waystation_app", "waystation_worker"])
async def test_nobody_who_runs_the_program_changes_the_log(admin_dsn: str, role: str, statement: str):
    admin = await asyncpg.connect(admin_dsn)
    await admin.execute(f"set role {role}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await admin.execute(statement)
    await admin.close()
