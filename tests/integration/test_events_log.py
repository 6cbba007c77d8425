"""What the list of events reads: what is asked for, not the tenant's whole log, by plans made for all values."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from db import events_log
from db.rows import LAST_ID
from handlers.inbound import accept_messages
from handlers.runtime import Runtime
from tests.factories import accepted_item, inbound, make_account, make_distributor
from tests.integration.plans import ExplainingConnection

MANY = 3_000
EVERY: dict[str, Any] = {
    "event_type": None,
    "conversation_id": None,
    "since": None,
    "until": None,
    "limit": 11,
}


@pytest.fixture
async def log(runtime: Runtime, admin_dsn: str) -> tuple[UUID, UUID]:
    """A tenant and its one conversation, the oldest of thousands of events."""
    tenant = await make_distributor(runtime)
    account = await make_account(runtime, tenant)
    await accept_messages(runtime, [accepted_item(runtime, account, inbound())])
    admin = await asyncpg.connect(admin_dsn)
    await admin.execute(
        "insert into webhook_events (distributor_id, id, type, body, occurred_at)"
        " select $1, id, 'order.created', '{}', uuid7_time(id) from unnest($2::uuid[]) id",
        tenant,
        [runtime.new_id() for _ in range(MANY)],
    )
    await admin.execute("analyze")
    conversation = await admin.fetchval("select id from conversations")
    await admin.close()
    return tenant, conversation


@pytest.mark.parametrize("often", [False, True], ids=["its values", "all values"])
@pytest.mark.parametrize(
    ("asked", "rows"),
    [
        ({}, 15),
        ({"event_type": "order.created"}, 15),
        ({"event_type": "customer.created"}, 5),
        ({"event_type": "no.such"}, 5),
        ({"conversation_id": ...}, 15),
        ({"conversation_id": ..., "event_type": "message.received"}, 15),
        ({"since": timedelta(days=400), "event_type": "order.created"}, 5),
        ({"since": timedelta(days=400)}, 5),
    ],
    ids=str,
)
async def test_a_page_reads_no_more_than_it_shows(
    runtime: Runtime, log: tuple[UUID, UUID], asked: dict[str, Any], rows: int, often: bool
) -> None:
    tenant, conversation = log
    given = {
        name: conversation if value is ... else runtime.clock() + value if name == "since" else value
        for name, value in asked.items()
    }
    async with runtime.database.tenant(tenant) as connection:
        explaining = ExplainingConnection(connection, often=often)
        await events_log.list_events(explaining.as_connection(), LAST_ID, **{**EVERY, **given})
    (plan,) = explaining.plans

    assert plan.indexes() or "since" in asked  # of times without events no partition is looked at
    assert plan.read_whole() == set()
    assert plan.rows_read() <= rows
