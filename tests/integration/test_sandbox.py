"""The Twilio adapter against the sandbox over real HTTP, and both against the provider's own description."""

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl
from uuid import UUID

import aiohttp
import jsonschema
import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestClient, TestServer, unused_port

from channels.base import (
    Attachment,
    Channel,
    InboundMessage,
    InboundRequest,
    MessageStatus,
    OutboundMessage,
    SentLookup,
)
from channels.errors import (
    BadCredentials,
    ContentRefused,
    GatewayError,
    InvalidRecipient,
    OptedOut,
    OutcomeUnknown,
    Permanent,
    ProviderUnavailable,
    Throttled,
    WindowClosed,
)
from channels.registry import build_adapters
from channels.signatures import TWILIO_SIGNATURE
from channels.twilio import TwilioAdapter, status_callback
from channels.twilio_api import Transport, rest_client
from gateway.dev.sandbox import STATE, build_sandbox, running_sandbox
from gateway.dev.sandbox_rules import FAULTS
from tests.fakes import FakeClock
from tests.unit.channels.twilio_cases import ACCOUNT_SID, OUR_MESSAGE, TOKEN, account

SPEC = Path(__file__).parents[2] / ".." / "shared" / "specs" / "twilio_messages.json"
MESSAGES = "/2010-04-01/Accounts/{AccountSid}/Messages.json"
SERVICE = "MG" + "ef" * 16
SHORT = aiohttp.ClientTimeout(total=0.3, connect=0.2, sock_connect=0.2)
CUSTOMER = "+14155550123"

described = pytest.mark.skipif(
    not SPEC.exists(), reason="the provider's description is not beside this repository"
)


@dataclass
class Stage:
    """A sandbox, a gateway's URL that keeps what it is posted, and an adapter between them."""

    sandbox: TestClient[web.Request, web.Application]
    gateway: BaseTestServer
    adapter: TwilioAdapter
    clock: FakeClock
    posts: list[InboundRequest] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)

    @property
    def state(self):
        return self.sandbox.app[STATE]

    def url(self, path: str) -> str:
        return str(self.gateway.make_url(path))

    def message(self, text="2 cases are on their way", channel=Channel.SMS, files=()):
        return OutboundMessage(
            OUR_MESSAGE, channel, CUSTOMER, text, self.url("/in/twilio/x/status"), tuple(files)
        )

    async def fault(self, name: str, times: int = 1, **more: Any) -> None:
        answer = await self.sandbox.post("/sandbox/faults", json={"fault": name, "times": times, **more})
        assert answer.status == 200

    async def inbound(self, **order: Any) -> dict[str, Any]:
        order = {
            "url": self.url("/in/twilio/x"),
            "account_sid": ACCOUNT_SID,
            "from": CUSTOMER,
            "to": "+15550002222",
            **order,
        }
        answer = await self.sandbox.post("/sandbox/inbound", json=order)
        assert answer.status == 200, await answer.text()
        said: dict[str, Any] = await answer.json()
        return said


def basic(login: str, password: str) -> dict[str, str]:
    return {"Authorization": aiohttp.encode_basic_auth(login, password)}


@asynccontextmanager
async def staged(limits: aiohttp.ClientTimeout | None = None):
    clock = FakeClock()
    posts: list[InboundRequest] = []
    answers: list[int] = []
    requests: list[tuple[str, str, bytes]] = []

    async def take(request: web.Request) -> web.Response:
        url = f"http://{request.host}{request.raw_path}"
        posts.append(InboundRequest(request.method, url, request.headers, await request.read()))
        return web.Response(status=answers.pop(0) if answers else 200, text="<Response></Response>")

    @web.middleware
    async def record(request: web.Request, handler: Any) -> web.StreamResponse:
        requests.append((request.method, request.path_qs, await request.read()))
        answer: web.StreamResponse = await handler(request)
        return answer

    gateway_app = web.Application()
    gateway_app.router.add_route("*", "/in/{rest:.*}", take)
    numbers = iter(range(1, 1_000_000))
    app = build_sandbox({ACCOUNT_SID: TOKEN}, new_id=lambda: UUID(int=next(numbers)), clock=clock)
    app.middlewares.append(record)
    async with TestServer(gateway_app) as gateway, TestClient(TestServer(app)) as sandbox:
        api_url = str(sandbox.make_url("/"))
        adapter = TwilioAdapter(api_url, timeout=limits) if limits else TwilioAdapter(api_url)
        yield Stage(sandbox, gateway, adapter, clock, posts, answers, requests)
        await adapter.aclose()


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
    ("503", ProviderUnavailable, "20503", False),
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
    ("99999", Permanent, "99999", False),
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


async def test_a_name_that_does_not_resolve_took_nothing():
    adapter = TwilioAdapter("http://nowhere.invalid")
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
        b'{"sid": "nonsense"}',
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
        adapters = build_adapters(twilio_api_url=str(stage.sandbox.make_url("/")), session=session)
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


async def test_clocks_may_differ_by_seconds(stage):
    receipt = await stage.adapter.send(account(), stage.message())

    near = await stage.adapter.find_sent(
        account(), stage.message(), stage.clock() + timedelta(seconds=4), frozenset()
    )
    far = await stage.adapter.find_sent(
        account(), stage.message(), stage.clock() + timedelta(seconds=6), frozenset()
    )

    assert near is not None
    assert near.provider_message_id == receipt.provider_message_id
    assert far is None


async def test_a_lookup_that_fails_is_temporary(stage):
    await stage.adapter.aclose()
    adapter = TwilioAdapter(f"http://127.0.0.1:{unused_port()}")

    with pytest.raises(ProviderUnavailable):
        await adapter.find_sent(account(), stage.message(), stage.clock(), frozenset())

    await adapter.aclose()


async def test_the_official_client_pages_through_the_list(stage):
    for number in range(5):
        await stage.adapter.send(account(), stage.message(f"text {number}"))
    async with aiohttp.ClientSession() as session:
        transport = Transport(session, str(stage.sandbox.make_url("/")), aiohttp.ClientTimeout(total=5))
        listed = await rest_client(account(), transport).messages.list_async(to=CUSTOMER, page_size=2)

    assert [sent.body for sent in listed] == [f"text {number}" for number in (4, 3, 2, 1, 0)]


# the sandbox's own ways


async def test_an_inbound_message_is_signed_as_twilio_signs(stage):
    said = await stage.inbound(body="2 cases cola & 1 water", url=stage.url("/in/twilio/x?t=1#rc=3"))

    (request,) = stage.posts
    stage.adapter.verify(account(), request)
    (item,) = stage.adapter.parse(account(), request)
    assert isinstance(item, InboundMessage)
    assert (item.text, item.sender, item.provider_key) == (
        "2 cases cola & 1 water",
        CUSTOMER,
        said["message_sid"],
    )
    assert (said["status"], said["body"]) == (200, "<Response></Response>")
    assert request.url.endswith("?t=1")


async def test_inbound_whatsapp_media_can_be_fetched_with_the_account_s_token(stage):
    content = b"\x89PNG..."
    media = [{"content_type": "image/png", "content_base64": base64.b64encode(content).decode()}]

    await stage.inbound(**{"from": "whatsapp:+34600123456", "to": "whatsapp:+15550002222"}, media=media)

    (item,) = stage.adapter.parse(account(Channel.WHATSAPP), stage.posts[0])
    assert isinstance(item, InboundMessage)
    (attachment,) = item.attachments
    async with aiohttp.ClientSession() as session:
        async with session.get(attachment.url) as refused:
            assert refused.status == 401
        async with session.get(attachment.url, headers=basic(ACCOUNT_SID, TOKEN)) as fetched:
            assert await fetched.read() == content
            assert fetched.content_type == "image/png"


async def test_stop_blocks_sends_until_start(stage):
    await stage.inbound(body="Stop", advanced_opt_out=True)
    (item,) = stage.adapter.parse(account(), stage.posts[0])
    assert isinstance(item, InboundMessage)
    assert item.consent == "OUT"

    with pytest.raises(OptedOut):
        await stage.adapter.send(account(), stage.message())
    await stage.inbound(body="START")
    await stage.adapter.send(account(), stage.message())


async def test_a_lost_message_is_on_record_only(stage):
    said = await stage.inbound(body="never arrived", lost=True)

    assert stage.posts == []
    assert stage.state.message(ACCOUNT_SID, said["message_sid"]).direction == "inbound"


async def test_callbacks_are_repeated_as_the_fragment_asks(stage):
    stage.answers += [503, 500, 200]

    await stage.adapter.send(account(), stage.message())
    await stage.state.settle()

    tokens = [request.headers["I-Twilio-Idempotency-Token"] for request in stage.posts]
    assert tokens[0] == tokens[1] == tokens[2] != tokens[3]
    shown = await (await stage.sandbox.get("/sandbox/messages")).json()
    assert shown["pending"] == 0
    assert shown["messages"][0]["callbacks"] == [
        {"status": "sent", "answers": [503, 500, 200]},
        {"status": "delivered", "answers": [200]},
    ]


@pytest.mark.parametrize(
    ("fragment", "tries"), [("", 1), ("#rc=2&rp=4xx", 1), ("#rc=2&rp=5xx", 3), ("#rc=9&rp=all", 6)]
)
async def test_inbound_retries_follow_the_connection_overrides(stage, fragment, tries):
    stage.answers += [500] * 10

    said = await stage.inbound(url=stage.url("/in/twilio/x") + fragment)

    assert said["tries"] == tries == len(stage.posts)


async def test_an_undelivered_message_says_why(stage):
    await stage.fault("undelivered:30005")

    await stage.adapter.send(account(), stage.message())
    await stage.state.settle()

    (last,) = stage.adapter.parse(account(), stage.posts[-1])
    assert last.status is MessageStatus.FAILED
    assert last.error_code == "30005"


async def test_the_back_door_refuses_what_it_does_not_know(stage):
    assert (await stage.sandbox.post("/sandbox/faults", json={"fault": "gremlins"})).status == 422
    assert (await stage.sandbox.post("/sandbox/faults", json={"fault": "500", "times": "x"})).status == 422
    assert (await stage.sandbox.post("/sandbox/inbound", json={"account_sid": "AC0"})).status == 422
    assert (await stage.sandbox.post("/sandbox/inbound", data=b"no json")).status == 422
    assert (await stage.sandbox.post("/sandbox/faults", data=b"no json")).status == 422
    assert (await stage.sandbox.post("/sandbox/accounts", json={"account_sid": "AC1"})).status == 422
    good = {"account_sid": ACCOUNT_SID, "from": CUSTOMER, "to": "+15550002222"}
    wrongs: list[dict[str, Any]] = [
        {"media": 5},
        {"media": [5]},
        {"media": [{"content_type": "image/png"}]},
        {"media": [{"content_type": "image/png", "content_base64": "?"}]},
        {"fields": []},
    ]
    for wrong in wrongs:
        assert (await stage.sandbox.post("/sandbox/inbound", json=good | wrong)).status == 422
    bad_sender = {"account_sid": ACCOUNT_SID, "from": "x", "to": CUSTOMER}
    assert (await stage.sandbox.post("/sandbox/inbound", json=bad_sender)).status == 422


async def test_faults_can_be_taken_back_and_accounts_added(stage):
    await stage.fault("500", times=3)
    assert await (await stage.sandbox.delete("/sandbox/faults")).json() == {"waiting": 0}
    other = {"account_sid": "AC" + "7" * 32, "auth_token": "other-token"}
    assert await (await stage.sandbox.post("/sandbox/accounts", json=other)).json() == {"accounts": 2}

    receipt = await stage.adapter.send(account(Channel.SMS, **other), stage.message())

    path = f"/2010-04-01/Accounts/{other['account_sid']}/Messages/{receipt.provider_message_id}.json"
    own, foreign = (
        basic(other["account_sid"], "other-token"),
        basic(ACCOUNT_SID, TOKEN),
    )
    assert (await stage.sandbox.get(path, headers=own)).status == 200
    assert (await stage.sandbox.get(path, headers=foreign)).status == 404
    assert (await stage.sandbox.get(path)).status == 401
    assert (await stage.sandbox.get(path, headers={"Authorization": "Basic !"})).status == 401


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"To": ""}, 21604),
        ({"To": "not a number"}, 21211),
        ({"From": ""}, 21603),
        ({"From": "not a number"}, 21212),
        ({"From": "whatsapp:+15550002222"}, 21910),
        ({"MessagingServiceSid": "MG1"}, 21705),
        ({"Body": ""}, 21602),
        ({"Body": "x" * 1601}, 21617),
        ({"MediaUrl": "ftp://files.example.test/1"}, 21620),
        ({"MediaUrl": "https://[nonsense/1"}, 21620),
        ({"StatusCallback": "https://under_score.example.test/"}, 21609),
    ],
)
async def test_what_twilio_refuses_the_sandbox_refuses(stage, changes, code):
    form = {"To": CUSTOMER, "From": "+15550002222", "Body": "hi", **changes}

    path = MESSAGES.format(AccountSid=ACCOUNT_SID)
    answer = await stage.sandbox.post(path, data=form, headers=basic(ACCOUNT_SID, TOKEN))

    assert (answer.status, (await answer.json())["code"]) == (400, code)


async def test_more_than_ten_files_are_refused(stage):
    files = [Attachment(f"https://files.example.test/{n}.jpg", "image/jpeg") for n in range(11)]

    with pytest.raises(ContentRefused):
        await stage.adapter.send(account(), stage.message(files=files))


async def test_a_sandbox_runs_on_a_port_of_its_own():
    app = build_sandbox({ACCOUNT_SID: TOKEN}, new_id=lambda: UUID(int=7), clock=FakeClock())
    async with running_sandbox(app) as url:
        adapter = TwilioAdapter(url)
        message = OutboundMessage(OUR_MESSAGE, Channel.SMS, CUSTOMER, "hi", "")
        receipt = await adapter.send(account(), message)
        await adapter.aclose()

    assert receipt.provider_message_id == "SM" + UUID(int=7).hex


async def test_stopping_cuts_what_hangs():
    app = build_sandbox({ACCOUNT_SID: TOKEN}, new_id=lambda: UUID(int=7), clock=FakeClock())
    app[STATE].faults.append(FAULTS["hang"])
    async with running_sandbox(app) as url:
        adapter = TwilioAdapter(url)
        message = OutboundMessage(OUR_MESSAGE, Channel.SMS, CUSTOMER, "hi", "")
        sending = asyncio.create_task(adapter.send(account(), message))
        while not app[STATE].messages:  # noqa: ASYNC110 - the sandbox has no event for it
            await asyncio.sleep(0)

    with pytest.raises(OutcomeUnknown):
        await sending
    await adapter.aclose()


async def test_the_list_is_filtered_by_party_and_date(stage):
    await stage.adapter.send(account(), stage.message())
    await stage.state.settle()
    path = f"/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json"
    day = stage.clock().astimezone(UTC).date()
    cases = {
        ("To", CUSTOMER): 1,
        ("To", "+14155550199"): 0,
        ("From", "+15550002222"): 1,
        ("From", CUSTOMER): 0,
        ("DateSent", str(day)): 1,
        ("DateSent>", f"{day}T00:00:00Z"): 1,
        ("DateSent<", str(day - timedelta(days=1))): 0,
    }
    auth = basic(ACCOUNT_SID, TOKEN)
    for (name, value), count in cases.items():
        listed = await (await stage.sandbox.get(path, params={name: value}, headers=auth)).json()
        assert len(listed["messages"]) == count, (name, value)
    for query in ({"PageSize": "0"}, {"Page": "-1"}, {"DateSent": "yesterday"}):
        assert (await stage.sandbox.get(path, params=query, headers=auth)).status == 400
    assert (await stage.sandbox.get(path)).status == 401


# the provider's description


def _schema(description, part):
    """A JSON schema of a part of the OpenAPI 3.0 document: ``nullable`` written as JSON Schema writes it."""

    def plain(node):
        if isinstance(node, list):
            return [plain(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return plain(description["components"]["schemas"][node["$ref"].rpartition("/")[2]])
        kept = {name: plain(value) for name, value in node.items() if name != "nullable"}
        return {"anyOf": [kept, {"type": "null"}]} if node.get("nullable") is True else kept

    return plain(part)


@described
async def test_requests_and_answers_are_as_twilio_describes_them(stage):
    description = json.loads(SPEC.read_text(encoding="utf-8"))
    operations = description["paths"][MESSAGES]
    answer = operations["post"]["responses"]["201"]["content"]["application/json"]["schema"]
    request = operations["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]
    page = operations["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    files = [Attachment("https://files.example.test/1.jpg", "image/jpeg")]
    await stage.adapter.send(account(), stage.message(files=files))
    await stage.adapter.send(account(messaging_service_sid=SERVICE), stage.message())
    await stage.adapter.find_sent(account(), stage.message(), stage.clock(), frozenset())
    await stage.state.settle()

    for method, target, body in stage.requests:
        if method == "POST":
            _check_form(_schema(description, request), body)
        else:
            _check_query(operations["get"]["parameters"], target)
    auth = basic(ACCOUNT_SID, TOKEN)
    listed = await (
        await stage.sandbox.get(
            MESSAGES.format(AccountSid=ACCOUNT_SID), params={"PageSize": "1"}, headers=auth
        )
    ).json()
    jsonschema.validate(listed, _strict(_schema(description, page)))
    for held in stage.state.messages:
        jsonschema.validate(held.resource(), _strict(_schema(description, answer)))


def _strict(schema):
    """Every described field must be there, and no other."""
    return {**schema, "additionalProperties": False, "required": sorted(schema["properties"])}


def _check_form(schema, body):
    pairs = parse_qsl(body.decode(), keep_blank_values=True)
    arrays = {name for name, part in schema["properties"].items() if part.get("type") == "array"}
    form: dict[str, Any] = {name: value for name, value in pairs if name not in arrays}
    for name, value in pairs:
        if name in arrays:
            form.setdefault(name, []).append(value)
    jsonschema.validate(form, {**schema, "additionalProperties": False})


def _check_query(parameters, target):
    known = {parameter["name"] for parameter in parameters if parameter["in"] == "query"}
    assert set(parse_qs(target.partition("?")[2])) <= known


async def test_signed_headers_are_those_of_twilio(stage):
    await stage.inbound(body="hi")

    headers = stage.posts[0].headers
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert len(base64.b64decode(headers[TWILIO_SIGNATURE])) == 20
