"""What the log of deliveries reads: a page, not the tenant's whole log, by plans made for all values."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest

from db.named_sql import load_statements
from handlers.runtime import Runtime
from tests.factories import make_distributor, make_endpoint
from tests.fakes import FakeClock
from tests.integration.plans import Plan

MANY = 3_000
LAST = UUID(int=2**128 - 1)
EPOCH, END = "1970-01-02", "9999-12-30"


@pytest.fixture
async def log(runtime: Runtime, clock: FakeClock, admin_dsn: str) -> tuple[UUID, UUID, UUID]:
    """A tenant, one of its two endpoints and its one exhausted delivery, the oldest of thousands."""
    tenant = await make_distributor(runtime)
    endpoint, _ = [await make_endpoint(runtime, tenant, ["*"]) for _ in range(2)]
    ids = [runtime.new_id() for _ in range(MANY)]
    admin = await asyncpg.connect(admin_dsn)
    await admin.execute(
        "insert into webhook_events (distributor_id, id, type, body, occurred_at)"
        " select $1, id, 'order.created', '{}', uuid7_time(id) from unnest($2::uuid[]) id",
        tenant,
        ids,
    )
    await admin.execute(
        "insert into webhook_deliveries (distributor_id, endpoint_id, event_id, id, status, created_at, updated_at)"
        " select w.distributor_id, w.id, e.id, gen_random_uuid(), 'SUCCESS', e.occurred_at, $1"
        " from webhook_endpoints w join webhook_events e using (distributor_id)",
        clock(),
    )
    await admin.execute(
        "insert into webhook_delivery_attempts (distributor_id, endpoint_id, event_id, id, number, started_at, outcome,"
        " status_code, duration_ms, response_excerpt)"
        " select d.distributor_id, d.endpoint_id, d.event_id, gen_random_uuid(), n, d.created_at,"
        " case when n = 1 and d.event_id = $2 then 'failure' else 'success' end, 200, 5, 'ok'"
        " from webhook_deliveries d, generate_series(1, 2) n where d.distributor_id = $1",
        tenant,
        min(ids),
    )
    exhausted = await admin.fetchval(
        "update webhook_deliveries set status = 'EXHAUSTED' where event_id = $1 and endpoint_id = $2 returning id",
        min(ids),
        endpoint,
    )
    await admin.execute("analyze")
    await admin.close()
    return tenant, endpoint, exhausted


async def read(runtime: Runtime, tenant: UUID, name: str, *arguments: Any) -> tuple[int, int]:
    """How many rows a statement gives and how many deliveries it reads for them, by its plan for all values."""
    plan = await explain(runtime, tenant, "delivery_log", name, *arguments)
    return plan.root["Actual Rows"], plan.rows_read("webhook_deliveries")


async def explain(runtime: Runtime, tenant: UUID, source: str, name: str, *arguments: Any) -> Plan:
    """A statement's plan for all values, run for these."""
    values = ", ".join("null" if value is None else f"'{value}'" for value in arguments)
    async with runtime.database.tenant(tenant) as connection:
        await connection.execute("set local plan_cache_mode = force_generic_plan")
        await connection.execute(f"prepare asked as {load_statements(source)[name]}")
        text = await connection.fetchval(f"explain (analyze, format json) execute asked({values})")
        await connection.execute("deallocate asked")
    plan = Plan(orjson.loads(text)[0]["Plan"])
    assert any(node["Node Type"] != "Result" for node in plan.nodes())
    return plan


async def test_a_rare_status_reads_what_has_it(runtime: Runtime, log: tuple[UUID, UUID, UUID]):
    tenant, endpoint, _ = log
    page = (LAST, LAST, EPOCH, END, None, 51)

    for one in (None, endpoint):
        found, looked_at = await read(runtime, tenant, "list_unhappy_deliveries", *page, "EXHAUSTED", one)
        assert (found, looked_at < 10) == (1, True)


async def test_a_page_reads_a_page(runtime: Runtime, log: tuple[UUID, UUID, UUID]):
    tenant, endpoint, _ = log
    page = (LAST, LAST, EPOCH, END, None, 51)

    for found, looked_at in (
        await read(runtime, tenant, "list_deliveries", *page, None),
        await read(runtime, tenant, "list_deliveries", *page, "SUCCESS"),
        await read(runtime, tenant, "list_deliveries_of_endpoint", *page, endpoint, None),
        await read(runtime, tenant, "list_deliveries_of_endpoint", *page, endpoint, "SUCCESS"),
    ):
        assert (found, looked_at < 2 * 51) == (51, True)


async def test_a_time_without_deliveries_reads_none(runtime: Runtime, log: tuple[UUID, UUID, UUID]):
    tenant, endpoint, _ = log
    async with runtime.database.tenant(tenant) as connection:
        newest = await connection.fetchval("select max(created_at) from webhook_deliveries")
    for since, until in ((newest + timedelta(days=2), END), (EPOCH, newest - timedelta(days=2))):
        page = (LAST, LAST, since, until, None, 51)
        for name, more in (("list_deliveries", ()), ("list_deliveries_of_endpoint", (endpoint,))):
            assert await read(runtime, tenant, name, *page, *more, None) == (0, 0), (name, since)


@pytest.mark.parametrize(
    ("source", "name"), [("delivery_log", "read_delivery"), ("redelivery", "lock_delivery")]
)
async def test_one_is_found_by_its_id(runtime: Runtime, log: tuple[UUID, UUID, UUID], source: str, name: str):
    tenant, _, delivery = log
    plan = await explain(runtime, tenant, source, name, delivery)

    assert (plan.root["Actual Rows"], plan.rows_read("webhook_deliveries")) == (1, 1)


LOOKS = 1_000


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ((None,) * 5, 51),
        (("success", None, 200, 300, "order.created"), 51),
        (("failure", None, None, None, None), 0),  # the oldest has it
        ((None, "timeout", None, None, None), 0),
        ((None, None, 500, 600, None), 0),
        ((None, None, None, None, "no.such"), 0),
    ],
)
async def test_a_page_of_an_endpoints_attempts_looks_at_its_bound_whatever_is_asked_for(
    runtime: Runtime,
    log: tuple[UUID, UUID, UUID],
    filters: tuple[Any, ...],
    found: int,
):
    """One row where to go on comes with each page that looked at its bound, beside those found."""
    tenant, endpoint, _ = log
    page = (endpoint, LAST, 0, EPOCH, LOOKS, 51, *filters, 256, END)
    plan = await explain(runtime, tenant, "delivery_log", "list_attempts_of_endpoint", *page)

    assert plan.root["Actual Rows"] == found + 1
    assert plan.rows_read("webhook_delivery_attempts") <= LOOKS + 51
    assert plan.rows_read("webhook_deliveries") <= 2 * 51  # an event's, if not the very one's
    assert plan.rows_read("webhook_events") <= LOOKS + 51


async def test_attempts_of_a_time_without_events_are_not_looked_at(
    runtime: Runtime, log: tuple[UUID, UUID, UUID]
):
    tenant, endpoint, _ = log
    page = (endpoint, LAST, 0, "2099-01-01", LOOKS, 51, *(None,) * 5, 256, END)
    plan = await explain(runtime, tenant, "delivery_log", "list_attempts_of_endpoint", *page)

    assert plan.rows_read() == 0


async def test_figures_look_at_their_bound(runtime: Runtime, log: tuple[UUID, UUID, UUID], clock: FakeClock):
    tenant, endpoint, _ = log
    since = clock() - timedelta(days=400)
    plan = await explain(runtime, tenant, "endpoint_stats", "read_stats", endpoint, since, LOOKS)
    assert plan.rows_read() == LOOKS

    plan = await explain(runtime, tenant, "endpoint_stats", "read_condition", endpoint, clock(), LOOKS)
    assert plan.rows_read() < 10  # nothing waits: what was delivered is not looked at
