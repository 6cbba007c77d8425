"""A notification that comes in as a mail says the same of our mail, whichever provider brings it and in whatever form."""

import base64
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email import message_from_bytes

import pytest
from multidict import CIMultiDict

from channels.abilities import MediaContent
from channels.base import InboundItem, InboundMessage, InboundRequest
from channels.email_mime import MimeAdapter
from channels.email_postmark import PostmarkAdapter
from channels.email_resend_events import FetchedFile, fetched_post
from channels.email_ses import EVENT_HEADER, FETCHED, SesAdapter
from channels.mail import MailPart
from channels.mail_bounces import bounce_of
from channels.mime import read_mail
from channels.smtp import SmtpClient
from gateway.dev.stand_ins.ses import notification
from tests.mail_forms import Field
from tests.unit.channels import mail_cases, mime_cases, postmark_cases, resend_cases, ses_cases

Items = Sequence[InboundItem]
NOW = datetime(2026, 11, 24, 8, 15, tzinfo=UTC)
LOST = "bounce__no_such_user"
OF_OTHERS = "bounce__of_another_mail"
# What SES says beside the mail, whose content is elsewhere.
RECEIVED = ses_cases.fixture("received__s3")


def headers_of(raw: bytes) -> list[tuple[str, str]]:
    return message_from_bytes(raw).items()


def parts_of(raw: bytes) -> tuple[MailPart, ...]:
    return read_mail(raw).parts


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def mime(raw: bytes) -> Items:
    request = InboundRequest(
        "POST", "https://gw.example.test/in/mime/1", CIMultiDict({"Content-Type": "message/rfc822"}), raw
    )
    return MimeAdapter(SmtpClient(), lambda: NOW).parse(mime_cases.account(), request)


def sendgrid(fields: list[Field]) -> Items:
    account = mail_cases.account("sendgrid", mail_cases.SENDGRID)
    return mail_cases.sendgrid().parse(account, mail_cases.sendgrid_mail(fields))


def sendgrid_raw(raw: bytes) -> Items:
    return sendgrid([{"name": "email", "text": raw.decode()}])


def sendgrid_parsed(raw: bytes) -> Items:
    block = "\n".join(f"{name}: {value}" for name, value in headers_of(raw))
    files = [
        {"name": f"attachment{n}", "filename": f"part{n}", "type": p.content_type, "text": p.content.decode()}
        for n, p in enumerate(parts_of(raw), 1)
    ]
    return sendgrid([{"name": "headers", "text": block}, {"name": "text", "text": "It came back."}, *files])


def mailgun_raw(raw: bytes) -> Items:
    post = mail_cases.mailgun_mail([{"name": "body-mime", "text": raw.decode()}])
    return mail_cases.mailgun().parse(mail_cases.account("mailgun", mail_cases.MAILGUN), post)


def postmark(raw: bytes, **fields: object) -> Items:
    listed = [{"Name": name, "Value": value} for name, value in headers_of(raw)]
    post = {
        "MessageID": postmark_cases.PROVIDER_ID,
        "From": "MAILER-DAEMON@mx.tienda.example.com",
        "Headers": listed,
        **fields,
    }
    return PostmarkAdapter().parse(postmark_cases.account(), postmark_cases.post(post))


def postmark_raw(raw: bytes) -> Items:
    return postmark(raw, RawEmail=raw.decode())


def postmark_parsed(raw: bytes) -> Items:
    files = [
        {"Name": "", "ContentType": part.content_type, "Content": base64_of(part.content)}
        for part in parts_of(raw)
    ]
    return postmark(raw, TextBody="It came back.", Attachments=files)


def resend(email: dict[str, object], raw: bytes | None, files: Sequence[FetchedFile] = ()) -> Items:
    body = fetched_post({"email_id": resend_cases.RECEIVED_ID}, email, raw, files)
    request = InboundRequest("POST", resend_cases.URL, {"Content-Type": "application/json"}, body)
    return resend_cases.adapter().parse(resend_cases.account(), request)


def resend_fetched(raw: bytes) -> Items:
    return resend({}, raw)


def resend_without_mime(raw: bytes) -> Items:
    files = [
        FetchedFile({"content_type": part.content_type}, MediaContent(part.content, part.content_type))
        for part in parts_of(raw)
    ]
    return resend({"headers": dict(headers_of(raw)), "text": "It came back."}, None, files)


def ses_posted(raw: bytes) -> Items:
    action = {"type": "SNS", "encoding": "BASE64"}
    event = {
        **RECEIVED,
        "receipt": {**RECEIVED["receipt"], "action": action},
        "content": base64_of(raw),
    }
    post = ses_cases.post(notification(ses_cases.TOPIC, "m-1", event, NOW))
    return SesAdapter(None, lambda: NOW).parse(ses_cases.account(), post)


def ses_fetched(raw: bytes) -> Items:
    held = {"Content-Type": FETCHED, EVENT_HEADER: json.dumps(RECEIVED)}
    request = InboundRequest("POST", ses_cases.URL, held, raw)
    return SesAdapter(None, lambda: NOW).parse(ses_cases.account(), request)


WAYS = [
    mime,
    sendgrid_raw,
    sendgrid_parsed,
    mailgun_raw,
    postmark_raw,
    postmark_parsed,
    resend_fetched,
    resend_without_mime,
    ses_posted,
    ses_fetched,
]
by_every_way = pytest.mark.parametrize("brought", WAYS, ids=lambda way: way.__name__)


@by_every_way
def test_a_notification_about_a_mail_of_ours_is_a_word_about_it(brought: Callable[[bytes], Items]) -> None:
    said = bounce_of(mime_cases.mail_of(LOST))

    assert len(said) == 2
    assert brought(mime_cases.fixture(LOST)) == said


@by_every_way
def test_one_about_a_strangers_mail_is_a_message_of_a_machine(brought: Callable[[bytes], Items]) -> None:
    (message,) = brought(mime_cases.fixture(OF_OTHERS))

    assert isinstance(message, InboundMessage)
    assert message.automated
