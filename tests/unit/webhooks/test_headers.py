"""Custom headers: what an integrator may add and what stays ours."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.errors import InvalidInput
from channels.targets import check_headers
from handlers.webhooks.endpoint_auth import Authorisation
from handlers.webhooks.headers import MAX_HEADERS, is_reserved, request_headers, validate_custom_headers
from handlers.webhooks.signing import new_secret
from tests.factories import signing_keys

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer abc"},
        {"X-Tenant": "a b\tc", "x-other": "!~"},
        {f"x-{number}": "1" for number in range(MAX_HEADERS)},
    ],
)
def test_ordinary_headers_are_taken(headers):
    assert validate_custom_headers(headers) == headers


@pytest.mark.parametrize(
    "name",
    [
        "webhook-id",
        "Webhook-Signature",
        "WEBHOOK-ANYTHING",
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Content-Type",
        "connection",
        "User-Agent",
        "te",
        "Upgrade",
        "Proxy-Authorization",
        "",
        "a b",
        "a:b",
        "ñ",
        "a\r\nb",
        "a\0",
        "x" * 101,
    ],
)
def test_reserved_and_malformed_names_are_refused(name):
    with pytest.raises(InvalidInput) as caught:
        validate_custom_headers({name: "v"})

    assert caught.value.field == "headers"


@pytest.mark.parametrize(
    "value", ["", " ", " a", "a ", "a\r\nb: c", "a\nb", "a\rb", "a\0b", "a\x7fb", "ñ", "a" * 2001]
)
def test_values_that_could_split_a_request_are_refused_and_not_repeated(value):
    with pytest.raises(InvalidInput) as caught:
        validate_custom_headers({"x-a": value})

    assert caught.value.field == "headers"
    assert len(value) < 3 or value not in str(caught.value)


def test_one_name_in_two_cases_and_too_many_are_refused():
    with pytest.raises(InvalidInput, match="only once"):
        validate_custom_headers({"X-A": "1", "x-a": "2"})
    with pytest.raises(InvalidInput, match="At most"):
        validate_custom_headers({f"x-{number}": "1" for number in range(MAX_HEADERS + 1)})


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=3))
def test_whatever_is_taken_is_safe_on_the_wire(headers):
    try:
        taken = validate_custom_headers(headers)
    except InvalidInput:
        return
    check_headers(taken)  # the guarded client would refuse what it does not like only at each try
    wire = "".join(f"{name}: {value}\r\n" for name, value in taken.items())

    assert wire.isascii()
    assert wire.count("\r") == wire.count("\n") == len(taken)
    assert not any(map(is_reserved, taken))


def test_credentials_win_over_a_header_that_was_stored_before_they_were():
    credentials = Authorisation({"Authorization": "Bearer ours"})
    custom = {"authorization": "Bearer theirs", "X-Token": "t"}
    keys = signing_keys(new_secret(bytes))

    headers = request_headers("evt_1", b"{}", NOW, keys=keys, custom=custom, authorisation=credentials)

    assert {name: value for name, value in headers.items() if name.lower() == "authorization"} == {
        "Authorization": "Bearer ours"
    }
    assert headers["X-Token"] == "t"
