"""A login in the Authorization header: the right one, the ones before it, and whatever a stranger sends."""

import base64

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from channels.base import InboundRequest
from channels.basic_auth import basic_authorisation, verify_basic_auth
from channels.errors import VerificationFailed

LOGIN = {"username": "postmark", "password": "s3cret:with-colon"}
OLD = {"username": "postmark", "password": "older-s3cret"}


def request(value):
    headers = {} if value is None else {"Authorization": value}
    return InboundRequest("POST", "https://gw.example.test/in/postmark/x", CIMultiDict(headers), b"{}")


def encoded(text):
    return base64.b64encode(text.encode()).decode()


def test_it_is_what_aiohttp_sends():
    assert basic_authorisation(LOGIN) == aiohttp.encode_basic_auth(LOGIN["username"], LOGIN["password"])


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
def test_the_login_passes(scheme):
    verify_basic_auth(request(f"{scheme} {encoded('postmark:s3cret:with-colon')}"), (LOGIN,))


def test_the_login_before_it_passes_while_it_is_named():
    verify_basic_auth(request(basic_authorisation(OLD)), (LOGIN, OLD))
    with pytest.raises(VerificationFailed):
        verify_basic_auth(request(basic_authorisation(OLD)), (LOGIN,))


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "Basic",
        "Basic ",
        "Basic ***",
        f"Basic {encoded('postmark:wrong')}",
        f"Basic {encoded('postmark')}",
        f"Basic {encoded('postmark:')}",
        f"Basic {encoded('Postmark:s3cret:with-colon')}",
        f"Bearer {encoded('postmark:s3cret:with-colon')}",
        encoded("postmark:s3cret:with-colon"),
        "Basic é",
        "Basic \udcff",
    ],
)
def test_what_is_refused(value):
    with pytest.raises(VerificationFailed):
        verify_basic_auth(request(value), (LOGIN,))


@given(st.text())
def test_nothing_but_a_refusal_comes_of_what_a_stranger_sends(value):
    for header in (value, f"Basic {value}"):
        with pytest.raises(VerificationFailed):
            verify_basic_auth(request(header), (LOGIN, OLD))
