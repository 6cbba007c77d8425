"""A worker's lanes for files and for posts: what is due is done without being asked."""

import asyncio
from contextlib import asynccontextmanager

from structlog.testing import capture_logs

from channels.base import Attachment, ChannelAccount, DeferredPost
from channels.errors import StoreUnavailable
from db.wake import Notifier
from gateway.worker import Worker, WorkerTools
from handlers.catalogues import CatalogueCache
from handlers.deferred import DeferredTools
from handlers.inbound import accept_deferred, accept_messages, deferred_item
from handlers.media import MediaTools
from handlers.outbound import queue_message
from handlers.runtime import Runtime
from handlers.turns import TurnTools
from tests.factories import accepted_item, inbound, make_account, make_distributor, posted
from tests.fakes import FakeEngine
from tests.integration.test_deferred import Hinting
from tests.integration.test_deliveries import FakeEgress
from tests.media_stage import PNG, MemoryStore, ScriptedDownloads, deferred_tools, media_tools


class Told(MemoryStore):
    """Says when something was put."""

    def __init__(self) -> None:
        super().__init__()
        self.had = asyncio.Event()

    async def put(self, key: str, content: bytes) -> None:
        await super().put(key, content)
        self.had.set()


class Unreachable(MemoryStore):
    """A store that is away."""

    async def put(self, key: str, content: bytes) -> None:
        raise StoreUnavailable


@asynccontextmanager
async def working(runtime: Runtime, media: MediaTools, deferred: DeferredTools):
    turns = TurnTools(FakeEngine(None), CatalogueCache())
    tools = WorkerTools({}, FakeEgress(), turns, media, deferred, Notifier(runtime.database))
    worker = Worker(runtime, tools)
    running = asyncio.create_task(worker.run())
    try:
        async with asyncio.timeout(20):
            yield
    finally:
        worker.stop()
        await running


async def account_of(runtime: Runtime) -> ChannelAccount:
    return await make_account(runtime, await make_distributor(runtime))


async def test_a_file_that_is_due_is_fetched(runtime: Runtime):
    account, store = await account_of(runtime), Told()
    files = (Attachment("https://x.example/1", "image/png"),)
    await accept_messages(runtime, [accepted_item(runtime, account, inbound(attachments=files))])

    async with working(runtime, media_tools(PNG, store=store), deferred_tools()):
        await store.had.wait()

    async with runtime.database.tenant(account.distributor_id) as connection:
        assert await connection.fetchval("select state from attachments") == "STORED"


async def test_a_post_that_is_due_is_asked_for_and_its_file_fetched(runtime: Runtime):
    account, store = await account_of(runtime), Told()
    item = deferred_item(runtime, posted(runtime, account), DeferredPost("hint"))
    await accept_deferred(runtime, [item])
    files = (Attachment("https://x.example/1", "image/png"),)
    deferred = deferred_tools(adapters={"twilio": Hinting((inbound(attachments=files),))})

    with capture_logs() as logs:
        async with working(runtime, media_tools(PNG, store=store), deferred):
            await store.had.wait()

    # Told once, and as done: what is told after the work must not make a failure of it.
    assert [(line["event"], line["post"]) for line in logs if line["event"] in {"post", "work failed"}] == [
        ("post", str(item["inbound_event_id"]))
    ]
    async with runtime.database.tenant(account.distributor_id) as connection:
        assert await connection.fetchval("select count(*) from messages where direction = 'INBOUND'") == 1
        assert await connection.fetchval("select state from attachments") == "STORED"


async def test_one_hanging_source_holds_up_no_other_tenant(runtime: Runtime):
    """The first tenant's burst fills its share and waits for ever."""
    hanging, quick, store = await account_of(runtime), await account_of(runtime), Told()
    burst = tuple(Attachment(f"https://slow.example/{number}", "image/png") for number in range(30))
    await accept_messages(runtime, [accepted_item(runtime, hanging, inbound(attachments=burst))])
    one = (Attachment("https://x.example/1", "image/png"),)
    await accept_messages(runtime, [accepted_item(runtime, quick, inbound(attachments=one))])
    release = asyncio.Event()

    class Slow(ScriptedDownloads):
        async def get(self, url, headers=None):
            if "slow" in url:
                await release.wait()
            return await super().get(url, headers)

    tools = MediaTools(media_tools().adapters, Slow(PNG), store)
    async with working(runtime, tools, deferred_tools()):
        await store.had.wait()
        release.set()

    async with runtime.database.tenant(quick.distributor_id) as connection:
        assert await connection.fetchval("select state from attachments") == "STORED"


async def test_the_log_says_why_a_send_failed_and_a_file_is_put_off(runtime: Runtime):
    """Who reads the log alone must see what to mend: this worker has no adapter and no store that can be reached."""
    account = await account_of(runtime)
    files = (Attachment("https://x.example/1", "image/png"),)
    await accept_messages(runtime, [accepted_item(runtime, account, inbound(attachments=files))])
    async with runtime.database.tenant(account.distributor_id) as connection:
        conversation_id = await connection.fetchval("select id from conversations")
    await queue_message(runtime, {}, account.distributor_id, conversation_id, text="Su pedido sale hoy.")
    told = {"send": asyncio.Event(), "file": asyncio.Event()}

    def note(_logger, _level, line):
        if line["event"] in told:
            told[line["event"]].set()
        return line

    with capture_logs(processors=[note]) as logs:
        async with working(runtime, media_tools(PNG, store=Unreachable()), deferred_tools()):
            await asyncio.gather(*(event.wait() for event in told.values()))

    lines = {line["event"]: line for line in logs}
    assert lines["send"]["result"] == "failed"
    assert lines["send"]["log_level"] == "warning"
    assert lines["send"]["reason"] == "This release has no channel named twilio."
    assert lines["file"]["result"] == "postponed"
    assert lines["file"]["reason"] == "The store of files cannot be used."
