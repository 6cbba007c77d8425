"""Time-ranged partitions: made ahead, never in the way of a message, retired whole and children first."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from db import upkeep
from db.errors import DatabaseBusy, PartitionReferenced
from handlers.inbound import accept_messages
from handlers.runtime import Runtime, new_uuid7
from handlers.upkeep import delete_orphans, make_partitions, retire_old_rows
from tests.factories import accepted_item, inbound, make_account, make_distributor, make_endpoint
from tests.seeds import insert_row, tenant_rows

pytestmark = pytest.mark.every_postgres
# How long rows are kept, in days; children before the tables they refer to.
KEPT = {
    "webhook_delivery_attempts": 90,
    "webhook_deliveries": 90,
    "webhook_events": 90,
    "message_status_events": 730,
    "messages": 730,
    "inbound_events": 90,
    "data_access_audit": 2557,
    "security_audit_log": 2557,
}
PARENTS = set(KEPT)


@pytest.fixture
async def admin(admin_dsn: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(admin_dsn)
    yield connection
    await connection.close()


def at(id_: UUID, moment: datetime) -> UUID:
    """The same id, made at another time."""
    return UUID(int=(round(moment.timestamp() * 1000) << 80) | (id_.int & ((1 << 80) - 1)))


async def bounds(admin: Any, parent: str) -> list[tuple[datetime | None, datetime]]:
    rows = await admin.fetch("select lower_bound, upper_bound from partitions_of($1)", parent)
    return [tuple(row) for row in rows]


async def test_every_fast_table_is_partitioned_and_kept_for_a_time(admin: Any):
    partitioned = await admin.fetch(
        "select relname from pg_class where relkind = 'p' and relnamespace = 'public'::regnamespace"
    )

    assert {row["relname"] for row in partitioned} == PARENTS
    plan = await admin.fetch(
        "select parent, extract(day from keep)::int as kept from partition_plan() order by place"
    )
    assert [tuple(row) for row in plan] == list(KEPT.items())


@pytest.mark.parametrize("parent", sorted(PARENTS))
async def test_partitions_reach_from_the_beginning_to_a_week_ahead_without_a_gap(admin: Any, parent: str):
    ranges = await bounds(admin, parent)

    assert ranges[0][0] is None
    assert [upper for _, upper in ranges[:-1]] == [lower for lower, _ in ranges[1:]]
    assert ranges[-1][1] > datetime.now(UTC) + timedelta(days=7)


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2027, 1, 31, 23, 59, 59, 999_000, tzinfo=UTC),
        datetime(2027, 2, 1, tzinfo=UTC),
        datetime(2028, 2, 29, 12, tzinfo=UTC),
        datetime(2030, 12, 31, 23, 59, 59, tzinfo=UTC),
    ],
    ids=str,
)
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland", "America/Los_Angeles"])
async def test_at_a_months_end_the_next_month_is_there(admin: Any, moment: datetime, zone: str):
    await admin.execute(f"set timezone = '{zone}'")
    await admin.fetchval("select make_partitions_at($1)", moment)

    for parent in PARENTS:
        ranges = await bounds(admin, parent)
        assert ranges[-1][1] > moment + timedelta(days=7)
        assert [upper for _, upper in ranges[:-1]] == [lower for lower, _ in ranges[1:]]
        assert all(upper.astimezone(UTC).time() == datetime.min.time() for _, upper in ranges)
    assert await admin.fetchval("select make_partitions_at($1)", moment) == 0


async def test_rows_of_both_sides_of_a_months_end_are_read_as_one(admin: Any, runtime: Runtime):
    tenant = await make_distributor(runtime)
    account = await make_account(runtime, tenant)
    first_of_next = (datetime.now(UTC).replace(day=1) + timedelta(days=32)).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    await admin.fetchval("select make_partitions_at($1)", first_of_next)
    moments = [first_of_next + timedelta(milliseconds=offset) for offset in (-1, 0, 1)]
    items = []
    for number, moment in enumerate(moments):
        item = accepted_item(runtime, account, inbound(str(number), key=f"SM{number}"))
        items.append(item | {"message_id": at(item["message_id"], moment)})
    await accept_messages(runtime, items)

    async with runtime.database.tenant(tenant) as connection:
        rows = await connection.fetch(
            "select text, tableoid::regclass::text as partition from messages order by id"
        )
    assert [row["text"] for row in rows] == ["0", "1", "2"]
    assert len({row["partition"] for row in rows}) == 2


async def test_nothing_is_refused_where_nobody_made_partitions(admin: Any, runtime: Runtime):
    """As after a month without a worker: the accept statement finds no partition, and makes it."""
    tenant = await make_distributor(runtime)
    account = await make_account(runtime, tenant)
    for parent in ("messages", "message_status_events"):
        for (name,) in await admin.fetch("select partition from partitions_of($1)", parent):
            await admin.execute(f"alter table {parent} detach partition {name}")
            await admin.execute(f"drop table {name}")
    (accepted,) = await accept_messages(runtime, [accepted_item(runtime, account, inbound())])

    assert not accepted.duplicate
    async with runtime.database.tenant(tenant) as connection:
        assert await connection.fetchval("select count(*) from messages") == 1


async def test_making_is_idempotent_and_many_may_do_it_at_once(admin_dsn: str, runtime: Runtime):
    assert await make_partitions(runtime) == 0
    connections = [await asyncpg.connect(admin_dsn) for _ in range(4)]
    later = datetime.now(UTC) + timedelta(days=40)
    made = await asyncio.gather(*(c.fetchval("select make_partitions_at($1)", later) for c in connections))
    for connection in connections:
        await connection.close()

    assert sorted(made)[:3] == [0, 0, 0]
    assert max(made) > 0


@pytest.fixture
async def old_rows(admin: Any) -> UUID:
    """A tenant with a row in every table, all of them three years old."""
    tenant = new_uuid7()
    now = datetime.now(UTC)
    past = now - timedelta(days=1_100)
    await admin.execute("set role waystation_owner")
    for table in KEPT:
        for (name,) in await admin.fetch("select partition from partitions_of($1)", table):
            await admin.execute(f"alter table {table} detach partition {name}; drop table {name}")
    for moment in (past, now):
        await admin.fetchval("select make_partitions_at($1)", moment)
    await admin.execute("reset role")
    rows = tenant_rows(tenant)
    moved = {
        value: at(value, past)
        for row in rows.values()
        for value in row.values()
        if isinstance(value, UUID) and value != tenant
    }
    for table, row in rows.items():
        await insert_row(
            admin, table, {k: moved.get(v, v) if isinstance(v, UUID) else v for k, v in row.items()}
        )
    return tenant


async def count(admin: Any, table: str) -> int:
    return int(await admin.fetchval(f"select count(*) from {table}"))


async def test_a_parent_is_not_retired_while_rows_refer_to_it(admin: Any, runtime: Runtime, old_rows: UUID):
    for parent, child in (("webhook_events", "webhook_deliveries"), ("messages", "message_status_events")):
        async with runtime.database.worker_statements() as connection:
            with pytest.raises(PartitionReferenced):
                await upkeep.retire_partition(connection, parent)
        assert (await count(admin, parent), await count(admin, child)) == (1, 1)


GONE = (*KEPT,)[:6]


async def test_what_is_past_its_time_goes_children_first_and_what_belonged_to_it(
    admin: Any, runtime: Runtime, old_rows: UUID
):
    assert await delete_orphans(runtime) == 0
    assert await retire_old_rows(runtime) >= len(GONE)
    assert await delete_orphans(runtime) == 2

    assert {table: await count(admin, table) for table in GONE} == dict.fromkeys(GONE, 0)
    assert {table: await count(admin, table) for table in ("attachments", "ai_responses")} == {
        "attachments": 0,
        "ai_responses": 0,
    }
    kept = [
        "data_access_audit", "security_audit_log", "conversations", "orders", "external_message_mappings",
    ]  # fmt: skip
    assert {table: await count(admin, table) for table in kept} == dict.fromkeys(kept, 1)
    assert await retire_old_rows(runtime) == 0


async def test_a_table_that_a_backup_reads_does_not_hold_up_the_others(
    admin: Any, admin_dsn: str, runtime: Runtime, old_rows: UUID
):
    backup = await asyncpg.connect(admin_dsn)
    async with backup.transaction():
        await backup.execute("lock table inbound_events in access share mode")
        with pytest.raises(DatabaseBusy):
            await retire_old_rows(runtime)
        assert await count(backup, "inbound_events") == 1
        assert await count(admin, "messages") == 0
    await backup.close()
    await retire_old_rows(runtime)

    assert await count(admin, "inbound_events") == 0


async def test_whoever_writes_is_not_stopped_for_long_by_a_partition_to_be_made(
    admin: Any, admin_dsn: str, runtime: Runtime
):
    """A writer holds what attaching needs: making gives way, is told as busy, and the writer goes on."""
    writer = await asyncpg.connect(admin_dsn)
    (name,) = [
        row["partition"] for row in await admin.fetch("select * from partitions_of('webhook_events')")
    ][-1:]
    await admin.execute(f"alter table webhook_events detach partition {name}; drop table {name}")
    async with writer.transaction():
        await writer.execute("lock table conversations in row exclusive mode")
        with pytest.raises(DatabaseBusy):
            await make_partitions(runtime)
        await writer.execute("lock table webhook_events in row exclusive mode")
    await writer.close()

    assert await make_partitions(runtime) == 1


async def test_after_a_retirement_no_id_is_too_old(admin: Any, runtime: Runtime, old_rows: UUID):
    await retire_old_rows(runtime)

    for parent in PARENTS:
        ranges = await bounds(admin, parent)
        assert ranges[0][0] is None
        assert [upper for _, upper in ranges[:-1]] == [lower for lower, _ in ranges[1:]]


async def test_the_present_is_never_retired(admin: Any, runtime: Runtime):
    tenant = await make_distributor(runtime)
    account = await make_account(runtime, tenant)
    await make_endpoint(runtime, tenant, ["*"])
    await accept_messages(runtime, [accepted_item(runtime, account, inbound())])

    assert await retire_old_rows(runtime) == 0


@pytest.mark.parametrize("parent", KEPT)
async def test_nothing_goes_before_its_time(admin: Any, parent: str):
    """The last moment of a partition's time, and the first one after it."""
    (end,) = [upper for _, upper in (await bounds(admin, parent))[:1]]
    due = end + timedelta(days=KEPT[parent])
    await admin.fetchval("select make_partitions_at($1)", due)

    assert not await admin.fetchval(
        "select retire_partition_at($1, $2)", parent, due - timedelta(milliseconds=1)
    )


@pytest.mark.parametrize(
    "statement",
    [
        "select make_partitions_at(now() + interval '9 years')",
        "select retire_partition_at('messages', now() + interval '9 years')",
    ],
)
@pytest.mark.parametrize("role", ["waystation_app", "waystation_worker"])
async def test_no_runtime_role_moves_the_clock(admin: Any, role: str, statement: str):
    await admin.execute(f"set role {role}")

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await admin.fetchval(statement)
