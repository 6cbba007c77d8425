"""kill -9 of the worker between every two steps of deliveries: the order holds, an outage that is over is over, and what was
interrupted is on record and tried again under the same id.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from db.endpoints import secrets_context
from db.events import record_events
from handlers.inbound import accept_messages
from handlers.runtime import Runtime, utc_now
from handlers.webhooks.event_types import EventType
from handlers.webhooks.outbox import new_event_row
from handlers.webhooks.signing import EndpointSecret, dump_secrets, new_secret
from tests.acceptance.test_crashes import NO_TURN_SECONDS, Scene, kill_at_every_step, open_scene
from tests.factories import accepted_item, inbound, make_account, make_distributor, make_endpoint


@pytest.fixture
async def scene(runtime: Runtime, runtime_dsn: str, admin_dsn: str, tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_scene(runtime, runtime_dsn, admin_dsn, tmp_path) as scene:
        yield scene


async def conversation_is_told_of(scene: Scene, number: int, events: int, **columns: Any) -> UUID:
    """A tenant of its own, whose endpoint has so many events of one conversation before it."""
    tenant = await make_distributor(scene.runtime)
    account = await make_account(scene.runtime, tenant)
    message = inbound("hola", sender=f"+1555000{number:04}")
    await accept_messages(
        scene.runtime, [accepted_item(scene.runtime, account, message, quiet=NO_TURN_SECONDS)]
    )
    conversation = await scene.admin.fetchval(
        "select id from conversations where distributor_id = $1", tenant
    )
    await scene.admin.execute("update conversations set turn_due_at = null where id = $1", conversation)
    endpoint = await make_endpoint(
        scene.runtime, tenant, [EventType.ENDPOINT_TEST], f"{scene.receiver_url}/hook", **columns
    )
    secret = new_secret(bytes)
    scene.receiver.set_secrets([secret])
    sealed = scene.runtime.sealer.seal_json(
        dump_secrets([EndpointSecret(secret)]), secrets_context(tenant, endpoint)
    )
    await scene.admin.execute(
        "update webhook_endpoints set secrets_sealed = $1 where id = $2", sealed, endpoint
    )
    rows = [
        new_event_row(
            scene.runtime,
            tenant,
            EventType.ENDPOINT_TEST,
            {"endpoint_id": endpoint},
            conversation_id=conversation,
        )
        for _ in range(events)
    ]
    async with scene.runtime.database.tenant(tenant) as connection:
        await record_events(connection, rows)
    return tenant


async def told(scene: Scene, tenant: UUID) -> list[str]:
    rows = await scene.admin.fetch(
        "select id from webhook_events where distributor_id = $1 and type = 'endpoint.test' order by sequence",
        tenant,
    )
    return [f"evt_{row['id'].hex}" for row in rows]


async def attempts_of(scene: Scene, tenant: UUID) -> Sequence[Any]:
    rows: Sequence[Any] = await scene.admin.fetch(
        "select event_id, number, outcome, probe from webhook_delivery_attempts where distributor_id = $1"
        " order by event_id, number",
        tenant,
    )
    return rows


async def assert_all_is_delivered(scene: Scene, tenant: UUID, step: int) -> list[str]:
    """Gives back the ids in the order in which they were received, an interrupted post's perhaps twice."""
    wanted = await told(scene, tenant)
    received = [item.id for item in scene.receiver.received if item.verified and item.id in wanted]
    deliveries = await scene.admin.fetch(
        "select status, attempt_count, schedule_position from webhook_deliveries where distributor_id = $1",
        tenant,
    )
    states = await scene.admin.fetch(
        "select in_flight, breaker, failing_since from webhook_endpoint_state where distributor_id = $1",
        tenant,
    )
    outcomes = [row["outcome"] for row in await attempts_of(scene, tenant)]
    assert set(received) == set(wanted), step
    assert {(row["status"], row["schedule_position"]) for row in deliveries} == {("SUCCESS", 0)}, step
    assert outcomes.count("success") == len(wanted), step
    assert outcomes.count("unknown") <= 1, step
    assert len(received) - len(wanted) <= outcomes.count("unknown"), f"step {step}: a post without a record"
    assert [tuple(row) for row in states] == [(0, "CLOSED", None)], step
    return received


@pytest.mark.timeout(240)
async def test_a_worker_killed_at_any_step_keeps_a_conversation_in_order(scene: Scene):
    async def begin(number: int) -> UUID:
        return await conversation_is_told_of(scene, number, 2, ordering="conversation")

    async def check(tenant: UUID, step: int) -> None:
        wanted, received = await told(scene, tenant), await assert_all_is_delivered(scene, tenant, step)
        places = [wanted.index(event_id) for event_id in received]
        assert places == sorted(places), step

    killed = await kill_at_every_step(scene, begin, check)

    assert killed >= 5 * 2, "before and after the claim, the post and the settlement of each"


@pytest.mark.timeout(240)
async def test_a_worker_killed_at_any_step_of_an_outages_end_still_ends_it(scene: Scene):
    """What failed in the outage goes at once, though its next try is hours away, and has lost no attempt."""

    async def begin(number: int) -> UUID:
        tenant = await conversation_is_told_of(scene, number, 3)
        now = utc_now()
        failed_at, due_at = now - timedelta(minutes=30), now + timedelta(hours=10)
        oldest = await scene.admin.fetchval(
            "update webhook_deliveries set status = 'RETRYING', due_at = $2, updated_at = $3, attempt_count = 1, schedule_position = 1"
            " where distributor_id = $1 and sequence = (select min(sequence) from webhook_deliveries where distributor_id = $1)"
            " returning event_id",
            tenant,
            due_at,
            failed_at,
        )
        await scene.admin.execute(
            "insert into webhook_delivery_attempts (distributor_id, id, endpoint_id, event_id, number, started_at, outcome, duration_ms)"
            " select distributor_id, $2, endpoint_id, $3, 1, $4, 'failure', 5 from webhook_endpoint_state where distributor_id = $1",
            tenant,
            scene.runtime.new_id(),
            oldest,
            failed_at,
        )
        await scene.admin.execute(
            "update webhook_endpoint_state set breaker = 'OPEN', breaker_until = $2, failing_since = $3, failed_attempts = 12,"
            " consecutive_failures = 10, next_due_at = $4 where distributor_id = $1",
            tenant,
            now,
            now - timedelta(hours=1),
            due_at,
        )
        return tenant

    async def check(tenant: UUID, step: int) -> None:
        await assert_all_is_delivered(scene, tenant, step)
        assert any(row["probe"] for row in await attempts_of(scene, tenant)), step

    killed = await kill_at_every_step(scene, begin, check)

    assert killed >= 5 * 3, "before and after the claim, the post and the settlement of each"
