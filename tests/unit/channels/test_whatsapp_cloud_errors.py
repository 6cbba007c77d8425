"""Error codes and answers of Meta, as our errors."""

import json

import pytest
from multidict import CIMultiDict

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
from channels.whatsapp_cloud_errors import error_of_answer, error_of_code


def answer(status, error=None, headers=None):
    body = b"<html>" if error is None else json.dumps({"error": error}).encode()
    return ApiAnswer(status, CIMultiDict(headers or {}), body)


# The codes by what a sender has to know of them.
CODES: dict[type[GatewayError], set[int]] = {
    OptedOut: {131050},
    WindowClosed: {131047},
    InvalidRecipient: {131021, 131026, 131030, 131062},
    ContentRefused: {
        *{100, 131008, 131009, 131051},  # the form
        *{130472, 131049},  # kept back by Meta
        *{132000, 132001, 132005, 132007, 132012, 132015, 132016},  # templates
    },
    Throttled: {4, 80007, 130429, 131048, 131056, 131064, 133016},
    ProviderUnavailable: {131000, 131016, 131053},
    OutcomeUnknown: {1, 2},
    BadCredentials: {10, 190, 200, 250, 299, 368, 131031, 131042, 131045},
}


@pytest.mark.parametrize(("kind", "code"), [(kind, code) for kind, codes in CODES.items() for code in codes])
def test_codes_mean_what_they_should(kind, code):
    assert error_of_code(str(code)) is kind


@pytest.mark.parametrize("code", ["99999", "300", "", None, "x", "200-299"])
def test_other_codes_mean_nothing_to_us(code):
    assert error_of_code(code) is None


@pytest.mark.parametrize(
    ("status", "error", "creates", "kind", "code"),
    [
        (400, {"code": 131047}, True, WindowClosed, "131047"),
        (400, {"code": 131050}, True, OptedOut, "131050"),
        (400, {"code": 131026}, True, InvalidRecipient, "131026"),
        (400, {"code": 131062}, True, InvalidRecipient, "131062"),
        (400, {"code": 132015}, True, ContentRefused, "132015"),
        (400, {"code": 131049}, True, ContentRefused, "131049"),
        (400, {"code": 100}, True, ContentRefused, "100"),
        (400, {"code": 100, "error_subcode": 33}, True, BadCredentials, "100"),
        (401, {"code": 190}, True, BadCredentials, "190"),
        (403, {"code": 10}, True, BadCredentials, "10"),
        (403, {"code": 299}, True, BadCredentials, "299"),
        (400, {"code": 80007}, True, Throttled, "80007"),
        (429, {"code": 130429}, True, Throttled, "130429"),
        (429, None, True, Throttled, None),
        (500, {"code": 131000}, True, ProviderUnavailable, "131000"),
        (503, {"code": 131016}, True, ProviderUnavailable, "131016"),
        (500, {"code": 2}, True, OutcomeUnknown, "2"),
        (500, {"code": 424242}, True, OutcomeUnknown, "424242"),
        (502, None, True, OutcomeUnknown, None),
        (502, None, False, ProviderUnavailable, None),
        (400, {"code": 424242}, True, ContentRefused, "424242"),
        (400, {"code": "131047"}, True, ContentRefused, None),
        (400, {"code": True}, True, ContentRefused, None),
        (401, None, True, BadCredentials, None),
    ],
)
def test_answers(status, error, creates, kind, code):
    found = error_of_answer(answer(status, error), creates=creates)

    assert type(found) is kind
    assert found.provider_code == code


@pytest.mark.parametrize(
    ("code", "headers", "seconds"),
    [
        (131056, {}, 6.0),
        (131056, {"Retry-After": "30"}, 30.0),
        (130429, {}, None),
        (130429, {"Retry-After": "7"}, 7.0),
    ],
)
def test_how_long_to_wait(code, headers, seconds):
    found = error_of_answer(answer(400, {"code": code}, headers), creates=True)

    assert isinstance(found, Throttled)
    assert found.retry_after == seconds


def test_nothing_that_meta_wrote_is_kept():
    found = error_of_answer(answer(400, {"code": 131026, "message": "+34600123456 is no user"}), creates=True)

    assert "34600123456" not in repr(found)
