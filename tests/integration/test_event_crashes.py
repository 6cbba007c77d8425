"""An event is there with all its deliveries or not at all, wherever the process that stores it is killed."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from handlers.endpoints import disable_endpoint
from handlers.inbound import accept_messages
from handlers.runtime import Runtime
from handlers.webhooks.event_types import EventType
from handlers.webhooks.outbox import tell
from tests.factories import accepted_item, fetch_rows, inbound, make_account, make_distributor, make_endpoint
from tests.integration.test_deliveries import Killed, kill_at

ENDPOINTS = 3
MOST_STEPS = 60
COUNTS = (
    "select (select count(*) from webhook_events) as events, (select count(*) from webhook_deliveries) as deliveries,"
    " (select count(*) from messages) as messages"
)
Deed = Callable[[], Awaitable[object]]


async def message_arrives(runtime: Runtime, tenant: UUID) -> Deed:
    account = await make_account(runtime, tenant)
    return lambda: accept_messages(runtime, [accepted_item(runtime, account, inbound())])


async def three_are_told(runtime: Runtime, tenant: UUID) -> Deed:
    async def deed() -> None:
        async with runtime.database.tenant(tenant) as connection:
            for _ in range(3):
                await tell(connection, runtime, tenant, EventType.ENDPOINT_TEST, {"endpoint_id": tenant})

    return deed


async def another_is_disabled(runtime: Runtime, tenant: UUID) -> Deed:
    endpoint = await make_endpoint(runtime, tenant, ["order.created"])
    return lambda: disable_endpoint(runtime, tenant, endpoint)


@pytest.mark.parametrize(
    ("prepare", "events"), [(message_arrives, None), (three_are_told, 3), (another_is_disabled, 1)]
)
async def test_no_event_is_without_its_deliveries(
    runtime: Runtime, prepare: Callable[[Runtime, UUID], Awaitable[Deed]], events: int | None
):
    found = set()
    for step in range(1, MOST_STEPS):
        tenant = await make_distributor(runtime)
        for _ in range(ENDPOINTS):
            await make_endpoint(runtime, tenant, ["*"])
        deed, killed = await prepare(runtime, tenant), False
        with pytest.MonkeyPatch.context() as patches:
            kill_at(step, patches)
            try:
                await deed()
            except Killed:
                killed = True

        (counts,) = await fetch_rows(runtime, tenant, COUNTS)
        assert counts["deliveries"] == ENDPOINTS * counts["events"], step
        assert counts["messages"] == 0 or counts["events"] > 0, step
        found.add(counts["events"])
        if not killed:
            break

    assert step > 3, "there must be steps to be killed at"
    assert len(found) == 2, "all of them or none"
    assert min(found) == 0
    assert events is None or max(found) == events
