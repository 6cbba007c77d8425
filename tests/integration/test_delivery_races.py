"""Workers and tellers that meet in the database: nobody waits for the other in turns, and states stay true."""

import asyncio
import random
from datetime import timedelta
from uuid import UUID

from db.events import record_events
from db.lanes import ClaimTerms
from gateway.delivery_claims import DeliveryClaims
from handlers.deliveries import settle
from handlers.runtime import Runtime
from handlers.upkeep import mend_deliveries
from handlers.webhooks.event_types import EventType
from handlers.webhooks.outbox import new_event_row
from tests.delivery_world import Answer, Receiver, World
from tests.factories import make_distributor
from tests.fakes import FakeClock

TERMS = ClaimTerms(batch=12, share=4, lease=timedelta(days=30))
WORKERS, TELLERS, TOLD = 4, 2, 25


async def test_many_workers_and_tellers_at_once_leave_true_states(runtime: Runtime, clock: FakeClock):
    world, rng = World(runtime, clock), random.Random(5)
    receiver = Receiver(lambda _at, _event: Answer(rng.choice((204, 204, 500)), seconds=0.0))
    tenant = await make_distributor(runtime)
    for ordering in ("conversation", "conversation", "conversation", "none", "none"):
        await world.open_endpoint(receiver, tenant, ordering=ordering)
    conversations = await world.open_conversations(tenant, 5)
    telling = TELLERS

    async def tell() -> None:
        nonlocal telling
        for _ in range(TOLD):
            about = rng.sample(conversations, 3)
            async with runtime.database.tenant(tenant) as connection:
                await record_events(connection, [event(each) for each in about])
        telling -= 1

    def event(conversation: UUID) -> dict[str, object]:
        data = {"endpoint_id": tenant}
        return new_event_row(runtime, tenant, EventType.ENDPOINT_TEST, data, conversation_id=conversation)

    async def work() -> None:
        claims, idle = DeliveryClaims(runtime, 1.0), 0
        while telling or idle < 20:
            claimed = await claims.claim(TERMS)
            idle = 0 if claimed else idle + 1
            clock.advance(3)
            if claimed:
                await settle(runtime, [await world.deliver(row) for row in claimed])
            for row in claimed:
                claims.finished(row)

    async with asyncio.timeout(60):
        await asyncio.gather(*(tell() for _ in range(TELLERS)), *(work() for _ in range(WORKERS)))

    waiting = await world.rows(tenant, "select * from webhook_deliveries where due_at is not null")
    states = await world.rows(tenant, "select in_flight from webhook_endpoint_state where in_flight <> 0")
    count = await world.rows(tenant, "select count(*) from webhook_deliveries")
    assert count == [{"count": TELLERS * TOLD * 3 * 5}]
    assert (waiting, states) == ([], [])
    assert await mend_deliveries(runtime) == 0
