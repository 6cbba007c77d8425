"""Phone numbers become E.164, e-mail addresses lower case; what a provider vouches for is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.addresses import E164, normalise, provider_address
from channels.base import Channel
from channels.errors import MalformedPayload


@pytest.mark.parametrize(
    ("channel", "text", "expected"),
    [
        (Channel.SMS, "+15550001111", "+15550001111"),
        (Channel.SMS, " +1 (555) 000-1111 ", "+15550001111"),
        (Channel.SMS, "tel:+1-555-000-1111", "+15550001111"),
        (Channel.SMS, "0034 600 12 34 56", "+34600123456"),
        (Channel.WHATSAPP, "whatsapp:+34600123456", "+34600123456"),
        (Channel.WHATSAPP, "whatsapp: +34 600 123 456", "+34600123456"),
        (Channel.EMAIL, " Orders@Example.COM ", "orders@example.com"),
        (Channel.EMAIL, "josé+tag@exämple.test", "josé+tag@xn--exmple-cua.test"),
        (Channel.EMAIL, "a@example.com.", "a@example.com"),
    ],
)
def test_what_people_type(channel, text, expected):
    assert normalise(channel, text) == expected


@pytest.mark.parametrize(
    ("channel", "text"),
    [
        (Channel.SMS, ""),
        (Channel.SMS, "5550001111"),
        (Channel.SMS, "+1555"),
        (Channel.SMS, "+15550001111 ext. 5"),
        (Channel.SMS, "+999999999999999999"),
        (Channel.SMS, "hello"),
        (Channel.WHATSAPP, "whatsapp:"),
        (Channel.EMAIL, "@example.com"),
        (Channel.EMAIL, "a@"),
        (Channel.EMAIL, "a@localhost"),
        (Channel.EMAIL, "a b@example.com"),
        (Channel.EMAIL, "a\n@example.com"),
        (Channel.EMAIL, "a@@example.com"),
        (Channel.EMAIL, "a@exa_mple.com"),
        (Channel.EMAIL, "a@-example.com"),
        (Channel.EMAIL, "a@" + "x" * 64 + ".com"),
        (Channel.EMAIL, "x" * 65 + "@example.com"),
        (Channel.EMAIL, "x" * 60 + "@" + ("y" * 60 + ".") * 4 + "com"),
    ],
)
def test_what_is_refused(channel, text):
    with pytest.raises(MalformedPayload) as caught:
        normalise(channel, text)

    assert not text.strip() or text not in str(caught.value)


@pytest.mark.parametrize(
    ("channel", "text", "expected"),
    [
        (
            Channel.SMS,
            "+266696687",
            "+266696687",
        ),  # how a withheld number looks: no possible number, still a sender
        (Channel.SMS, "72975", "72975"),
        (Channel.SMS, "ACME Foods", "ACME Foods"),
        (Channel.WHATSAPP, "whatsapp:US.13491208655302741918", "US.13491208655302741918"),
        (Channel.WHATSAPP, "whatsapp:US.ENT.506847", "US.ENT.506847"),
        (Channel.WHATSAPP, "whatsapp:+34600123456", "+34600123456"),
    ],
)
def test_what_a_provider_vouches_for(channel, text, expected):
    assert provider_address(channel, text) == expected


@given(st.sampled_from(Channel), st.text(max_size=40))
def test_no_other_error(channel, text):
    for door in (normalise, provider_address):
        try:
            door(channel, text)
        except MalformedPayload as error:
            assert str(error)  # noqa: PT017 - either outcome is right, another exception is not


@given(st.from_regex(r"\+1[2-9][0-9]{2}[2-9][0-9]{6}", fullmatch=True))
def test_normal_forms_stay(number):
    assert normalise(Channel.SMS, number) == number
    assert E164.fullmatch(number)
