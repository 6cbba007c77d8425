"""Posts that only told of something: asked for until they are had, stored as if they had been posted, once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from channels.abilities import Downloads
from channels.base import (
    Attachment,
    ChannelAccount,
    ConsentChange,
    ConsentUpdate,
    DeferredPost,
    Ignored,
    InboundItem,
    InboundRequest,
    MessageStatus,
    StatusUpdate,
    SuppressionReason,
)
from channels.errors import BadCredentials, ContentRefused, NotThere, ProviderUnavailable
from db.lanes import OLDEST_POST, ClaimedPost, ClaimTerms, claim_deferred
from handlers.deferred import AskResult, DeferredTools, ask_for_post
from handlers.fetching import WAITS
from handlers.inbound import Posted, accept_deferred, deferred_item
from handlers.media import FETCH_LEASE
from handlers.outbound import queue_message
from handlers.runtime import Runtime
from tests.factories import CUSTOMER_NUMBER, inbound, make_account, make_distributor
from tests.fakes import FakeClock
from tests.media_stage import deferred_tools

TERMS = ClaimTerms(batch=10, share=10, lease=FETCH_LEASE)
FETCHED = b"the whole mail"


class Hinting:
    """A provider whose post is a hint; ``script`` holds what asking raises or gives, the last for ever."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.asked: list[InboundRequest] = []

    async def fetch_deferred(
        self, account: ChannelAccount, request: InboundRequest, downloads: Downloads
    ) -> tuple[InboundRequest, tuple[InboundItem, ...]]:
        self.asked.append(request)
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, BaseException):
            raise answer
        return InboundRequest("POST", request.url, request.headers, FETCHED), answer


@dataclass
class Hints:
    """A tenant's account and its hints."""

    runtime: Runtime
    clock: FakeClock
    account: ChannelAccount

    async def receive(self, key: str = "hint-1") -> None:
        url = f"{self.runtime.public_url}/in/twilio/{self.account.id}?a=b"
        headers = {"X-Kind": "hint", "Authorization": "Basic secret"}
        posted = Posted(self.account, InboundRequest("POST", url, headers, b'{"id": 1}'), self.clock())
        await accept_deferred(self.runtime, [deferred_item(self.runtime, posted, DeferredPost(key))])

    async def claim(self) -> list[ClaimedPost]:
        async with self.runtime.database.worker_statements() as connection:
            return await claim_deferred(connection, TERMS, self.clock(), self.runtime.new_id())

    async def ask(self, tools: DeferredTools) -> list[AskResult]:
        return [await ask_for_post(self.runtime, tools, claimed) for claimed in await self.claim()]

    async def rows(self, query: str) -> Sequence[Any]:
        async with self.runtime.database.tenant(self.account.distributor_id) as connection:
            return await connection.fetch(query)

    async def hint(self) -> Any:
        (row,) = await self.rows("select * from inbound_events where kind = 'deferred'")
        return row


@pytest.fixture
async def hints(runtime: Runtime, clock: FakeClock) -> Hints:
    return Hints(runtime, clock, await make_account(runtime, await make_distributor(runtime)))


def asking(*script: Any) -> tuple[Hinting, DeferredTools]:
    adapter = Hinting(*script)
    return adapter, deferred_tools(adapters={"twilio": adapter})


async def test_what_a_post_told_of_is_had_and_stored(hints: Hints):
    adapter, tools = asking((inbound(attachments=(Attachment("part:1", "application/pdf"),)),))
    await hints.receive()

    assert await hints.ask(tools) == [AskResult.STORED]

    (message,) = await hints.rows(
        "select m.*, e.body from messages m join inbound_events e on e.id = m.inbound_event_id"
    )
    (file,) = await hints.rows(
        "select f.*, e.body from attachments f join inbound_events e on e.id = f.inbound_event_id"
    )
    (request,) = adapter.asked
    assert (message["text"], message["body"], file["body"]) == ("2 cajas de coca 600", FETCHED, FETCHED)
    assert (request.method, request.body) == ("POST", b'{"id": 1}')
    assert request.url == f"{hints.runtime.public_url}/in/twilio/{hints.account.id}?a=b"
    assert request.headers.get("x-kind") == "hint"
    assert "Authorization" not in request.headers
    assert (await hints.hint())["fetch_due_at"] is None
    assert await hints.claim() == []
    (conversation,) = await hints.rows("select turn_due_at from conversations")
    assert conversation["turn_due_at"] == hints.clock() + timedelta(seconds=4)


async def test_everything_that_it_gives_is_stored(hints: Hints):
    _, tools = asking(
        (
            inbound(key="SM1"),
            inbound(key="SM2", text="y agua"),
            ConsentUpdate("c1", CUSTOMER_NUMBER, ConsentChange.OUT, SuppressionReason.UNSUBSCRIBE),
            DeferredPost("hint-2"),
            Ignored("of no use"),
        )
    )
    await hints.receive()

    assert await hints.ask(tools) == [AskResult.STORED]

    assert len(await hints.rows("select from messages")) == 2
    (contact,) = await hints.rows("select opted_out_at from customer_contacts")
    assert contact["opted_out_at"] is not None
    assert len(await hints.rows("select from inbound_events where kind = 'deferred'")) == 2


async def test_a_status_that_was_asked_for_moves_its_message(hints: Hints):
    await hints.receive("hint-1")
    await hints.ask(asking((inbound(),))[1])
    (conversation,) = await hints.rows("select id from conversations")
    ours = await queue_message(hints.runtime, {}, hints.account.distributor_id, conversation["id"], text="ok")
    await hints.receive("hint-2")

    await hints.ask(asking((StatusUpdate("SM9", MessageStatus.DELIVERED, ours),))[1])

    (message,) = await hints.rows("select status from messages where direction = 'OUTBOUND'")
    assert message["status"] == "DELIVERED"


async def test_whoever_is_killed_before_the_end_stores_nothing_twice(hints: Hints):
    adapter, tools = asking((inbound(key="SM1"), inbound(key="SM2")))
    await hints.receive()
    await hints.claim()  # a worker that is killed: it may have stored both
    hints.clock.advance(FETCH_LEASE.total_seconds())
    (slow,) = await hints.claim()
    hints.clock.advance(FETCH_LEASE.total_seconds())

    assert await hints.ask(tools) == [AskResult.STORED]
    assert await ask_for_post(hints.runtime, tools, slow) is AskResult.LOST

    assert len(adapter.asked) == 1
    assert len(await hints.rows("select from messages")) == 2


async def test_a_worker_that_is_overtaken_stores_nothing_twice(hints: Hints):
    items = (inbound(key="SM1"), inbound(key="SM2"))

    class Overtaken(Hinting):
        async def fetch_deferred(
            self, account: ChannelAccount, request: InboundRequest, downloads: Downloads
        ) -> tuple[InboundRequest, tuple[InboundItem, ...]]:
            hints.clock.advance(FETCH_LEASE.total_seconds())
            assert await hints.ask(asking(items)[1]) == [AskResult.STORED]
            return await super().fetch_deferred(account, request, downloads)

    await hints.receive()

    assert await hints.ask(deferred_tools(adapters={"twilio": Overtaken(items)})) == [AskResult.LOST]
    assert len(await hints.rows("select from messages")) == 2


@pytest.mark.parametrize(
    "error", [NotThere(), ProviderUnavailable(), BadCredentials()], ids=lambda error: error.code
)
async def test_it_is_asked_for_three_days_and_then_given_up(hints: Hints, error: Exception):
    adapter, tools = asking(error)
    await hints.receive()
    began, results = hints.clock(), []

    for _ in range(len(WAITS) + 1):
        hints.clock.now = (await hints.hint())["fetch_due_at"]
        results += await hints.ask(tools)

    hint = await hints.hint()
    assert results == [AskResult.POSTPONED] * len(WAITS) + [AskResult.GIVEN_UP]
    assert (hint["fetch_due_at"], hint["fetch_error"]) == (None, error.code)  # type: ignore[attr-defined]
    assert hint["body"] == b'{"id": 1}'
    assert timedelta(days=2) < hints.clock() - began < timedelta(days=4)
    assert len(adapter.asked) == len(WAITS) + 1


async def test_a_provider_that_is_back_gives_it(hints: Hints):
    _, tools = asking(ProviderUnavailable(), (inbound(),))
    await hints.receive()
    first = await hints.ask(tools)
    hints.clock.advance(1)
    second = await hints.ask(tools)

    assert [*first, *second] == [AskResult.POSTPONED, AskResult.STORED]
    assert (await hints.hint())["fetch_error"] is None


async def test_what_will_never_be_had_is_given_up_at_once(hints: Hints):
    _, tools = asking(ContentRefused())
    await hints.receive()

    assert await hints.ask(tools) == [AskResult.GIVEN_UP]
    assert (await hints.hint())["fetch_error"] == "content_refused"


async def test_a_post_that_kills_its_workers_is_given_up(hints: Hints):
    await hints.receive()
    for _ in range(len(WAITS) + 1):
        await hints.claim()
        hints.clock.advance(FETCH_LEASE.total_seconds())

    assert await hints.ask(asking((inbound(),))[1]) == [AskResult.GIVEN_UP]
    assert (await hints.hint())["fetch_error"] == "attempts_exhausted"


@pytest.mark.parametrize("adapters", [{}, {"twilio": object()}], ids=["no adapter", "never asks"])
async def test_a_release_that_cannot_ask_gives_it_up(hints: Hints, adapters: dict[str, object]):
    await hints.receive()

    assert await hints.ask(deferred_tools(adapters=adapters)) == [AskResult.GIVEN_UP]


async def test_a_deleted_account_is_not_asked_for(hints: Hints):
    adapter, tools = asking((inbound(),))
    await hints.receive()
    await hints.rows("update channel_accounts set deleted_at = now()")

    assert await hints.ask(tools) == [AskResult.GIVEN_UP]
    assert adapter.asked == []


async def test_posts_of_long_ago_are_not_looked_for(hints: Hints, monkeypatch: pytest.MonkeyPatch):
    """There is a partition a day. A row's id is its time, by a clock that tests do not move: so the claim's is moved."""
    await hints.receive()
    (found,) = await hints.claim()
    hints.clock.now += OLDEST_POST + timedelta(days=400)

    assert isinstance(found.event_id, UUID)
    assert await hints.claim() == []
