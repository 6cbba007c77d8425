"""Pulling: what is given out, to whom, how often, and what an acknowledgement ends."""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import pytest
from standardwebhooks import Webhook

from channels.errors import NotFound, WrongState
from db.events import record_events
from db.named_sql import load_statements
from db.pulls import LeasedBatch
from handlers.endpoints import disable_endpoint, enable_endpoint
from handlers.inbound import accept_messages
from handlers.runtime import Runtime
from handlers.webhooks.event_types import EventType
from handlers.webhooks.events import public_event_id, thin_body
from handlers.webhooks.outbox import new_event_row
from handlers.webhooks.pulling import PulledBatch, acknowledge, pull
from tests.factories import accepted_item, inbound, make_account, make_distributor, make_endpoint
from tests.fakes import FakeClock
from tests.integration.plans import ExplainingConnection
from tests.integration.test_plans import MANY, administer
from tests.pull_endpoints import SECRET, make_pull_endpoint

LEASE = timedelta(seconds=60)


@dataclass(slots=True)
class Stage:
    """A tenant with an endpoint that is pulled from."""

    runtime: Runtime
    tenant: UUID
    endpoint: UUID

    def new_row(self, conversation: UUID | None = None) -> dict[str, object]:
        data = {"endpoint_id": self.endpoint}
        return new_event_row(
            self.runtime, self.tenant, EventType.ENDPOINT_TEST, data, conversation_id=conversation
        )

    async def tell(self, count: int = 1) -> list[UUID]:
        """Events that happen now, one transaction each."""
        rows = [self.new_row() for _ in range(count)]
        for row in rows:
            await self.store([row])
        return [UUID(str(row["id"])) for row in rows]

    async def store(self, rows: Sequence[dict[str, object]]) -> None:
        async with self.runtime.database.tenant(self.tenant) as connection:
            await record_events(connection, rows)

    async def pull(self, limit: int = 50) -> PulledBatch:
        return await pull(self.runtime, self.tenant, self.endpoint, limit=limit, lease=LEASE)

    async def acknowledge(self, what: LeasedBatch | Sequence[UUID] | None) -> int:
        assert what is not None
        return await acknowledge(self.runtime, self.tenant, self.endpoint, what)

    async def rows(self, table: str, columns: str) -> list[tuple[object, ...]]:
        async with self.runtime.database.tenant(self.tenant) as connection:
            found = await connection.fetch(f"select {columns} from {table} order by event_id, {columns}")
        return [tuple(row) for row in found]


@pytest.fixture
async def stage(runtime: Runtime) -> Stage:
    tenant = await make_distributor(runtime)
    return Stage(runtime, tenant, await make_pull_endpoint(runtime, tenant))


def events_of(batch: PulledBatch) -> list[UUID]:
    return [delivery.event_id for delivery in batch.deliveries]


async def test_the_oldest_are_given_first_and_nothing_twice_while_it_is_held(stage: Stage):
    events = await stage.tell(5)

    first, second, third = [await stage.pull(limit) for limit in (2, 50, 50)]

    assert (events_of(first), events_of(second)) == (events[:2], events[2:])
    assert (third.deliveries, third.lease) == ((), None)


async def test_the_library_that_verifies_posts_verifies_what_was_pulled(stage: Stage):
    (event,) = await stage.tell()
    (delivery,) = (await stage.pull()).deliveries

    assert delivery.headers["webhook-id"] == public_event_id(event)
    assert delivery.headers["webhook-timestamp"] == str(int(stage.runtime.clock().timestamp()))
    signed = Webhook(SECRET).sign(delivery.headers["webhook-id"], stage.runtime.clock(), delivery.body)
    assert delivery.headers["webhook-signature"] == signed
    assert '"type": "endpoint.test"' in delivery.body


async def test_a_thin_body_is_signed_as_it_is_given(stage: Stage):
    thin = Stage(
        stage.runtime, stage.tenant, await make_pull_endpoint(stage.runtime, stage.tenant, payload="thin")
    )
    await stage.tell()
    (full,), (delivery,) = (await stage.pull()).deliveries, (await thin.pull()).deliveries

    assert json.loads(full.body)["data"]["message"] == "This is a test event."
    assert json.loads(delivery.body) == thin_body(json.loads(full.body))
    signed = Webhook(SECRET).sign(delivery.headers["webhook-id"], stage.runtime.clock(), delivery.body)
    assert delivery.headers["webhook-signature"] == signed != full.headers["webhook-signature"]


async def test_what_is_not_acknowledged_in_time_is_given_again(stage: Stage, clock: FakeClock):
    events = await stage.tell(2)
    await stage.pull()
    clock.advance(59)
    assert (await stage.pull()).deliveries == ()
    clock.advance(1)

    again = await stage.pull()

    assert events_of(again) == events
    assert [delivery.attempt for delivery in again.deliveries] == [2, 2]


async def test_what_was_acknowledged_is_done_and_stays_so(stage: Stage, clock: FakeClock):
    await stage.tell(2)
    batch = await stage.pull()
    clock.advance(1.5)

    assert [await stage.acknowledge(batch.lease) for _ in range(2)] == [2, 0]

    clock.advance(3600)
    assert (await stage.pull()).deliveries == ()
    assert (
        await stage.rows("webhook_deliveries", "status, due_at, lease_until, lease_token, attempt_count")
        == [("SUCCESS", None, None, None, 1)] * 2
    )
    attempts = await stage.rows("webhook_delivery_attempts", "number, trigger, outcome, duration_ms")
    assert attempts == [(1, "pull", "success", 1500)] * 2


async def test_a_hand_out_that_was_not_acknowledged_stays_unknown(stage: Stage, clock: FakeClock):
    await stage.tell()
    await stage.pull()
    clock.advance(60)
    await stage.acknowledge((await stage.pull()).lease)

    attempts = await stage.rows("webhook_delivery_attempts", "number, outcome")
    assert attempts == [(1, "unknown"), (2, "success")]


async def test_a_part_of_a_batch_can_be_acknowledged(stage: Stage, clock: FakeClock):
    events = await stage.tell(3)
    batch = await stage.pull()

    assert await stage.acknowledge([batch.deliveries[1].id]) == 1
    clock.advance(60)
    assert events_of(await stage.pull()) == [events[0], events[2]]


async def test_a_late_acknowledgement_counts_unless_another_was_given_it(stage: Stage, clock: FakeClock):
    await stage.tell(2)
    late = await stage.pull()
    clock.advance(61)
    (other,) = (await stage.pull(1)).deliveries

    assert await stage.acknowledge(late.lease) == 1
    left = [row for row in await stage.rows("webhook_deliveries", "event_id, status") if row[1] == "PENDING"]
    assert left == [(other.event_id, "PENDING")]
    # By its id the one that was first counts, too: it has done the work.
    assert await stage.acknowledge([other.id]) == 1


async def test_what_was_never_given_out_cannot_be_acknowledged(stage: Stage):
    await stage.tell()
    ids = [row[0] for row in await stage.rows("webhook_deliveries", "id")]

    assert await stage.acknowledge(ids) == 0  # type: ignore[arg-type]
    assert len((await stage.pull()).deliveries) == 1


async def test_the_worker_never_has_what_is_to_be_pulled(stage: Stage):
    await stage.tell()

    ((due_at,),) = await stage.rows("webhook_deliveries", "due_at = 'infinity'")
    assert due_at is True


async def test_a_disabled_endpoint_gives_nothing_and_loses_what_was_held(stage: Stage, clock: FakeClock):
    await stage.tell(2)
    batch = await stage.pull(1)
    await disable_endpoint(stage.runtime, stage.tenant, stage.endpoint)

    with pytest.raises(WrongState):
        await stage.pull()
    assert await stage.acknowledge(batch.lease) == 0
    await enable_endpoint(stage.runtime, stage.tenant, stage.endpoint)
    assert (await stage.pull()).deliveries == ()
    assert set(await stage.rows("webhook_deliveries", "status")) == {("CANCELLED",)}


async def test_only_a_pull_endpoint_is_pulled_from(stage: Stage):
    pushed = await make_endpoint(stage.runtime, stage.tenant, ["*"])
    for endpoint, error in ((pushed, WrongState), (stage.runtime.new_id(), NotFound)):
        with pytest.raises(error):
            await pull(stage.runtime, stage.tenant, endpoint, limit=1, lease=LEASE)
        with pytest.raises(error):
            await acknowledge(stage.runtime, stage.tenant, endpoint, [stage.runtime.new_id()])


async def test_an_endpoint_acknowledges_nothing_of_another(stage: Stage):
    other = Stage(stage.runtime, stage.tenant, await make_pull_endpoint(stage.runtime, stage.tenant))
    await stage.tell()
    batch = await stage.pull()
    await other.pull()

    assert await other.acknowledge(batch.lease) == 0
    assert await other.acknowledge([batch.deliveries[0].id]) == 0
    assert await stage.acknowledge(batch.lease) == 1


async def test_what_lost_its_payload_is_passed_over(stage: Stage, admin_dsn: str):
    old, new = await stage.tell(2)
    await administer(admin_dsn, f"update webhook_events set body = null where id = '{old}'")

    assert events_of(await stage.pull()) == [new]


async def test_many_consumers_at_once_share(stage: Stage):
    events = await stage.tell(60)

    batches = await asyncio.gather(*(stage.pull(7) for _ in range(6)))

    given = [event for batch in batches for event in events_of(batch)]
    assert len(given) == len(set(given))
    rest = await stage.pull(60)
    assert sorted([*given, *events_of(rest)]) == events


async def make_conversations(runtime: Runtime, tenant: UUID, count: int) -> list[UUID]:
    account = await make_account(runtime, tenant)
    for number in range(count):
        message = inbound(key=f"SM{number:032}", sender=f"+1555000{number:04}")
        await accept_messages(runtime, [accepted_item(runtime, account, message)])
    async with runtime.database.tenant(tenant) as connection:
        return [row["id"] for row in await connection.fetch("select id from conversations")]


ALREADY_TOLD = 3  # events of a conversation that begins with a message


def places_of(batch: PulledBatch) -> list[int]:
    return [(delivery.sequence or 0) - ALREADY_TOLD for delivery in batch.deliveries]


class TestOrder:
    """Where the events of a conversation are to come in order."""

    @pytest.fixture
    async def ordered(self, runtime: Runtime) -> tuple[Stage, UUID]:
        tenant = await make_distributor(runtime)
        (conversation,) = await make_conversations(runtime, tenant, 1)
        return Stage(
            runtime, tenant, await make_pull_endpoint(runtime, tenant, ordering="conversation")
        ), conversation

    async def test_what_is_behind_a_held_one_waits(self, ordered, clock: FakeClock):
        stage, conversation = ordered
        rows = [stage.new_row(conversation) for _ in range(3)]
        await stage.store(rows)
        free = await stage.tell()

        first, second = await stage.pull(1), await stage.pull(1)  # what is blocked takes no place

        assert places_of(first) == [1]
        assert events_of(second) == free
        await stage.acknowledge(first.lease)
        assert places_of(await stage.pull()) == [2, 3]

    @pytest.mark.parametrize("limit", [1, 2, 50])
    async def test_ids_that_are_not_in_the_order_of_commits_change_nothing(self, ordered, limit: int):
        stage, conversation = ordered
        rows = [stage.new_row(conversation) for _ in range(5)]
        for position in (3, 0, 4, 2, 1):
            await stage.store([rows[position]])

        given = []
        while (batch := await stage.pull(limit)).lease:
            given += places_of(batch)
            await stage.acknowledge(batch.lease)

        assert given == [1, 2, 3, 4, 5]

    @pytest.mark.parametrize("seed", range(6))
    async def test_nobody_gets_an_event_before_those_ahead_of_it_are_done_or_his(
        self, runtime: Runtime, clock: FakeClock, seed: int
    ):
        """Whatever consumers take, finish and lose at once."""
        chance = random.Random(seed)
        tenant = await make_distributor(runtime)
        conversations = await make_conversations(runtime, tenant, 3)
        stage = Stage(runtime, tenant, await make_pull_endpoint(runtime, tenant, ordering="conversation"))
        rows = [stage.new_row(chance.choice(conversations)) for _ in range(40)]
        of = {UUID(str(row["id"])): row["conversation_id"] for row in rows}
        chance.shuffle(rows)
        done: dict[object, list[int]] = defaultdict(list)
        batches: list[PulledBatch] = []
        while rows or sum(map(len, done.values())) < len(of):
            if rows and chance.random() < 0.5:
                await stage.store([rows.pop()])
            batches += await asyncio.gather(*(stage.pull(chance.randint(1, 6)) for _ in range(2)))
            for batch in batches[-2:]:
                ahead = {conversation: list(places) for conversation, places in done.items()}
                for delivery in batch.deliveries:
                    places = ahead.setdefault(of[delivery.event_id], [])
                    places.append((delivery.sequence or 0) - ALREADY_TOLD)
                    assert places == list(range(1, len(places) + 1))
            chance.shuffle(batches)
            while batches and chance.random() < 0.7:
                batch = batches.pop()
                if batch.lease and await stage.acknowledge(batch.lease):
                    for place, delivery in zip(places_of(batch), batch.deliveries, strict=True):
                        done[of[delivery.event_id]].append(place)
            if chance.random() < 0.2:
                batches.clear()
                clock.advance(61)


@dataclass(slots=True)
class Consumers:
    """What consumers were given and acknowledged, and whether that breaks a rule."""

    stage: Stage
    clock: FakeClock
    free_at: dict[UUID, float] = field(default_factory=dict)
    holders: dict[UUID, LeasedBatch | None] = field(default_factory=dict)
    done: set[UUID] = field(default_factory=set)

    async def take(self, limit: int) -> PulledBatch:
        batch = await self.stage.pull(limit)
        now = self.clock().timestamp()
        for event in events_of(batch):
            assert event not in self.done, "given again after it was acknowledged"
            assert self.free_at.get(event, 0) <= now, "given to two at once"
            self.free_at[event] = now + LEASE.total_seconds()
            self.holders[event] = batch.lease
        return batch

    async def finish(self, batch: PulledBatch, *, whole: bool) -> None:
        if whole:
            ended = {event for event in events_of(batch) if self.holders[event] == batch.lease} - self.done
            count = await self.stage.acknowledge(batch.lease)
        else:
            part = batch.deliveries[: len(batch.deliveries) // 2]
            ended = {delivery.event_id for delivery in part} - self.done
            count = await self.stage.acknowledge([delivery.id for delivery in part])
        assert count == len(ended)
        self.done |= ended


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_the_order_of_commits_nothing_is_skipped_or_given_again(
    stage: Stage, clock: FakeClock, seed: int
):
    """Transactions that began in one order commit in another, while consumers pull, die and acknowledge."""
    chance = random.Random(seed)
    rows = [stage.new_row() for _ in range(40)]  # their ids, in the order in which they happened
    wanted = {UUID(str(row["id"])) for row in rows}
    chance.shuffle(rows)
    consumers, open_batches = Consumers(stage, clock), list[PulledBatch]()
    while rows or len(consumers.done) < len(wanted):
        match chance.choice(("commit", "pull", "acknowledge", "die", "time", "both")):
            case "commit" if rows:
                await stage.store([rows.pop() for _ in range(min(len(rows), chance.randint(1, 3)))])
            case "pull":
                open_batches.append(await consumers.take(chance.randint(1, 10)))
            case "acknowledge" if open_batches:
                batch = open_batches.pop(chance.randrange(len(open_batches)))
                await consumers.finish(batch, whole=chance.random() < 0.7)
            case "die" if open_batches:
                open_batches.pop(chance.randrange(len(open_batches)))
            case "time":
                clock.advance(chance.choice((1, 61)))
            case "both" if rows:
                _, batch = await asyncio.gather(stage.store([rows.pop()]), consumers.take(5))
                open_batches.append(batch)
        open_batches = [batch for batch in open_batches if batch.deliveries]

    assert consumers.done == wanted
    clock.advance(3600)
    assert (await stage.pull(200)).deliveries == ()


async def test_a_pull_reads_what_it_gives_and_an_acknowledgement_what_it_ends(
    stage: Stage, admin_dsn: str, clock: FakeClock
):
    """However much waits behind it, or was acknowledged before."""
    rows = [stage.new_row() for _ in range(MANY)]
    await stage.store(rows)
    while (done := await stage.pull(200)).lease and done.deliveries[-1].event_id < UUID(
        str(rows[1000]["id"])
    ):
        await stage.acknowledge(done.lease)
    await administer(admin_dsn, "select 1")
    arguments = (clock(), clock() + LEASE, stage.runtime.new_id(), 10, [stage.runtime.new_id()] * 10)
    held = [
        done.deliveries[0].event_id,
        done.deliveries[-1].event_id,
        done.lease.token if done.lease else None,
    ]

    async with stage.runtime.database.tenant(stage.tenant) as connection:
        explaining = ExplainingConnection(connection, often=True)
        for name, values in (("lease_waiting", arguments), ("find_batch", held)):
            await explaining.fetch(load_statements("pulls")[name], stage.endpoint, *values)
    leasing, finding = explaining.plans

    # Of deliveries, what is given is read twice, and what another holds at the head is passed over.
    assert 0 < leasing.rows_read("webhook_deliveries") <= 2 * 10 + len(done.deliveries)
    assert 0 < leasing.rows_read("webhook_events") <= 2 * 10 + len(done.deliveries)
    assert 0 < finding.rows_read("webhook_deliveries") <= len(done.deliveries)
