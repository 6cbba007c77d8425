"""The Twilio adapter sends, and finds what it sent, over real HTTP against the sandbox."""

import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from twilio.http import AsyncHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from channels.abilities import SentLookup
from channels.base import Attachment, Channel, MessageStatus, OutboundMessage
from channels.errors import (
    BadCredentials,
    ContentRefused,
    GatewayError,
    InvalidRecipient,
    OptedOut,
    OutcomeUnknown,
    ProviderUnavailable,
    Throttled,
    WindowClosed,
)
from channels.provider_urls import ProviderUrls
from channels.registry import build_adapters
from channels.twilio import TwilioAdapter
from channels.twilio_send import status_callback
from tests.fakes import FakeClock
from tests.integration.sandbox_stage import CUSTOMER, SERVICE, SHORT, staged
from tests.unit.channels.twilio_cases import ACCOUNT_SID, OUR_MESSAGE, TOKEN, account


@pytest.fixture
async def stage():
    async with staged() as stage:
        yield stage


# sending


async def test_a_message_is_sent_and_its_statuses_come_back_signed(stage):
    sender = account()

    receipt = await stage.adapter.send(sender, stage.message())
    await stage.state.settle()

    assert receipt.provider_message_id.startswith("SM")
    assert receipt.provider_status == "queued"
    updates = []
    for request in stage.posts:
        stage.adapter.verify(sender, request)
        updates += stage.adapter.parse(sender, request)
    assert [update.status for update in updates] == [MessageStatus.SENT, MessageStatus.DELIVERED]
    assert {update.message_id for update in updates} == {OUR_MESSAGE}
    assert {update.provider_message_id for update in updates} == {receipt.provider_message_id}


async def test_whatsapp_is_read_too_and_media_are_repeated_fields(stage):
    files = [Attachment(f"https://files.example.test/{n}.jpg", "image/jpeg") for n in (1, 2)]

    receipt = await stage.adapter.send(account(Channel.WHATSAPP), stage.message("", Channel.WHATSAPP, files))
    await stage.state.settle()

    form = parse_qs(stage.requests[0][2].decode())
    assert form["To"] == ["whatsapp:" + CUSTOMER]
    assert form["From"] == ["whatsapp:+15550002222"]
    assert form["MediaUrl"] == [file.url for file in files]
    assert "Body" not in form
    assert stage.state.message(ACCOUNT_SID, receipt.provider_message_id).status == "read"


async def test_a_messaging_service_takes_the_place_of_the_sender(stage):
    receipt = await stage.adapter.send(account(messaging_service_sid=SERVICE), stage.message())
    await stage.state.settle()

    form = parse_qs(stage.requests[0][2].decode())
    assert form["MessagingServiceSid"] == [SERVICE]
    assert "From" not in form
    assert receipt.provider_status == "accepted"
    assert len(stage.posts) == 3  # queued, sent, delivered


async def test_the_request_is_authorised_by_the_account(stage):
    await stage.adapter.send(account(), stage.message())

    with pytest.raises(BadCredentials) as caught:
        await stage.adapter.send(account(auth_token="another-token"), stage.message())

    assert caught.value.provider_code == "20003"
    assert len(stage.state.messages) == 1


FAULT_CASES = [
    ("429", Throttled, "20429", False),
    ("503", OutcomeUnknown, "20503", False),
    ("500", OutcomeUnknown, "20500", False),
    ("502", OutcomeUnknown, None, False),
    ("500_taken", OutcomeUnknown, "20500", True),
    ("garbage", OutcomeUnknown, None, True),
    ("drop", OutcomeUnknown, None, True),
    ("drop_untaken", OutcomeUnknown, None, False),
    ("21610", OptedOut, "21610", False),
    ("63016", WindowClosed, "63016", False),
    ("21211", InvalidRecipient, "21211", False),
    ("21614", InvalidRecipient, "21614", False),
    ("30007", ContentRefused, "30007", False),
    ("63018", Throttled, "63018", False),
    ("30410", ProviderUnavailable, "30410", False),
    ("21606", BadCredentials, "21606", False),
    ("99999", ContentRefused, "99999", False),
]


@pytest.mark.parametrize(("fault", "kind", "code", "taken"), FAULT_CASES, ids=[row[0] for row in FAULT_CASES])
async def test_faults_become_typed_errors_after_one_request(stage, fault, kind, code, taken):
    await stage.fault(fault)

    with pytest.raises(GatewayError) as caught:
        await stage.adapter.send(account(), stage.message())

    assert type(caught.value) is kind
    assert caught.value.provider_code == code
    assert len([request for request in stage.requests if request[1].endswith("Messages.json")]) == 1
    assert bool(stage.state.messages) is taken
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert CUSTOMER not in str(caught.value)


async def test_throttled_says_when_to_come_back(stage):
    await stage.fault("429", retry_after=17)

    with pytest.raises(Throttled) as caught:
        await stage.adapter.send(account(), stage.message())

    assert caught.value.retry_after == 17


@pytest.mark.parametrize(("fault", "taken"), [("hang", True), ("hang_untaken", False)])
async def test_no_answer_in_time_is_of_unknown_outcome(fault, taken):
    async with staged(SHORT) as stage:
        await stage.fault(fault)

        with pytest.raises(OutcomeUnknown):
            await stage.adapter.send(account(), stage.message())

        assert bool(stage.state.messages) is taken


async def test_a_closed_port_took_nothing():
    adapter = TwilioAdapter(f"http://127.0.0.1:{unused_port()}")
    message = OutboundMessage(OUR_MESSAGE, Channel.SMS, CUSTOMER, "hi", "https://gw.example.test/status")

    with pytest.raises(ProviderUnavailable):
        await adapter.send(account(), message)

    await adapter.aclose()


@pytest.mark.parametrize("api_url", ["http://nowhere.invalid", "http://[nonsense", "nowhere"])
async def test_a_url_that_leads_nowhere_took_nothing(api_url):
    adapter = TwilioAdapter(api_url)
    message = OutboundMessage(OUR_MESSAGE, Channel.SMS, CUSTOMER, "hi", "https://gw.example.test/status")

    with pytest.raises(ProviderUnavailable):
        await adapter.send(account(), message)

    await adapter.aclose()


async def test_twilio_s_own_checks_reach_us_as_errors(stage):
    with pytest.raises(ContentRefused):
        await stage.adapter.send(account(), stage.message("x" * 1601))
    with pytest.raises(InvalidRecipient):
        await stage.adapter.send(account(), replace(stage.message(), recipient="+1"))
    with pytest.raises(BadCredentials):
        await stage.adapter.send(account(), replace(stage.message(), status_url="not a url"))


@pytest.mark.parametrize(
    "body",
    [
        b'{"sid": 5}',
        b'{"sid": "no sid"}',
        b"{}",
        b"[]",
        b"",
        b"\xff\xfe",
        b'{"sid": "SM00000000000000000000000000000001", "date_created": 7}',
    ],
)
async def test_a_success_of_an_odd_form_is_never_a_receipt(body):
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=201, body=body, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    async with TestServer(app) as server:
        adapter = TwilioAdapter(str(server.make_url("/")))
        message = OutboundMessage(OUR_MESSAGE, Channel.SMS, CUSTOMER, "hi", "https://gw.example.test/status")
        with pytest.raises(OutcomeUnknown):
            await adapter.send(account(), message)
        with pytest.raises(ProviderUnavailable):
            await adapter.find_sent(account(), message, FakeClock()(), frozenset())
        await adapter.aclose()


async def test_a_given_session_stays_open(stage):
    async with aiohttp.ClientSession() as session:
        adapters = build_adapters(ProviderUrls(twilio=str(stage.sandbox.make_url("/"))), session)
        adapter = adapters["twilio"]
        assert isinstance(adapter, TwilioAdapter)
        assert isinstance(adapter, SentLookup)

        await adapter.send(account(), stage.message())
        await adapter.aclose()

        assert not session.closed


def test_the_status_callback_carries_our_id_once():
    message = OutboundMessage(OUR_MESSAGE, Channel.SMS, CUSTOMER, "hi", "")

    once = status_callback("https://gw.example.test/in/twilio/x/status", message)

    assert once == f"https://gw.example.test/in/twilio/x/status?message={OUR_MESSAGE}#rc=5&rp=all"
    assert status_callback(once, message) == once
    assert status_callback("https://h/s?a=1", message).startswith(f"https://h/s?a=1&message={OUR_MESSAGE}#")


# the lookup


@pytest.mark.parametrize("fault", ["drop", "garbage", "500_taken"])
async def test_a_taken_send_is_found(stage, fault):
    since = stage.clock()
    await stage.fault(fault)
    with pytest.raises(OutcomeUnknown):
        await stage.adapter.send(account(), stage.message())

    found = await stage.adapter.find_sent(account(), stage.message(), since, frozenset())

    assert found is not None
    assert found.provider_message_id == stage.state.messages[0].sid


async def test_a_send_that_was_not_taken_is_not_found(stage):
    since = stage.clock()
    await stage.fault("drop_untaken")
    with pytest.raises(OutcomeUnknown):
        await stage.adapter.send(account(), stage.message())

    assert await stage.adapter.find_sent(account(), stage.message(), since, frozenset()) is None


@pytest.mark.parametrize("credentials", [{}, {"messaging_service_sid": SERVICE}], ids=["number", "service"])
async def test_the_lookup_tells_messages_apart(stage, credentials):
    sender = account(**credentials)
    same = stage.message("the same text")
    await stage.adapter.send(sender, same)
    stage.clock.advance(3600)
    since = stage.clock()
    known = await stage.adapter.send(sender, same)
    await stage.adapter.send(sender, stage.message("another text"))
    await stage.adapter.send(sender, replace(same, recipient="+14155550199"))
    await stage.inbound(body="the same text")

    assert await stage.adapter.find_sent(sender, same, since, frozenset({known.provider_message_id})) is None

    stage.clock.advance(1)
    lost = await stage.adapter.send(sender, same)
    found = await stage.adapter.find_sent(sender, same, since, frozenset({known.provider_message_id}))
    assert found is not None
    assert found.provider_message_id == lost.provider_message_id


@pytest.mark.parametrize(("ahead", "found"), [(0, True), (290, True), (310, False)])
async def test_our_clock_may_be_minutes_ahead_of_twilios(stage, ahead: int, found: bool):
    await stage.adapter.send(account(), stage.message())
    since = stage.clock() + timedelta(seconds=ahead)

    receipt = await stage.adapter.find_sent(account(), stage.message(), since, frozenset())

    assert (receipt is not None) is found


async def test_another_services_message_of_the_same_words_is_not_ours(stage):
    """Another account of the tenant, with a service of its own, wrote the same to the same customer."""
    since = stage.clock()
    await stage.adapter.send(account(messaging_service_sid=SERVICE), stage.message())
    other = account(messaging_service_sid="MG" + "ab" * 16)

    assert await stage.adapter.find_sent(other, stage.message(), since, frozenset()) is None


async def test_a_message_that_twilio_received_is_not_one_that_it_sent(stage):
    """Two numbers of one Twilio account write to each other: the list shows the recipient's copy as well."""
    since = stage.clock()
    copy = stage.message("the same text")
    await stage.inbound(**{"from": account().address, "to": CUSTOMER, "body": copy.text})

    assert await stage.adapter.find_sent(account(), copy, since, frozenset()) is None


async def test_a_lookup_that_fails_is_temporary(stage):
    await stage.adapter.aclose()
    adapter = TwilioAdapter(f"http://127.0.0.1:{unused_port()}")

    with pytest.raises(ProviderUnavailable):
        await adapter.find_sent(account(), stage.message(), stage.clock(), frozenset())

    await adapter.aclose()


class OfficialTransport(AsyncHttpClient):
    """Carries Twilio's own client to the sandbox."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        super().__init__(logging.getLogger("official"), is_async=True)
        self._session = session
        self._base_url = base_url.rstrip("/")

    async def request(self, method, url, params=None, data=None, headers=None, auth=None, **_more):  # type: ignore[override]
        address = self._base_url + url.removeprefix("https://api.twilio.com")
        login = {"Authorization": aiohttp.encode_basic_auth(*auth)}
        async with self._session.request(
            method, address, params=params, data=data, headers={**headers, **login}
        ) as response:
            return Response(response.status, await response.text())


async def test_the_official_client_reads_what_we_sent(stage):
    for number in range(5):
        await stage.adapter.send(account(), stage.message(f"text {number}"))
    async with aiohttp.ClientSession() as session:
        transport = OfficialTransport(session, str(stage.sandbox.make_url("/")))
        client: Any = Client(ACCOUNT_SID, TOKEN, http_client=transport, environment={"TWILIO_EDGE": ""})
        listed = await client.messages.list_async(to=CUSTOMER, page_size=2)

    assert [sent.body for sent in listed] == [f"text {number}" for number in (4, 3, 2, 1, 0)]
