"""The hot statements at a million messages: each uses its index, reads no table whole and looks at few pages.

Each is explained as the product's own function asks it, in its role and tenant, as planned for its values and, which is
what a connection may come to after five times, as planned for any.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from db import (
    accept,
    ai_reads,
    inbox,
    lanes,
    message_search,
    order_reads,
    reports,
    review,
    statuses,
    tenant_health,
)
from db.migrate import find_runtime_dsn
from db.rows import LAST_ID
from db.tenant import Connection, Database, open_database
from gateway.api.paging import FIRST_ID, FIRST_MOMENT, LAST_MOMENT
from handlers.runtime import new_uuid7
from handlers.send_rates import SEND_PACE
from handlers.statuses import STATUS_RANKS
from tests.delivery_stage import claim_on
from tests.integration.plans import ExplainingConnection, Plan
from tests.servers import MASTER_KEY

FILL = Path(__file__).with_name("million.sql")
# Of which every tenant's workers may read all: a row for a tenant, or for an endpoint.
SMALL = {"distributors", "channel_accounts", "webhook_endpoints", "webhook_endpoint_state"}
_log = logging.getLogger(__name__)  # `pytest --log-cli-level=info` prints the figures
TERMS = lanes.ClaimTerms(batch=50, share=10, lease=timedelta(minutes=1))


@dataclass(frozen=True, slots=True)
class Million:
    """The database, and somebody in it."""

    dsn: str
    tenant: UUID
    conversation: UUID
    customer: UUID
    provider_message_id: str
    now: datetime
    parent_of: Mapping[str, str]  # a partition's index or table, and what it is part of


@pytest.fixture
async def million(admin_dsn: str) -> Million:
    connection = await asyncpg.connect(admin_dsn)
    await connection.execute(FILL.read_text(encoding="utf-8"))
    await connection.execute("analyze")
    someone = await connection.fetchrow(
        "select distributor_id as tenant, conversation_id as conversation, customer_id as customer, provider_message_id"
        " from messages where direction = 'OUTBOUND' and provider_message_id is not null order by id desc limit 1"
    )
    parents = await connection.fetch(
        "select oid::regclass::text as part, pg_partition_root(oid)::regclass::text as whole from pg_class"
        " where relispartition"
    )
    await connection.close()
    assert someone is not None
    return Million(
        dsn=await find_runtime_dsn(admin_dsn, [MASTER_KEY]),
        **someone,
        now=datetime.now(UTC),
        parent_of={row["part"]: row["whole"] for row in parents},
    )


@pytest.fixture
async def filled(million: Million) -> AsyncIterator[Database]:
    database = await open_database(million.dsn, app=1, worker=1)
    yield database
    await database.close()


Ask = Callable[[Connection, Million], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Case:
    """A statement, the indexes that it must use, and the most pages and rows that it may look at."""

    name: str
    ask: Ask
    indexes: str
    blocks: int
    rows: int
    worker: bool = False
    queue: bool = False


SEEDS_QUEUE = (
    "SELECT m.*, ar.extracted_data, ar.confidence FROM messages m LEFT JOIN ai_responses ar ON ar.message_id = m.id"
    " WHERE m.ai_processed = FALSE AND m.distributor_id = get_current_distributor_id()"
)


def _inbox(connection: Connection, _million: Million, **filters: Any) -> Awaitable[Any]:
    every = {"channel": None, "status": None, "unread": None, "customer_id": None, "text": None}
    return inbox.list_conversations(connection, (LAST_MOMENT, LAST_ID), **{**every, **filters}, limit=51)


def _orders(connection: Connection, _million: Million, **filters: Any) -> Awaitable[Any]:
    names = (
        "status",
        "conversation_id",
        "customer_id",
        "since",
        "until",
        "channel",
        "requires_review",
        "delivery_date",
    )
    every: dict[str, Any] = dict.fromkeys(names)
    return order_reads.list_orders(connection, LAST_ID, **{**every, **filters}, limit=51)


def _review(connection: Connection, start: UUID, *, oldest_first: bool) -> Awaitable[Any]:
    return review.list_review(connection, start, oldest_first=oldest_first, kind=None, channel=None, limit=51)


def _errors(connection: Connection, _million: Million) -> Awaitable[Any]:
    return ai_reads.list_errors(connection, LAST_ID, error_class=None, since=None, until=None, limit=51)


def _words(connection: Connection, m: Million) -> Awaitable[Any]:
    month = {"since": m.now - timedelta(days=30), "until": m.now}
    return message_search.search_messages(
        connection, LAST_ID, text="agua", customer_id=m.customer, **month, limit=51
    )


def _risks(connection: Connection, m: Million) -> Awaitable[Any]:
    return reports.list_risks(
        connection, (FIRST_MOMENT, FIRST_ID), now=m.now, min_days=14, risk=None, limit=51
    )


def _status(connection: Connection, m: Million) -> Awaitable[Any]:
    told = {
        "distributor_id": m.tenant,
        "channel_account_id": m.tenant,
        "provider_key": "status:1",
        "inbound_event_id": new_uuid7(),
        "post": accept.StoredPost(new_uuid7(), "POST", "/in", {}, b""),
        "received_at": m.now.isoformat(),
        "status_event_id": new_uuid7(),
        "message_id": None,
        "provider_message_id": m.provider_message_id,
        "status": "READ",
        "part": None,
        "told_at": None,
        "status_rank": 60,
        "provider_status": "read",
        "error_code": None,
        "sent_event": None,
        "changed_event": None,
        "failed_event": None,
    }
    return statuses.accept_plain(connection, [told], STATUS_RANKS)


def _turns(connection: Connection, m: Million) -> Awaitable[Any]:
    return lanes.claim_turns(connection, TERMS, m.now, new_uuid7())


def _sends(connection: Connection, m: Million) -> Awaitable[Any]:
    return lanes.claim_sends(connection, TERMS, m.now, new_uuid7(), SEND_PACE)


def _deliveries(connection: Connection, m: Million) -> Awaitable[Any]:
    return claim_on(connection, TERMS, m.now, new_uuid7)


CASES = [
    Case("inbox", _inbox, "conversations_inbox", 800, 300),
    Case("inbox of a customer", lambda c, m: _inbox(c, m, customer_id=m.customer), "conversations_customer", 60, 20),
    Case("thread", lambda c, m: inbox.list_messages(c, m.conversation, LAST_ID, 51), "messages_thread", 120, 60),
    Case("AI queue of the seed", lambda c, _m: c.fetch(SEEDS_QUEUE), "messages_awaiting_turn", 900, 500),
    Case("AI queue", lambda c, m: ai_reads.read_queue(c, m.now), "messages_awaiting_turn", 300, 500),
    Case("due turns", _turns, "conversations_turn_due", 5_000, 1_000, worker=True),
    Case("due sends", _sends, "messages_send_line messages_send_order", 6_000, 4_000, worker=True),
    Case("due deliveries", _deliveries, "webhook_deliveries_new", 8_000, 3_000, queue=True),
    Case("status by the provider's id", _status, "messages_provider_id", 1_000, 30, worker=True),
    Case("orders", _orders, "orders_pkey", 150, 60),
    Case("orders of a customer", lambda c, m: _orders(c, m, customer_id=m.customer), "orders_customer", 50, 10),
    Case("orders of a conversation", lambda c, m: _orders(c, m, conversation_id=m.conversation), "orders_conversation", 50, 10),
    Case("review queue", lambda c, _m: _review(c, LAST_ID, oldest_first=False), "orders_review conversations_waiting", 600, 200),
    Case("review queue, oldest first", lambda c, _m: _review(c, FIRST_ID, oldest_first=True), "orders_review conversations_waiting", 600, 200),
    Case("unread", lambda c, _m: inbox.list_unread(c), "conversations_unread", 100, 100),
    Case("AI errors", _errors, "ai_responses_failed", 150, 80),
    Case("queues", lambda c, m: tenant_health.list_queues(c, m.now), "conversations_turn_due messages_send_line webhook_deliveries_new", 200, 200),
    Case("words of a customer", _words, "messages_customer", 100, 50),
    Case("risks", _risks, "customers_last_order", 900, 400),
]  # fmt: skip


@asynccontextmanager
async def queue_transaction(database: Database) -> AsyncIterator[Connection]:
    async with database.queue_statements() as connection, connection.transaction():
        yield connection


async def explain(case: Case, database: Database, million: Million, *, often: bool) -> list[Plan]:
    door = database.worker() if case.worker else database.tenant(million.tenant)
    door = queue_transaction(database) if case.queue else door
    async with door as connection:
        # What a session reads of the catalogue when it first stores an event is not the statement's.
        await connection.fetchval("select record_events($1)", [])
        explaining = ExplainingConnection(connection, often=often)
        try:
            await case.ask(explaining.as_connection(), million)
        except (AssertionError, TypeError):
            assert explaining.plans  # the function wanted the row that an explanation has not
    return explaining.plans


@pytest.mark.timeout(300)  # filling takes half a minute on a busy machine
async def test_hot_statements_use_their_indexes(
    filled: Database, million: Million, subtests: pytest.Subtests
) -> None:
    """One test, since each worker of pytest-xdist would fill a database of its own."""
    for case in CASES:
        for often in (False, True):
            with subtests.test(msg=case.name, often=often):
                plans = await explain(case, filled, million, often=often)
                _judge(case, million, plans)


def _judge(case: Case, million: Million, plans: Sequence[Plan]) -> None:
    used = {million.parent_of.get(name, name) for plan in plans for name in plan.indexes()}
    whole = {million.parent_of.get(name, name) for plan in plans for name in plan.read_whole()}
    blocks = sum(plan.blocks() for plan in plans)
    rows = sum(plan.rows_read() for plan in plans)
    _log.info("%s: %d pages, %d rows by %s", case.name, blocks, rows, " ".join(sorted(used)))

    assert set(case.indexes.split()) <= used
    assert whole <= SMALL
    assert blocks <= case.blocks
    assert rows <= case.rows
