"""Which posts of SendGrid are taken for SendGrid's, and the credentials by which that is told."""

import base64
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.abilities import SentLookup
from channels.base import OwnFault
from channels.basic_auth import basic_authorisation
from channels.errors import MalformedPayload, VerificationFailed
from channels.signatures_mail import SENDGRID_SIGNATURE
from tests.mail_forms import fields_of
from tests.unit.channels.mail_cases import (
    EVENT_KEY,
    FOREIGN_KEY,
    INBOUND_KEY,
    LOGIN,
    NOW,
    SENDGRID,
    account,
    document_of,
    public,
    request,
    sendgrid,
    sendgrid_events,
    sendgrid_mail,
)

ADAPTER = sendgrid()
BASIC = {name: value for name, value in SENDGRID.items() if name != "inbound_public_key"} | {
    "inbound_basic_auth": LOGIN
}


def verified(post, credentials=SENDGRID):
    ADAPTER.verify(account("sendgrid", credentials), post)


MAIL, EVENT = fields_of("sendgrid", "parsed__text"), document_of("sendgrid", "event__delivered")
AUTHORISED = {"Authorization": basic_authorisation(LOGIN)}


def with_headers(post, **headers):
    return request("sendgrid", {**post.headers, **headers}, post.body)


def test_a_post_is_verified_by_the_key_of_its_kind_whichever_hook_it_came_to():
    verified(sendgrid_mail(MAIL))
    verified(sendgrid_events(EVENT))
    verified(with_headers(sendgrid_mail(MAIL, None), **AUTHORISED), BASIC)
    rotated = {
        **SENDGRID,
        "inbound_public_key": public(FOREIGN_KEY),
        "inbound_public_keys_previous": [public(INBOUND_KEY)],
        "event_public_key": public(FOREIGN_KEY),
        "event_public_keys_previous": [public(EVENT_KEY)],
    }
    verified(sendgrid_mail(MAIL), rotated)
    verified(sendgrid_events(EVENT), rotated)
    changed_login = {**BASIC, "inbound_basic_auth": {**LOGIN, "password": "new"}}
    verified(
        with_headers(sendgrid_mail(MAIL, None), **AUTHORISED),
        {**changed_login, "inbound_basic_auths_previous": [LOGIN]},
    )


BOTH = {**SENDGRID, "inbound_basic_auth": LOGIN}
REFUSED = {
    "no signature": (sendgrid_mail(MAIL, None), SENDGRID),
    "another's key": (sendgrid_mail(MAIL, FOREIGN_KEY), SENDGRID),
    "the other hook's key": (sendgrid_mail(MAIL, EVENT_KEY), SENDGRID),
    "events by the inbound key": (sendgrid_events(EVENT, INBOUND_KEY), SENDGRID),
    "a login in the place of a signature": (with_headers(sendgrid_mail(MAIL, None), **AUTHORISED), BOTH),
    "a login beside another's signature": (
        with_headers(sendgrid_mail(MAIL, FOREIGN_KEY), **AUTHORISED),
        BOTH,
    ),
    "events by a login": (with_headers(sendgrid_events(EVENT, None), **AUTHORISED), BASIC),
    "a signature where a login is set": (sendgrid_mail(MAIL), BASIC),
    "another login": (
        with_headers(
            sendgrid_mail(MAIL, None), Authorization=basic_authorisation({**LOGIN, "password": "x"})
        ),
        BASIC,
    ),
    "an empty signature": (with_headers(sendgrid_mail(MAIL), **{SENDGRID_SIGNATURE: ""}), SENDGRID),
}


@pytest.mark.parametrize("label", sorted(REFUSED))
def test_refused(label):
    post, credentials = REFUSED[label]

    with pytest.raises(VerificationFailed) as refused:
        verified(post, credentials)

    assert str(refused.value) == "The signature is missing or wrong."


@pytest.mark.parametrize("age", [timedelta(days=3), timedelta(days=400), timedelta(seconds=-90)])
def test_a_post_is_taken_whenever_it_was_signed(age):
    verified(sendgrid_mail(MAIL, at=str(int((NOW - age).timestamp()))))


def test_a_login_may_be_written_as_in_a_url():
    stored = ADAPTER.validate_credentials({**BASIC, "inbound_basic_auth": "sendgrid:p4ss:word"})

    assert stored["inbound_basic_auth"] == {"username": "sendgrid", "password": "p4ss:word"}


def test_credentials_as_stored():
    stored = ADAPTER.validate_credentials(BOTH)

    assert stored == {
        **BOTH,
        "event_public_keys_previous": [],
        "inbound_public_keys_previous": [],
        "inbound_basic_auths_previous": [],
    }
    assert ADAPTER.redact(stored) == {
        "SG.test-key",
        LOGIN["password"],
        base64.b64encode(b"sendgrid:p4ss:word").decode(),
    }


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"api_key": None}, "api_key"),
        ({"event_public_key": None}, "event_public_key"),
        ({"event_public_key": "AAAA"}, "event_public_key"),
        ({"event_public_keys_previous": ["AAAA"]}, "event_public_keys_previous"),
        ({"inbound_public_key": "AAAA"}, "inbound_public_key"),
        ({"inbound_public_keys_previous": "AAAA"}, "inbound_public_keys_previous"),
        ({"inbound_public_key": None}, "inbound_public_key or inbound_basic_auth"),
        ({"inbound_basic_auth": {"username": "a:b", "password": "x"}}, "username"),
        ({"inbound_basic_auths_previous": LOGIN}, "inbound_basic_auths_previous"),
        ({"inbound_basic_auths_previous": [7]}, "inbound_basic_auths_previous"),
        ({"verify": False}, "credentials"),
    ],
)
def test_wrong_credentials_are_named_and_not_shown(changes, field):
    with pytest.raises(ValueError, match=f"^{field}") as wrong:
        ADAPTER.validate_credentials({**SENDGRID, **changes})

    assert "AAAA" not in str(wrong.value)


def test_what_it_is():
    assert (ADAPTER.own_fault, ADAPTER.refusal_status) == (OwnFault.RETRIED, 403)
    assert not isinstance(ADAPTER, SentLookup)
    assert ADAPTER.body_cap > 30 * 1024 * 1024


@given(
    st.binary(max_size=300),
    st.sampled_from(["application/json", "multipart/form-data; boundary=b", "text/plain"]),
)
def test_any_bytes_raise_nothing_but_malformed_payload_and_are_never_verified(body, kind):
    post = request("sendgrid", {"Content-Type": kind}, body)

    with pytest.raises(VerificationFailed):
        verified(post)
    try:
        ADAPTER.parse(account("sendgrid", SENDGRID), post)
    except MalformedPayload:
        return
