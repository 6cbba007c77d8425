"""Postmark's API over HTTP, by its stand-in: what is sent, what its faults mean, and what it is asked afterwards."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import aiohttp
import pytest

from channels.abilities import Reconcilable, SentLookup
from channels.base import Attachment, InboundMessage
from channels.email_postmark import PostmarkAdapter
from channels.email_postmark_requests import error_of, provider_time
from channels.errors import (
    BadCredentials,
    ContentRefused,
    InvalidRecipient,
    OutcomeUnknown,
    ProviderUnavailable,
    Throttled,
    TooLarge,
)
from channels.provider_api import ApiAnswer
from gateway.dev.stand_ins.base import FaultKind
from tests.integration.mail_stage import CUSTOMER, MAIL, OUR_MESSAGE, PDF, PlainDownloads, message, stand_in
from tests.unit.channels.postmark_cases import account, fixture

TOKEN = "server-token-0001"


@pytest.fixture
async def stage():
    async with stand_in("postmark") as stage:
        stage.state.keys.add(TOKEN)
        yield stage


@pytest.fixture
async def adapter(stage):
    adapter = PostmarkAdapter(stage.base)
    yield adapter
    await adapter.aclose()


async def test_a_mail_is_sent_with_our_id_and_our_headers(stage, adapter):
    receipt = await adapter.send(account(), message(files=(PDF,)))

    (taken,) = stage.state.taken
    assert receipt.provider_message_id == taken.id
    headers = {one["Name"]: one["Value"] for one in taken.document["Headers"]}
    assert taken.document["From"] == '"Acme Orders" <orders@acme.example>'
    assert (taken.document["To"], taken.document["Subject"]) == (CUSTOMER, MAIL.subject)
    assert taken.document["TextBody"] == message().text
    assert taken.document["ReplyTo"] == MAIL.reply_to
    assert taken.document["Metadata"] == {"waystation_message": str(OUR_MESSAGE)}
    assert taken.document["MessageStream"] == "outbound"
    assert headers["Message-ID"] == f"<{MAIL.message_id}>"
    assert headers["In-Reply-To"] == f"<{MAIL.in_reply_to}>"
    assert headers["X-PM-KeepID"] == "true"
    assert headers["Auto-Submitted"].startswith("auto-")
    assert "Reply-To" not in headers
    (file,) = taken.document["Attachments"]
    assert (file["Name"], file["ContentType"]) == ("order.pdf", "application/pdf")
    assert not {"authorization", "x-postmark-server-token"} & {name.lower() for name in taken.headers}


async def test_a_stream_of_the_account_is_used(stage, adapter):
    await adapter.send(account(message_stream="replies"), message())

    assert stage.state.taken[0].document["MessageStream"] == "replies"


async def test_a_file_without_a_name_gets_one_and_an_inline_one_keeps_its_id(stage, adapter):
    await adapter.send(
        account(), message(files=(Attachment("", "image/png", content_id="a@b", content=b"\x89PNG"),))
    )

    (file,) = stage.state.taken[0].document["Attachments"]
    assert (file["Name"], file["ContentID"]) == ("file-1.png", "cid:a@b")


async def test_a_file_that_is_only_named_is_refused_before_anything_is_sent(stage, adapter):
    with pytest.raises(ContentRefused):
        await adapter.send(
            account(), message(files=(Attachment("https://x.example/a.pdf", "application/pdf"),))
        )

    assert not stage.state.taken


@pytest.mark.parametrize(
    ("fault", "error", "taken"),
    [
        (FaultKind.THROTTLED, Throttled, 0),
        (FaultKind.SERVER_ERROR, OutcomeUnknown, 0),
        (FaultKind.UNAVAILABLE, OutcomeUnknown, 0),
        (FaultKind.DROP, OutcomeUnknown, 0),
        (FaultKind.TAKEN_THEN_500, OutcomeUnknown, 1),
        (FaultKind.TAKEN_THEN_DROP, OutcomeUnknown, 1),
        (FaultKind.GARBAGE, OutcomeUnknown, 1),
    ],
)
async def test_after_an_unclear_send_postmark_is_asked(stage, adapter, fault, error, taken):
    stage.state.faults.append(fault)
    since = stage.clock() - timedelta(minutes=1)

    with pytest.raises(error):
        await adapter.send(account(), message())
    found = await adapter.find_sent(account(), message(), since, frozenset())

    found_ids = {found.provider_message_id} if found else set()
    assert found_ids == {one.id for one in stage.state.taken}
    assert len(stage.state.taken) == taken
    other = replace(message(), id=UUID(int=7))
    assert await adapter.find_sent(account(), other, since, frozenset()) is None
    assert await adapter.find_sent(account(), message(), since, frozenset(found_ids)) is None


async def test_an_api_that_is_not_there(stage):
    adapter = PostmarkAdapter("http://127.0.0.1:9")

    with pytest.raises(ProviderUnavailable):
        await adapter.send(account(), message())
    await adapter.aclose()


async def test_a_time_out(stage):
    stage.state.faults.append(FaultKind.HANG)
    async with aiohttp.ClientSession() as session:
        adapter = PostmarkAdapter(stage.base, session, aiohttp.ClientTimeout(total=0.2))
        with pytest.raises(OutcomeUnknown):
            await adapter.send(account(), message())


async def test_refusals(stage, adapter):
    with pytest.raises(BadCredentials):
        await adapter.send(account(server_token="another"), message())
    stage.state.held["inactive"] = {CUSTOMER}
    with pytest.raises(InvalidRecipient) as caught:
        await adapter.send(account(), message())
    assert caught.value.provider_code == "406"
    with pytest.raises(InvalidRecipient):
        await adapter.send(account(), replace(message(), recipient="nobody"))
    with pytest.raises(ContentRefused):
        await adapter.send(account(), message(text=""))
    assert not stage.state.taken


@pytest.mark.parametrize(
    ("status", "code", "creates", "kind"),
    [
        (401, 10, True, BadCredentials),
        (422, 400, True, BadCredentials),
        (422, 401, True, BadCredentials),
        (422, 405, True, BadCredentials),
        (422, 412, True, BadCredentials),
        (422, 413, True, BadCredentials),
        (422, 300, True, ContentRefused),
        (422, 411, True, ContentRefused),
        (422, 406, True, InvalidRecipient),
        (422, 429, True, Throttled),
        (503, 100, True, ProviderUnavailable),
        (429, None, True, Throttled),
        (413, None, True, ContentRefused),
        (500, None, True, OutcomeUnknown),
        (500, None, False, ProviderUnavailable),
        (422, 987654, True, ContentRefused),
        (422, "10", True, ContentRefused),
    ],
)
def test_what_a_code_means(status, code, creates, kind):
    body = (
        b"{}"
        if code is None
        else b'{"ErrorCode": %s}' % (f'"{code}"' if isinstance(code, str) else str(code)).encode()
    )

    error = error_of(ApiAnswer(status, {}, body), creates=creates)

    assert type(error) is kind


async def test_nothing_of_postmark_s_words_is_kept():
    body = b'{"ErrorCode": 300, "Message": "Error parsing \'To\': Illegal email address \'rosa@\'."}'

    error = error_of(ApiAnswer(422, {}, body), creates=True)

    assert type(error) is InvalidRecipient
    assert "rosa" not in str(error)


async def test_what_postmark_holds_comes_under_the_keys_of_its_hook(stage, adapter):
    labels = ["inbound__text", "inbound__two_attachments", "inbound__raw_email_included"]
    stage.state.held["inbound"] = [{"post": fixture(label), "at": stage.clock()} for label in labels]
    stage.state.held["inbound"] += [
        {"post": {**fixture("inbound__unicode"), "Status": "Blocked"}, "at": stage.clock()},
        {"post": fixture("inbound__html_only"), "at": stage.clock() - timedelta(hours=9)},
    ]

    held = [
        one
        async for one in adapter.list_held(account(), stage.clock() - timedelta(hours=1), PlainDownloads())
    ]

    oldest_first = [fixture(label)["MessageID"] for label in reversed(labels)]
    assert [one.items[0].provider_key for one in held] == oldest_first
    assert {one.received_at for one in held} == {datetime(2026, 11, 24, 8, 12, 5, tzinfo=UTC)}
    assert [adapter.parse(account(), one.request) for one in held] == [one.items for one in held]
    assert adapter.read_part(account(), held[1].request, "part:0").content.startswith(b"%PDF")


async def test_what_postmark_holds_comes_page_by_page(stage, adapter):
    post = fixture("inbound__text")
    stage.state.held["inbound"] = [
        {"post": {**post, "MessageID": f"m-{number}"}, "at": stage.clock()} for number in range(201)
    ]

    held = [
        one
        async for one in adapter.list_held(account(), stage.clock() - timedelta(hours=1), PlainDownloads())
    ]

    assert len({one.items[0].provider_key for one in held}) == 201


async def test_of_a_mail_too_large_to_be_fetched_the_list_s_words_are_kept(stage, adapter):
    post = fixture("inbound__two_attachments")
    stage.state.held["inbound"] = [{"post": post, "at": stage.clock()}]
    downloads = PlainDownloads({f"{stage.base}/messages/inbound/{post['MessageID']}/details": TooLarge})

    (held,) = [
        one async for one in adapter.list_held(account(), stage.clock() - timedelta(hours=1), downloads)
    ]

    (item,) = held.items
    assert isinstance(item, InboundMessage)
    assert (item.provider_key, item.sender, item.text) == (post["MessageID"], CUSTOMER, post["Subject"])


async def test_the_searches_need_the_token(stage, adapter):
    with pytest.raises(BadCredentials):
        await adapter.find_sent(account(server_token="another"), message(), stage.clock(), frozenset())
    with pytest.raises(BadCredentials):
        await anext(adapter.list_held(account(server_token="another"), stage.clock(), PlainDownloads()))


def test_what_it_can_be_asked():
    adapter = PostmarkAdapter()

    assert isinstance(adapter, SentLookup)
    assert isinstance(adapter, Reconcilable)


def test_times_are_new_york_s(stage):
    assert (
        provider_time(stage.clock().replace(year=2026, month=1, day=1, hour=3, minute=4, second=5))
        == "2025-12-31T22:04:05"
    )
