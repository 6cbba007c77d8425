"""What is queued is answered as it was queued, though a worker would be quick."""

from datetime import timedelta
from typing import Any

import pytest

from db import delivery_log, inbox
from db.lanes import ClaimTerms, claim_sends
from handlers.send_rates import SEND_PACE
from tests.delivery_stage import claim_on
from tests.integration.api.seeds import ENDPOINT

DELIVERIES, ENDPOINTS = "/v1/webhook-deliveries", "/v1/webhook-endpoints"
TERMS = ClaimTerms(10, 10, timedelta(seconds=30))


@pytest.fixture
def quick_worker(runtime, clock, monkeypatch):
    """Claims what it can at the last moment before a request reads what it answers; gives a list of what it got."""
    got: list[Any] = []

    async def claim() -> None:
        async with runtime.database.worker_statements() as connection:
            got.extend(await claim_sends(connection, TERMS, clock(), runtime.new_id(), SEND_PACE))
            got.extend(await claim_on(connection, TERMS, clock(), runtime.new_id))

    def after_claiming(read: Any) -> Any:
        async def claim_and_read(*arguments: Any) -> Any:
            await claim()
            return await read(*arguments)

        return claim_and_read

    monkeypatch.setattr(inbox, "read_message", after_claiming(inbox.read_message))
    monkeypatch.setattr(delivery_log, "read_delivery", after_claiming(delivery_log.read_delivery))
    return got


KEYS = pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}], ids=["plain", "with-key"])


@KEYS
async def test_a_message_is_answered_as_queued(api, seeds, quick_worker, headers) -> None:
    path = f"/v1/conversations/{await seeds.conversation()}/messages"
    status, message = await api.post(path, {"text": "hola"}, headers=headers)

    assert (status, message["status"], quick_worker) == (202, "QUEUED", [])


@KEYS
async def test_a_test_is_answered_as_pending(api, quick_worker, headers) -> None:
    _, endpoint = await api.post(ENDPOINTS, ENDPOINT)
    status, delivery = await api.post(f"{ENDPOINTS}/{endpoint['id']}/test", headers=headers)

    assert (status, delivery["status"], delivery["attempts"], quick_worker) == (202, "PENDING", [], [])


@KEYS
async def test_a_redelivery_is_answered_as_pending(api, seeds, admin, quick_worker, headers) -> None:
    await api.post(ENDPOINTS, ENDPOINT)
    await seeds.event()
    await admin.execute("update webhook_deliveries set status = 'EXHAUSTED', due_at = null")
    _, page = await api.get(DELIVERIES)
    status, delivery = await api.post(f"{DELIVERIES}/{page['data'][0]['id']}/redeliver", headers=headers)

    assert (status, delivery["status"], delivery["attempts"], quick_worker) == (202, "PENDING", [], [])
