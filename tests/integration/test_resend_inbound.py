"""A mail through Resend from the signed hint to the stored message and its file: a real gateway, a real database, the
guarded downloads, and the stand-in.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from channels.base import Channel, ChannelAccount, InboundRequest
from channels.downloads import DownloadClient
from channels.egress import EgressClient
from channels.provider_urls import ProviderUrls
from channels.registry import build_adapters
from db.lanes import ClaimTerms, claim_deferred
from gateway.accounts import AccountDirectory
from handlers.accounts import create_account, inbound_url
from handlers.deferred import AskResult, DeferredTools, ask_for_post
from handlers.media import FETCH_LEASE
from handlers.reconcile import reconcile_due
from handlers.runtime import Runtime
from tests.conformance.kits.resend import KIT
from tests.factories import make_distributor
from tests.gateways import serving
from tests.integration.mail_stage import CUSTOMER, StandIn, stand_in
from tests.unit.channels.resend_cases import CREDENTIALS, RECEIVED_ID, TOKEN, fixture
from tests.unit.channels.test_resend_events import MIME

TERMS = ClaimTerms(batch=10, share=10, lease=FETCH_LEASE)


@dataclass
class Inbox:
    """An account at Resend, the gateway that it posts to, and the worker's part of what follows."""

    provider: StandIn
    runtime: Runtime
    client: Any
    account: ChannelAccount
    tools: DeferredTools

    async def post_hint(self) -> int:
        url = inbound_url(self.runtime.public_url, "resend", self.account.id)
        unsigned = KIT.message("any", "")
        hint = replace(unsigned, body=HINT)
        signed = KIT.sign(hint, CREDENTIALS, url, self.runtime.clock())
        path = url.removeprefix(self.runtime.public_url)
        async with self.client.post(path, data=signed.body, headers=signed.headers) as answer:
            return int(answer.status)

    async def work(self) -> list[AskResult]:
        async with self.runtime.database.worker_statements() as connection:
            claimed = await claim_deferred(connection, TERMS, self.runtime.clock(), self.runtime.new_id())
        return [await ask_for_post(self.runtime, self.tools, one) for one in claimed]

    async def rows(self, query: str) -> list[Any]:
        async with self.runtime.database.tenant(self.account.distributor_id) as connection:
            return list(await connection.fetch(query))


HINT = (Path(__file__).parents[1] / "fixtures/channels/resend/received__with_attachment.json").read_bytes()


@pytest.fixture
async def inbox(runtime: Runtime, tmp_path: Path) -> AsyncIterator[Inbox]:
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(stand_in("resend"))
        provider.state.keys.add(CREDENTIALS["api_key"])
        provider.state.held["inbound"] = [{"email": fixture("api/email"), "raw": MIME, "files": {}}]
        urls = ProviderUrls(resend=provider.base)
        adapters = build_adapters(urls, clock=runtime.clock)
        egress = EgressClient()
        stack.push_async_callback(egress.aclose)
        stack.push_async_callback(adapters["resend"].aclose)
        downloads = DownloadClient(egress, trusted=(provider.base,))
        stack.push_async_callback(downloads.aclose)
        client = await stack.enter_async_context(serving(runtime, tmp_path, adapters))
        account = await make_resend_account(runtime, adapters)
        yield Inbox(provider, runtime, client, account, DeferredTools(adapters, downloads, lambda _: 0.0))


async def make_resend_account(runtime: Runtime, adapters: Any) -> ChannelAccount:
    tenant = await make_distributor(runtime)
    record = await create_account(
        runtime,
        adapters,
        tenant,
        channel=Channel.EMAIL,
        provider="resend",
        address=KIT.address,
        credentials=CREDENTIALS,
        settings={},
    )
    account = await AccountDirectory(runtime).read(record.id)
    assert account is not None
    return account


async def test_a_hint_becomes_a_message_with_its_file(inbox: Inbox):
    assert await inbox.post_hint() == 200
    assert await inbox.rows("select from messages") == []

    assert await inbox.work() == [AskResult.STORED]

    (message,) = await inbox.rows(
        "select m.*, e.body from messages m join inbound_events e on e.id = m.inbound_event_id"
    )
    (contact,) = await inbox.rows("select address from customer_contacts")
    (file,) = await inbox.rows("select * from attachments")
    assert (message["text"], contact["address"]) == ("2 cases cola", CUSTOMER)
    stored = InboundRequest("POST", "", CIMultiDict(), message["body"])
    adapter: Any = inbox.tools.adapters["resend"]
    assert adapter.read_part(inbox.account, stored, file["url"]).content.startswith(b"%PDF")
    (item,) = adapter.parse(inbox.account, stored)
    assert (item.provider_key, item.thread.reply_tokens) == (RECEIVED_ID, (TOKEN,))


async def test_a_hint_that_comes_twice_is_one_message(inbox: Inbox):
    assert [await inbox.post_hint(), await inbox.post_hint()] == [200, 200]

    assert await inbox.work() == [AskResult.STORED]
    assert await inbox.post_hint() == 200
    assert await inbox.work() == []

    assert len(await inbox.rows("select from messages")) == 1


async def test_a_mail_that_resend_has_not_got_yet_comes_later(inbox: Inbox):
    mails = inbox.provider.state.held.pop("inbound")
    await inbox.post_hint()
    assert await inbox.work() == [AskResult.POSTPONED]

    inbox.provider.state.held["inbound"] = mails
    clock: Any = inbox.runtime.clock
    clock.advance(3600)

    assert await inbox.work() == [AskResult.STORED]
    assert len(await inbox.rows("select from messages")) == 1


async def test_a_mail_whose_hint_was_lost_is_found_by_asking(inbox: Inbox):
    clock: Any = inbox.runtime.clock
    clock.advance(3600)
    (mail,) = inbox.provider.state.held["inbound"]
    mail["email"]["created_at"] = (clock() - timedelta(minutes=10)).isoformat()

    await reconcile_due(inbox.runtime, inbox.tools, lambda *_: None)
    assert await inbox.work() == [AskResult.STORED]
    assert await inbox.post_hint() == 200
    assert await inbox.work() == []

    (message,) = await inbox.rows("select text from messages")
    assert message["text"] == "2 cases cola"
