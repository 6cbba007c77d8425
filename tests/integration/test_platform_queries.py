"""The three queries that the platform's documents tell people to write, word for word, as a tenant; and what they rest
on: one current response per message, and `ai_processed` that is FALSE only where a turn is awaited.
"""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from channels.base import ChannelAccount
from db import turns
from db.lanes import ClaimTerms, claim_turns
from db.turns import ResponseRow
from handlers.ai.rules import RulesEngine
from handlers.catalogues import CatalogueCache
from handlers.inbound import accept_messages
from handlers.runtime import Runtime, new_uuid7
from handlers.turns import TurnTools, run_turn
from tests.factories import accepted_item, inbound, make_account, make_distributor
from tests.fakes import FakeClock
from tests.seeds import insert_row, tenant_rows

CONVERSATIONS = "SELECT c.*, conv.unread_count, conv.last_message_at FROM customers c JOIN conversations conv ON conv.customer_id = c.id WHERE c.distributor_id = get_current_distributor_id() ORDER BY conv.last_message_at DESC;"
AI_QUEUE = "SELECT m.*, ar.extracted_data, ar.confidence FROM messages m LEFT JOIN ai_responses ar ON ar.message_id = m.id WHERE m.ai_processed = FALSE AND m.distributor_id = get_current_distributor_id();"
ANALYTICS = "SELECT c.*, COUNT(o.id) as order_count, SUM(o.total_amount) as total_spent FROM customers c LEFT JOIN orders o ON o.customer_id = c.id WHERE c.distributor_id = get_current_distributor_id() GROUP BY c.id;"
ANA, LUIS = "+15550001111", "+15550003333"


class Tenant:
    """A tenant whose customers write and order."""

    def __init__(self, runtime: Runtime, account: ChannelAccount) -> None:
        self.runtime = runtime
        self.account = account

    async def write(self, sender: str, text: str, **metadata: str) -> UUID:
        message = inbound(text, key=str(new_uuid7()), sender=sender, profile_name=sender, metadata=metadata)
        (accepted,) = await accept_messages(
            self.runtime, [accepted_item(self.runtime, self.account, message)]
        )
        assert accepted.message_id
        return accepted.message_id

    async def order(self, sender: str, total: str) -> None:
        async with self.runtime.database.tenant(self.account.distributor_id) as connection:
            await connection.execute(
                "insert into orders (distributor_id, id, customer_id, channel, status, currency, total_amount, created_at, updated_at)"
                " select distributor_id, $1, id, 'SMS', 'CONFIRMED', 'MXN', $2, $3, $3 from customers where business_name = $4",
                new_uuid7(),
                Decimal(total),
                self.runtime.clock(),
                sender,
            )

    async def ask(self, query: str) -> list[dict[str, Any]]:
        async with self.runtime.database.tenant(self.account.distributor_id) as connection:
            return [dict(row) for row in await connection.fetch(query)]


@pytest.fixture
async def norte(runtime: Runtime) -> Tenant:
    return Tenant(runtime, await make_account(runtime, await make_distributor(runtime, "Norte")))


@pytest.fixture
async def sur(runtime: Runtime) -> Tenant:
    """Another tenant, with whom the same people trade."""
    tenant = Tenant(runtime, await make_account(runtime, await make_distributor(runtime, "Sur")))
    await tenant.write(ANA, "hola")
    await tenant.order(ANA, "900.00")
    return tenant


async def test_conversations_with_customers_come_newest_first(norte: Tenant, sur: Tenant, clock: FakeClock):
    for sender in (ANA, LUIS, ANA, ANA):
        clock.advance(60)
        await norte.write(sender, "hola")

    rows = await norte.ask(CONVERSATIONS)

    seen = [(row["business_name"], row["unread_count"], row["last_message_at"]) for row in rows]
    assert seen == [(ANA, 3, clock()), (LUIS, 1, clock() - timedelta(seconds=120))]
    assert {row["distributor_id"] for row in rows} == {norte.account.distributor_id}


async def test_customers_are_counted_with_their_orders_and_without_any(norte: Tenant, sur: Tenant):
    for sender in (ANA, LUIS):
        await norte.write(sender, "hola")
    for total in ("10.50", "20.25"):
        await norte.order(ANA, total)

    rows = await norte.ask(ANALYTICS)

    assert sorted((row["business_name"], row["order_count"], row["total_spent"]) for row in rows) == [
        (ANA, 2, Decimal("30.7500")),
        (LUIS, 0, None),
    ]


def response(message_id: UUID, conversation_id: UUID, confidence: str) -> ResponseRow:
    return ResponseRow(
        id=new_uuid7(), message_id=message_id, conversation_id=conversation_id, status="COMPLETED", engine="openai",
        engine_version="1", model="m", intent="BUY", language="es", confidence=Decimal(confidence), extracted_data={"n": confidence},
        error_class=None, input_tokens=10, cached_tokens=0, output_tokens=1, cost_micro_usd=5, request_id=None,
        processing_ms=1, created_at=FakeClock()(),
    )  # fmt: skip


async def test_the_ai_queue_has_each_waiting_message_once_however_often_it_was_tried(
    norte: Tenant, sur: Tenant
):
    """A try that a newer message overtook leaves its bill and the message in the queue."""
    tried, untried = await norte.write(ANA, "2 cajas"), await norte.write(ANA, "y 3 aguas")
    (conversation,) = await norte.ask("select id from conversations")
    first = response(tried, conversation["id"], "0.5")

    async def save(row: ResponseRow) -> None:
        async with norte.runtime.database.tenant(norte.account.distributor_id) as connection:
            await turns.save_response(connection, row)

    await asyncio.gather(*(save(replace(first, id=new_uuid7())) for _ in range(4)))
    await save(response(tried, conversation["id"], "0.9"))

    queue = {row["id"]: (row["confidence"], row["extracted_data"]) for row in await norte.ask(AI_QUEUE)}
    assert len(await norte.ask(AI_QUEUE)) == 2
    assert queue == {tried: (Decimal("0.900"), {"n": "0.9"}), untried: (None, None)}
    assert await norte.ask("select input_tokens, cost_micro_usd from ai_responses") == [
        {"input_tokens": 50, "cost_micro_usd": 25}
    ]


@pytest.mark.parametrize(
    ("text", "metadata", "processed", "reason"),
    [
        ("2 cajas de coca", {}, False, None),
        ("", {}, False, None),
        ("STOP", {}, True, "opt_out"),
        ("start", {}, True, "opt_in"),
        ("HELP", {"opt_out_type": "HELP"}, True, "help"),
    ],
)
async def test_only_what_awaits_a_turn_is_unprocessed(
    norte: Tenant, text: str, metadata: dict[str, str], processed: bool, reason: str | None
):
    await norte.write(ANA, text, **metadata)

    (message,) = await norte.ask("select ai_processed, ai_skip_reason from messages")
    assert tuple(message.values()) == (processed, reason)
    assert len(await norte.ask(AI_QUEUE)) == (not processed)


async def test_a_turn_empties_the_queue_and_its_reply_never_enters(norte: Tenant, clock: FakeClock):
    await norte.write(ANA, "hola")
    clock.advance(60)
    terms = ClaimTerms(batch=1, share=1, lease=timedelta(seconds=45))
    async with norte.runtime.database.worker_statements() as connection:
        (claimed,) = await claim_turns(connection, terms, clock(), new_uuid7())
    await run_turn(norte.runtime, TurnTools(RulesEngine(), CatalogueCache()), claimed)

    assert await norte.ask(AI_QUEUE) == []
    messages = await norte.ask("select direction, ai_processed, ai_skip_reason from messages order by id")
    assert [tuple(message.values()) for message in messages] == [
        ("INBOUND", True, None),
        ("OUTBOUND", True, "outbound"),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"direction": "OUTBOUND", "status": "QUEUED", "ai_processed": False, "ai_skip_reason": None},
        {"direction": "OUTBOUND", "status": "QUEUED", "ai_processed": False, "ai_skip_reason": "outbound"},
        {"direction": "OUTBOUND", "status": "QUEUED", "ai_processed": True, "ai_skip_reason": None},
        {"direction": "OUTBOUND", "status": "QUEUED", "ai_processed": True, "ai_skip_reason": "help"},
        {"direction": "INBOUND", "ai_processed": True, "ai_skip_reason": "outbound"},
        {"direction": "INBOUND", "ai_processed": False, "ai_skip_reason": "opt_out"},
        {"direction": "INBOUND", "ai_processed": True, "ai_skip_reason": "tired"},
        {"direction": "INBOUND", "ai_processed": None},
    ],
    ids=str,
)
async def test_the_schema_refuses_a_message_that_awaits_what_will_not_come(
    catalogue: Any, wrong: dict[str, Any]
):
    rows = tenant_rows(new_uuid7())
    for table, row in rows.items():
        if table == "messages":
            break
        await insert_row(catalogue, table, row)

    with pytest.raises((asyncpg.CheckViolationError, asyncpg.NotNullViolationError)):
        await insert_row(catalogue, "messages", {**rows["messages"], **wrong})
