"""What the Twilio adapter can beside plain texts: templates, parts, typing, and telling what it received."""

import base64
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest

from channels.abilities import (
    FewFiles,
    MediaContent,
    MediaSource,
    Reconcilable,
    SentLookup,
    ShowsTyping,
    TextParts,
)
from channels.base import Attachment, Channel, InboundMessage, MessageType, OutboundTemplate
from channels.errors import BadCredentials, ContentRefused, OutcomeUnknown, ProviderUnavailable
from channels.twilio_send import status_callback
from tests.integration.sandbox_stage import CUSTOMER, SERVICE, staged
from tests.unit.channels.twilio_cases import OUR_MESSAGE, account

TEMPLATE = OutboundTemplate("order_ready", "es", "HX" + "ab" * 16, {"1": "Ana", "2": "20 cajas"})


@pytest.fixture
async def stage():
    async with staged() as stage:
        yield stage


def sent_form(stage: Any) -> dict[str, list[str]]:
    return parse_qs(stage.requests[0][2].decode())


def test_the_adapter_says_what_it_can(stage):
    for ability in (SentLookup, TextParts, FewFiles, ShowsTyping, MediaSource, Reconcilable):
        assert isinstance(stage.adapter, ability)
    assert stage.adapter.files_at_once(Channel.SMS) == 10
    assert stage.adapter.files_at_once(Channel.WHATSAPP) == 1


# templates


@pytest.mark.parametrize("channel", [Channel.SMS, Channel.WHATSAPP])
async def test_a_template_goes_by_its_content_sid(stage, channel):
    message = replace(stage.message("Hola Ana: 20 cajas", channel), template=TEMPLATE)

    receipt = await stage.adapter.send(account(channel), message)

    form = sent_form(stage)
    assert form["ContentSid"] == [TEMPLATE.provider_template_id]
    assert json.loads(form["ContentVariables"][0]) == {"1": "Ana", "2": "20 cajas"}
    assert "Body" not in form
    assert receipt.provider_message_id.startswith("SM")


async def test_a_template_without_variables_names_none(stage):
    await stage.adapter.send(account(), replace(stage.message(), template=replace(TEMPLATE, variables={})))

    assert "ContentVariables" not in sent_form(stage)


async def test_a_template_that_twilio_does_not_know_is_not_sent(stage):
    unknown = replace(TEMPLATE, provider_template_id=None)
    with pytest.raises(ContentRefused):
        await stage.adapter.send(account(), replace(stage.message(), template=unknown))
    assert stage.requests == []

    wrong = replace(TEMPLATE, provider_template_id="HX1")
    with pytest.raises(ContentRefused) as caught:
        await stage.adapter.send(account(), replace(stage.message(), template=wrong))
    assert caught.value.provider_code == "21655"


async def test_a_template_of_unknown_outcome_is_found_by_its_variables(stage):
    since = stage.clock()
    message = replace(stage.message("what we think it says"), template=TEMPLATE)
    other = replace(message, template=replace(TEMPLATE, variables={"1": "Eva", "2": "20 cajas"}))
    await stage.adapter.send(account(), other)
    await stage.fault("drop")
    with pytest.raises(OutcomeUnknown):
        await stage.adapter.send(account(), message)

    found = await stage.adapter.find_sent(account(), message, since, frozenset())

    assert found is not None
    assert found.provider_message_id == stage.state.messages[1].sid


# parts


async def test_a_part_names_itself_in_its_callback(stage):
    message = replace(stage.message(), part=2, parts=3)

    await stage.adapter.send(account(), message)
    await stage.state.settle()

    updates = [update for post in stage.posts for update in stage.adapter.parse(account(), post)]
    assert {(update.message_id, update.part) for update in updates} == {(OUR_MESSAGE, 2)}


def test_a_message_that_is_whole_names_no_part(stage):
    assert "part" not in status_callback("https://gw.example.test/s", stage.message())


@pytest.mark.parametrize("part", ["0", "-1", "100", "x", "\u0663", ""])
async def test_a_part_that_is_none_is_not_taken_for_one(stage, part):
    message = replace(
        stage.message(), status_url=stage.url(f"/in/twilio/x/status?message={OUR_MESSAGE}&part={part}")
    )

    await stage.adapter.send(account(), message)
    await stage.state.settle()

    assert stage.adapter.parse(account(), stage.posts[0])[0].part is None


async def test_a_long_text_leaves_in_parts_that_twilio_takes(stage):
    text = "Estimado cliente, su pedido 😀. " * 200
    parts = stage.adapter.split_text(Channel.SMS, text)
    for part in parts:
        await stage.adapter.send(account(), stage.message(part))

    assert "".join(held.body for held in stage.state.messages) == text
    assert len(parts) == 4


async def test_a_part_is_found_whatever_blanks_twilio_leaves_of_it(stage):
    since = stage.clock()
    await stage.adapter.send(account(), stage.message("first part.\n\n"))
    stage.state.messages[0].body = "first part."

    assert await stage.adapter.find_sent(account(), stage.message("first part.\n\n"), since, frozenset())


# typing


async def test_typing_is_shown_for_a_whatsapp_message(stage):
    said = await stage.inbound(
        **{"from": "whatsapp:" + CUSTOMER, "to": "whatsapp:+15550002222", "body": "hola"}
    )

    await stage.adapter.show_typing(account(Channel.WHATSAPP), CUSTOMER, said["message_sid"])
    await stage.adapter.show_typing(account(Channel.SMS), CUSTOMER, said["message_sid"])

    assert stage.state.typing == [said["message_sid"]]
    (asked,) = [body for method, path, body in stage.requests if path == "/v3/Indicators/Typing.json"]
    assert json.loads(asked) == {"channel": "WHATSAPP", "messageId": said["message_sid"]}


async def test_typing_that_twilio_refuses_is_an_error(stage):
    with pytest.raises(BadCredentials):
        await stage.adapter.show_typing(account(Channel.WHATSAPP, auth_token="another"), CUSTOMER, "SM1")
    with pytest.raises(BadCredentials):  # 20404: no such message
        await stage.adapter.show_typing(account(Channel.WHATSAPP), CUSTOMER, "SM1")


# what it received


async def held(
    stage: Any, channel: Channel = Channel.SMS, since: Any = None, **credentials: Any
) -> list[InboundMessage]:
    posts = stage.adapter.list_held(account(channel, **credentials), since or stage.clock(), Nothing())
    items = [item async for post in posts for item in post.items]
    assert all(isinstance(item, InboundMessage) for item in items)
    return items


class Nothing:
    async def get(self, url: str, headers: Any = None) -> MediaContent:
        raise AssertionError(url)


async def test_what_twilio_received_reads_like_what_it_posted(stage):
    image = {"content_type": "image/png", "content_base64": base64.b64encode(b"png").decode()}
    await stage.inbound(body="2 cajas")
    await stage.inbound(body="", media=[image, image])
    posted = [stage.adapter.parse(account(), post)[0] for post in stage.posts]

    found = await held(stage)

    for mine, theirs in zip(found, posted, strict=True):
        assert mine.sent_at == stage.clock()
        assert replace(mine, sent_at=None) == theirs
    assert [len(message.attachments) for message in found] == [0, 2]
    assert found[1].type is MessageType.IMAGE


async def test_the_oldest_comes_first_whatever_the_pages(stage, monkeypatch):
    monkeypatch.setattr("channels.twilio_held.PAGE", 3)
    for number in range(10):
        await stage.inbound(body=f"{number}", lost=True)
        stage.clock.advance(1)

    found = await held(stage, since=stage.clock() - timedelta(seconds=8))

    assert [message.text for message in found] == [f"{number}" for number in range(2, 10)]
    pages = [path for method, path, _ in stage.requests if method == "GET"]
    assert len(pages) == 4
    assert "Page=3" in pages[-1]


async def test_only_the_accounts_own_messages_are_told(stage):
    await stage.adapter.send(account(), stage.message())
    await stage.inbound(body="another number", to="+15550009999")
    await stage.inbound(**{"from": "whatsapp:" + CUSTOMER, "to": "whatsapp:+15550002222", "body": "whatsapp"})
    await stage.inbound(**{"from": "+15550002222", "body": "its own echo"})
    await stage.inbound(body="sms")

    assert [message.text for message in await held(stage)] == ["sms"]
    assert [message.text for message in await held(stage, Channel.WHATSAPP)] == ["whatsapp"]


async def test_a_messaging_service_is_told_of_all_its_numbers(stage):
    await stage.inbound(body="to the pool", to="+15550009999")
    stage.state.messages[0].service = SERVICE
    await stage.inbound(body="to nobody of ours", to="+15550008888")
    await stage.inbound(body="to the number itself")

    found = await held(stage, messaging_service_sid=SERVICE)

    assert [message.text for message in found] == ["to the pool", "to the number itself"]


@pytest.mark.parametrize("page", [{}, {"messages": 5}, {"messages": [{}]}, {"messages": [{"sid": "no sid"}]}])
async def test_a_list_of_an_odd_form_is_a_fault(stage, monkeypatch, page):
    monkeypatch.setattr("gateway.dev.sandbox.listing", lambda *_: page)

    with pytest.raises(ProviderUnavailable):
        await held(stage)


# files


@pytest.mark.parametrize(
    ("url", "authorised"),
    [
        ("https://api.twilio.com/2010-04-01/Accounts/AC1/Messages/MM1/Media/ME1", True),
        ("https://mcs.us1.twilio.com/x", True),
        ("http://api.twilio.com/x", False),
        ("https://api.twilio.com.example.test/x", False),
        ("https://eviltwilio.com/x", False),
        ("SANDBOX/2010-04-01/x", True),
    ],
)
async def test_files_are_asked_for_with_credentials_at_twilio_only(stage, url, authorised):
    asked: list[tuple[str, Any]] = []

    class Keeps:
        async def get(self, url: str, headers: Any = None) -> MediaContent:
            asked.append((url, headers))
            return MediaContent(b"png", "image/png")

    url = url.replace("SANDBOX/", str(stage.sandbox.make_url("/")))
    content = await stage.adapter.fetch_media(account(), url, Keeps())

    assert content.content == b"png"
    assert asked[0][0] == url
    assert ("Authorization" in asked[0][1]) is authorised


async def test_several_files_of_a_whatsapp_message_would_lose_all_but_one(stage):
    """Why ``files_at_once`` is 1 there."""
    files = [Attachment(f"https://files.example.test/{n}.jpg", "image/jpeg") for n in (1, 2)]

    await stage.adapter.send(account(Channel.WHATSAPP), stage.message("", Channel.WHATSAPP, files))
    await stage.adapter.send(account(), stage.message("", Channel.SMS, files))

    assert [len(held.media) for held in stage.state.messages] == [1, 2]
