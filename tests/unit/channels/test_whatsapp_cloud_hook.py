"""What proves that a post is Meta's, the challenge of its GET, and the form of the credentials."""

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from channels.abilities import Challenge, MediaSource, SharedHook, ShowsTyping
from channels.base import Acknowledgement, InboundRequest, OwnFault
from channels.errors import VerificationFailed
from channels.signatures_meta import META_SIGNATURE, meta_signature
from channels.whatsapp_cloud import WhatsAppCloudAdapter
from tests.unit.channels.whatsapp_cloud_cases import CREDENTIALS, NUMBER_ID, URL, account, post, post_bytes

ADAPTER = WhatsAppCloudAdapter()
# inbound.md's vector, computed apart from this code
BODY = b'{"object":"whatsapp_business_account","entry":[]}'
SIGNATURE = "sha256=9853aa679e105b611af040e5124d90921ec5e9a7c1943e64a25b60dbb70e7a75"
ASKED = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": "verify-me-1"}


def signed(body=BODY, signature=SIGNATURE):
    return InboundRequest("POST", URL, CIMultiDict({META_SIGNATURE: signature}), body)


def test_the_vector():
    assert meta_signature("app_secret_1", BODY) == SIGNATURE
    ADAPTER.verify(account(), signed())


@pytest.mark.parametrize(
    "signature",
    [
        "",
        SIGNATURE.removeprefix("sha256="),
        SIGNATURE.upper(),
        "sha256=" + SIGNATURE.removeprefix("sha256=").upper(),
        SIGNATURE.replace("sha256=", "sha1="),
        SIGNATURE + " ",
        SIGNATURE + "," + SIGNATURE,
        SIGNATURE[:-1],
        "sha256=é\udce9",
    ],
)
def test_only_the_form_that_meta_writes_passes(signature):
    with pytest.raises(VerificationFailed) as caught:
        ADAPTER.verify(account(), signed(signature=signature))

    assert SIGNATURE not in str(caught.value)


def test_a_missing_signature_is_refused():
    with pytest.raises(VerificationFailed):
        ADAPTER.verify(account(), InboundRequest("POST", URL, CIMultiDict(), BODY))


@given(place=st.integers(0, len(BODY) - 1), other=st.integers(1, 255))
def test_every_byte_of_the_body_is_signed(place, other):
    body = bytes([*BODY[:place], BODY[place] ^ other, *BODY[place + 1 :]])

    with pytest.raises(VerificationFailed):
        ADAPTER.verify(account(), signed(body))


@given(place=st.integers(0, len(SIGNATURE) - 1), other=st.integers(1, 127))
def test_every_letter_of_the_signature_counts(place, other):
    changed = SIGNATURE[:place] + chr(ord(SIGNATURE[place]) ^ other) + SIGNATURE[place + 1 :]

    with pytest.raises(VerificationFailed):
        ADAPTER.verify(account(), signed(signature=changed))


def test_a_rotated_secret_still_signs_and_another_does_not():
    owner = account(app_secret="app_secret_2", app_secrets_previous=["app_secret_1"])

    ADAPTER.verify(owner, signed())
    ADAPTER.verify(owner, post_bytes(BODY, "app_secret_2"))
    with pytest.raises(VerificationFailed):
        ADAPTER.verify(owner, post_bytes(BODY, "app_secret_3"))


def challenge(fields):
    query = fields if isinstance(fields, str) else urlencode(fields)
    return ADAPTER.answer_challenge(account(), InboundRequest("GET", f"{URL}?{query}", CIMultiDict(), b""))


def test_the_challenge_is_answered_as_it_came_and_as_plain_text():
    asked = {**ASKED, "hub.challenge": "<b>é&1"}

    assert challenge(asked) == Acknowledgement(200, "text/plain", "<b>é&1".encode())


@pytest.mark.parametrize(
    "fields",
    [
        "",
        {**ASKED, "hub.verify_token": "verify-me-2"},
        {**ASKED, "hub.verify_token": ""},
        {**ASKED, "hub.mode": "unsubscribe"},
        {**ASKED, "hub.challenge": ""},
        {name: value for name, value in ASKED.items() if name != "hub.verify_token"},
        {name: value for name, value in ASKED.items() if name != "hub.mode"},
        {name: value for name, value in ASKED.items() if name != "hub.challenge"},
        "hub.verify_token=wrong&" + urlencode(ASKED),
        "hub.verify_token=%ff%fe&hub.mode=subscribe&hub.challenge=1",
    ],
)
def test_whoever_does_not_know_the_token_gets_no_challenge(fields):
    with pytest.raises(VerificationFailed):
        challenge(fields)


def test_what_the_adapter_is():
    assert all(isinstance(ADAPTER, port) for port in (Challenge, SharedHook, ShowsTyping, MediaSource))
    assert ADAPTER.own_fault is OwnFault.RETRIED
    assert ADAPTER.refusal_status == 403
    assert ADAPTER.acknowledge() == Acknowledgement(200, "text/plain", b"")
    assert ADAPTER.route_of(CREDENTIALS) == NUMBER_ID
    assert ADAPTER.parse(account(), post({"object": "whatsapp_business_account", "entry": []}))


def test_credentials_are_stored_as_given_with_the_list_filled_in():
    given_ones = {name: value for name, value in CREDENTIALS.items() if name != "app_secrets_previous"}

    assert ADAPTER.validate_credentials(given_ones) == CREDENTIALS
    assert ADAPTER.validate_credentials({**CREDENTIALS, "app_secrets_previous": ["old"]})[
        "app_secrets_previous"
    ] == ["old"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("phone_number_id", "+15550002222"),
        ("phone_number_id", 106540352242922),
        ("waba_id", ""),
        ("app_secret", None),
        ("app_secret", " secret-with-blanks "),
        ("app_secrets_previous", "not-a-list"),
        ("access_token", ""),
        ("verify_token", "two words"),
    ],
)
def test_credentials_of_another_form_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field) as caught:
        ADAPTER.validate_credentials({**CREDENTIALS, field: value})

    assert not value or str(value) not in str(caught.value)


def test_unknown_credentials_are_refused():
    with pytest.raises(ValueError, match="unknown field"):
        ADAPTER.validate_credentials({**CREDENTIALS, "verify": False})


def test_redaction_names_every_secret():
    secrets = ADAPTER.redact({**CREDENTIALS, "app_secrets_previous": ["app_secret_0"]})

    assert secrets == {"app_secret_1", "app_secret_0", "EAAJtoken-1", "verify-me-1"}
