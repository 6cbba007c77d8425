"""What makes work wakes the workers, after its commit; what only reads does not."""

import asyncio
import contextlib

import asyncpg
import pytest

from db.wake import CHANNEL
from gateway.keys import NOTIFIER
from tests.integration.api.seeds import ENDPOINT


@pytest.fixture
async def wakes(http, admin_dsn):
    """Wake-ups as a worker hears them."""
    heard: asyncio.Queue[str] = asyncio.Queue()
    connection = await asyncpg.connect(admin_dsn)
    await connection.add_listener(CHANNEL, lambda *_: heard.put_nowait("woken"))
    task = asyncio.create_task(http.app[NOTIFIER].run())
    yield heard
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await connection.close()


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
async def test_a_message_a_test_and_a_redelivery_wake_the_workers(api, seeds, wakes, headers) -> None:
    conversation = await seeds.conversation()
    _, endpoint = await api.post("/v1/webhook-endpoints", ENDPOINT)
    await asyncio.wait_for(wakes.get(), 5)
    for path, body in (
        (f"/v1/conversations/{conversation}/messages", {"text": "hola"}),
        (f"/v1/webhook-endpoints/{endpoint['id']}/test", {}),
    ):
        assert (await api.post(path, body, headers=headers))[0] == 202
        await asyncio.wait_for(wakes.get(), 5)


async def test_reading_and_refusals_wake_nobody(api, seeds, wakes) -> None:
    await api.get("/v1/products")
    await api.post("/v1/products", {})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wakes.get(), 0.2)
