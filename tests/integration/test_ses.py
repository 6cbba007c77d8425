"""SES's adapter against its stand-in: signatures, certificates, mails from S3, and sending."""

import base64
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from multidict import CIMultiDict

from channels.abilities import MediaContent
from channels.base import Attachment, Channel, DeferredPost, InboundMessage, MailHeaders, OutboundMessage
from channels.email_ses import EVENT_HEADER, FETCHED, SesAdapter
from channels.email_ses_requests import send_error
from channels.errors import (
    BadCredentials,
    ContentRefused,
    InvalidRecipient,
    NotThere,
    OutcomeUnknown,
    ProviderUnavailable,
    Throttled,
    VerificationFailed,
)
from channels.provider_api import ApiAnswer
from gateway.dev.stand_ins import ses
from gateway.dev.stand_ins.app import StandIns, running_stand_ins, stand_in_urls
from gateway.dev.stand_ins.base import FaultKind, StandInState
from handlers.runtime import new_uuid7, utc_now
from tests.unit.channels.ses_cases import CREDENTIALS, TOPIC, account, fixture, post

NOW = datetime(2026, 11, 27, 15, 4, 5, tzinfo=UTC)
OTHER_TOPIC = "arn:aws:sns:eu-west-1:999999999999:mail"


@dataclass
class Stage:
    adapter: SesAdapter
    state: StandInState

    async def verify(self, document: Any, **credentials: Any) -> None:
        request = post(document)
        await self.adapter.prepare(account(**credentials), request)
        self.adapter.verify(account(**credentials), request)


class PlainDownloads:
    """What the guarded downloads do, without the guard: the stand-in is on loopback."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> MediaContent:
        async with self._session.get(url, headers=headers) as response:
            return MediaContent(await response.read(), response.content_type)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def stage(session: aiohttp.ClientSession) -> AsyncIterator[Stage]:
    stand_ins = StandIns(new_uuid7, utc_now)
    state = stand_ins["ses"]
    state.held[f"secret:{CREDENTIALS['access_key_id']}"] = CREDENTIALS["secret_access_key"]
    async with running_stand_ins(stand_ins) as base_url:
        url = stand_in_urls(base_url, base_url).ses
        timeout = aiohttp.ClientTimeout(total=0.3)
        yield Stage(SesAdapter(url, lambda: NOW, session, timeout), state)


def posted(name: str = "event__delivery", topic: str = TOPIC) -> dict[str, Any]:
    return ses.notification(topic, "m-1", fixture(name), NOW)


@pytest.mark.parametrize("version", ["1", "2"])
async def test_a_post_of_the_accounts_topic_is_verified(stage: Stage, version: str):
    await stage.verify(ses.signed(posted(), version))
    await stage.verify(
        ses.signed({name: value for name, value in posted().items() if name != "Subject"}, version)
    )
    await stage.verify(ses.signed(fixture("confirmation"), version))


def foreign_certificate(document: dict[str, Any], url: str) -> dict[str, Any]:
    return {**document, "SigningCertURL": url}


SIGNED = ses.signed(posted())
REFUSED = {
    "unsigned": posted(),
    "no JSON": b"{",
    "no object": b"[]",
    "another topic": ses.signed(posted(topic=OTHER_TOPIC)),
    "another version": {**SIGNED, "SignatureVersion": "3"},
    "the other hash": {**SIGNED, "SignatureVersion": "1"},
    "another message": {**SIGNED, "Message": SIGNED["Message"] + " "},
    "another time": {**SIGNED, "Timestamp": "2026-11-28T15:04:05.000Z"},
    "another id": {**SIGNED, "MessageId": "m-2"},
    "a subject less": {name: value for name, value in SIGNED.items() if name != "Subject"},
    "another kind": {**SIGNED, "Type": "SubscriptionConfirmation"},
    "an unknown kind": {**SIGNED, "Type": "Else"},
    "a long spelling of the signature": {**SIGNED, "Signature": SIGNED["Signature"] + "\n"},
    "no base64": {**SIGNED, "Signature": "é"},
    "a certificate of somebody": foreign_certificate(SIGNED, f"https://evil.example/{ses.CERTIFICATE}"),
    "a certificate by plain http": foreign_certificate(
        SIGNED, f"http://sns.eu-west-1.amazonaws.com/{ses.CERTIFICATE}"
    ),
    "a certificate of another region": foreign_certificate(
        SIGNED, f"https://sns.us-east-1.amazonaws.com/{ses.CERTIFICATE}"
    ),
    "a certificate with a user": foreign_certificate(
        SIGNED, f"https://sns.eu-west-1.amazonaws.com@evil.example/{ses.CERTIFICATE}"
    ),
    "a certificate with a port": foreign_certificate(
        SIGNED, f"https://sns.eu-west-1.amazonaws.com:8443/{ses.CERTIFICATE}"
    ),
    "another file": foreign_certificate(SIGNED, "https://sns.eu-west-1.amazonaws.com/mine.pem"),
    "a certificate that is not there": foreign_certificate(
        SIGNED, "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem"
    ),
    "no URL": foreign_certificate(SIGNED, "https://[::1/"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_anything_else_is_refused(stage: Stage, name: str):
    with pytest.raises(VerificationFailed):
        await stage.verify(REFUSED[name])


async def test_every_byte_of_the_signature_counts(stage: Stage):
    signature = SIGNED["Signature"]
    for at in range(0, len(signature), 7):
        flipped = signature[:at] + ("A" if signature[at] != "A" else "B") + signature[at + 1 :]
        with pytest.raises(VerificationFailed):
            await stage.verify({**SIGNED, "Signature": flipped})


async def test_without_its_certificate_nothing_is_verified(stage: Stage):
    with pytest.raises(VerificationFailed):
        stage.adapter.verify(account(), post(SIGNED))


async def test_what_pretends_to_have_been_fetched_is_refused(stage: Stage):
    forged = replace(post(SIGNED), headers=CIMultiDict({"Content-Type": FETCHED, EVENT_HEADER: "{}"}))

    with pytest.raises(VerificationFailed):
        await stage.adapter.prepare(account(), forged)
    with pytest.raises(VerificationFailed):
        stage.adapter.verify(account(), forged)


async def test_a_subscription_of_the_accounts_topic_is_confirmed(
    stage: Stage, session: aiohttp.ClientSession
):
    request = post(ses.signed(fixture("confirmation")))

    assert stage.adapter.parse(account(), request) == (
        DeferredPost("sns:165545c9-2a5c-472c-8df2-7ff2be2b3b1b"),
    )
    assert await stage.adapter.fetch_deferred(account(), request, PlainDownloads(session)) == (request, ())
    assert [taken.document["Action"] for taken in stage.state.taken] == ["ConfirmSubscription"]


@pytest.mark.parametrize(
    "change",
    [
        {"SubscribeURL": "https://evil.example/?Action=ConfirmSubscription"},
        {"SubscribeURL": "https://sns.eu-west-1.amazonaws.com.evil.example/"},
        {"TopicArn": OTHER_TOPIC},
    ],
)
async def test_a_subscription_of_somebody_else_is_not(
    stage: Stage, session: aiohttp.ClientSession, change: Any
):
    with pytest.raises(VerificationFailed):
        await stage.adapter.fetch_deferred(
            account(), post({**fixture("confirmation"), **change}), PlainDownloads(session)
        )
    assert stage.state.taken == []


async def test_a_mail_in_s3_is_read_and_can_be_read_again(stage: Stage, session: aiohttp.ClientSession):
    event = fixture("received__s3")
    raw = fixture("received__pdf")["content"].encode()
    request = post(ses.notification(TOPIC, "m-1", event, NOW))
    with pytest.raises(NotThere):
        await stage.adapter.fetch_deferred(account(), request, PlainDownloads(session))
    stage.state.held[f"object:bodega-mail/{event['receipt']['action']['objectKey']}"] = raw

    fetched, items = await stage.adapter.fetch_deferred(account(), request, PlainDownloads(session))

    (message,) = items
    assert isinstance(message, InboundMessage)
    assert message.text == "Hola, 2 cajas de agua con gas para mañana."
    assert stage.adapter.parse(account(), fetched) == items
    assert (
        stage.adapter.read_part(account(), fetched, message.attachments[0].url).content == b"%PDF-1.4 order"
    )


async def test_wrong_keys_do_not_read_the_mail(stage: Stage, session: aiohttp.ClientSession):
    request = post(ses.notification(TOPIC, "m-1", fixture("received__s3"), NOW))

    with pytest.raises(BadCredentials):
        await stage.adapter.fetch_deferred(
            account(secret_access_key="another"), request, PlainDownloads(session)
        )


def outbound(**more: Any) -> OutboundMessage:
    headers = MailHeaders("Re: Pedido", "t.1@bodega.example", in_reply_to="CAF1@mail.tienda.example")
    return OutboundMessage(
        id=UUID(int=7),
        channel=Channel.EMAIL,
        recipient="ana@tienda.example",
        text="Listo, mañana.",
        status_url="",
        **{"mail": headers, **more},
    )


async def test_a_mail_is_sent_whole_and_signed(stage: Stage):
    file = Attachment("", "application/pdf", "nota.pdf", content=b"%PDF-1.4")

    receipt = await stage.adapter.send(account(configuration_set="waystation"), outbound(attachments=(file,)))

    (taken,) = stage.state.taken
    assert receipt.provider_message_id == taken.id
    assert receipt.mail_message_id == f"{taken.id}@eu-west-1.amazonses.com"
    assert taken.document["ConfigurationSetName"] == "waystation"
    assert taken.document["EmailTags"] == [{"Name": "waystation_message", "Value": str(UUID(int=7))}]
    mail = message_from_bytes(base64.b64decode(taken.document["Content"]["Raw"]["Data"]), policy=default)
    assert (mail["From"], mail["To"]) == ("Bodega <pedidos@bodega.example>", "ana@tienda.example")
    assert mail["In-Reply-To"] == "<CAF1@mail.tienda.example>"
    assert [part.get_filename() for part in mail.walk()][-1] == "nota.pdf"


FAULTS = [
    (FaultKind.THROTTLED, Throttled, 0),
    (FaultKind.SERVER_ERROR, OutcomeUnknown, 0),
    (FaultKind.TAKEN_THEN_DROP, OutcomeUnknown, 1),
    (FaultKind.GARBAGE, OutcomeUnknown, 1),
    (FaultKind.HANG, OutcomeUnknown, 0),
]


@pytest.mark.parametrize(("fault", "error", "taken"), FAULTS)
async def test_a_fault_of_ses_has_its_type(
    stage: Stage, fault: FaultKind, error: type[Exception], taken: int
):
    stage.state.faults.append(fault)

    with pytest.raises(error):
        await stage.adapter.send(account(), outbound())
    assert len(stage.state.taken) == taken


async def test_a_wrong_secret_is_a_matter_of_credentials(stage: Stage):
    with pytest.raises(BadCredentials):
        await stage.adapter.send(account(secret_access_key="another"), outbound())


REFUSALS = [
    (400, "MessageRejected", "Email address is not verified.", BadCredentials),
    (400, "MessageRejected", "Address blacklisted.", ContentRefused),
    (400, "BadRequestException", "Illegal address", InvalidRecipient),
    (400, "MailFromDomainNotVerifiedException", "", BadCredentials),
    (400, "AccountSuspendedException", "", BadCredentials),
    (429, "TooManyRequestsException", "", Throttled),
    (400, "LimitExceededException", "", Throttled),
    (400, "SendingPausedException", "", Throttled),
    (404, "NotFoundException", "", BadCredentials),
    (403, "", "", BadCredentials),
    (503, "ServiceUnavailable", "", ProviderUnavailable),
    (500, "", "", OutcomeUnknown),
    (400, "SomethingNew", "", ContentRefused),
]


@pytest.mark.parametrize(("status", "code", "words", "error"), REFUSALS)
def test_a_refusal_is_told_by_its_type(status: int, code: str, words: str, error: type[Exception]):
    answer = ApiAnswer(
        status, {"x-amzn-errortype": f"{code}:http://x/"}, json.dumps({"message": words}).encode()
    )

    assert type(send_error(answer)) is error


WRONG_CREDENTIALS = [
    ({"topic_arns": []}, "topic_arns"),
    ({"topic_arns": ["arn:aws:sqs:eu-west-1:111122223333:mail"]}, "topic_arns"),
    ({"region": "Mars"}, "region"),
    ({"access_key_id": "with a blank"}, "access_key_id"),
    ({"secret_access_key": None}, "secret_access_key"),
    ({"configuration_set": "a b"}, "configuration_set"),
    ({"else": "x"}, "unknown"),
]


@pytest.mark.parametrize(("change", "named"), WRONG_CREDENTIALS)
def test_wrong_credentials_are_named_and_not_shown(change: dict[str, Any], named: str):
    with pytest.raises(ValueError, match=named) as raised:
        SesAdapter(None, lambda: NOW).validate_credentials({**CREDENTIALS, **change})
    assert str(CREDENTIALS["secret_access_key"]) not in str(raised.value)


def test_credentials_are_stored_as_given():
    adapter = SesAdapter(None, lambda: NOW)

    assert adapter.validate_credentials(CREDENTIALS) == CREDENTIALS
    assert adapter.redact(CREDENTIALS) == {CREDENTIALS["secret_access_key"]}
