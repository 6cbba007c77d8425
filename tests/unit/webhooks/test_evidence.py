"""What is kept of an attempt: enough to find the fault, no secret, no more than 8 KiB, nothing of what is not the receiver's."""

import json
from typing import Any

import pytest
from multidict import CIMultiDict

from channels.errors import FaultClass
from channels.exchanges import ExchangeTrace
from handlers.webhooks.evidence import MAX_EVIDENCE_BYTES, build_evidence, without_echoes

URL = "https://hooks.example.com/in/orders?token=s3cr3t-query&x=1"
SECRETS = ("s3cr3t-query", "s3cr3t-bearer", "s3cr3t-custom", "c2lnbmF0dXJl", "s3cr3t-answer")
REQUEST = {
    "X-Api-Key": "s3cr3t-custom",
    "X-Plain": "s3cr3t-custom",
    "Authorization": "Bearer s3cr3t-bearer",
    "Content-Type": "application/json",
    "User-Agent": "Waystation/1",
    "webhook-id": "evt_1",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,c2lnbmF0dXJl v1a,c2lnbmF0dXJlMg==",
}
TRACE = ExchangeTrace("93.184.216.34", False, "TLSv1.3", 1.234, 2.0, 3.0, 40.06, 45.0)


def evidence(**changed: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "url": URL,
        "request_headers": REQUEST,
        "key_ids": ["1a2b3c4d", "5e6f7a8b"],
        "trace": TRACE,
        "status": 200,
        "response_headers": {"Content-Type": "text/plain"},
    }
    return build_evidence(**(given | changed))


def test_everything_that_helps_is_kept_and_secrets_are_not() -> None:
    assert evidence() == {
        "url": "https://hooks.example.com/in/orders?redacted",
        "request_headers": {
            "x-api-key": "redacted",
            "x-plain": "redacted",
            "authorization": "redacted",
            "content-type": "application/json",
            "user-agent": "Waystation/1",
            "webhook-id": "evt_1",
            "webhook-timestamp": "1614265330",
            "webhook-signature": "redacted",
        },
        "key_ids": ["1a2b3c4d", "5e6f7a8b"],
        "address": "93.184.216.34",
        "tls_version": "TLSv1.3",
        "timings": {"dns_ms": 1.2, "connect_ms": 2.0, "tls_ms": 3.0, "first_byte_ms": 40.1, "total_ms": 45.0},
        "response_headers": {"content-type": "text/plain"},
    }


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("Set-Cookie", "id=s3cr3t-answer", "redacted"),
        ("X-Auth-Token", "s3cr3t-answer", "redacted"),
        ("X-CSRF", "s3cr3t-answer", "redacted"),
        ("Authentication-Info", "nextnonce=s3cr3t-answer", "redacted"),
        ("WWW-Authenticate", 'Bearer realm="api"', 'Bearer realm="api"'),
        (
            "Location",
            "https://u:s3cr3t-answer@a.example/x?k=s3cr3t-answer",
            "https://redacted@a.example/x?redacted",
        ),
        ("Location", "/jobs/7?sig=s3cr3t-answer", "/jobs/7?redacted"),
        (
            "Link",
            '<https://a.example/?t=s3cr3t-answer>; rel="next"',
            '<https://a.example/?redacted>; rel="next"',
        ),
        ("X-Next", "https://s3cr3t-answer@a.example/", "https://redacted@a.example/"),
        ("X-Echo", "you sent s3cr3t-custom", "you sent redacted"),
        ("X-Echo", "token s3cr3t-bearer.", "token redacted."),
        ("X-Echo", "Bearer s3cr3t-bearer", "redacted"),
        ("X-Echo", "got v1,c2lnbmF0dXJl v1a,c2lnbmF0dXJlMg==", "got redacted"),
        ("X-Fragment", "https://a.example/#t=s3cr3t-answer", "https://a.example/?redacted"),
        ("Retry-After", "120", "120"),
        ("X-Odd", "caf\u00e9 \udcff \x07\ttab", "caf? ? ??tab"),
        ("X-Long", "x" * 1200, "x" * 1021 + "..."),
    ],
)
def test_headers_of_an_answer(name: str, value: str, shown: str) -> None:
    kept = evidence(response_headers={name: value})["response_headers"]

    assert kept == {name.lower(): shown}
    assert not any(secret in json.dumps(kept) for secret in SECRETS)


def test_a_repeated_header_is_one_list() -> None:
    answer = CIMultiDict([("Via", "a"), ("X-Other", "1"), ("via", "b")])

    assert evidence(response_headers=answer)["response_headers"] == {"via": "a, b", "x-other": "1"}


@pytest.mark.parametrize("status", [300, 301, 302, 304, 307, 399])
def test_nothing_is_kept_of_an_answer_that_sends_elsewhere(status: int) -> None:
    kept = evidence(status=status, response_headers={"Location": "http://10.0.0.1/", "Server": "inner"})

    assert "response_headers" not in kept
    assert "inner" not in json.dumps(kept)
    assert kept["address"] == "93.184.216.34"


def test_nothing_but_the_request_is_kept_of_a_blocked_target() -> None:
    kept = evidence(error_class=FaultClass.EGRESS_BLOCKED)

    assert set(kept) == {"url", "request_headers", "key_ids"}


def test_an_attempt_without_an_answer_has_the_phases_that_it_reached() -> None:
    kept = evidence(
        trace=ExchangeTrace("192.0.2.7", dns_ms=0.4),
        status=None,
        response_headers=None,
        error_class=FaultClass.REFUSED,
    )

    assert kept["address"] == "192.0.2.7"
    assert kept["timings"] == {"dns_ms": 0.4}
    assert not {"response_headers", "tls_version", "connection_reused"} & set(kept)


@pytest.mark.parametrize(
    "value", ["v" * 4000, '"\\' * 2000, "\u20ac\udcff\x00" * 1300, "", "https://u@h/?q" * 100]
)
def test_however_much_is_said_the_evidence_has_a_limit(value: str) -> None:
    many = {f"x-{number}-{'n' * 200}\u00e9": value for number in range(500)}
    headers = {f"x-{number}-{'n' * 90}": "v" * 2000 for number in range(20)} | REQUEST
    kept = evidence(
        url="https://a.example/" + "\\" * 2000,
        request_headers=headers,
        key_ids=["1a2b3c4d"] * 10,
        response_headers=many,
        trace=ExchangeTrace("2001:db8:1111:2222:3333:4444:5555:6666", True, "TLSv1.3", *[123456.7] * 5),
    )

    assert len(json.dumps(kept, separators=(",", ":")).encode()) <= MAX_EVIDENCE_BYTES
    assert kept["response_headers_truncated"] is True
    assert len(kept["request_headers"]) >= 20
    assert len(kept["response_headers"]) >= 1


def test_an_excerpt_that_repeats_the_request_loses_its_secrets() -> None:
    body = json.dumps({"you": {"auth": "Bearer s3cr3t-bearer", "sent": "s3cr3t-custom", "id": "evt_1"}})

    assert without_echoes(body, REQUEST) == json.dumps(
        {"you": {"auth": "redacted", "sent": "redacted", "id": "evt_1"}}
    )


def test_a_value_too_short_to_be_a_secret_takes_nothing_out() -> None:
    assert without_echoes("a ok b", {"X-A": "ok"}) == "a ok b"
