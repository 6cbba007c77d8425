"""A customer's picture over Twilio, from the sandbox's post to the store, with the token where it belongs only."""

from dataclasses import replace
from typing import Any

import pytest

from channels.base import Attachment, ChannelAccount, InboundMessage
from channels.downloads import DownloadClient
from db.accounts import seal_context
from handlers.inbound import Posted, accept_messages, message_item
from handlers.media import FetchResult, MediaTools
from handlers.runtime import Runtime
from tests.factories import make_account, make_distributor
from tests.fakes import FakeClock
from tests.integration.egress_stage import LOOPBACK, Server, client, says
from tests.integration.sandbox_stage import Stage, staged
from tests.integration.test_downloads import FILE, to
from tests.integration.test_media import Inbox
from tests.media_stage import PNG, MemoryStore
from tests.unit.channels.twilio_cases import ACCOUNT_SID, TOKEN

B64 = "iVBORw0KGgo="  # the first bytes of a PNG
CONTENT = b"\x89PNG\r\n\x1a\n"


class Flow:
    """A sandbox, a tenant whose account is there, and what fetching needs, with nothing of loopback allowed but it."""

    def __init__(self, stage: Stage, inbox: Inbox, tools: MediaTools, store: MemoryStore) -> None:
        self.stage, self.inbox, self.tools, self.store = stage, inbox, tools, store

    async def receive(self, *media: dict[str, str], url: str | None = None) -> InboundMessage:
        """The customer's message is stored; ``url`` takes the place of the file's."""
        await self.stage.inbound(
            **{"from": "whatsapp:+14155550123", "to": "whatsapp:+15550002222"}, media=list(media)
        )
        runtime, account = self.inbox.runtime, self.inbox.account
        request = self.stage.posts[-1]
        (message,) = self.stage.adapter.parse(account, request)
        assert isinstance(message, InboundMessage)
        if url is not None:
            message = replace(message, attachments=(Attachment(url, "image/png"),))
        posted = Posted(account, request, runtime.clock())
        await accept_messages(runtime, [message_item(runtime, posted, message, 4.0)])
        return message

    async def fetch(self) -> list[FetchResult]:
        return await self.inbox.fetch(self.tools)


async def make_account_at(runtime: Runtime, token: str) -> ChannelAccount:
    account = await make_account(runtime, await make_distributor(runtime))
    credentials: dict[str, Any] = {"account_sid": ACCOUNT_SID, "auth_token": token}
    sealed = runtime.sealer.seal_json(credentials, seal_context(account.distributor_id, account.id))
    async with runtime.database.tenant(account.distributor_id) as connection:
        await connection.execute("update channel_accounts set credentials_sealed = $1", sealed)
    return replace(account, credentials=credentials)


@pytest.fixture
async def flow(runtime: Runtime, clock: FakeClock, request):
    token, allow = getattr(request, "param", (TOKEN, ()))
    async with staged() as stage, client(allow=allow) as egress:
        downloads = DownloadClient(egress, [str(stage.sandbox.make_url("/"))])
        store = MemoryStore()
        tools = MediaTools({"twilio": stage.adapter}, downloads, store)
        yield Flow(stage, Inbox(runtime, clock, await make_account_at(runtime, token)), tools, store)
        await downloads.aclose()


async def test_a_picture_comes_from_the_sandbox_into_the_store(flow: Flow):
    await flow.receive({"content_type": "image/png", "content_base64": B64})

    assert await flow.fetch() == [FetchResult.STORED]

    row = await flow.inbox.row()
    assert flow.store.files[row["store_key"]][0] == CONTENT
    assert row["sniffed_type"] == "image/png"


async def test_a_picture_that_twilio_has_not_got_yet_is_had_a_moment_later(flow: Flow):
    await flow.receive({"content_type": "image/png", "content_base64": B64})
    held = dict(flow.stage.state.media)
    flow.stage.state.media.clear()
    first = await flow.fetch()
    flow.stage.state.media.update(held)
    flow.inbox.clock.advance(1)
    second = await flow.fetch()

    assert [*first, *second] == [FetchResult.POSTPONED, FetchResult.STORED]


@pytest.mark.parametrize("flow", [("another token", ())], indirect=True)
async def test_a_wrong_token_is_waited_for(flow: Flow):
    await flow.receive({"content_type": "image/png", "content_base64": B64})

    assert await flow.fetch() == [FetchResult.POSTPONED]
    assert (await flow.inbox.row())["error_class"] == "bad_credentials"


@pytest.mark.parametrize("flow", [(TOKEN, LOOPBACK)], indirect=True)
async def test_another_host_gets_no_credentials(flow: Flow):
    async with Server(says(FILE)) as canary:
        await flow.receive(
            {"content_type": "image/png", "content_base64": B64},
            url=canary.url(path=f"/2010-04-01/Accounts/{ACCOUNT_SID}/Messages/MM1/Media/ME1"),
        )
        assert await flow.fetch() == [FetchResult.STORED]

    assert b"GET /2010-04-01" in canary.received
    assert b"uthorization" not in canary.received


async def test_a_private_address_in_a_post_is_not_reached(flow: Flow):
    async with Server(says(FILE)) as canary:
        await flow.receive({"content_type": "image/png", "content_base64": B64}, url=canary.url())
        assert await flow.fetch() == [FetchResult.UNAVAILABLE]

    assert canary.connections == 0
    assert (await flow.inbox.row())["error_class"] == "egress_blocked"


async def test_a_redirect_to_a_private_address_is_not_followed(flow: Flow):
    async with (
        Server(says(FILE)) as canary,
        Server(says(to(canary.url()))) as api,
        client(allow=()) as egress,
    ):
        downloads = DownloadClient(egress, [api.url(path="")])
        await flow.receive({"content_type": "image/png", "content_base64": B64}, url=api.url())
        tools = replace(flow.tools, downloads=downloads)
        assert await flow.inbox.fetch(tools) == [FetchResult.UNAVAILABLE]
        await downloads.aclose()

    assert canary.connections == 0
    assert PNG not in [content for content, _ in flow.store.files.values()]
