"""The mime provider's adapter: its signature, its credentials, and what its posts say."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from multidict import CIMultiDict

from channels.base import Attachment, InboundRequest, MessageType
from channels.email_mime import MimeAdapter
from channels.errors import MalformedPayload, VerificationFailed
from channels.signatures_mime import MIME_SIGNATURE, mime_signature
from channels.smtp import SmtpClient
from tests.unit.channels.mime_cases import ADDRESS, CREDENTIALS, SECRET, SMTP, TOKEN, account, fixture

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
BODY = fixture("reply__gmail_es")
GOOD = mime_signature(SECRET, BODY, NOW)


def adapter(now=NOW):
    return MimeAdapter(SmtpClient(), lambda: now)


def request(body=BODY, signature=GOOD, content_type="message/rfc822"):
    headers = CIMultiDict({"Content-Type": content_type})
    if signature is not None:
        headers[MIME_SIGNATURE] = signature
    return InboundRequest("POST", "https://gw.example.test/in/mime/1", headers, body)


def test_the_signature_of_the_contract():
    """``t=<unix seconds>,v1=<hex HMAC-SHA256 of "<t>." + raw body>``; computed with openssl."""
    at = datetime.fromtimestamp(1700000000, UTC)

    assert mime_signature("secret", b"From: a@b.example\n\nHola", at) == f"t=1700000000,v1={VECTOR}"


VECTOR = "8d9a91f84ccca7c557f563ab4bc2c5d7f9f174169c646bfce742f5b1e4ba4b87"

SIGNED = [
    ("as the contract says", GOOD),
    ("blanks after commas", GOOD.replace(",", ", ")),
    ("the new secret's beside the old one's", f"{GOOD},v1={'0' * 64}"),
    ("the old secret's first", GOOD.replace("v1=", f"v1={'0' * 64},v1=")),
    ("a version to come", f"{GOOD},v2=abc"),
    ("five minutes old", mime_signature(SECRET, BODY, NOW - timedelta(minutes=5))),
    ("five minutes ahead", mime_signature(SECRET, BODY, NOW + timedelta(minutes=5))),
]
REFUSED = [
    ("none", None),
    ("empty", ""),
    ("another secret's", mime_signature("other", BODY, NOW)),
    ("another body's", mime_signature(SECRET, BODY + b"x", NOW)),
    ("too old", mime_signature(SECRET, BODY, NOW - timedelta(minutes=5, seconds=2))),
    ("too far ahead", mime_signature(SECRET, BODY, NOW + timedelta(minutes=5, seconds=2))),
    ("another time's", GOOD.replace("t=", "t=1", 1)),
    ("no time", GOOD.partition(",")[2]),
    ("two times", f"t=1,{GOOD}"),
    ("no signature", GOOD.partition(",")[0]),
    ("upper case", GOOD.upper()),
    ("a time in other digits", GOOD.replace("t=1", "t=\u0661")),
    ("a time that is no number", GOOD.replace("t=", "t=x")),
    ("an endless time", f"t={'9' * 500},v1=00"),
    ("not ASCII", "t=1,v1=\udcff"),
    ("very long", GOOD + ",v1=0" * 500),
    ("many", GOOD + ",v1=0" * 20),
]


@pytest.mark.parametrize(("label", "signature"), SIGNED, ids=[label for label, _ in SIGNED])
def test_a_right_signature(label, signature):
    adapter().verify(account(), request(signature=signature))


@pytest.mark.parametrize(("label", "signature"), REFUSED, ids=[label for label, _ in REFUSED])
def test_a_wrong_signature(label, signature):
    with pytest.raises(VerificationFailed) as caught:
        adapter().verify(account(), request(signature=signature))

    assert str(caught.value) == VerificationFailed.__doc__


def test_an_earlier_secret_while_one_is_rotated():
    rotated = {"hmac_secret": "new", "hmac_secrets_previous": [SECRET]}

    adapter().verify(account(rotated), request())
    adapter().verify(account(rotated), request(signature=mime_signature("new", BODY, NOW)))


def test_a_mail_as_a_message():
    [message] = adapter().parse(account(), request())

    assert (message.sender, message.recipient, message.profile_name) == (
        "ana.ruiz@tienda.example.com",
        ADDRESS,
        "Ana Ruiz",
    )
    assert message.text == "5 cajas de Coca-Cola 600 ml y 2 de agua"
    assert message.type is MessageType.TEXT
    assert message.automated is None
    assert message.thread.body_tokens == (TOKEN,)
    assert message.metadata["subject"] == "Re: Tu pedido"
    assert message.metadata["original_text"].endswith(f"[ref:{TOKEN}]")


def test_a_plus_address_of_the_account_is_a_token_and_anothers_is_not():
    raw = f"From: a@b.example\nTo: pedidos+{TOKEN}@dist.example.com, otra+{'1' * 32}@dist.example.com\n\nHola".encode()
    [message] = adapter().parse(account(), request(raw))

    assert message.thread.reply_tokens == (TOKEN,)


def test_a_mail_with_a_file_only():
    raw = b"From: a@b.example\nSubject: \nContent-Type: image/png; name=a.png\n\n\x89PNG"
    [message] = adapter().parse(account(), request(raw))

    assert (message.type, message.text) == (MessageType.IMAGE, "")
    assert message.attachments == (Attachment("part:0", "image/png", "a.png"),)


def test_a_subject_without_a_text_is_the_text():
    [message] = adapter().parse(account(), request(b"From: a@b.example\nSubject: Fwd: 5 cajas de agua\n\n"))

    assert message.text == "5 cajas de agua"


def test_the_same_mail_has_the_same_key_by_whatever_way_it_comes():
    one, again, other = (
        adapter().parse(account(), request(raw))[0].provider_key
        for raw in (BODY, b"Received: from mx2\n" + BODY, BODY.replace(b"5 cajas", b"6 cajas"))
    )

    assert one == again
    assert one != other
    assert one.startswith("CAF1@mail.gmail.example:")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(BODY, "text/plain"), (BODY, ""), (b"", "message/rfc822"), (b"Subject: x\n\nHola", "message/rfc822")],
)
def test_a_post_of_another_form_is_malformed(body, content_type):
    with pytest.raises(MalformedPayload):
        adapter().parse(account(), request(body, content_type=content_type))


def test_a_file_is_read_from_the_stored_post():
    stored = request(fixture("mime__pdf_beside_alternative"), content_type="message/rfc822; charset=x")
    [message] = adapter().parse(account(), stored)

    media = adapter().read_part(account(), stored, message.attachments[0].url)
    assert (media.content, media.content_type, media.filename) == (
        b"%PDF-1.7\n%lista de pedidos\n",
        "application/pdf",
        "pedido.pdf",
    )


# credentials


@pytest.mark.parametrize(
    ("stated", "stored"),
    [
        ({"hmac_secret": "s"}, {"hmac_secret": "s", "hmac_secrets_previous": []}),
        (CREDENTIALS, {**CREDENTIALS, "hmac_secrets_previous": []}),
        (
            {
                "hmac_secret": "s",
                "hmac_secrets_previous": ["r"],
                "smtp": {"host": "10.0.0.5", "port": 25, "tls": "none"},
            },
            {
                "hmac_secret": "s",
                "hmac_secrets_previous": ["r"],
                "smtp": {"host": "10.0.0.5", "port": 25, "tls": "none"},
            },
        ),
    ],
)
def test_credentials_as_stored(stated, stored):
    assert adapter().validate_credentials(stated) == stored
    assert adapter().validate_credentials(stored) == stored


@pytest.mark.parametrize(
    ("stated", "port", "expected"),
    [(True, 465, "tls"), (True, 587, "starttls"), (False, 2525, "none"), ("tls", 587, "tls")],
)
def test_tls_as_a_word_or_by_the_port(stated, port, expected):
    smtp = {**SMTP, "tls": stated, "port": port}

    assert adapter().validate_credentials({"hmac_secret": "s", "smtp": smtp})["smtp"]["tls"] == expected


def test_a_login_left_empty_is_none():
    smtp = {**SMTP, "username": "", "password": ""}

    stored = adapter().validate_credentials({"hmac_secret": "s", "smtp": smtp})["smtp"]

    assert stored.keys() == {"host", "port", "tls"}


WRONG_SMTP: list[tuple[str, Any]] = [
    ("host", "a b"), ("host", "https://mail.example"), ("host", ""), ("host", None), ("host", "a@b"),
    ("port", 22), ("port", "587"), ("port", True), ("port", 6379), ("port", 70000), ("port", 80),
    ("tls", "ssl"), ("tls", None), ("tls", []),
    ("username", None), ("password", None), ("username", "a\r\nb"), ("password", 5), ("more", "x"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), WRONG_SMTP)
def test_a_wrong_server_is_refused_by_its_fields_name(field, value):
    with pytest.raises(ValueError, match=f"{field}|unknown field|go together") as caught:
        adapter().validate_credentials({"hmac_secret": "s", "smtp": {**SMTP, field: value}})

    assert "smtp-password-1" not in str(caught.value)


@pytest.mark.parametrize(
    "stated",
    [
        {},
        {"hmac_secret": ""},
        {"hmac_secret": 5},
        {"hmac_secret": "s", "smtp": "x"},
        {"hmac_secret": "s", "x": 1},
    ],
)
def test_wrong_credentials_are_refused(stated):
    with pytest.raises(ValueError, match=r"hmac_secret|smtp|unknown"):
        adapter().validate_credentials(stated)


def test_every_secret_is_redacted_also_as_it_travels():
    redacted = adapter().redact({**CREDENTIALS, "hmac_secrets_previous": ["old"]})

    assert {
        SECRET,
        "old",
        "smtp-password-1",
        "c210cC1wYXNzd29yZC0x",
        "AHBlZGlkb3MAc210cC1wYXNzd29yZC0x",
    } == redacted
