"""SendGrid and Mailgun over real HTTP against their stand-ins: what is sent, what an answer means, what they hold."""

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import jsonschema
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from channels.abilities import MediaContent
from channels.base import (
    Attachment,
    Channel,
    ChannelAdapter,
    InboundMessage,
    MailHeaders,
    OutboundMessage,
    SendReceipt,
)
from channels.email_mailgun import SETTLED, MailgunAdapter
from channels.email_sendgrid import SendGridAdapter
from channels.errors import (
    BadCredentials,
    ContentRefused,
    InvalidRecipient,
    NotThere,
    OutcomeUnknown,
    ProviderUnavailable,
    Throttled,
    TooLarge,
)
from channels.mail_events import OUR_ID
from gateway.dev.stand_ins.app import StandIns, running_stand_ins
from gateway.dev.stand_ins.base import FaultKind, StandInState
from gateway.dev.stand_ins.mailgun import hold_mail
from handlers.runtime import new_uuid7
from tests.unit.channels.mail_cases import (
    ADDRESS,
    CUSTOMER,
    MAILGUN,
    NOW,
    OUR_MESSAGE,
    SENDGRID,
    account,
    clock,
    mailgun_mail,
)

SPEC = Path(__file__).parents[2] / ".." / "shared" / "specs" / "sendgrid_mail_send.json"
described = pytest.mark.skipif(
    not SPEC.exists(), reason="the provider's description is not beside this repository"
)
SHORT = aiohttp.ClientTimeout(total=0.3, connect=0.2, sock_connect=0.2)
CREDENTIALS: Mapping[str, Mapping[str, Any]] = {"sendgrid": SENDGRID, "mailgun": MAILGUN}
PDF = Attachment("", "application/pdf; name=x", "../pedido nº 7\r\n.pdf", content=b"%PDF-1.7")
LOGO = Attachment("", "image/png", "logo.png", content_id="logo@acme", content=b"\x89PNG")
HEADERS = MailHeaders(
    subject="Re: Your\r\norder",
    message_id=f"{'ab' * 16}.{OUR_MESSAGE.hex}@mail.acme.example",
    reply_to="orders+abc@mail.acme.example",
    in_reply_to="CAF1a@mail.gmail.com",
    references=("root@mail.gmail.com", "CAF1a@mail.gmail.com"),
)
TEXT = OutboundMessage(
    OUR_MESSAGE,
    Channel.EMAIL,
    CUSTOMER,
    "2 cajas de piñas, mañana",
    "https://gw.example.test/s",
    mail=HEADERS,
)


@dataclass
class Stage:
    """Both adapters, pointed at the stand-ins."""

    adapters: Mapping[str, ChannelAdapter]
    stand_ins: StandIns
    url: str

    def state(self, provider: str) -> StandInState:
        return self.stand_ins[provider]

    @property
    def mailgun(self) -> MailgunAdapter:
        adapter = self.adapters["mailgun"]
        assert isinstance(adapter, MailgunAdapter)
        return adapter

    async def send(self, provider: str, message: OutboundMessage = TEXT, **settings: Any) -> SendReceipt:
        return await self.adapters[provider].send(
            account(provider, CREDENTIALS[provider], **settings), message
        )

    def taken(self, provider: str) -> Any:
        """The document of the only request that was taken."""
        (taken,) = self.state(provider).taken
        return taken.document


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stand_ins = StandIns(new_uuid7, clock)
    for provider, credentials in CREDENTIALS.items():
        stand_ins[provider].keys.add(credentials["api_key"])
    async with running_stand_ins(stand_ins) as url:
        adapters: dict[str, ChannelAdapter] = {
            "sendgrid": SendGridAdapter(f"{url}/sendgrid", clock, timeout=SHORT),
            "mailgun": MailgunAdapter(f"{url}/mailgun", clock, timeout=SHORT),
        }
        yield Stage(adapters, stand_ins, url)
        for adapter in adapters.values():
            await adapter.aclose()


BOTH = pytest.mark.parametrize("provider", ["sendgrid", "mailgun"])


async def test_a_mail_as_sendgrid_gets_it(stage):
    receipt = await stage.send("sendgrid", replace(TEXT, attachments=(PDF, LOGO)), sender_name='Acme "Foods"')

    (taken,) = stage.state("sendgrid").taken
    assert receipt == SendReceipt(taken.id, "accepted")
    assert taken.document == {
        "personalizations": [{"to": [{"email": CUSTOMER}], "custom_args": {OUR_ID: str(OUR_MESSAGE)}}],
        "from": {"email": ADDRESS, "name": 'Acme "Foods"'},
        "reply_to": {"email": "orders+abc@mail.acme.example"},
        "subject": "Re: Your order",
        "content": [{"type": "text/plain", "value": "2 cajas de piñas, mañana"}],
        "headers": {
            "Message-ID": f"<{HEADERS.message_id}>",
            "In-Reply-To": "<CAF1a@mail.gmail.com>",
            "References": "<root@mail.gmail.com> <CAF1a@mail.gmail.com>",
            "Auto-Submitted": "auto-replied",
            "X-Auto-Response-Suppress": "OOF, AutoReply",
        },
        "attachments": [
            {
                "content": base64.b64encode(b"%PDF-1.7").decode(),
                "type": "application/pdf",
                "filename": "pedido nº 7 .pdf",
                "disposition": "attachment",
            },
            {
                "content": base64.b64encode(b"\x89PNG").decode(),
                "type": "image/png",
                "filename": "logo.png",
                "disposition": "inline",
                "content_id": "logo@acme",
            },
        ],
    }


async def test_a_mail_as_mailgun_gets_it(stage):
    receipt = await stage.send("mailgun", replace(TEXT, attachments=(PDF, LOGO)), sender_name="Acme")

    assert receipt == SendReceipt(HEADERS.message_id, "accepted")
    assert stage.taken("mailgun") == {
        "from": f'"Acme" <{ADDRESS}>',
        "to": CUSTOMER,
        "subject": "Re: Your order",
        "text": "2 cajas de piñas, mañana",
        f"v:{OUR_ID}": str(OUR_MESSAGE),
        "h:Reply-To": "orders+abc@mail.acme.example",
        "h:Message-ID": f"<{HEADERS.message_id}>",
        "h:In-Reply-To": "<CAF1a@mail.gmail.com>",
        "h:References": "<root@mail.gmail.com> <CAF1a@mail.gmail.com>",
        "h:Auto-Submitted": "auto-replied",
        "h:X-Auto-Response-Suppress": "OOF, AutoReply",
        "attachment": [{"filename": "pedido nº 7 .pdf", "content_type": "application/pdf", "size": 8}],
        "inline": [{"filename": "logo@acme", "content_type": "image/png", "size": 4}],
    }


async def test_the_least_of_a_mail(stage):
    least = replace(TEXT, text="", mail=None)

    assert (await stage.send("mailgun", least)).mail_message_id is not None
    await stage.send("sendgrid", least)

    assert (stage.taken("mailgun")["text"], stage.taken("mailgun")["subject"]) == (" ", "")
    assert stage.taken("sendgrid")["subject"] == "(no subject)"
    assert stage.taken("sendgrid")["from"] == {"email": ADDRESS}


@BOTH
async def test_a_large_file(stage, provider):
    await stage.send(provider, replace(TEXT, attachments=(replace(PDF, content=b"x" * 3_000_000),)))

    assert len(stage.state(provider).taken) == 1


@described
@pytest.mark.parametrize(
    "message", [TEXT, replace(TEXT, text="", mail=None), replace(TEXT, attachments=(PDF, LOGO))]
)
async def test_requests_are_as_sendgrid_describes_them(stage, message):
    await stage.send("sendgrid", message, sender_name="Acme")

    description = json.loads(SPEC.read_text(encoding="utf-8"))
    schema = description["components"]["requestBodies"]["PostMailSend"]["content"]["application/json"][
        "schema"
    ]
    jsonschema.validate(stage.taken("sendgrid"), _resolvable(description, schema))


@described
@pytest.mark.parametrize(
    ("body", "key", "status"),
    [
        (b"{}", "SG.test-key", 400),
        (b"[]", "SG.test-key", 400),
        (b"{", "SG.test-key", 400),
        (b"{}", "other", 401),
        (b" " * (31 * 1024 * 1024), "SG.test-key", 413),
    ],
)
async def test_refusals_are_as_sendgrid_describes_them(stage, body, key, status):
    description = json.loads(SPEC.read_text(encoding="utf-8"))
    described_answers = description["paths"]["/v3/mail/send"]["post"]["responses"]
    schema = description["components"]["schemas"]["ErrorResponse"]
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{stage.url}/sendgrid/v3/mail/send", data=BytesIO(body), headers=headers) as answer,
    ):
        document = await answer.json()

    assert (answer.status, str(answer.status) in described_answers) == (status, True)
    jsonschema.validate(document, {**schema, "required": ["errors"], "additionalProperties": False})


def _resolvable(description, schema):
    """A schema with what it refers to, closed against fields that are not described."""
    return {**schema, "additionalProperties": False, "components": description["components"]}


FAULTS = [
    (FaultKind.THROTTLED, Throttled),
    (FaultKind.SERVER_ERROR, OutcomeUnknown),
    (FaultKind.UNAVAILABLE, OutcomeUnknown),
    (FaultKind.TAKEN_THEN_500, OutcomeUnknown),
    (FaultKind.DROP, OutcomeUnknown),
    (FaultKind.TAKEN_THEN_DROP, OutcomeUnknown),
    (FaultKind.HANG, OutcomeUnknown),
    (FaultKind.GARBAGE, OutcomeUnknown),
]


@BOTH
@pytest.mark.parametrize(("fault", "expected"), FAULTS)
async def test_faults(stage, provider, fault, expected):
    stage.state(provider).faults.append(fault)

    with pytest.raises(expected) as raised:
        await stage.send(provider)

    assert type(raised.value) is expected
    if expected is Throttled:
        assert raised.value.retry_after == 2
    assert len(stage.state(provider).taken) == ("taken" in fault or fault is FaultKind.GARBAGE)


@BOTH
async def test_nobody_listens(provider):
    url = f"http://127.0.0.1:{unused_port()}"
    adapter: ChannelAdapter = (
        SendGridAdapter(url, clock, timeout=SHORT)
        if provider == "sendgrid"
        else MailgunAdapter(url, clock, timeout=SHORT)
    )

    with pytest.raises(ProviderUnavailable):
        await adapter.send(account(provider, CREDENTIALS[provider]), TEXT)
    await adapter.aclose()


@BOTH
async def test_refusals(stage, provider):
    no_address = replace(TEXT, recipient="nobody")
    no_content = replace(TEXT, attachments=(replace(PDF, content=None),))
    for message, expected in ((no_address, InvalidRecipient), (no_content, ContentRefused)):
        with pytest.raises(expected):
            await stage.send(provider, message)
    wrong = {**CREDENTIALS[provider], "api_key": "other"}
    with pytest.raises(BadCredentials):
        await stage.adapters[provider].send(account(provider, wrong), TEXT)
    assert stage.state(provider).taken == []


def errors(message, field):
    return {"errors": [{"message": message, "field": field, "help": None}]}


RESET = str(int(NOW.timestamp()) + 42)
# (provider, status, headers, document) -> (error, its code, seconds)
ANSWERS = [
    ("sendgrid", 429, {"X-RateLimit-Reset": RESET}, errors("too many requests", None), Throttled, None, 42),
    ("sendgrid", 429, {"X-RateLimit-Reset": "soon"}, {}, Throttled, None, None),
    ("sendgrid", 429, {"X-RateLimit-Reset": "1"}, {}, Throttled, None, 0),
    (
        "sendgrid", 401, {}, errors("Maximum credits exceeded", None), Throttled, "maximum-credits-exceeded", None,
    ),
    ("sendgrid", 401, {}, errors("authorization required", "null"), BadCredentials, "null", None),
    ("sendgrid", 403, {}, errors("no verified Sender", "from"), BadCredentials, "from", None),
    ("sendgrid", 400, {}, errors("invalid", "from.email"), BadCredentials, "from.email", None),
    (
        "sendgrid", 400, {}, errors("no address", "personalizations.0.to.0.email"), InvalidRecipient, "recipient", None,
    ),
    ("sendgrid", 400, {}, errors("bad", "content.0.value"), ContentRefused, "content.0.value", None),
    ("sendgrid", 400, {}, ["no object"], ContentRefused, None, None),
    ("sendgrid", 413, {}, errors("content too large", "null"), TooLarge, "size", None),
    ("sendgrid", 200, {}, {"errors": []}, OutcomeUnknown, None, None),
    ("mailgun", 429, {"Retry-After": "7"}, {"message": "slow down"}, Throttled, "slow-down", 7),
    ("mailgun", 401, {}, {}, BadCredentials, None, None),
    ("mailgun", 404, {}, {"message": "Domain not found: acme.example"}, BadCredentials, "domain", None),
    ("mailgun", 402, {}, {"message": "Request failed"}, ContentRefused, "request-failed", None),
    (
        "mailgun", 400, {}, {"message": "to parameter is not a valid address. please check documentation"},
        InvalidRecipient, "recipient", None,
    ),
    ("mailgun", 413, {}, {"message": "Attachment size is too big"}, TooLarge, "size", None),
    ("mailgun", 200, {}, {"message": "Queued."}, OutcomeUnknown, None, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("provider", "status", "headers", "document", "expected", "code", "seconds"), ANSWERS
)
async def test_what_an_answer_means(provider, status, headers, document, expected, code, seconds):
    async with answering(status, headers, document) as url:
        adapter: ChannelAdapter = (
            SendGridAdapter(url, clock) if provider == "sendgrid" else MailgunAdapter(url, clock)
        )
        with pytest.raises(expected) as raised:
            await adapter.send(account(provider, CREDENTIALS[provider]), TEXT)
        await adapter.aclose()

    assert type(raised.value) is expected
    assert raised.value.provider_code == code
    assert getattr(raised.value, "retry_after", None) == seconds
    assert "acme.example" not in str(raised.value)


@asynccontextmanager
async def answering(status, headers, document):
    async def answer(_request):
        return web.json_response(document, status=status, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


# what Mailgun knows


async def test_a_mail_that_was_taken_without_an_answer_is_found(stage):
    stage.state("mailgun").faults.append(FaultKind.TAKEN_THEN_DROP)
    with pytest.raises(OutcomeUnknown):
        await stage.send("mailgun")
    await stage.send("mailgun", replace(TEXT, id=UUID(int=7)))

    found = await stage.mailgun.find_sent(account("mailgun", MAILGUN), TEXT, NOW, frozenset())

    assert found == SendReceipt(HEADERS.message_id, "accepted")


@pytest.mark.parametrize(
    ("age", "expected"),
    [(timedelta(seconds=2), 60.0), (timedelta(minutes=10), 1200.0), (SETTLED, None)],
)
async def test_that_mailgun_knows_of_none_counts_once_its_events_have_settled(stage, age, expected):
    sought = stage.mailgun.find_sent(account("mailgun", MAILGUN), TEXT, NOW - age, frozenset())

    if expected is None:
        assert await sought is None
        return
    with pytest.raises(ProviderUnavailable) as early:
        await sought
    assert early.value.retry_after == expected


async def test_mailgun_cannot_be_asked(stage):
    wrong = account("mailgun", {**MAILGUN, "api_key": "other"})

    with pytest.raises(BadCredentials):
        await stage.mailgun.find_sent(wrong, TEXT, NOW - SETTLED, frozenset())
    async with answering(200, {}, {"items": "none"}) as url:
        adapter = MailgunAdapter(url, clock)
        with pytest.raises(ProviderUnavailable):
            await adapter.find_sent(account("mailgun", MAILGUN), TEXT, NOW - SETTLED, frozenset())
        await adapter.aclose()


class PlainDownloads:
    """GET without a guard, as for origins that the operator named."""

    async def get(self, url, headers=None):
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
            if answer.status == 404:
                raise NotThere
            assert answer.status == 200
            return MediaContent(await answer.read(), answer.content_type)


def mail(number, recipient=ADDRESS):
    return (
        f"From: Marta <{CUSTOMER}>\r\nTo: {recipient}\r\nMessage-ID: <m{number}@cantina.example>\r\n"
        f"Subject: Order\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{number} cajas de piñas\r\n"
    )


async def held(stage, since=NOW - timedelta(hours=1)):
    found = stage.mailgun.list_held(account("mailgun", MAILGUN), since, PlainDownloads())
    return [post async for post in found]


async def test_what_mailgun_received_is_listed_as_its_route_would_have_posted_it(stage):
    state = stage.state("mailgun")
    for number, recipient, kind, at in [
        (1, ADDRESS, "accepted", NOW),
        (2, "Orders+0123@mail.acme.example", "stored", NOW),
        (3, "sales@mail.acme.example", "accepted", NOW),  # another account's
        (4, ADDRESS, "accepted", NOW - timedelta(hours=2)),  # too early
    ]:
        hold_mail(state, mail(number), recipient=recipient, sender=CUSTOMER, at=at, kind=kind)
    await stage.send("mailgun")  # an event of ours

    first, second = await held(stage)

    (one,), (two,) = first.items, second.items
    assert isinstance(one, InboundMessage)
    assert isinstance(two, InboundMessage)
    assert (one.text, two.text) == ("1 cajas de piñas", "2 cajas de piñas")
    posted = mailgun_mail([{"name": "recipient", "text": ADDRESS}, {"name": "body-mime", "text": mail(1)}])
    assert stage.mailgun.parse(account("mailgun", MAILGUN), posted) == (one,)
    assert stage.mailgun.parse(account("mailgun", MAILGUN), first.request) == (one,)


async def test_every_page_is_read_and_one_lost_or_broken_mail_keeps_nobody_from_the_others(stage):
    state = stage.state("mailgun")
    keys = [
        hold_mail(state, mail(number), recipient=ADDRESS, sender=CUSTOMER, at=NOW) for number in range(305)
    ]
    del state.held["mails"][keys[0]]
    state.held["mails"][keys[1]]["body-mime"] = ""
    state.held["events"].append(dict(state.held["events"][5]))  # told of twice

    posts = await held(stage)

    assert len(posts) == len({post.items[0].provider_key for post in posts}) == 303
