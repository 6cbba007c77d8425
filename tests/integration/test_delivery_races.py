"""Workers and tellers that meet in the database: nobody waits for the other in turns, and states stay true."""

import asyncio
import random
from datetime import timedelta
from uuid import UUID

import asyncpg

from db.events import record_events
from db.lanes import ClaimTerms
from db.named_sql import load_statements
from gateway.delivery_claims import AHEAD, DeliveryClaims
from handlers.deliveries import settle
from handlers.runtime import Runtime
from handlers.upkeep import mend_deliveries
from handlers.webhooks.event_types import EventType
from handlers.webhooks.outbox import new_event_row
from tests.delivery_world import Answer, Receiver, World
from tests.factories import make_distributor
from tests.fakes import FakeClock
from tests.integration.test_concurrency import blocked_by

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

    async with asyncio.timeout(60):
        await asyncio.gather(*(tell() for _ in range(TELLERS)), *(work() for _ in range(WORKERS)))

    waiting = await world.rows(tenant, "select * from webhook_deliveries where due_at is not null")
    states = await world.rows(tenant, "select in_flight from webhook_endpoint_state where in_flight <> 0")
    count = await world.rows(tenant, "select count(*) from webhook_deliveries")
    assert count == [{"count": TELLERS * TOLD * 3 * 5}]
    assert (waiting, states) == ([], [])
    assert await mend_deliveries(runtime) == 0


async def test_a_claim_passes_over_what_was_settled_since_it_began(
    runtime: Runtime, clock: FakeClock, admin_dsn: str
):
    """It would read the deliveries as they were before, find no retry there, and forget to look for one again."""
    world = World(runtime, clock)
    endpoint = await world.open_endpoint(Receiver(lambda _at, _event: Answer(500)))
    await world.tell(endpoint.tenant)
    (row,) = await DeliveryClaims(runtime, 1.0).claim(TERMS)
    admin = await asyncpg.connect(admin_dsn)
    await admin.execute("select pg_advisory_lock(7)")
    statement = load_statements("delivery_lane")["claim_deliveries"]
    begun = statement.replace(
        "from unnest($7::uuid[]",
        "from (select pg_advisory_xact_lock(7)) as held cross join unnest($7::uuid[]",
        1,
    )
    now = clock() + timedelta(seconds=60)
    arguments = (now, now + TERMS.lease, runtime.new_id(), 10, 4, [runtime.new_id() for _ in range(10)])

    async def claim_slowly() -> list[asyncpg.Record]:
        async with runtime.database.queue_statements() as connection:
            return await connection.fetch(begun, *arguments, [endpoint.tenant], [endpoint.id], AHEAD)

    claiming = asyncio.create_task(claim_slowly())
    await blocked_by(admin_dsn)
    await settle(runtime, [await world.deliver(row)])
    await admin.close()

    assert await claiming == []
    clock.advance(60)
    assert [again.event_id for again in await DeliveryClaims(runtime, 1.0).claim(TERMS)] == [row.event_id]
