"""Mails through Mailgun into the inbox: a real gateway, a real database, the stand-in for what never arrived."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from channels.base import Channel, ChannelAccount
from channels.downloads import DownloadClient
from channels.egress import EgressClient
from channels.provider_urls import ProviderUrls
from channels.registry import build_adapters
from gateway.accounts import AccountDirectory
from gateway.dev.stand_ins.mailgun import hold_mail
from handlers.accounts import create_account, inbound_url
from handlers.deferred import DeferredTools
from handlers.reconcile import Reconciled, reconcile_account, reconcile_due
from handlers.runtime import Runtime
from tests.conformance.kit import Post
from tests.conformance.kits.mailgun import KIT, sign
from tests.factories import make_distributor
from tests.fakes import FakeClock
from tests.gateways import serving
from tests.integration.mail_stage import CUSTOMER, StandIn, stand_in
from tests.mail_forms import urlencoded

HOUR = timedelta(hours=1)


@dataclass
class Inbox:
    """An account at Mailgun, and the gateway that it posts to."""

    provider: StandIn
    runtime: Runtime
    client: Any
    account: ChannelAccount
    tools: DeferredTools

    def signed(self, post: Post) -> Post:
        return sign(post, KIT.credentials, "", self.runtime.clock())

    async def post(self, signed: Post) -> int:
        url = inbound_url(self.runtime.public_url, "mailgun", self.account.id)
        path = url.removeprefix(self.runtime.public_url)
        async with self.client.post(path, data=signed.body, headers=signed.headers) as answer:
            return int(answer.status)

    async def reconcile(self) -> Reconciled:
        return await reconcile_account(
            self.runtime, self.tools, self.account.distributor_id, self.account.id, 2 * HOUR
        )

    async def texts(self) -> list[str]:
        async with self.runtime.database.tenant(self.account.distributor_id) as connection:
            return [row["text"] for row in await connection.fetch("select text from messages order by text")]


@pytest.fixture
async def inbox(runtime: Runtime, tmp_path: Path) -> AsyncIterator[Inbox]:
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(stand_in("mailgun"))
        adapters = build_adapters(ProviderUrls(mailgun=provider.base), clock=runtime.clock)
        stack.push_async_callback(adapters["mailgun"].aclose)
        egress = EgressClient()
        stack.push_async_callback(egress.aclose)
        downloads = DownloadClient(egress, trusted=(provider.base,))
        stack.push_async_callback(downloads.aclose)
        client = await stack.enter_async_context(serving(runtime, tmp_path, adapters))
        record = await create_account(
            runtime, adapters, await make_distributor(runtime), channel=Channel.EMAIL, provider="mailgun",
            address=KIT.address, credentials=KIT.credentials, settings={},
        )  # fmt: skip
        account = await AccountDirectory(runtime).read(record.id)
        assert account is not None
        yield Inbox(provider, runtime, client, account, DeferredTools(adapters, downloads, lambda _: 0.0))


def mail(number: int) -> str:
    return (
        f"From: Rosa <{CUSTOMER}>\r\nTo: {KIT.address}\r\nMessage-ID: <m{number}@tienda-rosa.example>\r\n"
        f"Subject: Order\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{number} cajas de piñas\r\n"
    )


def raw_post(number: int) -> Post:
    """What a route posts in raw mode."""
    headers, body = urlencoded(
        [
            {"name": "recipient", "text": KIT.address},
            {"name": "sender", "text": CUSTOMER},
            {"name": "body-mime", "text": mail(number)},
        ]
    )
    return Post(body, headers)


async def test_a_token_serves_one_body(inbox: Inbox):
    signed = inbox.signed(KIT.message("one", "2 cases of cola"))
    replaced = Post(signed.body.replace(b"2+cases", b"9+cases"), signed.headers)
    assert replaced.body != signed.body

    answers = [await inbox.post(post) for post in (signed, signed, replaced, signed)]

    assert answers == [200, 200, 403, 200]
    assert await inbox.texts() == ["2 cases of cola"]


async def test_the_token_of_a_post_that_says_nothing_serves_no_other_body_either(inbox: Inbox):
    assert KIT.unknown_event is not None
    unknown, mail_post = inbox.signed(KIT.unknown_event), KIT.message("one", "2 cases of cola")
    signature = json.loads(unknown.body)["signature"]
    fields = "".join(f"&{name}={value}" for name, value in signature.items()).encode()
    under_its_token = Post(mail_post.body + fields, mail_post.headers)

    answers = [await inbox.post(post) for post in (unknown, unknown, under_its_token)]

    assert answers == [200, 200, 403]
    assert await inbox.texts() == []


async def test_what_says_nothing_is_refused_under_a_token_that_was_used(inbox: Inbox):
    signed = inbox.signed(KIT.message("one", "2 cases of cola"))
    names = ("timestamp", "token", "signature")
    used = dict(parse_qsl(signed.body.decode()))
    unknown = {"signature": {name: used[name] for name in names}, "event-data": {"event": "of_next_year"}}
    forged = Post(json.dumps(unknown).encode(), {"Content-Type": "application/json"})

    assert [await inbox.post(post) for post in (signed, forged)] == [200, 403]


async def test_a_repeated_mail_under_a_new_token_is_the_same(inbox: Inbox):
    message = KIT.message("one", "2 cases of cola")

    assert [await inbox.post(inbox.signed(message)) for _ in range(2)] == [200, 200]
    assert await inbox.texts() == ["2 cases of cola"]


async def test_what_never_arrived_is_asked_for_and_what_did_is_not_stored_twice(inbox: Inbox):
    now = inbox.runtime.clock()
    for number in range(5):
        hold_mail(
            inbox.provider.state,
            mail(number),
            recipient=KIT.address,
            sender=CUSTOMER,
            at=now - HOUR + timedelta(seconds=number),
        )
    assert [await inbox.post(inbox.signed(raw_post(number))) for number in (1, 3)] == [200, 200]

    first, second = await inbox.reconcile(), await inbox.reconcile()

    assert (first.seen, first.new, first.duplicate) == (5, 3, 2)
    assert (second.seen, second.new, second.duplicate) == (5, 0, 5)
    assert await inbox.texts() == [f"{number} cajas de piñas" for number in range(5)]
    assert await inbox.post(inbox.signed(raw_post(0))) == 200
    assert len(await inbox.texts()) == 5


async def test_the_run_by_the_clock_takes_what_never_arrived_as_of_when_it_came(
    inbox: Inbox, clock: FakeClock
):
    came = clock.now + timedelta(seconds=60)
    hold_mail(inbox.provider.state, mail(1), recipient=KIT.address, sender=CUSTOMER, at=came)
    clock.advance(HOUR.total_seconds())

    new = await reconcile_due(inbox.runtime, inbox.tools, lambda _account, _result: None)

    assert new == 1
    async with inbox.runtime.database.tenant(inbox.account.distributor_id) as connection:
        assert await connection.fetchval("select created_at from messages") == came
