"""What the hot statements read: their work grows with what is asked for, not with what lies in the tables."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest

from channels.base import MessageStatus, StatusUpdate
from db.accept import accept_arguments, accept_known
from db.named_sql import load_statements
from handlers.inbound import accept_messages, status_item
from handlers.outbound import queue_message
from handlers.runtime import Runtime
from handlers.send_rates import SEND_PACE
from handlers.statuses import STATUS_RANKS
from tests.factories import accepted_item, inbound, make_account, make_distributor, make_endpoint, posted
from tests.fakes import FakeClock
from tests.integration.plans import ExplainingConnection, Plan

MANY = 3_000


async def explain(runtime: Runtime, source: str, name: str, *arguments: Any) -> Plan:
    """The plan of a worker's statement, which is run for it."""
    database = runtime.database
    opened = database.queue_statements if source == "delivery_lane" else database.worker_statements
    async with opened() as connection:
        text = await connection.fetchval(
            f"explain (analyze, buffers, format json) {load_statements(source)[name]}", *arguments
        )
    return Plan(orjson.loads(text)[0]["Plan"])


async def administer(admin_dsn: str, statements: str, *arguments: Any) -> None:
    admin = await asyncpg.connect(admin_dsn)
    await admin.execute(statements, *arguments)
    await admin.execute("analyze")
    await admin.close()


@pytest.mark.parametrize("carries_our_id", [True, False], ids=["our-id", "providers-id"])
async def test_a_status_reads_its_message_alone(runtime: Runtime, admin_dsn: str, carries_our_id: bool):
    account = await make_account(runtime, await make_distributor(runtime))
    await accept_messages(runtime, [accepted_item(runtime, account, inbound())])
    await administer(
        admin_dsn,
        "insert into messages (distributor_id, id, conversation_id, channel_account_id, channel, direction, type, status,"
        " status_rank, text, provider_message_id, ai_processed, ai_skip_reason, created_at, updated_at)"
        " select distributor_id, i.id, c.id, channel_account_id, channel, 'OUTBOUND', 'TEXT', 'SENT', 3, 'x', 'SM' || i.n, true,"
        " 'outbound', now(), now() from conversations c, unnest($1::uuid[]) with ordinality as i(id, n)",
        [runtime.new_id() for _ in range(MANY)],
    )
    async with runtime.database.tenant(account.distributor_id) as connection:
        meant = await connection.fetchval("select id from messages where provider_message_id = 'SM7'")
    update = StatusUpdate("SM7", MessageStatus.READ, message_id=meant if carries_our_id else None)
    item = status_item(runtime, posted(runtime, account), update)

    plan = await explain(
        runtime, "statuses", "accept_statuses", *accept_arguments([item]), dict(STATUS_RANKS), False, []
    )

    assert 0 < plan.rows_read("messages") < 20


async def test_a_message_reads_its_own_contact_alone(runtime: Runtime, admin_dsn: str):
    account = await make_account(runtime, await make_distributor(runtime))
    await accept_messages(runtime, [accepted_item(runtime, account, inbound())])
    await administer(
        admin_dsn,
        "insert into customer_contacts (distributor_id, id, channel, address, created_at)"
        f" select distributor_id, gen_random_uuid(), 'SMS', '+' || g, now() from customer_contacts, generate_series(1, {MANY}) g",
    )
    item = accepted_item(runtime, account, inbound(key="SM2"))

    async with runtime.database.worker() as connection:
        explaining = ExplainingConnection(connection, often=False)
        await accept_known(explaining.as_connection(), [item])
    (plan,) = explaining.plans

    assert 0 < plan.rows_read("customer_contacts") < 20


IDLE_TENANTS = f"""
    insert into distributors (id, name, created_at, updated_at)
        select gen_random_uuid(), 'idle', now(), now() from generate_series(1, {MANY});
    insert into webhook_endpoints (distributor_id, id, name, url, event_types, secrets_sealed, created_at, updated_at)
        select id, gen_random_uuid(), 'e', 'https://x.test', array['*'], '', now(), now() from distributors where name = 'idle';
    insert into channel_accounts (distributor_id, id, channel, provider, address, credentials_sealed, created_at, updated_at)
        select id, gen_random_uuid(), 'SMS', 'twilio', '+1', '', now(), now() from distributors where name = 'idle';
    insert into customer_contacts (distributor_id, id, channel, address, created_at)
        select id, gen_random_uuid(), 'SMS', '+2', now() from distributors where name = 'idle';
    insert into conversations (distributor_id, id, channel_account_id, contact_id, channel, last_message_at, created_at)
        select a.distributor_id, gen_random_uuid(), a.id, k.id, 'SMS', now(), now()
        from channel_accounts a join customer_contacts k using (distributor_id) where a.address = '+1';
"""


@pytest.mark.parametrize("lane", ["turns", "sends", "deliveries"])
async def test_a_claim_reads_nothing_of_tenants_without_work(
    runtime: Runtime, clock: FakeClock, admin_dsn: str, lane: str
):
    account = await make_account(runtime, await make_distributor(runtime))
    await make_endpoint(runtime, account.distributor_id, ["*"])
    await accept_messages(runtime, [accepted_item(runtime, account, inbound())])
    async with runtime.database.tenant(account.distributor_id) as connection:
        conversation = await connection.fetchval("select id from conversations")
    await queue_message(runtime, {}, account.distributor_id, conversation, text="hola")
    await administer(admin_dsn, IDLE_TENANTS)
    now = clock.advance(5)
    claim = (now, now + timedelta(seconds=30), runtime.new_id(), 10, 5, 0, 1)
    nobody = UUID(int=0)
    asked: dict[str, tuple[str, str, tuple[Any, ...]]] = {
        "turns": ("lanes", "claim_turns", claim),
        "sends": ("lanes", "claim_sends", (*claim, now + SEND_PACE.ahead, dict(SEND_PACE.rates))),
        "deliveries": ("delivery_lane", "find_endpoints", (now, 10, nobody, nobody, 5, 0, 1)),
    }
    source, name, arguments = asked[lane]

    plan = await explain(runtime, source, name, *arguments)

    assert plan.root["Actual Rows"] > 0
    for table in ("distributors", "conversations", "messages", "webhook_endpoints", "webhook_deliveries"):
        assert plan.rows_read(table) < 50, table


async def test_a_part_of_a_shared_post_reads_the_accounts_of_its_name_alone(runtime: Runtime, admin_dsn: str):
    await make_account(runtime, await make_distributor(runtime))
    await administer(
        admin_dsn,
        "insert into channel_accounts (distributor_id, id, channel, provider, address, credentials_sealed, route, created_at, updated_at)"
        " select distributor_id, gen_random_uuid(), channel, 'whatsapp_cloud', '+1' || n, '', 'r' || n, now(), now()"
        f" from channel_accounts, generate_series(1, {MANY}) n",
    )

    plan = await explain(runtime, "accounts", "list_accounts_by_route", "whatsapp_cloud", "r7")

    assert plan.root["Actual Rows"] == 1
    assert plan.rows_read("channel_accounts") == 1


@pytest.mark.parametrize("closed", ["next_send_at", "throttled_until"])
async def test_the_line_of_an_account_that_may_not_send_costs_a_look(
    runtime: Runtime, clock: FakeClock, admin_dsn: str, closed: str
):
    account = await make_account(runtime, await make_distributor(runtime))
    await accept_messages(runtime, [accepted_item(runtime, account, inbound())])
    async with runtime.database.tenant(account.distributor_id) as connection:
        conversation = await connection.fetchval("select id from conversations")
    await queue_message(runtime, {}, account.distributor_id, conversation, text="hola")
    now = clock.advance(5)
    await administer(
        admin_dsn,
        "insert into messages (distributor_id, id, conversation_id, channel_account_id, channel, direction, type, status,"
        " ai_processed, ai_skip_reason, send_due_at, created_at, updated_at) select distributor_id, new_uuid7(), conversation_id,"
        " channel_account_id, channel, direction, type, status, ai_processed, ai_skip_reason, send_due_at, created_at, updated_at"
        f" from messages, generate_series(1, {MANY}) where direction = 'OUTBOUND';"
        f" update channel_accounts set {closed} = '{now + timedelta(minutes=1)}'",
    )
    arguments = (now, now + timedelta(seconds=30), runtime.new_id(), 10, 5, 0, 1)

    plan = await explain(
        runtime, "lanes", "claim_sends", *arguments, now + SEND_PACE.ahead, dict(SEND_PACE.rates)
    )

    assert plan.root["Actual Rows"] == 0
    assert plan.rows_read("messages") < 10
