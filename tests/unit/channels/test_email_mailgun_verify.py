"""Which posts of Mailgun are taken for Mailgun's, and the credentials by which that is told."""

import base64
import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.abilities import MediaInPost, MediaSource, OneTimeTokens, Reconcilable, SentLookup
from channels.base import OwnFault
from channels.email_mailgun import TOLERANCE, MailgunAdapter
from channels.errors import MalformedPayload, VerificationFailed
from tests.mail_forms import changed, fields_of, urlencoded
from tests.unit.channels.mail_cases import (
    MAILGUN,
    NOW,
    account,
    clock,
    document_of,
    mailgun,
    mailgun_event,
    mailgun_mail,
    request,
)

ADAPTER = mailgun()


def verified(post, credentials=MAILGUN):
    ADAPTER.verify(account("mailgun", credentials), post)


MAIL, EVENT = fields_of("mailgun", "route__text"), document_of("mailgun", "event__delivered")
FILES = fields_of("mailgun", "route__pdf_and_inline_image")
TOO_OLD = str(int((NOW - TOLERANCE).timestamp()) - 1)


def test_all_three_forms_of_post_are_verified():
    rotated = {**MAILGUN, "signing_key": "new", "signing_keys_previous": [MAILGUN["signing_key"]]}
    for post in (mailgun_mail(MAIL), mailgun_mail(FILES), mailgun_event(EVENT)):
        verified(post)
        verified(post, rotated)
    verified(mailgun_mail(MAIL, at=str(int((NOW - timedelta(hours=8)).timestamp()))))


def test_a_timestamp_that_is_a_number():
    document = json.loads(mailgun_event(EVENT).body)
    document["signature"]["timestamp"] = int(document["signature"]["timestamp"])

    verified(request("mailgun", {"Content-Type": "application/json"}, json.dumps(document).encode()))


REFUSED = {
    "another's key": mailgun_mail(MAIL, "other"),
    "events by another's key": mailgun_event(EVENT, "other"),
    "no fields of a signature": request(
        "mailgun", *urlencoded(changed(MAIL, timestamp=None, token=None, signature=None))
    ),
    "an empty signature": request("mailgun", *urlencoded(MAIL)),
    "no signature of an event": request(
        "mailgun", {"Content-Type": "application/json"}, b'{"event-data": {}}'
    ),
    "a signature of another form": request(
        "mailgun", {"Content-Type": "application/json"}, b'{"signature": "x"}'
    ),
    "no form": request("mailgun", {"Content-Type": "text/plain"}, b""),
    "too old": mailgun_mail(MAIL, at=TOO_OLD),
    "an old event": mailgun_event(EVENT, at=TOO_OLD),
    "from the future": mailgun_mail(MAIL, at=str(int((NOW + timedelta(minutes=11)).timestamp()))),
}


@pytest.mark.parametrize("label", sorted(REFUSED))
def test_refused(label):
    with pytest.raises(VerificationFailed) as refused:
        verified(REFUSED[label])

    assert str(refused.value) == "The signature is missing or wrong."


@pytest.mark.parametrize("post", [mailgun_mail(MAIL), mailgun_event(EVENT)])
def test_the_token_of_a_post(post):
    token = ADAPTER.one_time_token(account("mailgun", MAILGUN), post)

    assert len(token) == 50
    assert set(token) in ({"a"}, {"b"})


def test_credentials_as_stored():
    stored = ADAPTER.validate_credentials({**MAILGUN, "domain": "Mail.Acme.example", "region": "EU"})

    assert stored == {**MAILGUN, "signing_keys_previous": [], "region": "eu"}
    assert ADAPTER.redact(stored) == {
        "mg-api-key",
        "key-abc",
        base64.b64encode(b"api:mg-api-key").decode(),
    }


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"api_key": None}, "api_key"),
        ({"signing_key": "with blank"}, "signing_key"),
        ({"signing_keys_previous": "key-abc"}, "signing_keys_previous"),
        ({"domain": "acme."}, "domain"),
        ({"domain": "acme.example/../../v4"}, "domain"),
        ({"region": "asia"}, "region"),
        ({"verify": False}, "credentials"),
    ],
)
def test_wrong_credentials_are_named(changes, field):
    with pytest.raises(ValueError, match=f"^{field}"):
        ADAPTER.validate_credentials({**MAILGUN, **changes})


def test_what_it_is():
    assert (ADAPTER.own_fault, ADAPTER.refusal_status) == (OwnFault.RETRIED, 403)
    assert ADAPTER.acknowledge().status == 200
    for ability in (OneTimeTokens, MediaInPost, MediaSource, SentLookup, Reconcilable):
        assert isinstance(ADAPTER, ability)


@pytest.mark.parametrize(
    ("api_url", "region", "base"),
    [
        (None, {}, "https://api.mailgun.net"),
        (None, {"region": "us"}, "https://api.mailgun.net"),
        (None, {"region": "eu"}, "https://api.eu.mailgun.net"),
        ("http://127.0.0.1:9/mailgun", {"region": "eu"}, "http://127.0.0.1:9/mailgun"),
    ],
)
def test_the_region_decides_unless_the_operator_did(api_url, region, base):
    adapter = MailgunAdapter(api_url, clock)

    assert adapter._base(account("mailgun", {**MAILGUN, **region})) == base  # noqa: SLF001 - no exchange leaves this test


@given(
    st.binary(max_size=300),
    st.sampled_from(
        ["application/json", "multipart/form-data; boundary=b", "application/x-www-form-urlencoded"]
    ),
)
def test_any_bytes_raise_nothing_but_malformed_payload_and_are_never_verified(body, kind):
    post = request("mailgun", {"Content-Type": kind}, body)

    with pytest.raises(VerificationFailed):
        verified(post)
    try:
        ADAPTER.parse(account("mailgun", MAILGUN), post)
    except MalformedPayload:
        return


def test_of_repeated_fields_the_last_one_is_verified_and_read():
    fields = fields_of("mailgun", "route__text")
    signed = mailgun_mail(fields)
    body = b"token=forged&recipient=other%40mail.acme.example&body-plain=forged&" + signed.body
    post = request("mailgun", signed.headers, body)

    ADAPTER.verify(account("mailgun", MAILGUN), post)
    assert ADAPTER.one_time_token(account("mailgun", MAILGUN), post) == "a" * 50
    read = [ADAPTER.parse(account("mailgun", MAILGUN), each) for each in (post, signed)]
    assert read[0] == read[1]
    with pytest.raises(VerificationFailed):
        verified(request("mailgun", signed.headers, signed.body + b"&token=forged"))
