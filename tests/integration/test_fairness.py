"""Whose work the workers take: every slot is used, by one tenant if nobody else has work."""

import asyncio

from db.wake import Notifier
from gateway.worker import TURNS_AT_ONCE, Worker, WorkerTools
from handlers.ai.types import Extraction, ExtractionRequest, Intent
from handlers.catalogues import CatalogueCache
from handlers.inbound import accept_messages
from handlers.runtime import Runtime
from handlers.turns import TurnTools
from tests.factories import accepted_item, inbound, make_account, make_distributor
from tests.fakes import FakeClock, FakeEngine
from tests.integration.test_deliveries import FakeEgress
from tests.integration.test_turns import extraction
from tests.media_stage import deferred_tools, media_tools


class SlowModel:
    """Answers nobody before it is told to; counts who waits."""

    def __init__(self, enough: int) -> None:
        self.waiting = 0
        self.enough = enough
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def answer(self, _: ExtractionRequest) -> Extraction:
        self.waiting += 1
        if self.waiting == self.enough:
            self.reached.set()
        await self.open.wait()
        return extraction(Intent.OTHER)


async def test_one_tenants_burst_fills_every_slot_of_several_workers(runtime: Runtime, clock: FakeClock):
    account = await make_account(runtime, await make_distributor(runtime))
    messages = [inbound(key=f"SM{number}", sender=f"+1555{number:07}") for number in range(20)]
    await accept_messages(runtime, [accepted_item(runtime, account, message) for message in messages])
    clock.advance(5)
    model = SlowModel(enough=3 * TURNS_AT_ONCE)
    tools = WorkerTools(
        {},
        FakeEgress(),
        TurnTools(FakeEngine(model.answer), CatalogueCache()),
        media_tools(),
        deferred_tools(),
        Notifier(runtime.database),
    )
    workers = [Worker(runtime, tools) for _ in range(3)]
    running = [asyncio.create_task(worker.run()) for worker in workers]

    async with asyncio.timeout(10):
        await model.reached.wait()

    assert model.waiting == 3 * TURNS_AT_ONCE
    model.open.set()
    for worker in workers:
        worker.stop()
    await asyncio.gather(*running)
