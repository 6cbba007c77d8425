"""The hourly look at what deliveries' states say: it mends what should not be, and touches nothing that is right."""

from datetime import timedelta

import pytest
import structlog

from db.events import record_events
from db.lanes import ClaimTerms
from gateway.delivery_claims import DeliveryClaims
from gateway.schedules import _told
from handlers.endpoints import delete_endpoint
from handlers.runtime import Runtime
from handlers.upkeep import mend_deliveries
from handlers.webhooks.event_types import EventType
from handlers.webhooks.outbox import new_event_row
from tests.delivery_stage import claim
from tests.delivery_world import Answer, Endpoint, Receiver, SimulatedWorker, World
from tests.fakes import FakeClock
from tests.integration.test_plans import administer

TERMS = ClaimTerms(batch=20, share=5, lease=timedelta(seconds=40))


@pytest.fixture
def world(runtime: Runtime, clock: FakeClock) -> World:
    return World(runtime, clock)


async def busy_endpoint(world: World) -> Endpoint:
    """Ordered; some of it failed, some is under lease, some waits behind that."""
    endpoint = await world.open_endpoint(Receiver(lambda _at, _event: Answer(500)), ordering="conversation")
    for conversation in await world.open_conversations(endpoint.tenant, 4):
        await world.tell(endpoint.tenant, 3, conversation)
    await SimulatedWorker(world).work(0.1)
    await world.tell(endpoint.tenant, 2)
    assert len(await claim(world.runtime, TERMS)) == 2
    return endpoint


async def test_nothing_is_mended_where_all_is_well(world: World):
    endpoint = await busy_endpoint(world)
    before = await world.state(endpoint)

    assert await mend_deliveries(world.runtime) == 0
    assert await world.state(endpoint) == before
    assert before["in_flight"] == 2


@pytest.mark.parametrize(
    "harm",
    ["in_flight = 7", "in_flight = 0", "next_due_at = null", "next_due_at = next_due_at + interval '1 day'"],
)
async def test_a_state_that_says_what_is_not_so_is_mended(world: World, admin_dsn: str, harm: str):
    endpoint, other = await busy_endpoint(world), await busy_endpoint(world)
    before, beside = await world.state(endpoint), await world.state(other)
    await administer(
        admin_dsn, f"update webhook_endpoint_state set {harm} where endpoint_id = '{endpoint.id}'"
    )

    assert await mend_deliveries(world.runtime) == 1

    after = await world.state(endpoint)
    assert after["in_flight"] == before["in_flight"]
    assert after["next_due_at"] == before["next_due_at"]
    assert await world.state(other) == beside
    assert await mend_deliveries(world.runtime) == 0


async def test_a_conversation_that_waits_for_nothing_goes_on(world: World, admin_dsn: str, clock: FakeClock):
    endpoint = await busy_endpoint(world)
    await administer(
        admin_dsn,
        "update webhook_deliveries set status = 'CANCELLED', due_at = null where due_at < 'infinity' and ordering_key is not null",
    )

    assert await mend_deliveries(world.runtime) == 4
    assert await mend_deliveries(world.runtime) == 0
    endpoint.receiver.answer = lambda _at, _event: Answer()
    clock.advance(60)
    await SimulatedWorker(world).work(10)
    assert await world.statuses(endpoint) == {"CANCELLED", "SUCCESS"}


@pytest.mark.parametrize(
    "harm", ["transport = 'pull', url = null", "enabled = false, disabled_reason = 'manual'"]
)
async def test_what_is_pulled_or_off_waits_for_nobody(world: World, admin_dsn: str, harm: str):
    await busy_endpoint(world)
    await administer(admin_dsn, f"update webhook_endpoints set {harm}")
    await administer(
        admin_dsn,
        "update webhook_deliveries set due_at = 'infinity', lease_token = null where due_at is not null",
    )
    await administer(admin_dsn, "update webhook_endpoint_state set in_flight = 0")

    assert await mend_deliveries(world.runtime) == 0


async def test_what_was_being_stored_for_an_endpoint_that_was_deleted_meanwhile_ends(world: World):
    endpoint = await world.open_endpoint(ordering="conversation")
    (conversation,) = await world.open_conversations(endpoint.tenant, 1)
    await world.tell(endpoint.tenant, 1, conversation)
    row = new_event_row(
        world.runtime,
        endpoint.tenant,
        EventType.ENDPOINT_TEST,
        {"endpoint_id": endpoint.id},
        conversation_id=conversation,
    )
    async with world.runtime.database.tenant(endpoint.tenant) as connection:
        await record_events(connection, [row])  # waits behind the first
        await delete_endpoint(world.runtime, endpoint.tenant, endpoint.id)
    assert await world.statuses(endpoint) == {"CANCELLED", "PENDING"}

    assert await mend_deliveries(world.runtime) == 0
    assert await world.statuses(endpoint) == {"CANCELLED"}


@pytest.mark.parametrize(("mended", "level"), [(0, "debug"), (1, "warning")])
async def test_what_had_to_be_mended_is_told_as_a_warning(runtime: Runtime, mended: int, level: str):
    async def job(_runtime: Runtime) -> int:
        return mended

    with structlog.testing.capture_logs() as logs:
        await _told("mend_deliveries", job, runtime)(None)  # type: ignore[arg-type]

    assert [(entry["log_level"], entry["count"]) for entry in logs] == [(level, mended)]


async def test_an_endpoint_without_a_state_gets_one(world: World, admin_dsn: str):
    """As a process of the release before makes it beside the new schema."""
    endpoint = await world.open_endpoint()
    await administer(admin_dsn, "delete from webhook_endpoint_state")
    await world.tell(endpoint.tenant, 1)
    assert not await DeliveryClaims(world.runtime, 1.0).claim(TERMS)

    assert await mend_deliveries(world.runtime) == 1
    assert len(await DeliveryClaims(world.runtime, 1.0).claim(TERMS)) == 1
