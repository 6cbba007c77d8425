"""Payloads and evidence go after 30 days, in batches, whoever asks; the rows stay, and so does what is still on its way."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from handlers.runtime import Runtime, new_uuid7
from handlers.webhooks import retention
from handlers.webhooks.retention import expire_late_payloads, expire_payloads
from tests.factories import make_distributor, make_endpoint
from tests.integration.test_partitions import at

pytestmark = pytest.mark.every_postgres
NOW = datetime.now(UTC)  # the server's clock decides
OLD, YOUNG = timedelta(days=30, hours=1), timedelta(days=29, hours=23)


class Log:
    """A tenant's log: events of any age, written as the superuser."""

    def __init__(self, admin: Any, tenant: UUID, endpoint: UUID) -> None:
        self.admin, self.tenant, self.endpoint = admin, tenant, endpoint

    async def event(self, age: timedelta, status: str = "SUCCESS", *, tried: timedelta | None = None) -> UUID:
        """One with a delivery and an attempt, made when it was stored, or at another age."""
        event_id, key = at(new_uuid7(), NOW - age), (self.tenant, self.endpoint)
        due_at = NOW if status in {"PENDING", "RETRYING"} else None
        await self.admin.execute(
            "insert into webhook_events (distributor_id, id, type, body, occurred_at) values ($1, $2, 'x.y', '{}', $3)",
            self.tenant,
            event_id,
            NOW - age,
        )
        await self.admin.execute(
            "insert into webhook_deliveries (distributor_id, endpoint_id, event_id, id, status, due_at, created_at, updated_at)"
            " values ($1, $2, $3, gen_random_uuid(), $4, $5, $6, $6)",
            *key,
            event_id,
            status,
            due_at,
            NOW - age,
        )
        await self.admin.execute(
            "insert into webhook_delivery_attempts (distributor_id, endpoint_id, event_id, id, number, started_at, outcome,"
            " status_code, evidence, response_excerpt)"
            " values ($1, $2, $3, gen_random_uuid(), 1, $4, 'success', 200, '{\"address\": \"192.0.2.1\"}', 'ok')",
            *key,
            event_id,
            NOW - (age if tried is None else tried),
        )
        return event_id

    async def payloads(self) -> set[UUID]:
        rows = await self.admin.fetch(
            "select id from webhook_events where distributor_id = $1 and body is not null", self.tenant
        )
        return {row["id"] for row in rows}

    async def evidence(self) -> set[UUID]:
        rows = await self.admin.fetch(
            "select event_id from webhook_delivery_attempts"
            " where distributor_id = $1 and evidence is not null and response_excerpt is not null",
            self.tenant,
        )
        return {row["event_id"] for row in rows}


@pytest.fixture
async def admin(admin_dsn: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(admin_dsn)
    yield connection
    await connection.close()


async def open_log(runtime: Runtime, admin: Any) -> Log:
    tenant = await make_distributor(runtime)
    return Log(admin, tenant, await make_endpoint(runtime, tenant, ["*"]))


@pytest.fixture
async def log(runtime: Runtime, admin: Any) -> Log:
    return await open_log(runtime, admin)


@pytest.mark.parametrize("expire", [expire_payloads, expire_late_payloads])
async def test_what_is_past_its_time_goes_and_the_rows_stay(
    runtime: Runtime, log: Log, admin: Any, expire: Any
):
    await log.event(OLD)
    await log.event(OLD, "EXHAUSTED")
    young = await log.event(YOUNG)

    assert await expire(runtime) == 4
    assert (await log.payloads(), await log.evidence()) == ({young}, {young})
    kept = await admin.fetch("select outcome, status_code, number from webhook_delivery_attempts")
    assert [tuple(row) for row in kept] == [("success", 200, 1)] * 3
    assert await admin.fetchval("select count(*) from webhook_events where type = 'x.y'") == 3
    assert await expire(runtime) == 0


@pytest.mark.parametrize("status", ["PENDING", "RETRYING"])
async def test_what_is_on_its_way_keeps_its_payload_until_it_has_arrived(
    runtime: Runtime, log: Log, admin: Any, status: str
):
    waiting = await log.event(OLD, status)
    await expire_payloads(runtime)
    assert await log.payloads() == {waiting}

    await admin.execute("update webhook_deliveries set status = 'SUCCESS', due_at = null")
    await expire_payloads(runtime)
    assert await log.payloads() == set()


async def test_a_late_attempt_keeps_its_evidence_for_its_own_time(runtime: Runtime, log: Log):
    late = await log.event(OLD, tried=timedelta(days=2))
    await expire_payloads(runtime)

    assert (await log.payloads(), await log.evidence()) == (set(), {late})


async def test_the_log_of_a_deleted_endpoint_and_of_every_tenant_goes(runtime: Runtime, log: Log, admin: Any):
    second = await open_log(runtime, admin)
    for each in (log, second):
        await each.event(OLD)
    await admin.execute(
        "update webhook_endpoints set deleted_at = $1, enabled = false, disabled_reason = 'x' where id = $2",
        NOW,
        log.endpoint,
    )
    await expire_payloads(runtime)

    for each in (log, second):
        assert (await each.payloads(), await each.evidence()) == (set(), set())


async def test_batches_go_on_until_one_was_emptied_before_and_a_thorough_run_goes_on_behind_it(
    runtime: Runtime, log: Log, admin: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(retention, "_BATCH", 2)
    late = await log.event(OLD + timedelta(days=2), "PENDING", tried=timedelta(days=1))
    for day in range(5):
        await log.event(OLD + timedelta(hours=day))
    assert await expire_payloads(runtime) == 10
    assert (await log.payloads(), await log.evidence()) == ({late}, {late})

    await admin.execute("update webhook_deliveries set status = 'SUCCESS', due_at = null")
    await admin.execute("update webhook_delivery_attempts set started_at = $1", NOW - OLD)
    await log.event(OLD)
    assert await expire_payloads(runtime) == 2
    assert (await log.payloads(), await log.evidence()) == ({late}, {late})
    assert await expire_late_payloads(runtime) == 2
    assert (await log.payloads(), await log.evidence()) == (set(), set())


async def test_runs_at_the_same_time_share_the_work(runtime: Runtime, log: Log):
    for _ in range(20):
        await log.event(OLD)
    counts = await asyncio.gather(*[expire_payloads(runtime) for _ in range(3)])

    assert sum(counts) == 40
    assert (await log.payloads(), await log.evidence()) == (set(), set())


async def test_the_program_can_ask_for_no_less(runtime: Runtime, log: Log):
    """The time is the database's: the worker may say neither a moment nor what goes."""
    young = await log.event(YOUNG)
    for statement in (
        "update webhook_events set body = null",
        f"select expire_payloads_at('{log.tenant}', '{UUID(int=2**128 - 1)}', 9, now() + interval '1 year')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with runtime.database.worker() as connection:
                await connection.execute(statement)

    assert await log.payloads() == {young}
