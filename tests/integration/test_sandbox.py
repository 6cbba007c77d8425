"""The sandbox behaves as Twilio does, by its own ways and by the provider's description."""

import asyncio
import base64
import json
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl
from uuid import UUID

import aiohttp
import jsonschema
import pytest

from channels.base import (
    Attachment,
    Channel,
    InboundMessage,
    MessageStatus,
    OutboundMessage,
    OutboundTemplate,
)
from channels.errors import (
    ContentRefused,
    OptedOut,
    OutcomeUnknown,
)
from channels.signatures import TWILIO_SIGNATURE
from channels.twilio import TwilioAdapter
from gateway.dev.sandbox import STATE, build_sandbox, running_sandbox
from gateway.dev.sandbox_rules import FAULTS
from tests.fakes import FakeClock
from tests.integration.sandbox_stage import CUSTOMER, MESSAGES, SERVICE, basic, staged
from tests.unit.channels.twilio_cases import ACCOUNT_SID, OUR_MESSAGE, TOKEN, account

SPEC = Path(__file__).parents[2] / ".." / "shared" / "specs" / "twilio_messages.json"
described = pytest.mark.skipif(
    not SPEC.exists(), reason="the provider's description is not beside this repository"
)


@pytest.fixture
async def stage():
    async with staged() as stage:
        yield stage


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
    template = OutboundTemplate("order_ready", "es", "HX" + "ab" * 16, {"1": "Ana"})
    await stage.adapter.send(account(), stage.message(files=files))
    await stage.adapter.send(account(messaging_service_sid=SERVICE), stage.message())
    await stage.adapter.send(account(), replace(stage.message(), template=template, part=2, parts=3))
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
    assert len(stage.state.messages) == 3
    assert len(listed["messages"]) == 1


@described
async def test_what_it_received_is_asked_for_and_told_as_twilio_describes_it(stage):
    paths = json.loads(SPEC.read_text(encoding="utf-8"))["paths"]
    media_path = MESSAGES.removesuffix(".json") + "/{MessageSid}/Media.json"
    description = json.loads(SPEC.read_text(encoding="utf-8"))
    answer = paths[media_path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    image = {"content_type": "image/png", "content_base64": base64.b64encode(b"png").decode()}
    said = await stage.inbound(body="2 cajas", media=[image, image])
    stage.requests.clear()

    held = [post async for post in stage.adapter.list_held(account(), stage.clock(), None)]

    asked = [target for method, target, _ in stage.requests if method == "GET"]
    assert len(held) == 1
    assert len(asked) == 2
    _check_query(paths[MESSAGES]["get"]["parameters"], asked[0])
    assert asked[1] == media_path.format(AccountSid=ACCOUNT_SID, MessageSid=said["message_sid"])
    listed = await (await stage.sandbox.get(asked[1], headers=basic(ACCOUNT_SID, TOKEN))).json()
    schema = _strict(_schema(description, answer))
    schema["properties"]["media_list"]["items"] = _strict(schema["properties"]["media_list"]["items"])
    jsonschema.validate(listed, schema)
    assert [file["content_type"] for file in listed["media_list"]] == ["image/png"] * 2


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
