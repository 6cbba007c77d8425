"""The WhatsApp Cloud adapter sends, shows typing and fetches files over real HTTP against Meta's stand-in."""

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from multidict import CIMultiDict

from channels.abilities import MediaContent, TextParts
from channels.base import (
    Attachment,
    Channel,
    InboundMessage,
    InboundRequest,
    MessageStatus,
    OutboundMessage,
    OutboundTemplate,
    ReplyButton,
    StatusUpdate,
)
from channels.errors import (
    BadCredentials,
    ContentRefused,
    GatewayError,
    NotThere,
    OptedOut,
    OutcomeUnknown,
    ProviderUnavailable,
    Throttled,
    WindowClosed,
)
from channels.registry import build_adapters
from channels.whatsapp_cloud import WhatsAppCloudAdapter
from gateway.dev.stand_ins.app import StandIns, running_stand_ins, stand_in_urls
from gateway.dev.stand_ins.base import FaultKind, StandInState
from gateway.dev.stand_ins.whatsapp_cloud_posts import (
    BusinessNumber,
    message_post,
    signed_event,
    status_post,
    status_words,
    text_content,
)
from tests.fakes import FakeClock
from tests.unit.channels.whatsapp_cloud_cases import (
    CREDENTIALS,
    CUSTOMER,
    NUMBER_ID,
    OUR_MESSAGE,
    SENT_ID,
    URL,
    USER_ID,
    account,
)

SHORT = aiohttp.ClientTimeout(total=0.3, connect=0.2, sock_connect=0.2)
NUMBER = BusinessNumber("102290129340398", NUMBER_ID, "15550002222")
TEXT = OutboundMessage(OUR_MESSAGE, Channel.WHATSAPP, CUSTOMER, "2 cases are on their way", "")
PDF = Attachment("https://files.example.test/orders/invoice%2042.pdf", "application/pdf")
VOICE = Attachment("https://files.example.test/a.ogg", "audio/ogg; codecs=opus")


@dataclass
class Stage:
    adapter: WhatsAppCloudAdapter
    state: StandInState
    url: str

    async def sent(self, message: OutboundMessage) -> dict[str, Any]:
        """Sends it, and gives what the stand-in took."""
        receipt = await self.adapter.send(account(), message)
        taken = self.state.taken[-1]
        assert receipt.provider_message_id == taken.id
        return dict(taken.document)


@asynccontextmanager
async def staged(limits: aiohttp.ClientTimeout = SHORT):
    stand_ins = StandIns(uuid4, FakeClock())
    async with running_stand_ins(stand_ins) as url:
        state = stand_ins["whatsapp_cloud"]
        state.keys.add(CREDENTIALS["access_token"])
        adapter = WhatsAppCloudAdapter(stand_in_urls(url, "").meta_graph, timeout=limits)
        yield Stage(adapter, state, url)
        await adapter.aclose()


@pytest.fixture
async def stage():
    async with staged(aiohttp.ClientTimeout(total=10)) as stage:
        yield stage


# sending


async def test_buttons_stand_under_a_text(stage):
    buttons = (ReplyButton("yes", "Sí, confirmo"), ReplyButton("no", "Cambiar algo"))
    message = replace(TEXT, buttons=buttons)

    document = await stage.sent(message)

    assert stage.adapter.takes_buttons(message)
    assert (document["type"], document["interactive"]["body"]["text"]) == ("interactive", TEXT.text)
    shown = document["interactive"]["action"]["buttons"]
    assert [(each["reply"]["id"], each["reply"]["title"]) for each in shown] == [
        ("yes", "Sí, confirmo"),
        ("no", "Cambiar algo"),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"text": "x" * 1025},
        {"buttons": tuple(ReplyButton(str(number), str(number)) for number in range(4))},
        {"buttons": (ReplyButton("a", "Sí"), ReplyButton("b", "Sí"))},
        {"buttons": (ReplyButton("a", "x" * 21),)},
    ],
    ids=["long-text", "four", "one-title-twice", "long-title"],
)
async def test_buttons_that_whatsapp_refuses_are_not_offered(stage, change):
    message = replace(TEXT, **{"buttons": (ReplyButton("yes", "Sí"),), **change})

    assert not stage.adapter.takes_buttons(message)
    with pytest.raises(GatewayError):
        await stage.sent(message)


async def test_a_text_is_sent_to_a_number(stage):
    document = await stage.sent(TEXT)

    assert document == {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": CUSTOMER,
        "type": "text",
        "text": {"preview_url": False, "body": "2 cases are on their way"},
        "biz_opaque_callback_data": OUR_MESSAGE.hex,
    }
    assert stage.state.taken[-1].path == f"/whatsapp_cloud/v25.0/{NUMBER_ID}/messages"


async def test_a_user_without_a_number_is_named_by_the_user_id(stage):
    document = await stage.sent(replace(TEXT, recipient=USER_ID))

    assert document["recipient"] == USER_ID
    assert "to" not in document


async def test_a_reply_names_what_it_answers(stage):
    document = await stage.sent(replace(TEXT, reply_to_provider_id=SENT_ID))

    assert document["context"] == {"message_id": SENT_ID}


@pytest.mark.parametrize(
    ("file", "text", "kind", "part"),
    [
        (
            Attachment("https://files.example.test/1.jpg", "image/jpeg"),
            "look",
            "image",
            {"link": "https://files.example.test/1.jpg", "caption": "look"},
        ),
        (
            Attachment("https://files.example.test/1.mp4", "video/mp4"),
            "",
            "video",
            {"link": "https://files.example.test/1.mp4"},
        ),
        (VOICE, "", "audio", {"link": VOICE.url}),
        (
            PDF,
            "your invoice",
            "document",
            {"link": PDF.url, "caption": "your invoice", "filename": "invoice 42.pdf"},
        ),
        (replace(PDF, filename="bill.pdf"), "", "document", {"link": PDF.url, "filename": "bill.pdf"}),
        (
            Attachment("https://files.example.test/1.webp", "image/webp"),
            "",
            "document",
            {"link": "https://files.example.test/1.webp", "filename": "1.webp"},
        ),
    ],
)
async def test_a_file_is_sent_by_its_address(stage, file, text, kind, part):
    document = await stage.sent(replace(TEXT, text=text, attachments=(file,)))

    assert (document["type"], document[kind]) == (kind, part)


async def test_a_file_of_ours_is_uploaded_first(stage):
    content = b"%PDF-1.7 bill" + bytes(3 * 1024 * 1024)
    file = Attachment("", "application/pdf", "bill.pdf", content=content)

    document = await stage.sent(replace(TEXT, text="", attachments=(file,)))

    media_id = document["document"]["id"]
    assert stage.state.held[media_id] == (content, "application/pdf")
    assert document["document"] == {"id": media_id, "filename": "bill.pdf"}


@pytest.mark.parametrize(
    ("variables", "parameters"),
    [
        (
            {"name": "Ana", "order": "A-7"},
            [
                {"type": "text", "parameter_name": "name", "text": "Ana"},
                {"type": "text", "parameter_name": "order", "text": "A-7"},
            ],
        ),
        ({"2": "A-7", "1": "Ana"}, [{"type": "text", "text": "Ana"}, {"type": "text", "text": "A-7"}]),
    ],
)
async def test_a_template_is_sent_with_named_or_numbered_variables(stage, variables, parameters):
    document = await stage.sent(
        replace(TEXT, text="", template=OutboundTemplate("order_ready", "es", variables=variables))
    )

    assert document["template"] == {
        "name": "order_ready",
        "language": {"code": "es"},
        "components": [{"type": "body", "parameters": parameters}],
    }


async def test_a_template_without_variables_has_no_components(stage):
    document = await stage.sent(replace(TEXT, text="", template=OutboundTemplate("hello_world", "en_US")))

    assert document["template"]["components"] == []


def test_long_texts_are_split_where_meta_would_refuse_them():
    adapter = WhatsAppCloudAdapter()
    text = "palabra " * 1000

    parts = adapter.split_text(Channel.WHATSAPP, text)

    assert isinstance(adapter, TextParts)
    assert "".join(parts) == text
    assert max(map(len, parts)) <= 4096
    assert adapter.split_text(Channel.WHATSAPP, "x" * 4096) == ("x" * 4096,)


@pytest.mark.parametrize(
    "message",
    [
        replace(TEXT, text="", attachments=(PDF, PDF)),
        replace(TEXT, text="listen", attachments=(VOICE,)),
    ],
)
async def test_what_whatsapp_has_no_form_for_is_refused_and_not_sent(stage, message):
    with pytest.raises(ContentRefused):
        await stage.adapter.send(account(), message)

    assert stage.state.taken == []


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (replace(TEXT, text="x" * 4097), "131009"),
        (replace(TEXT, text=""), "131009"),
        (replace(TEXT, recipient="nobody"), "131009"),
        (replace(TEXT, text="x" * 1025, attachments=(PDF,)), "131009"),
        (replace(TEXT, template=OutboundTemplate("", "es")), "131008"),
    ],
)
async def test_the_stand_in_refuses_what_meta_refuses(stage, message, code):
    with pytest.raises(ContentRefused) as caught:
        await stage.adapter.send(account(), message)

    assert caught.value.provider_code == code
    assert stage.state.taken == []


async def test_a_wrong_token_is_told(stage):
    with pytest.raises(BadCredentials) as caught:
        await stage.adapter.send(account(access_token="EAAJother"), TEXT)

    assert caught.value.provider_code == "190"


@pytest.mark.parametrize(
    ("fault", "kind", "taken"),
    [
        (FaultKind.THROTTLED, Throttled, 0),
        (FaultKind.SERVER_ERROR, OutcomeUnknown, 0),
        (FaultKind.UNAVAILABLE, OutcomeUnknown, 0),
        (FaultKind.TAKEN_THEN_500, OutcomeUnknown, 1),
        (FaultKind.DROP, OutcomeUnknown, 0),
        (FaultKind.TAKEN_THEN_DROP, OutcomeUnknown, 1),
        (FaultKind.HANG, OutcomeUnknown, 0),
        (FaultKind.GARBAGE, OutcomeUnknown, 1),
    ],
)
async def test_faults_are_typed_and_nothing_is_sent_twice(fault, kind, taken):
    async with staged() as stage:
        stage.state.faults.append(fault)

        with pytest.raises(kind):
            await stage.adapter.send(account(), TEXT)

        assert len(stage.state.taken) == taken


async def test_an_api_out_of_reach_took_nothing():
    adapter = WhatsAppCloudAdapter(f"http://127.0.0.1:{unused_port()}", timeout=SHORT)

    with pytest.raises(ProviderUnavailable):
        await adapter.send(account(), TEXT)
    await adapter.aclose()


@asynccontextmanager
async def answering(status, document):
    """An API that gives one answer to everything."""

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(document, status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        adapter = WhatsAppCloudAdapter(str(server.make_url("")), timeout=SHORT)
        yield adapter
        await adapter.aclose()


@pytest.mark.parametrize(
    ("status", "document", "kind"),
    [
        (400, {"error": {"code": 131047}}, WindowClosed),
        (400, {"error": {"code": 131050}}, OptedOut),
        (400, {"error": {"code": 100, "error_subcode": 33}}, BadCredentials),
        (200, {}, OutcomeUnknown),
        (200, {"messages": []}, OutcomeUnknown),
        (200, {"messages": [{"id": ""}, 1]}, OutcomeUnknown),
        (200, [], OutcomeUnknown),
    ],
)
async def test_answers_that_are_no_receipt(status, document, kind):
    async with answering(status, document) as adapter:
        with pytest.raises(kind):
            await adapter.send(account(), TEXT)


@pytest.mark.parametrize(
    ("status", "document", "kind"),
    [
        (500, {}, ProviderUnavailable),
        (200, {}, ProviderUnavailable),
        (400, {"error": {"code": 100}}, ContentRefused),
    ],
)
async def test_an_upload_that_fails_has_sent_nothing(status, document, kind):
    file = Attachment("", "application/pdf", content=b"%PDF")

    async with answering(status, document) as adapter:
        with pytest.raises(kind):
            await adapter.send(account(), replace(TEXT, attachments=(file,)))


async def test_a_lost_upload_is_not_a_lost_message():
    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    app = web.Application()
    app.router.add_post("/{path:.*}", hang_up)
    async with TestServer(app) as server:
        adapter = WhatsAppCloudAdapter(str(server.make_url("")), timeout=SHORT)
        file = Attachment("", "application/pdf", content=b"%PDF")

        with pytest.raises(ProviderUnavailable):
            await adapter.send(account(), replace(TEXT, attachments=(file,)))
        await adapter.aclose()


# typing


async def test_typing_marks_the_customers_message_as_read(stage):
    await stage.adapter.show_typing(account(), CUSTOMER, SENT_ID)

    assert stage.state.taken[-1].document == {
        "messaging_product": "whatsapp",
        "status": "read",
        "message_id": SENT_ID,
        "typing_indicator": {"type": "text"},
    }


async def test_typing_that_is_refused_is_told(stage):
    with pytest.raises(BadCredentials):
        await stage.adapter.show_typing(account(access_token="EAAJother"), CUSTOMER, SENT_ID)


# files


class PlainDownloads:
    """Downloads without a guard: the stand-in is on the loopback."""

    def __init__(self):
        self.asked: list[str] = []

    async def get(self, url, headers=None):
        self.asked.append(url)
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
            if response.status != 200:
                raise NotThere
            return MediaContent(await response.read(), response.content_type)


async def test_a_file_is_fetched_by_its_id_with_the_token(stage):
    stage.state.held["1003383421387256"] = (b"\xff\xd8\xff jpeg", "image/jpeg")
    downloads = PlainDownloads()

    file = await stage.adapter.fetch_media(account(), "media:1003383421387256", downloads)

    assert file == MediaContent(b"\xff\xd8\xff jpeg", "image/jpeg")
    assert downloads.asked == [f"{stage.url}/whatsapp_cloud/files/1003383421387256"]


@pytest.mark.parametrize(
    ("url", "token", "kind"),
    [
        ("media:42", "EAAJtoken-1", BadCredentials),
        ("media:42", "EAAJother", BadCredentials),
        ("media:../106540352242922/messages", "EAAJtoken-1", ContentRefused),
        ("https://elsewhere.example.test/1.jpg", "EAAJtoken-1", ContentRefused),
    ],
)
async def test_files_that_cannot_be_had(stage, url, token, kind):
    downloads = PlainDownloads()

    with pytest.raises(kind):
        await stage.adapter.fetch_media(account(access_token=token), url, downloads)

    assert downloads.asked == []


async def test_a_file_without_an_address_is_asked_for_again():
    async with answering(200, {"id": "42"}) as adapter:
        with pytest.raises(ProviderUnavailable):
            await adapter.fetch_media(account(), "media:42", PlainDownloads())


# what the stand-in posts


def received(document):
    body, headers = signed_event(document, CREDENTIALS["app_secret"])
    request = InboundRequest("POST", URL, CIMultiDict(headers), body)
    adapter = WhatsAppCloudAdapter()
    adapter.verify(account(), request)
    (item,) = adapter.parse(account(), request)
    return item


@pytest.mark.parametrize("sender", [CUSTOMER, USER_ID])
def test_a_customers_message_of_the_stand_in_is_read(sender):
    item = received(
        message_post(NUMBER, sender, SENT_ID, FakeClock()(), text_content("3 cajas de piña / hoy"))
    )

    assert isinstance(item, InboundMessage)
    assert (item.sender, item.text, item.sent_at) == (sender, "3 cajas de piña / hoy", FakeClock()())


@pytest.mark.parametrize("read_at_once", [True, False])
@pytest.mark.parametrize("recipient", [CUSTOMER, USER_ID])
async def test_the_statuses_of_what_was_sent_name_our_message(stage, recipient, read_at_once):
    document = await stage.sent(replace(TEXT, recipient=recipient, part=2, parts=3))
    words = status_words(read_at_once=read_at_once)

    items = [
        received(status_post(NUMBER, document, stage.state.taken[-1].id, word, FakeClock()()))
        for word in words
    ]

    assert all(isinstance(item, StatusUpdate) for item in items)
    assert {(item.message_id, item.part) for item in items} == {(OUR_MESSAGE, 2)}
    assert [item.status for item in items][-1] is MessageStatus.READ
    assert (MessageStatus.DELIVERED in [item.status for item in items]) is not read_at_once


def test_a_failed_status_of_the_stand_in_tells_why():
    document = {"to": CUSTOMER, "biz_opaque_callback_data": UUID(int=7).hex}

    item = received(status_post(NUMBER, document, SENT_ID, "failed", FakeClock()(), error_code=131050))

    assert isinstance(item, StatusUpdate)
    assert (item.message_id, item.error_code, item.opted_out) == (UUID(int=7), "131050", True)


async def test_the_registry_has_the_adapter_with_the_operators_url(stage):
    registered = build_adapters(stand_in_urls(stage.url, ""))["whatsapp_cloud"]

    receipt = await registered.send(account(), TEXT)
    await registered.aclose()

    assert receipt.provider_message_id == stage.state.taken[0].id
