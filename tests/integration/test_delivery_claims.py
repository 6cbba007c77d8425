"""Which deliveries a worker gets: fair over tenants and endpoints, several workers at once, by shard."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from db import endpoints, redelivery
from db.delivery_lane import ClaimedDeliveryRow
from db.lanes import ClaimTerms, Shard
from db.tenant import Connection
from db.wake import Notifier
from gateway import delivery_claims
from gateway.delivery_claims import DeliveryClaims
from gateway.worker import EVERYTHING, POLL_SECONDS, Worker, WorkerTools
from handlers.catalogues import CatalogueCache
from handlers.deliveries import settle
from handlers.endpoints import patch_endpoint
from handlers.runtime import Runtime
from handlers.turns import TurnTools
from handlers.webhooks.delivery import AttemptResult, DeliveryStatus, FinishedDelivery, Outcome, Settlement
from handlers.webhooks.event_types import EventType
from handlers.webhooks.outbox import tell
from tests import delivery_stage
from tests.factories import make_distributor, make_endpoint
from tests.fakes import FakeClock, FakeEngine
from tests.integration.test_concurrency import blocked_by
from tests.integration.test_deliveries import FakeEgress, open_outbox
from tests.integration.test_plans import administer
from tests.media_stage import deferred_tools, media_tools

LEASE = timedelta(seconds=30)
SOON, AT_ONCE = 10.0, 0.2


async def make_tenant(runtime: Runtime, count: int) -> UUID:
    tenant = await make_distributor(runtime)
    for _ in range(count):
        await make_endpoint(runtime, tenant, ["*"])
    return tenant


async def make_due(runtime: Runtime, tenant: UUID, events: int) -> None:
    """So many deliveries for each endpoint."""
    async with runtime.database.tenant(tenant) as connection:
        for _ in range(events):
            data = {"endpoint_id": runtime.new_id()}
            await tell(connection, runtime, tenant, EventType.ENDPOINT_TEST, data)


async def claim_on(
    connection: Connection, runtime: Runtime, batch: int, share: int = 10, shard: Shard = EVERYTHING
) -> list[ClaimedDeliveryRow]:
    terms = ClaimTerms(batch, share, LEASE, shard)
    return await delivery_stage.claim_on(connection, terms, runtime.clock(), runtime.new_id)


async def claim(runtime: Runtime, batch: int, **more: Any) -> list[ClaimedDeliveryRow]:
    async with runtime.database.worker_statements() as connection:
        return await claim_on(connection, runtime, batch, **more)


def tenants_of(claimed: list[ClaimedDeliveryRow]) -> Counter[UUID]:
    return Counter(row.distributor_id for row in claimed)


async def test_a_tenant_with_many_endpoints_takes_turns_with_one_that_has_one(
    runtime: Runtime, clock: FakeClock
):
    many, one = await make_tenant(runtime, 20), await make_tenant(runtime, 1)
    await make_due(runtime, many, 2)
    clock.advance(1)
    await make_due(runtime, one, 3)

    assert tenants_of(await claim(runtime, 6)) == {many: 3, one: 3}


async def test_what_a_tenant_has_under_way_counts_when_others_come(runtime: Runtime, clock: FakeClock):
    many, one = await make_tenant(runtime, 20), await make_tenant(runtime, 1)
    await make_due(runtime, many, 2)
    assert tenants_of(await claim(runtime, 6)) == {many: 6}
    clock.advance(1)
    await make_due(runtime, one, 5)

    assert tenants_of(await claim(runtime, 5)) == {one: 5}


async def test_the_endpoints_of_a_tenant_take_turns(runtime: Runtime, clock: FakeClock):
    tenant = await make_tenant(runtime, 1)
    await make_due(runtime, tenant, 8)
    clock.advance(1)
    quiet = await make_endpoint(runtime, tenant, ["*"])
    await make_due(runtime, tenant, 1)

    assert quiet in {row.endpoint_id for row in await claim(runtime, 2)}


async def test_an_endpoint_has_no_more_than_its_share_under_way(runtime: Runtime, clock: FakeClock):
    tenant = await make_tenant(runtime, 1)
    await make_due(runtime, tenant, 8)

    assert [len(await claim(runtime, 10, share=3)) for _ in range(2)] == [3, 0]
    clock.advance(31)
    assert len(await claim(runtime, 10, share=3)) == 3


async def test_a_second_worker_passes_over_what_the_first_still_claims_and_looks_again_soon(runtime: Runtime):
    tenant = await make_tenant(runtime, 4)
    await make_due(runtime, tenant, 5)
    claims = DeliveryClaims(runtime, POLL_SECONDS)

    async with asyncio.timeout(SOON), runtime.database.worker() as first:
        of_first = await claim_on(first, runtime, 6)
        meanwhile, pause = await claims.claim(ClaimTerms(6, 10, LEASE)), claims.pause
    of_second = await claims.claim(ClaimTerms(6, 10, LEASE))

    assert not meanwhile
    assert pause < POLL_SECONDS
    assert (len(of_first), len(of_second)) == (6, 4)  # two thirds of six: one tenant's part
    assert not {(row.endpoint_id, row.event_id) for row in of_first} & {
        (row.endpoint_id, row.event_id) for row in of_second
    }


async def work_through(
    runtime: Runtime, clock: FakeClock, claims: DeliveryClaims, batch: int, rounds: int
) -> set[UUID]:
    """The endpoints that got something from a worker that has room for ``batch`` at a time."""
    served: set[UUID] = set()
    for _ in range(rounds):
        clock.advance(0.1)
        rows = await claims.claim(ClaimTerms(batch, 10, LEASE))
        served |= {row.endpoint_id for row in rows}
        await settle(runtime, [_ended(runtime, row) for row in rows])
        for row in rows:
            claims.finished(row)
    return served


def _ended(
    runtime: Runtime, row: ClaimedDeliveryRow, retry_after: timedelta | None = None
) -> FinishedDelivery:
    now = runtime.clock()
    if retry_after is None:
        result = AttemptResult(Outcome.SUCCESS, now, now, status_code=204)
        return FinishedDelivery(row, result, Settlement(DeliveryStatus.SUCCESS, None, 0))
    failed = AttemptResult(Outcome.FAILURE, now, now, status_code=500)
    return FinishedDelivery(row, failed, Settlement(DeliveryStatus.RETRYING, now + retry_after, 1))


async def test_whoever_is_behind_a_page_of_endpoints_that_always_have_work_gets_its_turn(
    runtime: Runtime, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(delivery_claims, "WALK", 4)
    tenant = await make_tenant(runtime, 6)
    for _ in range(20):
        await make_due(runtime, tenant, 1)
        clock.advance(0.1)

    assert len(await work_through(runtime, clock, DeliveryClaims(runtime, POLL_SECONDS), 4, 24)) == 6


async def test_more_tenants_with_work_than_a_claim_chooses_from_all_get_their_turn(
    runtime: Runtime, clock: FakeClock
):
    tenants = [await make_tenant(runtime, 1) for _ in range(12)]
    for tenant in tenants * 12:
        await make_due(runtime, tenant, 1)
        clock.advance(0.1)

    assert len(await work_through(runtime, clock, DeliveryClaims(runtime, POLL_SECONDS), 3, 24)) == 12


async def test_endpoints_whose_retries_are_over_hide_no_others(
    runtime: Runtime, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(delivery_claims, "WALK", 4)
    claims, soon = DeliveryClaims(runtime, POLL_SECONDS), timedelta(seconds=5)
    await make_due(runtime, await make_tenant(runtime, 4), 1)
    first_tries = await claims.claim(ClaimTerms(25, 10, LEASE))
    await settle(runtime, [_ended(runtime, row, soon) for row in first_tries])
    for tried in first_tries:
        claims.finished(tried)
    clock.advance(6)
    assert len(await work_through(runtime, clock, claims, 25, 1)) == 4
    clock.advance(3600)

    await make_due(runtime, await make_tenant(runtime, 1), 1)
    (row,) = await claims.claim(ClaimTerms(25, 10, LEASE))
    await settle(runtime, [_ended(runtime, row, soon)])
    clock.advance(6)

    assert await work_through(runtime, clock, claims, 25, 2) == {row.endpoint_id}


async def test_retries_that_are_due_in_an_hour_are_not_looked_at_before(
    runtime: Runtime, clock: FakeClock, admin_dsn: str
):
    """However many they are: more than a claim looks at of an endpoint."""
    await make_due(runtime, await make_tenant(runtime, 1), 60)
    parked = clock() + timedelta(hours=1)
    await administer(
        admin_dsn, f"update webhook_deliveries set status = 'RETRYING', due_at = '{parked.isoformat()}'"
    )
    await administer(admin_dsn, f"update webhook_endpoint_state set next_due_at = '{clock().isoformat()}'")
    claims = DeliveryClaims(runtime, POLL_SECONDS)

    assert [len(await claims.claim(ClaimTerms(5, 10, LEASE))) for _ in range(2)] == [0, 0]
    assert claims.pause == POLL_SECONDS
    async with runtime.database.worker_statements() as connection:
        assert await connection.fetchval("select next_due_at from webhook_endpoint_state") == parked


async def test_a_walk_that_met_nobody_who_may_take_something_waits_until_the_first_of_all_may(
    runtime: Runtime, clock: FakeClock, admin_dsn: str, monkeypatch: pytest.MonkeyPatch
):
    """Not for a moment only, again and again, and not for those of its last page alone."""
    monkeypatch.setattr(delivery_claims, "WALK", 2)
    await make_due(runtime, await make_tenant(runtime, 3), 1)
    await administer(
        admin_dsn,
        "update webhook_endpoint_state s set blocked_until = e.updated_at + n.place * interval '100 milliseconds'"
        " from webhook_endpoint_state e join (select endpoint_id, row_number() over (order by endpoint_id) as place"
        " from webhook_endpoint_state) n using (endpoint_id) where e.endpoint_id = s.endpoint_id",
    )
    claims = DeliveryClaims(runtime, POLL_SECONDS)
    pauses = []
    for _ in range(2):
        assert not await claims.claim(ClaimTerms(25, 10, LEASE))
        pauses.append(claims.pause)

    assert pauses[0] < 0.01
    assert pauses[1] == pytest.approx(0.1)


async def test_many_workers_at_once_get_each_delivery_once(runtime: Runtime):
    for _ in range(3):
        await make_due(runtime, await make_tenant(runtime, 10), 5)

    async def work() -> list[ClaimedDeliveryRow]:
        mine: list[ClaimedDeliveryRow] = []
        while claimed := await claim(runtime, 5):
            mine += claimed
        return mine

    shares = await asyncio.gather(*(work() for _ in range(6)))
    claimed = [(row.endpoint_id, row.event_id) for share in shares for row in share]

    assert (len(claimed), len(set(claimed))) == (150, 150)


async def test_a_worker_gets_the_tenants_of_its_shard_and_no_others(runtime: Runtime):
    tenants = [await make_tenant(runtime, 1) for _ in range(12)]
    for tenant in tenants:
        await make_due(runtime, tenant, 1)
    async with runtime.database.worker_statements() as connection:
        hashes = await connection.fetch(
            "select t, mod(hashtext(t::text)::bigint + 2147483648, 3) from unnest($1::uuid[]) t", tenants
        )

    for index in (2, 0, 1):
        found = tenants_of(await claim(runtime, 100, shard=Shard(index, 3)))
        assert found == Counter(tenant for tenant, shard in hashes if shard == index)


async def test_a_claim_reads_what_is_due_once_though_the_statistics_are_from_before(
    runtime: Runtime, clock: FakeClock, admin_dsn: str
):
    tenant = await make_tenant(runtime, 40)
    await make_due(runtime, tenant, 20)
    await administer(admin_dsn, "update webhook_deliveries set status = 'SUCCESS', due_at = null")
    await make_due(runtime, tenant, 20)

    terms = ClaimTerms(10, 10, LEASE)
    async with runtime.database.queue_statements() as connection, connection.transaction():
        claimed = await delivery_stage.claim_on(connection, terms, runtime.clock(), runtime.new_id)
        read = await rows_read(connection)

    assert len(claimed) == 10
    assert read < 4 * 800


async def rows_read(connection: Connection) -> int:
    """Of deliveries, in the transaction that is open, whichever way."""
    count: int = await connection.fetchval(
        "select sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) from pg_stat_xact_user_tables"
        " where relname like 'webhook\\_deliveries%'"
    )
    return count


async def test_a_delivery_that_is_being_asked_for_again_is_not_claimed_meanwhile(
    runtime: Runtime, clock: FakeClock
):
    """Else the claim's lease would be taken away, and the delivery be posted twice at once."""
    outbox = await open_outbox(runtime)
    waiting = await outbox.delivery()
    async with asyncio.timeout(SOON), runtime.database.tenant(outbox.tenant) as connection:
        locked = await redelivery.lock_delivery(connection, waiting["id"])
        assert await outbox.claim() == []
        assert locked is not None
        await redelivery.send_again(connection, locked, clock())

    assert len(await outbox.claim()) == 1


async def test_two_changes_of_an_endpoint_at_once_are_both_kept(runtime: Runtime, admin_dsn: str):
    outbox = await open_outbox(runtime)
    (endpoint,) = await outbox.rows("select id from webhook_endpoints")
    change = {"event_types": ["order.*"]}
    async with runtime.database.tenant(outbox.tenant) as connection:
        record = await endpoints.lock_endpoint(connection, endpoint["id"])
        assert record is not None
        second = asyncio.create_task(patch_endpoint(runtime, outbox.tenant, endpoint["id"], change))
        await blocked_by(admin_dsn)
        await endpoints.update_endpoint(connection, replace(record, name="erp 2"), None)
    await second

    assert await outbox.rows("select name, event_types from webhook_endpoints") == [
        {"name": "erp 2", "event_types": ["order.*"]}
    ]


async def test_a_worker_that_stops_waits_for_what_is_being_settled(
    runtime: Runtime, admin_dsn: str, monkeypatch: pytest.MonkeyPatch
):
    """Though its time to drain is over: what a receiver answered is not dropped at the last step."""
    monkeypatch.setattr("gateway.worker.DRAIN_SECONDS", 0)
    outbox, admin = await open_outbox(runtime), await asyncpg.connect(admin_dsn)

    class Locking(FakeEgress):
        async def post(self, *arguments: Any, **options: Any) -> Any:
            await admin.execute("begin; select from webhook_deliveries for update")
            return await super().post(*arguments, **options)

    turns = TurnTools(FakeEngine(None), CatalogueCache())
    tools = WorkerTools({}, Locking(), turns, media_tools(), deferred_tools(), Notifier(runtime.database))
    worker = Worker(runtime, tools)
    running = asyncio.create_task(worker.run())
    await blocked_by(admin_dsn)
    worker.stop()
    ended_before, _ = await asyncio.wait({running}, timeout=AT_ONCE)
    await admin.execute("commit")
    await admin.close()
    await running

    assert not ended_before
    assert (await outbox.delivery())["status"] == "SUCCESS"


async def test_a_tenant_whose_endpoints_all_hang_leaves_slots_for_others(runtime: Runtime, clock: FakeClock):
    hanging, healthy = await make_tenant(runtime, 30), await make_tenant(runtime, 1)
    await make_due(runtime, hanging, 5)
    claims, slots, given = DeliveryClaims(runtime, POLL_SECONDS), 100, Counter[UUID]()
    for _ in range(10):
        given += tenants_of(list(await claims.claim(ClaimTerms(slots - given.total(), 10, LEASE))))
    clock.advance(1)
    await make_due(runtime, healthy, 1)

    late = await claims.claim(ClaimTerms(slots - given.total(), 10, LEASE))

    assert 60 <= given[hanging] <= 70
    assert claims.is_held_up
    assert tenants_of(list(late)) == {healthy: 1}


async def test_what_a_tenant_has_finished_makes_room_for_more(runtime: Runtime):
    tenant = await make_tenant(runtime, 3)
    await make_due(runtime, tenant, 2)
    claims = DeliveryClaims(runtime, POLL_SECONDS)
    first = await claims.claim(ClaimTerms(2, 10, LEASE))
    none_left = await claims.claim(ClaimTerms(1, 10, LEASE))
    for row in first:
        claims.finished(row)

    assert (len(first), len(none_left)) == (2, 0)
    assert len(await claims.claim(ClaimTerms(1, 10, LEASE))) == 1
