"""Error codes and answers of Twilio, as our errors."""

import pytest

from channels.base import Channel
from channels.error_tables import Concern
from channels.errors import (
    BadCredentials,
    ContentRefused,
    GatewayError,
    InvalidRecipient,
    OptedOut,
    OutcomeUnknown,
    ProviderUnavailable,
    Throttled,
    WindowClosed,
)
from channels.provider_api import ApiAnswer
from channels.registry import build_adapters
from channels.twilio_errors import ERRORS, error_of_answer, error_of_code

# The codes by what a sender has to know of them.
CODES: dict[type[GatewayError], set[int]] = {
    OptedOut: {21610},
    WindowClosed: {63016},
    InvalidRecipient: {21211, 21614, 30003, 30005, 30006, 63003, 63024},
    ContentRefused: {
        *{30004, 30007, 63013, 63032, 63033, 30032, 30034},  # filtered, against a policy, not registered
        *{21655, 21656, 63027, 63028, 63041},  # templates
        *{11751, 21620, 21623, 63019, 63021},  # media
    },
    Throttled: {20429, 14107, 30001, 30022, 63017, 63018, 30023, 63038},
    ProviderUnavailable: {30008, 30410, 63009, 63010, 63012},
    BadCredentials: {20003, 21606, 21703, 63001, 63007, 63015},
}


@pytest.mark.parametrize(("kind", "code"), [(kind, code) for kind, codes in CODES.items() for code in codes])
def test_codes_mean_what_they_should(kind, code):
    assert error_of_code(str(code)) is kind


@pytest.mark.parametrize("code", ["99999", "", None, "x"])
def test_other_codes_mean_nothing_to_us(code):
    assert error_of_code(code) is None


def test_who_has_to_act_follows_from_the_code():
    concerned = {
        code: ERRORS[code].concern for code in ("21610", "63016", "30003", "63041", "63019", "30034", "63038")
    }

    assert concerned == {
        "21610": Concern.CONSENT,
        "63016": Concern.CONSENT,
        "30003": Concern.RECIPIENT,
        "63041": Concern.TEMPLATE,
        "63019": Concern.MEDIA,
        "30034": Concern.CONFIG,
        "63038": Concern.RATE,
    }


@pytest.mark.parametrize(
    ("status", "text", "creates", "kind", "code"),
    [
        (401, "", True, BadCredentials, None),
        (403, "<html>", True, BadCredentials, None),
        (404, '{"code": 20404}', False, BadCredentials, "20404"),
        (400, '{"code": "text"}', True, ContentRefused, None),
        (400, "[]", True, ContentRefused, None),
        (302, "", True, ContentRefused, None),
        (429, '{"code": 63018}', True, Throttled, "63018"),
        (429, "", True, Throttled, None),
        (500, "", True, OutcomeUnknown, None),
        (
            500,
            '{"code": 63012}',
            True,
            OutcomeUnknown,
            "63012",
        ),  # whatever its code says, it may have been taken
        (504, "", True, OutcomeUnknown, None),
        (504, "", False, ProviderUnavailable, None),
        (503, '{"code": 20503}', True, OutcomeUnknown, "20503"),  # a proxy says so when the answer was lost
        (503, "", False, ProviderUnavailable, None),
    ],
)
def test_answers(status, text, creates, kind, code):
    error = error_of_answer(ApiAnswer(status, {}, text.encode()), creates=creates)

    assert type(error) is kind
    assert error.provider_code == code


@pytest.mark.parametrize("creates", [True, False])
@pytest.mark.parametrize(
    ("header", "seconds"),
    [("30", 30.0), ("", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None), ("\u0663", None)],
)
def test_retry_after(header, seconds, creates):
    error = error_of_answer(ApiAnswer(503, {"Retry-After": header}, b""), creates=creates)

    assert isinstance(error, OutcomeUnknown if creates else ProviderUnavailable)
    assert error.retry_after == seconds


def test_nothing_that_twilio_wrote_is_kept():
    answer = ApiAnswer(400, {}, b'{"code": 21211, "message": "+14155550123 is no number"}')

    assert "+14155550123" not in repr(error_of_answer(answer, creates=True))


def test_the_registry_knows_every_adapter_by_its_name():
    adapters = build_adapters()

    assert adapters["twilio"].channels == {Channel.SMS, Channel.WHATSAPP}
    assert all(name == adapter.name for name, adapter in adapters.items())
