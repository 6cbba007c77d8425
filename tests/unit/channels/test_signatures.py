"""Twilio's signature: the known vectors, the library as oracle, and every way to be refused."""

import base64
from dataclasses import replace
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, MultiDict
from twilio.request_validator import RequestValidator

from channels.base import InboundRequest
from channels.errors import VerificationFailed
from channels.forms import FORM_TYPE, form_pairs
from channels.signatures import (
    TWILIO_SIGNATURE,
    TWILIO_SIGNATURE_SETTINGS,
    TwilioAlgorithm,
    port_variants,
    signature_settings,
    twilio_signature,
    verify_twilio,
    with_body_hash,
)
from tests.unit.channels.twilio_cases import TOKEN, post

URL = "https://gw.example.test/hooks/twilio/ch1/receive?t=1"
FIELDS = {
    "MessageSid": "SM00000000000000000000000000000001",
    "From": "+15550001111",
    "To": "+15550002222",
    "Body": "2 cases cola & 1 water",
    "ToCity": "",
}
JSON_BODY = b'{"a":1}'
JSON_URL = (
    "https://gw.example.test/h?bodySHA256=015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
)

texts = st.text(st.characters(codec="utf-8"), max_size=12)
pair_lists = st.lists(st.tuples(texts.filter(bool), texts), max_size=6)
hosts = st.sampled_from(["gw.example.test", "gw.example.test:8443", "gw.example.test:443", "10.0.0.1:8080"])
paths = st.text("abcXYZ019-._~/%?=&", max_size=20).map(lambda tail: "/in/" + tail.rstrip("?"))
urls = st.builds(
    lambda scheme, host, path: f"{scheme}://{host}{path}", st.sampled_from(["http", "https"]), hosts, paths
)


def signed_json(url=JSON_URL, body=JSON_BODY, token=TOKEN):
    headers = {"Content-Type": "application/json", TWILIO_SIGNATURE: twilio_signature(token, url)}
    return InboundRequest("POST", url, CIMultiDict(headers), body)


def changed(request, name, value):
    headers = CIMultiDict(request.headers)
    headers[name] = value
    return headers


def accepted(request, tokens=(TOKEN,), signing_keys=None):
    """Whether it verifies; any error but VerificationFailed goes through."""
    try:
        verify_twilio(request, tokens, signing_keys or {})
    except VerificationFailed:
        return False
    return True


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        (twilio_signature(TOKEN, URL, FIELDS.items()), "Ur/rgmSYpUW061CTXVHxVA9rWLM="),
        (
            twilio_signature(TOKEN, URL, FIELDS.items(), TwilioAlgorithm.SHA256),
            "zaYRJFCv3N8S+q15WpaIcweI9gy9VjTOxg3Rzoi+BqQ=",
        ),
        (
            twilio_signature(TOKEN, with_body_hash("https://gw.example.test/h", JSON_BODY)),
            "PhKkvPbudLB/l99C+aFlA61Xjao=",
        ),
    ],
    ids=["form, SHA1", "form, SHA256", "json"],
)
def test_known_vectors(signature, expected):
    assert signature == expected


def test_with_body_hash_makes_the_url_that_twilio_calls():
    assert with_body_hash("https://gw.example.test/h", JSON_BODY) == JSON_URL
    assert with_body_hash("https://gw.example.test/h?a=1", JSON_BODY).startswith(
        "https://gw.example.test/h?a=1&bodySHA256="
    )


@pytest.mark.parametrize(
    ("signed_url", "our_url"),
    [
        (URL, URL),
        (URL.replace(".test", ".test:443"), URL),
        (URL, URL.replace(".test", ".test:443")),
        (URL, URL.replace(".test", ".test:8443")),
        (URL.replace("https", "http").replace(".test", ".test:80"), URL.replace("https", "http")),
        ("https://user:pw@host/x", "https://user:pw@host:8443/x"),
        ("https://user:pw@host:443/x", "https://user:pw@host/x"),
        ("https://[2001:db8::1]/x", "https://[2001:db8::1]:8443/x"),
        ("https://[2001:db8::1]:443/x", "https://[2001:db8::1]/x"),
        ("https://host:443?a=1", "https://host?a=1"),
    ],
)
def test_ports_are_tried_with_and_without(signed_url, our_url):
    request = post(FIELDS, url=our_url)
    signature = twilio_signature(TOKEN, signed_url, FIELDS.items())

    assert accepted(replace(request, headers=changed(request, TWILIO_SIGNATURE, signature)), [TOKEN], {})


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (b"https://u:p@h:1/a:2?b=:3", [b"https://u:p@h:1/a:2?b=:3", b"https://u:p@h/a:2?b=:3"]),
        (b"https://h", [b"https://h", b"https://h:443"]),
        (b"ftp://h/x", [b"ftp://h/x"]),
        (b"", [b""]),
    ],
)
def test_port_variants(url, expected):
    assert list(port_variants(url)) == expected


@given(urls, pair_lists)
def test_what_the_library_accepts_is_accepted(url, pairs):
    oracle = RequestValidator(TOKEN)
    params = MultiDict(pairs)
    signature = oracle.compute_signature(url, params)
    if not oracle.validate(url, params, signature):
        return  # the library rewrites some URLs before it checks, its own signature then fails
    headers = CIMultiDict({"Content-Type": FORM_TYPE, TWILIO_SIGNATURE: signature})

    assert accepted(InboundRequest("POST", url, headers, urlencode(pairs).encode()), [TOKEN], {})


@given(urls, pair_lists)
def test_what_we_sign_the_library_accepts(url, pairs):
    oracle = RequestValidator(TOKEN)

    assert twilio_signature(TOKEN, url, pairs) == oracle.compute_signature(url, MultiDict(pairs))


@given(st.integers(min_value=0), st.integers(1, 255))
def test_any_changed_byte_of_the_body_is_refused(position, mask):
    request = post({"From": "+15550001111", "Body": "2 cases & 1 water, 3 + 4 = 7 ñ", "ToCity": ""})
    body = bytearray(request.body)
    body[position % len(body)] ^= mask
    if set(form_pairs(bytes(body))) == set(form_pairs(request.body)):
        return  # %2b and %2B are the same byte to Twilio: nothing that is signed has changed

    assert not accepted(replace(request, body=bytes(body)))


def test_every_changed_byte_of_path_and_query_is_refused():
    request = post(FIELDS, url=URL)
    start = URL.index("/hooks")
    for position in range(start, len(URL)):
        for mask in (1, 2, 4, 8, 16, 32, 64):
            url = URL[:position] + chr(ord(URL[position]) ^ mask) + URL[position + 1 :]
            assert not accepted(replace(request, url=url))


def test_every_changed_byte_of_the_header_is_refused():
    request = post(FIELDS)
    good = request.headers[TWILIO_SIGNATURE].encode()
    for position in range(len(good)):
        for mask in range(1, 256):
            flipped = bytearray(good)
            flipped[position] ^= mask
            header = bytes(flipped).decode("utf-8", "surrogateescape")
            assert not accepted(replace(request, headers=changed(request, TWILIO_SIGNATURE, header)))


def test_base64_that_decodes_to_the_same_bytes_is_refused():
    request = post(FIELDS)
    good = request.headers[TWILIO_SIGNATURE]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    twin = good[:-2] + alphabet[alphabet.index(good[-2]) ^ 1] + "="
    assert base64.b64decode(twin) == base64.b64decode(good)

    for header in (twin, good + "\n", " " + good, good.rstrip("="), good + "=", good.replace("/", "_")):
        if header != good:
            assert not accepted(replace(request, headers=changed(request, TWILIO_SIGNATURE, header)))


@pytest.mark.parametrize(
    "header", [None, "", "é", "\udcff", chr(0xD800), "a" * 10_000, "Ur/rgmSYpUW061CTXVHxVA9rWLM"]
)
def test_a_missing_or_odd_header_is_refused(header):
    headers = CIMultiDict({"Content-Type": FORM_TYPE})
    if header is not None:
        headers[TWILIO_SIGNATURE] = header

    assert not accepted(replace(post(FIELDS), headers=headers))


def test_the_error_tells_nothing():
    request = replace(post(FIELDS), body=b"Body=changed")
    expected = twilio_signature(TOKEN, request.url, [("Body", "changed")])

    with pytest.raises(VerificationFailed) as caught:
        verify_twilio(request, [TOKEN], {})
    error = caught.value

    assert str(error) == "The signature is missing or wrong."
    assert expected not in repr(error)
    assert error.__cause__ is None


def test_tokens_may_be_rotated():
    request = post(FIELDS, token="old_token_1")

    assert accepted(request, ["new_token_1", "old_token_1"], {})
    assert not accepted(request, ["new_token_1"])
    assert not accepted(request, [])


def test_a_post_of_countless_fields_is_refused_before_it_is_read():
    assert not accepted(replace(post(FIELDS), body=b"a&" * 500_000))


def test_urls_that_are_not_utf8():
    raw = "https://gw.example.test/in/\udcff"  # how a server shows the byte FF of a request line
    assert not accepted(replace(post(FIELDS), url=raw))
    assert not accepted(replace(post(FIELDS), url="https://gw.example.test/in/" + chr(0xD800)))


def test_an_empty_secret_signs_nothing():
    """Not configured must never mean: signed with the empty string."""
    request = post(FIELDS, token="")

    assert not accepted(request, [])
    assert not accepted(request, [TOKEN])


def test_get_signs_the_url_alone():
    url = "https://gw.example.test/in/twilio/x?Body=a+b&From=%2B1"
    headers = CIMultiDict({TWILIO_SIGNATURE: twilio_signature(TOKEN, url)})
    request = InboundRequest("GET", url, headers, b"")

    assert accepted(request, [TOKEN], {})
    assert not accepted(replace(request, url=url.replace("a+b", "a%20b")))
    assert not accepted(
        replace(request, method="POST")
    )  # a body of unknown type is not bound to this signature


def test_repeated_values_count_once_and_are_sorted():
    pairs = [("B", "2"), ("A", "2"), ("A", "1"), ("A", "2")]
    url = "https://gw.example.test/x"
    headers = CIMultiDict(
        {
            "Content-Type": FORM_TYPE,
            TWILIO_SIGNATURE: twilio_signature(TOKEN, url, [("A", "1"), ("A", "2"), ("B", "2")]),
        }
    )

    assert accepted(InboundRequest("POST", url, headers, urlencode(pairs).encode()), [TOKEN], {})


class TestJson:
    def test_url_and_hash_hold(self):
        assert accepted(signed_json(), [TOKEN], {})
        assert RequestValidator(TOKEN).validate(
            JSON_URL, JSON_BODY.decode(), twilio_signature(TOKEN, JSON_URL)
        )

    def test_another_body_is_refused(self):
        assert not accepted(replace(signed_json(), body=b'{"a":2}'))

    def test_a_body_without_a_hash_is_refused(self):
        assert not accepted(signed_json(url="https://gw.example.test/h"))
        assert not accepted(signed_json(url="https://gw.example.test/h?bodySHA256="))

    def test_two_hashes_must_both_hold(self):
        assert not accepted(signed_json(url=JSON_URL + "&bodySHA256=00"))

    def test_it_cannot_be_replayed_as_an_empty_form_or_a_get(self):
        request = signed_json()
        form = changed(request, "Content-Type", FORM_TYPE)

        assert not accepted(replace(request, headers=form, body=b""))
        assert not accepted(replace(request, method="GET", body=b""))

    def test_a_form_cannot_be_called_json(self):
        request = post(FIELDS)
        assert not accepted(replace(request, headers=changed(request, "Content-Type", "application/json")))


class TestSigningKeys:
    KEYS = {"webhooks_sharedkey_1": "shared-secret-1", "webhooks_sharedkey_2": "shared-secret-2"}  # noqa: RUF012 - read only

    def request(self, settings, secret="shared-secret-1", algorithm=TwilioAlgorithm.SHA256):
        signature = twilio_signature(secret, URL, FIELDS.items(), algorithm)
        headers = {
            TWILIO_SIGNATURE: signature,
            TWILIO_SIGNATURE_SETTINGS: settings,
            "Content-Type": FORM_TYPE,
        }
        return InboundRequest("POST", URL, CIMultiDict(headers), urlencode(FIELDS).encode())

    def test_the_named_key_with_sha256(self):
        request = self.request(signature_settings("webhooks_sharedkey_1"))

        assert accepted(request, [TOKEN], self.KEYS)
        assert RequestValidator("shared-secret-1").validate(
            URL, FIELDS, request.headers[TWILIO_SIGNATURE], TwilioAlgorithm.SHA256
        )

    @pytest.mark.parametrize(
        ("settings", "secret", "algorithm"),
        [
            (signature_settings("webhooks_sharedkey_2"), "shared-secret-1", TwilioAlgorithm.SHA256),
            (signature_settings("unknown"), "shared-secret-1", TwilioAlgorithm.SHA256),
            (signature_settings("unknown"), "", TwilioAlgorithm.SHA256),
            (signature_settings("webhooks_sharedkey_1"), "shared-secret-1", TwilioAlgorithm.SHA1),
            (signature_settings("webhooks_sharedkey_1"), TOKEN, TwilioAlgorithm.SHA256),
            ("key=webhooks_sharedkey_1,algorithm=HMAC_SHA1", "shared-secret-1", TwilioAlgorithm.SHA1),
            ("key=webhooks_sharedkey_1,algorithm=HMAC_SHA1", TOKEN, TwilioAlgorithm.SHA1),
            ("algorithm=HMAC_SHA1", TOKEN, TwilioAlgorithm.SHA1),
            ("", TOKEN, TwilioAlgorithm.SHA1),
            ("key=webhooks_sharedkey_1", "shared-secret-1", TwilioAlgorithm.SHA256),
            (
                "key=a,key=webhooks_sharedkey_1,algorithm=HMAC_SHA256",
                "shared-secret-1",
                TwilioAlgorithm.SHA256,
            ),
        ],
    )
    def test_no_other_key_or_algorithm(self, settings, secret, algorithm):
        assert not accepted(self.request(settings, secret, algorithm), [TOKEN], self.KEYS)

    def test_without_configured_keys_the_header_is_refused(self):
        assert not accepted(self.request(signature_settings("webhooks_sharedkey_1")), [TOKEN], {})
        assert not accepted(self.request(signature_settings("webhooks_sharedkey_1"), TOKEN), [TOKEN], {})

    def test_taking_the_header_away_is_no_downgrade(self):
        request = self.request(signature_settings("webhooks_sharedkey_1"), algorithm=TwilioAlgorithm.SHA1)
        headers = CIMultiDict(request.headers)
        del headers[TWILIO_SIGNATURE_SETTINGS]

        assert not accepted(replace(request, headers=headers), [TOKEN], self.KEYS)


header_texts = st.text(max_size=40)


@given(
    st.sampled_from(["GET", "POST", "PUT"]),
    st.text(max_size=60),
    st.dictionaries(
        st.sampled_from([TWILIO_SIGNATURE, TWILIO_SIGNATURE_SETTINGS, "Content-Type"]),
        header_texts,
        max_size=3,
    ),
    st.binary(max_size=80),
)
def test_nothing_but_verification_failed_is_ever_raised(method, url, headers, body):
    assert not accepted(
        InboundRequest(method, url, CIMultiDict(headers), body), [TOKEN], {"k": "secret-of-k"}
    )


@given(st.binary(max_size=200))
def test_form_parsing_never_raises_and_keeps_order(body):
    pairs = form_pairs(body)

    assert len(pairs) == len([segment for segment in body.split(b"&") if segment])
