"""Signatures of mail providers: published vectors agree, one flipped byte does not, nothing else is raised."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from channels.base import InboundRequest
from channels.errors import VerificationFailed
from channels.signatures_mail import (
    SENDGRID_SIGNATURE,
    SENDGRID_TIMESTAMP,
    mailgun_signature,
    public_key,
    sendgrid_signature,
    verify_mailgun,
    verify_sendgrid,
)
from tests.unit.channels.mail_cases import EVENT_KEY, FOREIGN_KEY, public

# What SendGrid's own libraries are tested with (sendgrid-python, test_eventwebhook.py; MIT licence).
VECTOR_KEY = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="
VECTOR_SIGNATURE = (
    "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="
)
VECTOR_TIMESTAMP = "1600112502"
VECTOR_EVENT = {
    "email": "hello@world.com",
    "event": "dropped",
    "reason": "Bounced Address",
    "sg_event_id": "ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",
    "sg_message_id": "LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",
    "smtp-id": "<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>",
    "timestamp": 1600112492,
}
VECTOR_BODY = json.dumps([VECTOR_EVENT], separators=(",", ":")).encode() + b"\r\n"
# reference vector: key, timestamp and fifty times the letter a
MAILGUN_KEY, MAILGUN_AT, MAILGUN_TOKEN = "key-abc", "1700000000", "a" * 50
MAILGUN_SIGNATURE = "6a62a66224dc61068688c370e5eeb9b340e76d31a8f7fefea0d7ca14a6e081a6"
MAILGUN_NOW = datetime.fromtimestamp(1700000000, UTC)
DAY = timedelta(days=1)


def post(body, signature, timestamp):
    headers = {SENDGRID_SIGNATURE: signature, SENDGRID_TIMESTAMP: timestamp}
    return InboundRequest("POST", "https://gw.example.test/x", CIMultiDict(headers), body)


def test_sendgrids_own_vector():
    verify_sendgrid(post(VECTOR_BODY, VECTOR_SIGNATURE, VECTOR_TIMESTAMP), [VECTOR_KEY])


def test_any_of_several_keys():
    verify_sendgrid(post(VECTOR_BODY, VECTOR_SIGNATURE, VECTOR_TIMESTAMP), [public(FOREIGN_KEY), VECTOR_KEY])


@pytest.mark.parametrize(
    ("body", "signature", "timestamp", "keys"),
    [
        (VECTOR_BODY.strip(), VECTOR_SIGNATURE, VECTOR_TIMESTAMP, [VECTOR_KEY]),
        (VECTOR_BODY, VECTOR_SIGNATURE, "1600112503", [VECTOR_KEY]),
        (VECTOR_BODY, VECTOR_SIGNATURE, "", [VECTOR_KEY]),
        (VECTOR_BODY, VECTOR_SIGNATURE, "1600112502 ", [VECTOR_KEY]),
        (VECTOR_BODY, VECTOR_SIGNATURE, "１６００１１２５０２", [VECTOR_KEY]),
        (VECTOR_BODY, "", VECTOR_TIMESTAMP, [VECTOR_KEY]),
        # the same bytes in another form of base64
        (VECTOR_BODY, VECTOR_SIGNATURE.replace("ZtM=", "ZtN="), VECTOR_TIMESTAMP, [VECTOR_KEY]),
        (VECTOR_BODY, "not base64", VECTOR_TIMESTAMP, [VECTOR_KEY]),
        (VECTOR_BODY, "ñ", VECTOR_TIMESTAMP, [VECTOR_KEY]),
        (VECTOR_BODY, VECTOR_SIGNATURE, VECTOR_TIMESTAMP, [public(FOREIGN_KEY)]),
        (VECTOR_BODY, VECTOR_SIGNATURE, VECTOR_TIMESTAMP, []),
        (VECTOR_BODY, VECTOR_SIGNATURE, VECTOR_TIMESTAMP, ["no key"]),
    ],
)
def test_sendgrids_signature_is_refused(body, signature, timestamp, keys):
    with pytest.raises(VerificationFailed):
        verify_sendgrid(post(body, signature, timestamp), keys)


@given(st.integers(0, len(VECTOR_BODY) - 1), st.integers(1, 255))
def test_each_flipped_byte_of_the_body_is_refused(at, by):
    flipped = bytearray(VECTOR_BODY)
    flipped[at] ^= by

    with pytest.raises(VerificationFailed):
        verify_sendgrid(post(bytes(flipped), VECTOR_SIGNATURE, VECTOR_TIMESTAMP), [VECTOR_KEY])


def test_each_flipped_byte_of_the_signature_is_refused():
    signature = base64.b64decode(VECTOR_SIGNATURE)
    for at in range(len(signature)):
        flipped = signature[:at] + bytes([signature[at] ^ 1]) + signature[at + 1 :]
        with pytest.raises(VerificationFailed):
            verify_sendgrid(
                post(VECTOR_BODY, base64.b64encode(flipped).decode(), VECTOR_TIMESTAMP), [VECTOR_KEY]
            )


def test_what_we_sign_the_library_accepts():
    signature = sendgrid_signature(EVENT_KEY, "1", b"body")

    EVENT_KEY.public_key().verify(base64.b64decode(signature), b"1body", ec.ECDSA(hashes.SHA256()))


def _encoded(key):
    return base64.b64encode(
        key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "AAAA",
        "no base64!",
        VECTOR_KEY[:-8],
        _encoded(ec.generate_private_key(ec.SECP384R1())),
        _encoded(rsa.generate_private_key(65537, 2048)),
    ],
)
def test_a_key_of_another_kind_is_none(text):
    with pytest.raises(ValueError, match="not a"):
        public_key(text)


def signed(**changes):
    return {
        "timestamp": MAILGUN_AT,
        "token": MAILGUN_TOKEN,
        "signature": MAILGUN_SIGNATURE,
        **changes,
    }


def test_mailguns_vector():
    assert mailgun_signature(MAILGUN_KEY, MAILGUN_AT, MAILGUN_TOKEN) == MAILGUN_SIGNATURE
    verify_mailgun(signed(), ["other", MAILGUN_KEY], MAILGUN_NOW, DAY)


@pytest.mark.parametrize(
    "changes",
    [
        {"signature": ""},
        {"signature": MAILGUN_SIGNATURE.upper()},
        {"signature": "ñ\ud800"},
        {"token": "b" + MAILGUN_TOKEN[1:]},
        {"token": ""},
        {"token": MAILGUN_TOKEN + "\n"},
        {"timestamp": "1700000001"},
        {"timestamp": ""},
        {"timestamp": "99999999999"},
        # the same signed text cut elsewhere
        {"timestamp": MAILGUN_AT + "1", "token": MAILGUN_TOKEN},
    ],
)
def test_mailguns_signature_is_refused(changes):
    with pytest.raises(VerificationFailed):
        verify_mailgun(signed(**changes), [MAILGUN_KEY], MAILGUN_NOW, DAY)


@pytest.mark.parametrize("keys", [[], ["key-abd"]])
def test_mailguns_signature_is_refused_without_its_key(keys):
    with pytest.raises(VerificationFailed):
        verify_mailgun(signed(), keys, MAILGUN_NOW, DAY)


@pytest.mark.parametrize(
    "now", [MAILGUN_NOW + timedelta(hours=8, seconds=1), MAILGUN_NOW - timedelta(minutes=11)]
)
def test_mailguns_timestamp_is_too_old_or_not_yet(now):
    with pytest.raises(VerificationFailed):
        verify_mailgun(signed(), [MAILGUN_KEY], now, timedelta(hours=8))


@given(st.sampled_from(["timestamp", "token", "signature"]), st.data())
def test_each_changed_character_of_what_mailgun_signs_is_refused(name, data):
    text = signed()[name]
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda character: character != text[at]))

    with pytest.raises(VerificationFailed):
        verify_mailgun(signed(**{name: text[:at] + other + text[at + 1 :]}), [MAILGUN_KEY], MAILGUN_NOW, DAY)
