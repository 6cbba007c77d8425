"""kill -9 of the worker between every two steps of a turn, a send and a delivery: nothing lost, no second reply."""

import asyncio
import multiprocessing
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from channels.base import Attachment, ChannelAccount
from channels.registry import build_adapters
from db.endpoints import secrets_context
from gateway.dev.receiver import Receiver, serve_receiver
from gateway.dev.sandbox import STATE, build_sandbox, running_sandbox
from gateway.dev.sandbox_state import Media
from handlers.inbound import accept_messages
from handlers.outbound import queue_message
from handlers.runtime import Runtime, new_uuid7, utc_now
from handlers.webhooks.signing import EndpointSecret, dump_secrets, new_secret
from tests.acceptance.crashing_worker import build_worker, work_until_step
from tests.factories import (
    TWILIO_CREDENTIALS,
    accepted_item,
    inbound,
    make_account,
    make_distributor,
    make_endpoint,
    make_product,
)
from tests.media_stage import PNG
from tests.servers import MASTER_KEY

# Past every lease, so that what a dead worker held is claimed at once.
LATER = timedelta(seconds=200)
UNREACHABLE = "http://127.0.0.1:9"  # status callbacks go nowhere: receipts and look-ups alone must do
MOST_STEPS = 400
Begin = Callable[[int], Awaitable[UUID]]
Check = Callable[[UUID, int], Awaitable[None]]
FINISHED_WITHIN = 20.0
NO_TURN_SECONDS = 3600.0
LONG_TEXT = "Estimado cliente, su pedido sale mañana. " * 100  # three messages


@dataclass
class Scene:
    """The servers around the worker, and the database they are judged by."""

    runtime: Runtime
    dsn: str
    sandbox: Any
    sandbox_url: str
    receiver: Receiver
    receiver_url: str
    admin: Any
    folder: Path  # of files

    async def order_arrives(self, number: int) -> ChannelAccount:
        """A tenant of its own, whose customer (of their own number: the provider is one for all) has just ordered."""
        tenant = await make_distributor(self.runtime)
        account = await make_account(self.runtime, tenant)
        await make_product(self.runtime, tenant, "COCA-600", "Coca-Cola 600 ml", aliases=["coca 600"])
        endpoint = await make_endpoint(
            self.runtime, tenant, ["order.created", "message.sent"], f"{self.receiver_url}/hook"
        )
        secret = new_secret(bytes)
        self.receiver.set_secrets([secret])
        sealed = self.runtime.sealer.seal_json(
            dump_secrets([EndpointSecret(secret)]), secrets_context(tenant, endpoint)
        )
        await self.admin.execute(
            "update webhook_endpoints set secrets_sealed = $1 where id = $2", sealed, endpoint
        )
        await accept_messages(
            self.runtime,
            [
                accepted_item(
                    self.runtime,
                    account,
                    inbound("2 cajas de coca 600", sender=f"+1555000{number:04}"),
                    quiet=0,
                )
            ],
        )
        return account

    async def long_text_is_queued(self, number: int) -> UUID:
        """A tenant of its own, whose person has just written more than fits into one message; gives the tenant."""
        tenant = await make_distributor(self.runtime)
        account = await make_account(self.runtime, tenant)
        message = inbound("hola", sender=f"+1555000{number:04}")
        await accept_messages(
            self.runtime, [accepted_item(self.runtime, account, message, quiet=NO_TURN_SECONDS)]
        )
        conversation = await self.admin.fetchval(
            "select id from conversations where distributor_id = $1", tenant
        )
        await self.admin.execute("update conversations set turn_due_at = null where id = $1", conversation)
        adapters = build_adapters()
        await queue_message(self.runtime, adapters, tenant, conversation, text=LONG_TEXT)
        await adapters["twilio"].aclose()
        return tenant

    async def picture_arrives(self, number: int) -> UUID:
        """A tenant of its own, whose customer has just sent a picture; gives the tenant."""
        tenant = await make_distributor(self.runtime)
        account = await make_account(self.runtime, tenant)
        sids = TWILIO_CREDENTIALS["account_sid"], f"ME{number:032}"
        self.sandbox[STATE].media[sids[1]] = Media(sids[0], "MM1", "image/png", utc_now(), PNG)
        path = "/2010-04-01/Accounts/{}/Messages/MM1/Media/{}".format(*sids)
        message = inbound(attachments=(Attachment(self.sandbox_url + path, "image/png"),))
        item = accepted_item(self.runtime, account, message, quiet=NO_TURN_SECONDS)
        await accept_messages(self.runtime, [item])
        await self.admin.execute(
            "update conversations set turn_due_at = null where distributor_id = $1", tenant
        )
        return tenant

    async def is_finished(self, tenant: UUID) -> bool:
        finished: bool = await self.admin.fetchval(
            "select not exists (select from conversations where distributor_id = $1 and turn_due_at is not null)"
            " and not exists (select from messages where distributor_id = $1 and send_due_at is not null)"
            " and not exists (select from webhook_deliveries where distributor_id = $1 and due_at is not null)"
            " and not exists (select from attachments where distributor_id = $1 and fetch_due_at is not null)",
            tenant,
        )
        return finished

    async def wait_until_finished_or_dead(self, tenant: UUID, process: Any) -> bool:
        """True if the worker finished, False if it died first."""
        async with asyncio.timeout(FINISHED_WITHIN):
            while process.is_alive():
                if await self.is_finished(tenant):
                    return True
                await asyncio.sleep(0.02)
        return False

    async def recover(self, tenant: UUID) -> None:
        """A healthy worker, when the leases of the dead one have run out."""
        worker, stack = await build_worker(
            self.dsn,
            self.sandbox_url,
            UNREACHABLE,
            MASTER_KEY,
            self.folder,
            lambda: datetime.now(UTC) + LATER,
        )
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(FINISHED_WITHIN):
            while not await self.is_finished(tenant):  # noqa: ASYNC110 - another process's commit has no event
                await asyncio.sleep(0.02)
        worker.stop()
        await running
        await stack.aclose()

    async def assert_nothing_lost_or_doubled(self, tenant: UUID, step: int) -> None:
        rows = await self.admin.fetch(
            "select id, direction, status, ai_processed from messages where distributor_id = $1", tenant
        )
        orders = await self.admin.fetch("select id, status from orders where distributor_id = $1", tenant)
        deliveries = await self.admin.fetch(
            "select event_id, status from webhook_deliveries where distributor_id = $1", tenant
        )
        ours = {str(row["id"]) for row in rows if row["direction"] == "OUTBOUND"}
        at_provider = [
            sent
            for sent in self.sandbox[STATE].messages
            if any(mine in (sent.callback or "") for mine in ours)
        ]
        received = {item.id for item in self.receiver.received if item.verified}
        assert [row["direction"] for row in sorted(rows, key=lambda row: row["id"])] == [
            "INBOUND",
            "OUTBOUND",
        ], step
        assert all(row["ai_processed"] for row in rows), step
        assert {row["status"] for row in rows} == {"RECEIVED", "SENT"}, step
        assert [order["status"] for order in orders] == ["PENDING"], step
        assert len(at_provider) == 1, f"step {step}: {len(at_provider)} replies at the provider"
        assert len(deliveries) == 2, step
        assert {delivery["status"] for delivery in deliveries} == {"SUCCESS"}, step
        assert {f"evt_{delivery['event_id'].hex}" for delivery in deliveries} <= received, step

    async def assert_each_part_left_once(self, tenant: UUID, step: int) -> None:
        row = await self.admin.fetchrow(
            "select id, status, parts from messages where distributor_id = $1 and direction = 'OUTBOUND'",
            tenant,
        )
        kept = await self.admin.fetch(
            "select distinct part, provider_message_id from message_status_events"
            " where distributor_id = $1 and message_id = $2 order by part",
            tenant,
            row["id"],
        )
        sent = [held for held in self.sandbox[STATE].messages if str(row["id"]) in (held.callback or "")]
        assert (row["status"], row["parts"]) == ("SENT", 3), step
        assert "".join(held.body for held in sent) == LONG_TEXT, step
        assert [tuple(known) for known in kept] == [
            (number, held.sid) for number, held in enumerate(sent, 1)
        ], step

    async def assert_one_file(self, tenant: UUID, step: int) -> None:
        rows = await self.admin.fetch(
            "select state, store_key from attachments where distributor_id = $1", tenant
        )
        files = [path for path in (self.folder / str(tenant)).rglob("*") if path.is_file()]
        assert [row["state"] for row in rows] == ["STORED"], step
        assert [f"{tenant}/{path.name}" for path in files] == [row["store_key"] for row in rows], step
        assert [path.read_bytes() for path in files] == [PNG], step


@asynccontextmanager
async def open_scene(runtime: Runtime, dsn: str, admin_dsn: str, folder: Path) -> AsyncIterator[Scene]:
    """The servers, in real time, for as long as the block runs."""
    real_time = Runtime(
        runtime.database,
        runtime.sealer,
        utc_now,
        new_uuid7,
        runtime.random,
        runtime.webhook_schedule,
        UNREACHABLE,
    )
    credentials = {TWILIO_CREDENTIALS["account_sid"]: TWILIO_CREDENTIALS["auth_token"]}
    sandbox = build_sandbox(credentials, new_id=new_uuid7, clock=utc_now)
    admin = await asyncpg.connect(admin_dsn)
    async with running_sandbox(sandbox) as sandbox_url, serve_receiver() as (receiver_url, receiver):
        yield Scene(real_time, dsn, sandbox, sandbox_url, receiver, receiver_url, admin, folder)
    await admin.close()


@pytest.fixture
async def scene(runtime: Runtime, runtime_dsn: str, admin_dsn: str, tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_scene(runtime, runtime_dsn, admin_dsn, tmp_path) as scene:
        yield scene


async def kill_at_every_step(scene: Scene, begin: Begin, check: Check) -> int:
    """Plays a scenario again and again, its worker killed at the first step, the second, …, until it ends before; gives
    back how many workers were killed.
    """
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.acceptance.crashing_worker"])
    killed = 0
    for step in range(1, MOST_STEPS):
        tenant = await begin(step)
        arguments = (scene.dsn, scene.sandbox_url, UNREACHABLE, MASTER_KEY, scene.folder, utc_now, step)
        worker = processes.Process(target=work_until_step, args=arguments)
        worker.start()
        finished = await scene.wait_until_finished_or_dead(tenant, worker)
        worker.kill()
        worker.join()
        if not finished:
            assert worker.exitcode == -signal.SIGKILL
            killed += 1
            await scene.recover(tenant)
        await check(tenant, step)
        if finished:
            break
    return killed


@pytest.mark.timeout(240)
async def test_a_worker_killed_at_any_step_loses_and_doubles_nothing(scene: Scene):
    async def begin(step: int) -> UUID:
        return (await scene.order_arrives(step)).distributor_id

    killed = await kill_at_every_step(scene, begin, scene.assert_nothing_lost_or_doubled)

    assert killed >= 30, "the scenario must have many steps to be killed at"


@pytest.mark.timeout(240)
async def test_a_worker_killed_between_two_parts_of_a_text_loses_and_doubles_none(scene: Scene):
    killed = await kill_at_every_step(scene, scene.long_text_is_queued, scene.assert_each_part_left_once)

    assert killed >= 30, "the scenario must have many steps to be killed at"


@pytest.mark.timeout(240)
async def test_a_worker_killed_at_any_step_of_a_fetch_leaves_one_file_and_one_row(scene: Scene):
    killed = await kill_at_every_step(scene, scene.picture_arrives, scene.assert_one_file)

    assert killed >= 8, "before and after the lease, the download, the store and the row"
