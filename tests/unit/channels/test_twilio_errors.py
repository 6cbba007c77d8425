"""Error codes and answers of Twilio, as our errors."""

import pytest

from channels.base import Channel
from channels.errors import (
    BadCredentials,
    OptedOut,
    OutcomeUnknown,
    Permanent,
    ProviderUnavailable,
    Throttled,
)
from channels.registry import build_adapters
from channels.twilio_errors import CODES, error_of_answer, error_of_code


@pytest.mark.parametrize(
    ("code", "kind"),
    [("21610", OptedOut), (20429, Throttled), ("99999", None), ("", None), (None, None), ("x", None)],
)
def test_codes_of_callbacks(code, kind):
    assert error_of_code(code) is kind


def test_a_code_means_one_thing():
    counted = [code for codes in CODES.values() for code in codes]

    assert len(counted) == len(set(counted))


@pytest.mark.parametrize(
    ("status", "text", "creates", "kind", "code"),
    [
        (401, "", True, BadCredentials, None),
        (403, "<html>", True, BadCredentials, None),
        (404, '{"code": 20404}', False, BadCredentials, "20404"),
        (400, '{"code": "text"}', True, Permanent, None),
        (400, "[]", True, Permanent, None),
        (302, "", True, Permanent, None),
        (429, '{"code": 63018}', True, Throttled, "63018"),
        (500, "", True, OutcomeUnknown, None),
        (504, "", True, OutcomeUnknown, None),
        (504, "", False, ProviderUnavailable, None),
        (503, '{"code": 20503}', True, OutcomeUnknown, "20503"),  # a proxy says so when the answer was lost
        (503, "", False, ProviderUnavailable, None),
    ],
)
def test_answers(status, text, creates, kind, code):
    error = error_of_answer(status, {}, text, creates=creates)

    assert type(error) is kind
    assert error.provider_code == code


@pytest.mark.parametrize("creates", [True, False])
@pytest.mark.parametrize(
    ("header", "seconds"),
    [("30", 30.0), ("", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None), ("\u0663", None)],
)
def test_retry_after(header, seconds, creates):
    error = error_of_answer(503, {"Retry-After": header}, "", creates=creates)

    assert isinstance(error, OutcomeUnknown if creates else ProviderUnavailable)
    assert error.retry_after == seconds


def test_nothing_that_twilio_wrote_is_kept():
    error = error_of_answer(400, {}, '{"code": 21211, "message": "+14155550123 is no number"}', creates=True)

    assert "+14155550123" not in repr(error)


def test_the_registry_knows_every_adapter_by_its_name():
    adapters = build_adapters()

    assert adapters["twilio"].channels == {Channel.SMS, Channel.WHATSAPP}
    assert {name: adapter.name for name, adapter in adapters.items()} == {"twilio": "twilio"}
