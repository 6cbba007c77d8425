"""In which order an endpoint's rows are locked: as claims and settlements do, or each would wait for the other."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from handlers.endpoints import delete_endpoint, disable_endpoint, enable_endpoint, patch_endpoint
from handlers.runtime import Runtime
from tests.integration.test_concurrency import blocked_by
from tests.integration.test_deliveries import Outbox, open_outbox

Change = Callable[[Runtime, UUID, UUID], Coroutine[Any, Any, Any]]


async def release(runtime: Runtime, tenant: UUID, endpoint: UUID) -> None:
    await patch_endpoint(runtime, tenant, endpoint, {"ordering": "none"})


@pytest.fixture
async def outbox(runtime: Runtime) -> Outbox:
    return await open_outbox(runtime, ordering="conversation")


@pytest.fixture
async def endpoint(outbox: Outbox) -> UUID:
    (row,) = await outbox.rows("select id from webhook_endpoints")
    found: UUID = row["id"]
    return found


@pytest.mark.parametrize(
    ("change", "told"), [(disable_endpoint, 1), (delete_endpoint, 0), (enable_endpoint, 0), (release, 0)]
)
async def test_the_state_is_waited_for_while_no_delivery_is_held(
    outbox: Outbox, endpoint: UUID, admin_dsn: str, change: Change, told: int
):
    if change is enable_endpoint:
        await outbox.rows(
            "update webhook_endpoints set enabled = false, disabled_reason = 'manual' returning 1"
        )
    claim = await asyncpg.connect(admin_dsn)
    transaction = claim.transaction()
    await transaction.start()
    await claim.execute("select from webhook_endpoint_state for update")

    changing = asyncio.create_task(change(outbox.runtime, outbox.tenant, endpoint))
    await blocked_by(admin_dsn)
    rows = await claim.fetch("select from webhook_deliveries for update nowait")
    assert len(rows) == 1
    await transaction.commit()
    await changing
    await claim.close()

    events = await outbox.rows("select type from webhook_events where type = 'endpoint.disabled'")
    assert len(events) == told


async def test_a_change_that_concerns_no_delivery_waits_for_no_claim(
    outbox: Outbox, endpoint: UUID, admin_dsn: str
):
    claim = await asyncpg.connect(admin_dsn)
    transaction = claim.transaction()
    await transaction.start()
    await claim.execute("select from webhook_endpoint_state for update")

    async with asyncio.timeout(5):
        await patch_endpoint(outbox.runtime, outbox.tenant, endpoint, {"name": "erp 2", "max_in_flight": 1})
    await transaction.rollback()
    await claim.close()
