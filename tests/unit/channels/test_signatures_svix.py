"""Svix's signature against the vector, against both libraries, and against whatever a stranger sends."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
import standardwebhooks
import svix
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from channels.base import InboundRequest
from channels.errors import VerificationFailed
from channels.signatures_svix import is_svix_secret, svix_signature, verify_svix

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
OTHER = "whsec_" + base64.b64encode(b"another secret of the same length").decode()
BODY = b'{"type":"email.received"}'
VECTOR = "v1,2WBCEzRjcn/upgyf7oz8g50FvNcvl2ZDstUnm2OJyzM="
STAMP = 1_700_000_000
NOW = datetime.fromtimestamp(STAMP, UTC)


def request(signature=VECTOR, *, stamp=str(STAMP), message_id="msg_1", body=BODY, prefix="svix-"):
    headers = {f"{prefix}id": message_id, f"{prefix}timestamp": stamp, f"{prefix}signature": signature}
    return InboundRequest("POST", "https://gw.example.test/in/resend/x", CIMultiDict(headers), body)


def refused(asked, secrets=(SECRET,), now=NOW):
    with pytest.raises(VerificationFailed) as caught:
        verify_svix(asked, secrets, now)
    return str(caught.value)


def test_the_vector():
    assert svix_signature(SECRET, "msg_1", STAMP, BODY) == VECTOR
    verify_svix(request(), (SECRET,), NOW)


@pytest.mark.parametrize("prefix", ["svix-", "webhook-", "Svix-", "WEBHOOK-"])
def test_both_names_of_the_headers(prefix):
    verify_svix(request(prefix=prefix), (SECRET,), NOW)


@pytest.mark.parametrize(
    "signature",
    [
        f"v1,AAAA {VECTOR}",
        f"{VECTOR} v1,AAAA",
        f"v1a,{VECTOR[3:]} {VECTOR}",
        f"no-comma {VECTOR}",
        f"v1,a,b {VECTOR}",
        f"  {VECTOR} ",
    ],
)
def test_any_match_passes_whatever_stands_beside_it(signature):
    verify_svix(request(signature), (SECRET,), NOW)


@pytest.mark.parametrize(
    "signature",
    [
        *("", " ", ",", "v1,", "v1", "v1,a,b"),
        *(VECTOR[3:], f"v2,{VECTOR[3:]}", f"V1,{VECTOR[3:]}", f"v1a,{VECTOR[3:]}", f"{VECTOR}=", VECTOR[:-1]),
        *("v1,*** not base64 ***", "v1,é", "v1,\udcff", "v1,\ud800"),
    ],
)
def test_a_signature_that_is_none(signature):
    refused(request(signature))


@pytest.mark.parametrize("stamp", ["", "x", "-1", "1e9", "1700000000.0", "٣", "9" * 40, " 1700000000"])
def test_a_timestamp_that_is_none(stamp):
    refused(request(stamp=stamp))


@pytest.mark.parametrize(
    ("late", "passes"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)]
)
def test_the_tolerance(late, passes):
    now = NOW + timedelta(seconds=late)
    if passes:
        verify_svix(request(), (SECRET,), now)
    else:
        refused(request(), now=now)


@pytest.mark.parametrize(
    "change", [{"message_id": "msg_2"}, {"stamp": str(STAMP + 1)}, {"body": BODY + b" "}]
)
def test_everything_is_covered(change):
    refused(request(**change))


def test_headers_of_two_families_do_not_add_up():
    headers = {"svix-id": "msg_1", "webhook-timestamp": str(STAMP), "webhook-signature": VECTOR}

    refused(InboundRequest("POST", "https://gw.example.test/", CIMultiDict(headers), BODY))


def test_while_a_secret_is_rotated_both_verify_and_then_only_the_new_one():
    old = request(svix_signature(OTHER, "msg_1", STAMP, BODY))

    verify_svix(old, (SECRET, OTHER), NOW)
    verify_svix(request(), (SECRET, OTHER), NOW)
    refused(old, (SECRET,))
    refused(request(), ())


@given(
    st.binary(min_size=24, max_size=64), st.text(min_size=1, max_size=40, alphabet="abcXYZ019_"), st.text()
)
def test_both_libraries_agree(key, message_id, text):
    secret = "whsec_" + base64.b64encode(key).decode()
    body = json.dumps({"text": text}, ensure_ascii=False).encode("utf-8", "replace")
    now = datetime.now(UTC).replace(microsecond=0)
    stamp = int(now.timestamp())
    ours = svix_signature(secret, message_id, stamp, body)

    assert svix.Webhook(secret).sign(message_id, now, body.decode()) == ours
    assert standardwebhooks.Webhook(secret).sign(message_id, now, body.decode()) == ours
    svix.Webhook(secret).verify(body, dict(request(ours, stamp=str(stamp), message_id=message_id).headers))
    verify_svix(request(ours, stamp=str(stamp), message_id=message_id, body=body), (secret,), now)


@given(st.text(), st.text(), st.text(), st.binary(max_size=64))
def test_nothing_but_a_refusal_comes_of_what_a_stranger_sends(message_id, stamp, signature, body):
    refused(request(signature, stamp=stamp, message_id=message_id, body=body))


@given(st.lists(st.text(alphabet="v1, =AZaz09+/", max_size=12), max_size=24))
def test_nothing_but_a_refusal_comes_of_broken_items(items):
    refused(request(" ".join(items)))


def test_the_refusal_says_the_same_whatever_is_wrong():
    texts = {
        refused(request("x")),
        refused(request(stamp="1")),
        refused(request(body=b"")),
        refused(request("")),
    }

    assert len(texts) == 1
    assert VECTOR[3:] not in texts.pop()


@pytest.mark.parametrize(
    ("secret", "good"),
    [
        (SECRET, True),
        (OTHER, True),
        ("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3", False),
        ("whsec_", False),
        ("whsec_MDEyM", False),
        ("whsec_MDEyMzQ1Njc", False),
        ("whsec_***********", False),
        (SECRET + "\n", False),
    ],
)
def test_the_form_of_a_secret(secret, good):
    assert is_svix_secret(secret) is good
