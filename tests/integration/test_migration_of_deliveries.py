"""Migration 0017 over what 0016 left: what waits is sent, in the order that was asked for."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from db.embedded import EmbeddedPostgres
from db.lanes import ClaimTerms
from db.migrate import find_runtime_dsn, migrate
from db.tenant import open_database
from gateway.worker import EVERYTHING
from handlers.runtime import new_uuid7
from tests import delivery_stage
from tests.fakes import START
from tests.servers import MASTER_KEY

KEYS = [MASTER_KEY]
LATER = START + timedelta(minutes=1)


@pytest.fixture
async def older(postgres: EmbeddedPostgres) -> AsyncIterator[Any]:
    """A connection to a database of the release before, where foreign keys are not looked at."""
    server = await asyncpg.connect(postgres.dsn)
    await server.execute("create database older")
    await migrate(postgres.dsn_for("older"), KEYS, through=16)
    connection = await asyncpg.connect(postgres.dsn_for("older"))
    await connection.execute("set session_replication_role = replica")
    yield connection
    await connection.close()
    await server.execute("drop database older with (force)")
    await server.close()


async def make_endpoint(older: Any, tenant: UUID, ordering: str, *, enabled: bool = True) -> UUID:
    endpoint = new_uuid7()
    await older.execute(
        "insert into webhook_endpoints (distributor_id, id, name, url, event_types, secrets_sealed, ordering, enabled,"
        " disabled_reason, created_at, updated_at)"
        " values ($1, $2, 'erp', 'https://erp.example.test', '{*}', '', $3, $4, $5, $6, $6)",
        *(tenant, endpoint, ordering, enabled, None if enabled else "manual", START),
    )
    return endpoint


async def make_delivery(
    older: Any, tenant: UUID, endpoint: UUID, conversation: UUID | None, status: str, due_at: datetime
) -> UUID:
    event = new_uuid7()
    await older.execute(
        "insert into webhook_events (distributor_id, id, type, body, conversation_id, occurred_at)"
        " values ($1, $2, 'order.created', '{}', $3, $4)",
        *(tenant, event, conversation, START),
    )
    await older.execute(
        "insert into webhook_deliveries"
        " (distributor_id, endpoint_id, event_id, id, ordering_key, status, due_at, created_at, updated_at)"
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
        *(tenant, endpoint, event, new_uuid7(), conversation, status, due_at, START),
    )
    return event


async def migrate_and_claim(postgres: EmbeddedPostgres, now: datetime) -> list[UUID]:
    """The events that a worker gets first."""
    dsn = postgres.dsn_for("older")
    await migrate(dsn, KEYS)
    database = await open_database(await find_runtime_dsn(dsn, KEYS))
    terms = ClaimTerms(25, 10, timedelta(seconds=40), EVERYTHING)
    async with database.queue_statements() as connection:
        rows = await delivery_stage.claim_on(connection, terms, now, new_uuid7)
    await database.close()
    return [row.event_id for row in rows]


async def test_what_is_to_be_tried_again_is_found(older: Any, postgres: EmbeddedPostgres):
    tenant = new_uuid7()
    endpoint = await make_endpoint(older, tenant, "none")
    retry = await make_delivery(older, tenant, endpoint, None, "RETRYING", START)

    assert await migrate_and_claim(postgres, LATER) == [retry]


async def test_an_order_that_was_asked_for_holds(older: Any, postgres: EmbeddedPostgres):
    tenant, conversation = new_uuid7(), new_uuid7()
    endpoint = await make_endpoint(older, tenant, "conversation")
    await make_delivery(older, tenant, endpoint, conversation, "RETRYING", LATER + timedelta(seconds=1))
    second = await make_delivery(older, tenant, endpoint, conversation, "PENDING", START)
    third = await make_delivery(older, tenant, endpoint, conversation, "PENDING", START)
    assert await migrate_and_claim(postgres, LATER) == []

    # Events have numbers from now on.
    await older.execute("update webhook_deliveries set sequence = 1 where event_id = $1", third)
    await older.execute(
        "update webhook_deliveries set status = 'SUCCESS', due_at = null where status = 'RETRYING'"
    )
    await older.fetchval("select release_heads($1, $2, $3, $4)", tenant, endpoint, [conversation], LATER)

    due = await older.fetch("select event_id from webhook_deliveries where due_at < 'infinity'")
    assert [row["event_id"] for row in due] == [second]


async def test_since_when_an_endpoint_is_disabled_is_known_as_well_as_can_be(
    older: Any, postgres: EmbeddedPostgres
):
    await make_endpoint(older, new_uuid7(), "none", enabled=False)
    await migrate_and_claim(postgres, LATER)

    assert await older.fetchval("select disabled_at from webhook_endpoints") == START
