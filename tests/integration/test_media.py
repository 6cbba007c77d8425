"""Files of messages: fetched, looked into, kept once; whatever becomes of them, their message stays."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest

from channels.abilities import MediaContent
from channels.base import Attachment, ChannelAccount, InboundRequest
from channels.errors import (
    BadCredentials,
    ContentRefused,
    DeliveryFault,
    EgressBlocked,
    FaultClass,
    GatewayError,
    LookupsBusy,
    MalformedPayload,
    NotThere,
    ProviderUnavailable,
    ScannerUnavailable,
    StoreUnavailable,
    Throttled,
    TooLarge,
)
from db.lanes import ClaimedFile, ClaimTerms, claim_media
from handlers import media
from handlers.fetching import WAITS
from handlers.inbound import accept_messages
from handlers.media import FETCH_LEASE, LARGEST_FILE, FetchResult, MediaTools, fetch_file, load_outbound_files
from handlers.media_store import store_key
from handlers.runtime import Runtime
from tests.factories import accepted_item, inbound, make_account, make_distributor
from tests.fakes import FakeClock
from tests.integration.test_plans import administer
from tests.media_stage import PNG, MemoryStore, ScriptedDownloads, media_tools
from tests.unit.test_sniffing import EXE

URL = "https://provider.example/media/1"
TERMS = ClaimTerms(batch=10, share=10, lease=FETCH_LEASE)


@dataclass
class Inbox:
    """A tenant's account and messages with files."""

    runtime: Runtime
    clock: FakeClock
    account: ChannelAccount
    keys: int = field(default=0)

    async def receive(self, *urls: str) -> UUID:
        self.keys += 1
        files = tuple(Attachment(url, "image/png", f"{number}.png") for number, url in enumerate(urls))
        message = inbound(key=f"SM{self.keys}", attachments=files)
        (accepted,) = await accept_messages(
            self.runtime, [accepted_item(self.runtime, self.account, message)]
        )
        assert accepted.message_id is not None
        return accepted.message_id

    async def claim(self) -> list[ClaimedFile]:
        async with self.runtime.database.worker_statements() as connection:
            return await claim_media(connection, TERMS, self.clock(), self.runtime.new_id())

    async def fetch(self, tools: MediaTools) -> list[FetchResult]:
        return [await fetch_file(self.runtime, tools, claimed) for claimed in await self.claim()]

    async def rows(self) -> Sequence[Any]:
        async with self.runtime.database.tenant(self.account.distributor_id) as connection:
            return await connection.fetch("select * from attachments order by position")

    async def row(self) -> Any:
        (row,) = await self.rows()
        return row

    async def messages(self) -> int:
        async with self.runtime.database.tenant(self.account.distributor_id) as connection:
            count: int = await connection.fetchval("select count(*) from messages")
            return count


@pytest.fixture
async def inbox(runtime: Runtime, clock: FakeClock) -> Inbox:
    return Inbox(runtime, clock, await make_account(runtime, await make_distributor(runtime)))


async def test_a_file_is_fetched_and_kept_by_its_content(inbox: Inbox):
    store = MemoryStore()
    await inbox.receive(URL)

    assert await inbox.fetch(media_tools(PNG, store=store)) == [FetchResult.STORED]

    row = await inbox.row()
    key = store_key(inbox.account.distributor_id, sha256(PNG).digest())
    assert (row["state"], row["store_key"], row["size_bytes"]) == ("STORED", key, len(PNG))
    assert (row["sha256"], row["sniffed_type"], row["scanned_at"]) == (
        sha256(PNG).digest(),
        "image/png",
        None,
    )
    assert (row["fetch_due_at"], row["fetch_lease_token"], row["error_class"]) == (None, None, None)
    assert store.files[key][0] == PNG
    assert await inbox.claim() == []


async def test_a_file_that_is_not_there_at_first_is_had_a_moment_later(inbox: Inbox):
    tools = media_tools(NotThere(), NotThere(), PNG)
    await inbox.receive(URL)

    results = []
    for wait in (0, 1, 3):
        inbox.clock.advance(wait - 0.001)
        assert await inbox.claim() == []
        inbox.clock.advance(0.001)
        results += await inbox.fetch(tools)

    assert results == [FetchResult.POSTPONED, FetchResult.POSTPONED, FetchResult.STORED]
    assert (await inbox.row())["fetch_attempts"] == 3


@pytest.mark.parametrize(
    "error",
    [
        NotThere(),
        Throttled(),
        ProviderUnavailable(),
        DeliveryFault(FaultClass.TIMEOUT),
        LookupsBusy(),
        BadCredentials(),
        StoreUnavailable(),
        ScannerUnavailable(),
    ],
    ids=lambda error: error.code,
)
async def test_a_fault_that_may_pass_is_tried_again_for_three_days_and_the_message_stays(
    inbox: Inbox, error: GatewayError
):
    await inbox.receive(URL)
    began, tools, results = inbox.clock(), media_tools(error), []

    for _ in range(len(WAITS) + 1):
        inbox.clock.now = (await inbox.row())["fetch_due_at"]
        results += await inbox.fetch(tools)

    row = await inbox.row()
    assert results == [FetchResult.POSTPONED] * len(WAITS) + [FetchResult.UNAVAILABLE]
    assert (row["state"], row["error_class"], row["fetch_due_at"]) == ("UNAVAILABLE", error.code, None)
    assert timedelta(days=2) < inbox.clock() - began < timedelta(days=4)
    assert await inbox.messages() == 1


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (TooLarge(), "TOO_LARGE"),
        (EgressBlocked(), "UNAVAILABLE"),
        (ContentRefused(), "UNAVAILABLE"),
        (MalformedPayload(), "UNAVAILABLE"),
    ],
    ids=lambda value: str(getattr(value, "code", value)),
)
async def test_a_fault_that_will_not_pass_ends_at_once_and_the_message_stays(
    inbox: Inbox, error: GatewayError, state: str
):
    await inbox.receive(URL)

    assert await inbox.fetch(media_tools(error)) == [FetchResult(state.lower())]

    row = await inbox.row()
    assert (row["state"], row["error_class"], row["store_key"]) == (state, error.code, None)
    assert await inbox.messages() == 1


async def test_a_provider_that_names_a_time_is_waited_for(inbox: Inbox):
    await inbox.receive(URL)
    await inbox.fetch(media_tools(Throttled(retry_after=40.0)))

    assert (await inbox.row())["fetch_due_at"] == inbox.clock() + timedelta(seconds=40)


async def test_a_provider_that_asks_for_a_year_is_asked_within_the_hour(inbox: Inbox):
    await inbox.receive(URL)
    await inbox.fetch(media_tools(Throttled(retry_after=31_536_000.0)))

    assert (await inbox.row())["fetch_due_at"] == inbox.clock() + timedelta(hours=1)


async def test_a_file_over_the_cap_is_not_kept(inbox: Inbox, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(media, "LARGEST_FILE", len(PNG) - 1)
    store = MemoryStore()
    await inbox.receive(URL)

    assert await inbox.fetch(media_tools(PNG, store=store)) == [FetchResult.TOO_LARGE]
    assert store.files == {}
    assert LARGEST_FILE == 25 * 1024 * 1024


async def test_a_program_that_calls_itself_a_picture_is_a_program(inbox: Inbox):
    await inbox.receive(URL)
    await inbox.fetch(media_tools(MediaContent(EXE, "image/png", "photo.png")))

    row = await inbox.row()
    assert row["content_type"] == "image/png"
    assert row["sniffed_type"] == "application/vnd.microsoft.portable-executable"


class Scanner:
    """Finds malware in what holds the word."""

    async def is_clean(self, content: bytes) -> bool:
        return b"malware" not in content


async def test_an_infected_file_is_not_kept(inbox: Inbox):
    store = MemoryStore()
    await inbox.receive(URL)

    results = await inbox.fetch(media_tools(PNG + b"malware", store=store, scanner=Scanner()))

    row = await inbox.row()
    assert results == [FetchResult.INFECTED]
    assert (row["state"], row["store_key"], row["fetch_due_at"]) == ("INFECTED", None, None)
    assert store.files == {}


async def test_a_clean_file_says_when_it_was_looked_at(inbox: Inbox):
    await inbox.receive(URL)
    await inbox.fetch(media_tools(PNG, scanner=Scanner()))

    assert (await inbox.row())["scanned_at"] == inbox.clock()


async def test_what_could_not_be_looked_at_is_not_kept(inbox: Inbox):
    class Away:
        async def is_clean(self, content: bytes) -> bool:
            raise ScannerUnavailable

    store = MemoryStore()
    await inbox.receive(URL)

    assert await inbox.fetch(media_tools(PNG, store=store, scanner=Away())) == [FetchResult.POSTPONED]
    assert store.files == {}


async def test_a_store_that_is_away_is_waited_for(inbox: Inbox):
    store = MemoryStore()
    store.failing = StoreUnavailable()
    await inbox.receive(URL)
    first = await inbox.fetch(media_tools(PNG, store=store))
    store.failing = None
    inbox.clock.advance(1)
    second = await inbox.fetch(media_tools(PNG, store=store))

    assert [*first, *second] == [FetchResult.POSTPONED, FetchResult.STORED]


async def test_whoever_is_killed_between_the_store_and_the_row_leaves_one_file_and_one_row(inbox: Inbox):
    class Killed(MemoryStore):
        async def put(self, key: str, content: bytes) -> None:
            await super().put(key, content)
            if self.puts == 1:
                raise asyncio.CancelledError

    store = Killed()
    await inbox.receive(URL)
    with pytest.raises(asyncio.CancelledError):
        await inbox.fetch(media_tools(PNG, store=store))
    assert (await inbox.row())["state"] == "PENDING"
    assert await inbox.claim() == []  # its lease

    inbox.clock.advance(FETCH_LEASE.total_seconds())
    assert await inbox.fetch(media_tools(PNG, store=store)) == [FetchResult.STORED]

    row = await inbox.row()
    assert list(store.files) == [row["store_key"]]
    assert store.puts == 2


async def test_a_file_that_kills_its_workers_is_given_up(inbox: Inbox):
    await inbox.receive(URL)
    for _ in range(len(WAITS) + 1):
        await inbox.claim()
        inbox.clock.advance(FETCH_LEASE.total_seconds())

    assert await inbox.fetch(media_tools(PNG)) == [FetchResult.UNAVAILABLE]
    assert (await inbox.row())["error_class"] == "attempts_exhausted"


async def test_a_worker_that_lost_its_lease_changes_nothing(inbox: Inbox):
    await inbox.receive(URL)
    (slow,) = await inbox.claim()
    inbox.clock.advance(FETCH_LEASE.total_seconds())
    (quick,) = await inbox.claim()

    late = await fetch_file(inbox.runtime, media_tools(b"another"), slow)
    in_time = await fetch_file(inbox.runtime, media_tools(PNG), quick)

    assert (late, in_time) == (FetchResult.LOST, FetchResult.STORED)
    assert (await inbox.row())["sha256"] == sha256(PNG).digest()


@pytest.mark.parametrize("late", [b"another", NotThere(), TooLarge()], ids=["had", "may come", "too large"])
async def test_a_worker_that_is_overtaken_meanwhile_changes_nothing(inbox: Inbox, late: Any):
    await inbox.receive(URL)
    (slow,) = await inbox.claim()

    class Overtaken(ScriptedDownloads):
        async def get(self, url: str, headers: Any = None) -> MediaContent:
            inbox.clock.advance(FETCH_LEASE.total_seconds())
            assert await inbox.fetch(media_tools(PNG)) == [FetchResult.STORED]
            return await super().get(url, headers)

    await fetch_file(inbox.runtime, MediaTools(media_tools().adapters, Overtaken(late), MemoryStore()), slow)

    row = await inbox.row()
    assert (row["state"], row["sha256"], row["fetch_due_at"]) == ("STORED", sha256(PNG).digest(), None)


async def test_what_takes_too_long_is_tried_again(inbox: Inbox, monkeypatch: pytest.MonkeyPatch):
    class Hanging(ScriptedDownloads):
        async def get(self, url: str, headers: Any = None) -> MediaContent:
            await asyncio.Event().wait()
            raise AssertionError

    monkeypatch.setattr(media, "FETCH_SECONDS", 0.01)
    await inbox.receive(URL)
    tools = media_tools(PNG)

    results = await inbox.fetch(MediaTools(tools.adapters, Hanging(PNG), tools.store))

    assert results == [FetchResult.POSTPONED]
    assert (await inbox.row())["error_class"] == "delivery_fault"


def test_a_lease_outlasts_all_that_a_file_may_take():
    assert timedelta(seconds=media.FETCH_SECONDS + 20) <= FETCH_LEASE


async def test_the_same_bytes_are_kept_once_a_tenant(inbox: Inbox):
    other_account = await make_account(inbox.runtime, await make_distributor(inbox.runtime, "Otra"))
    other = Inbox(inbox.runtime, inbox.clock, other_account)
    store = MemoryStore()
    await inbox.receive(URL, URL + "/2")
    await other.receive(URL)

    results = await inbox.fetch(media_tools(PNG, store=store))  # a claim is across tenants

    assert results == [FetchResult.STORED] * 3
    assert sorted(store.files) == sorted(
        store_key(account.distributor_id, sha256(PNG).digest()) for account in (inbox.account, other_account)
    )
    assert len({row["store_key"] for row in await inbox.rows()}) == 1


async def test_the_tenant_bears_the_cost_of_its_providers_names(inbox: Inbox):
    downloads = ScriptedDownloads(PNG)
    await inbox.receive(URL)
    await inbox.fetch(MediaTools(media_tools(PNG).adapters, downloads, MemoryStore()))

    assert downloads.parties == [("provider", str(inbox.account.distributor_id))]


class InPost:
    """A provider whose files are in its posts."""

    def __init__(self) -> None:
        self.requests: list[tuple[ChannelAccount, InboundRequest, str]] = []

    def read_part(self, account: ChannelAccount, request: InboundRequest, url: str) -> MediaContent:
        self.requests.append((account, request, url))
        return MediaContent(PNG, "image/png")


async def test_a_file_in_the_post_is_read_from_the_stored_post(inbox: Inbox):
    adapter = InPost()
    await inbox.receive("part:1")

    results = await inbox.fetch(media_tools(adapters={"twilio": adapter}))

    ((account, request, url),) = adapter.requests
    assert results == [FetchResult.STORED]
    assert (account.id, url) == (inbox.account.id, "part:1")
    assert account.credentials == inbox.account.credentials
    assert (request.method, request.body) == ("POST", b"Body=x")
    assert request.url == f"{inbox.runtime.public_url}/in/twilio/{inbox.account.id}"


@pytest.mark.parametrize("adapter", [None, object()], ids=["no adapter", "no files in its posts"])
async def test_a_part_that_nobody_can_read_is_given_up(inbox: Inbox, adapter: object):
    await inbox.receive("part:1")

    results = await inbox.fetch(media_tools(adapters={"twilio": adapter} if adapter else {}))

    assert results == [FetchResult.UNAVAILABLE]


async def test_a_part_of_a_post_that_is_not_kept_any_more_is_given_up(inbox: Inbox, admin_dsn: str):
    await inbox.receive("part:1")
    await administer(admin_dsn, "delete from inbound_events")

    assert await inbox.fetch(media_tools(adapters={"twilio": InPost()})) == [FetchResult.UNAVAILABLE]
    assert (await inbox.row())["error_class"] == "malformed_payload"


async def test_a_deleted_accounts_files_are_not_asked_for(inbox: Inbox):
    await inbox.receive(URL)
    async with inbox.runtime.database.tenant(inbox.account.distributor_id) as connection:
        await connection.execute("update channel_accounts set deleted_at = now()")
    downloads = ScriptedDownloads(PNG)

    results = await inbox.fetch(MediaTools(media_tools(PNG).adapters, downloads, MemoryStore()))

    assert results == [FetchResult.UNAVAILABLE]
    assert downloads.asked == []


# outbound


async def test_files_of_a_mail_are_loaded_before_it_leaves():
    downloads = ScriptedDownloads(MediaContent(PNG, "image/png"), MediaContent(b"%PDF-1.7", "text/plain"))
    files = (
        Attachment("https://shop.example/a", "image/x-ours", "a.png"),
        Attachment("https://shop.example/b", "application/octet-stream"),
        Attachment("", "text/plain", content=b"had already"),
    )

    loaded = await load_outbound_files(files, downloads)

    assert [file.content for file in loaded] == [PNG, b"%PDF-1.7", b"had already"]
    assert [file.content_type for file in loaded] == ["image/x-ours", "application/pdf", "text/plain"]
    assert downloads.asked == ["https://shop.example/a", "https://shop.example/b"]


async def test_files_of_a_mail_are_capped_together():
    downloads = ScriptedDownloads(PNG)
    files = [Attachment(f"https://shop.example/{number}", "image/png") for number in range(3)]

    with pytest.raises(TooLarge):
        await load_outbound_files(files, downloads, largest=2 * len(PNG))

    assert len(await load_outbound_files(files, downloads, largest=3 * len(PNG))) == 3
