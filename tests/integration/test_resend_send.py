"""Resend's API over HTTP, by its stand-in: what is sent and repeated, what its faults mean, and how received mails come."""

import base64
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import aiohttp
import jsonschema
import pytest

from channels.abilities import Deferring, IdempotentSends, MediaInPost, Reconcilable
from channels.base import Attachment, InboundMessage
from channels.email_resend import ResendAdapter
from channels.email_resend_requests import email_document, error_of
from channels.errors import (
    BadCredentials,
    ContentRefused,
    NotThere,
    OutcomeUnknown,
    ProviderUnavailable,
    Throttled,
    TooLarge,
)
from channels.provider_api import ApiAnswer
from gateway.dev.stand_ins.base import FaultKind
from tests.integration.mail_stage import CUSTOMER, MAIL, OUR_MESSAGE, PDF, PlainDownloads, message, stand_in
from tests.unit.channels.resend_cases import CREDENTIALS, RECEIVED_ID, TOKEN, account, fixture, post
from tests.unit.channels.test_resend_events import MIME

SPEC = Path(__file__).parents[2] / ".." / "shared" / "specs" / "resend_emails.json"
FILE_ID = "2a0c9ce0-3112-4728-976e-47ddcd16a318"


@pytest.fixture
async def stage():
    async with stand_in("resend") as stage:
        stage.state.keys.add(CREDENTIALS["api_key"])
        yield stage


@pytest.fixture
async def adapter(stage):
    adapter = ResendAdapter(stage.base, clock=stage.clock)
    yield adapter
    await adapter.aclose()


def hold(stage, raw=MIME, **changes):
    mail = {
        "email": {**fixture("api/email"), **changes},
        "raw": raw,
        "files": {FILE_ID: b"%PDF-1.4 of the list"},
    }
    stage.state.held.setdefault("inbound", []).append(mail)


def hint():
    return post(fixture("received__with_attachment"))


# sending


async def test_a_mail_is_sent_with_our_id_and_our_headers(stage, adapter):
    receipt = await adapter.send(account(), message(files=(PDF,)))

    (taken,) = stage.state.taken
    assert receipt.provider_message_id == taken.id
    assert taken.headers["Idempotency-Key"] == str(OUR_MESSAGE)
    assert "Authorization" not in taken.headers
    assert taken.document["from"] == '"Acme Orders" <orders@acme.example>'
    assert (taken.document["to"], taken.document["subject"]) == ([CUSTOMER], MAIL.subject)
    assert (taken.document["text"], taken.document["reply_to"]) == (message().text, MAIL.reply_to)
    assert taken.document["tags"] == [{"name": "waystation_message", "value": str(OUR_MESSAGE)}]
    assert taken.document["headers"]["In-Reply-To"] == f"<{MAIL.in_reply_to}>"
    assert taken.document["headers"]["Auto-Submitted"].startswith("auto-")
    (file,) = taken.document["attachments"]
    assert (file["filename"], base64.b64decode(file["content"])) == ("order.pdf", PDF.content)


async def test_our_message_id_goes_out_where_amazon_leaves_it_alone(stage, adapter):
    await adapter.send(account(), message())
    first = replace(message(), id=UUID(int=7), mail=replace(MAIL, in_reply_to=None, references=()))
    await adapter.send(account(), first)

    answered, began = (taken.document["headers"] for taken in stage.state.taken)
    assert "Message-ID" not in answered
    assert answered["References"].split()[0] == f"<{MAIL.references[0]}>"
    assert answered["References"].split()[-1] == began["References"] == f"<{MAIL.message_id}>"


async def test_a_file_that_is_only_named_is_fetched_by_resend(stage, adapter):
    url = "https://gw.example.test/files/a"
    await adapter.send(account(), message(files=(Attachment(url, "image/png", content_id="a@b"),)))

    (file,) = stage.state.taken[0].document["attachments"]
    assert file == {"filename": "file-1.png", "content_type": "image/png", "content_id": "a@b", "path": url}


@pytest.mark.parametrize(
    ("fault", "error", "taken"),
    [
        (FaultKind.THROTTLED, Throttled, 0),
        (FaultKind.SERVER_ERROR, OutcomeUnknown, 0),
        (FaultKind.DROP, OutcomeUnknown, 0),
        (FaultKind.TAKEN_THEN_500, OutcomeUnknown, 1),
        (FaultKind.TAKEN_THEN_DROP, OutcomeUnknown, 1),
        (FaultKind.GARBAGE, OutcomeUnknown, 1),
    ],
)
async def test_after_an_unclear_send_the_same_send_is_made_again(stage, adapter, fault, error, taken):
    stage.state.faults.append(fault)

    with pytest.raises(error) as caught:
        await adapter.send(account(), message())
    assert len(stage.state.taken) == taken
    assert fault is not FaultKind.THROTTLED or caught.value.retry_after == 2
    again = await adapter.send(account(), message())
    assert [again.provider_message_id] == [one.id for one in stage.state.taken]


async def test_another_content_under_the_same_id_is_not_sent(stage, adapter):
    await adapter.send(account(), message())

    with pytest.raises(ContentRefused) as caught:
        await adapter.send(account(), message(text="3 cases"))
    assert caught.value.provider_code == "invalid_idempotent_request"
    assert len(stage.state.taken) == 1


async def test_a_time_out(stage):
    stage.state.faults.append(FaultKind.HANG)
    async with aiohttp.ClientSession() as session:
        adapter = ResendAdapter(stage.base, session, timeout=aiohttp.ClientTimeout(total=0.2))
        with pytest.raises(OutcomeUnknown):
            await adapter.send(account(), message())


async def test_an_api_that_is_not_there():
    adapter = ResendAdapter("http://127.0.0.1:9")

    with pytest.raises(ProviderUnavailable):
        await adapter.send(account(), message())
    await adapter.aclose()


async def test_refusals(stage, adapter):
    with pytest.raises(BadCredentials):
        await adapter.send(account(api_key="another"), message())
    with pytest.raises(ContentRefused):
        await adapter.send(account(), replace(message(), recipient="nobody"))
    with pytest.raises(ContentRefused):
        await adapter.send(account(), message(text=""))
    assert not stage.state.taken


@pytest.mark.parametrize(
    ("status", "name", "creates", "kind"),
    [
        (401, "missing_api_key", True, BadCredentials),
        (401, "restricted_api_key", True, BadCredentials),
        (403, "invalid_api_key", True, BadCredentials),
        (403, "validation_error", True, BadCredentials),
        (422, "validation_error", True, ContentRefused),
        (400, "validation_error", True, ContentRefused),
        (422, "invalid_from_address", True, BadCredentials),
        (422, "invalid_attachment", True, ContentRefused),
        (409, "invalid_idempotent_request", True, ContentRefused),
        (409, "concurrent_idempotent_requests", True, OutcomeUnknown),
        (429, "rate_limit_exceeded", True, Throttled),
        (429, "daily_quota_exceeded", True, Throttled),
        (429, "a_limit_to_come", True, Throttled),
        (451, "security_error", True, ContentRefused),
        (500, "application_error", True, OutcomeUnknown),
        (500, "application_error", False, ProviderUnavailable),
        (418, "an_error_to_come", True, ContentRefused),
    ],
)
def test_what_a_name_means(status, name, creates, kind):
    body = json.dumps({"statusCode": status, "name": name, "message": "of rosa@x.example"}).encode()

    error = error_of(ApiAnswer(status, {}, body), creates=creates)

    assert type(error) is kind
    assert "rosa" not in str(error)


def test_a_key_that_is_none_is_told_by_its_words():
    body = b'{"statusCode": 400, "name": "validation_error", "message": "API key is invalid"}'

    assert type(error_of(ApiAnswer(400, {}, body), creates=False)) is BadCredentials


# receiving


async def test_a_received_mail_is_fetched_with_its_mime(stage, adapter):
    hold(stage)
    downloads = PlainDownloads()

    fetched, items = await adapter.fetch_deferred(account(), hint(), downloads)

    (item,) = items
    assert isinstance(item, InboundMessage)
    assert (item.provider_key, item.sender, item.text) == (RECEIVED_ID, CUSTOMER, "2 cases cola")
    assert item.thread is not None
    assert item.thread.reply_tokens == (TOKEN,)
    assert adapter.parse(account(), fetched) == items
    assert adapter.read_part(account(), fetched, item.attachments[0].url).content.startswith(b"%PDF")
    assert await adapter.fetch_deferred(account(), hint(), downloads) == (fetched, items)


async def test_the_key_goes_to_the_api_and_never_to_the_signed_addresses(stage, adapter):
    hold(stage, raw=None)
    downloads = PlainDownloads()

    await adapter.fetch_deferred(account(), hint(), downloads)

    authorised = {
        url.removeprefix(stage.url).partition("?")[0]: "Authorization" in headers
        for url, headers in downloads.asked
    }
    assert authorised == {
        f"/resend/emails/receiving/{RECEIVED_ID}": True,
        f"/resend/emails/receiving/{RECEIVED_ID}/attachments": True,
        f"/resend/cdn/{RECEIVED_ID}/{FILE_ID}": False,
    }


async def test_without_mime_the_texts_and_the_files_are_fetched(stage, adapter):
    hold(stage, raw=None)

    fetched, items = await adapter.fetch_deferred(account(), hint(), PlainDownloads())

    (item,) = items
    assert isinstance(item, InboundMessage)
    assert item.text.startswith("Yes, all of it please.")
    (file,) = item.attachments
    assert (file.content_type, file.filename) == ("application/pdf", "order.pdf")
    assert adapter.read_part(account(), fetched, file.url).content == b"%PDF-1.4 of the list"


@pytest.mark.parametrize("fault", [TooLarge, NotThere, BadCredentials, ContentRefused])
async def test_a_file_that_cannot_be_had_does_not_lose_the_mail(stage, adapter, fault):
    hold(stage, raw=None)
    downloads = PlainDownloads({f"{stage.url}/resend/cdn/{RECEIVED_ID}/{FILE_ID}?Signature=invented": fault})

    _, items = await adapter.fetch_deferred(account(), hint(), downloads)

    (item,) = items
    assert isinstance(item, InboundMessage)
    assert item.text.startswith("Yes, all of it please.")
    assert item.attachments == ()


async def test_a_mime_that_is_too_large_gives_way_to_the_texts(stage, adapter):
    hold(stage)
    downloads = PlainDownloads({f"{stage.url}/resend/cdn/{RECEIVED_ID}/raw?Signature=invented": TooLarge})

    _, items = await adapter.fetch_deferred(account(), hint(), downloads)

    (item,) = items
    assert isinstance(item, InboundMessage)
    assert item.text.startswith("Yes, all of it please.")


async def test_of_a_mail_too_large_altogether_the_hint_is_kept(stage, adapter):
    downloads = PlainDownloads({f"{stage.base}/emails/receiving/{RECEIVED_ID}?html_format=cid": TooLarge})

    _, items = await adapter.fetch_deferred(account(), hint(), downloads)

    (item,) = items
    assert isinstance(item, InboundMessage)
    assert (item.provider_key, item.sender, item.text) == (RECEIVED_ID, CUSTOMER, "Order for Tuesday")


async def test_a_mail_that_is_not_there_yet_is_asked_for_again(stage, adapter):
    with pytest.raises(NotThere):
        await adapter.fetch_deferred(account(), hint(), PlainDownloads())


async def test_a_mail_of_nobody_is_refused_for_good(stage, adapter):
    hold(stage, raw=None, **{"from": ""}, headers={})
    document = fixture("received__with_attachment")
    document["data"]["from"] = ""

    with pytest.raises(ContentRefused):
        await adapter.fetch_deferred(account(), post(document), PlainDownloads())


async def test_what_resend_holds_comes_as_the_hints_of_its_hook(stage, adapter):
    numbers = range(150)
    for number in numbers:
        created = (stage.clock() - timedelta(minutes=number)).isoformat()
        hold(stage, id=str(UUID(int=1000 + number)), created_at=created)
    since = stage.clock() - timedelta(minutes=119, seconds=30)

    held = [one async for one in adapter.list_held(account(), since, PlainDownloads())]

    keys = [one.items[0].provider_key for one in held]
    assert keys == [f"email:{UUID(int=1000 + number)}" for number in reversed(numbers) if number < 120]
    assert [one.received_at for one in held] == [
        stage.clock() - timedelta(minutes=n) for n in reversed(range(120))
    ]
    _, (item,) = await adapter.fetch_deferred(account(), held[-1].request, PlainDownloads())
    assert isinstance(item, InboundMessage)
    assert item.provider_key == str(UUID(int=1000))


async def test_the_list_needs_the_key(stage, adapter):
    with pytest.raises(BadCredentials):
        await anext(adapter.list_held(account(api_key="another"), stage.clock(), PlainDownloads()))


def test_what_it_can_be_asked():
    adapter = ResendAdapter()

    assert isinstance(adapter, Deferring)
    assert isinstance(adapter, MediaInPost)
    assert isinstance(adapter, Reconcilable)
    assert isinstance(adapter, IdempotentSends)
    assert adapter.repeatable_for == timedelta(hours=24)


# the provider's own description


@pytest.fixture(scope="module")
def spec():
    if not SPEC.exists():
        pytest.skip("the provider's API description is not beside this checkout")
    return json.loads(SPEC.read_text(encoding="utf-8"))


def problems(spec, schema, instance):
    root = {"$ref": f"#/components/schemas/{schema}", "components": spec["components"]}
    validator = jsonschema.Draft202012Validator(root, format_checker=jsonschema.FormatChecker())
    return [error.message[:300] for error in validator.iter_errors(instance)]


@pytest.mark.parametrize("files", [(), (PDF,), (Attachment("https://gw.example.test/a", "image/png"),)])
def test_what_is_sent_is_of_the_described_form(spec, files):
    document = json.loads(email_document(account(), message(files=files)))

    assert problems(spec, "SendEmailRequest", document) == []
    known = spec["components"]["schemas"]["SendEmailRequest"]["properties"]
    assert document.keys() <= known.keys()
    files_known = spec["components"]["schemas"]["Attachment"]["properties"].keys()
    assert all(file.keys() <= files_known for file in document.get("attachments", ()))


async def test_the_stand_in_answers_in_the_described_forms(spec, stage):
    hold(stage)
    headers = {"Authorization": f"Bearer {CREDENTIALS['api_key']}"}
    body = email_document(account(), message())
    received = f"/emails/receiving/{RECEIVED_ID}"
    asked = {
        "/emails/receiving": "ListReceivedEmailsResponse",
        received: "GetReceivedEmailResponse",
        f"{received}/attachments": "ListAttachmentsResponse",
    }
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.post(f"{stage.base}/emails", data=body) as answer:
            assert problems(spec, "SendEmailResponse", await answer.json()) == []
        for path, schema in asked.items():
            async with session.get(stage.base + path) as answer:
                document = await answer.json()
            assert answer.status == 200
            assert problems(spec, schema, document) == []
            assert document["object"] in {"list", "email"}
