"""What attempts say of an endpoint, and how far it is on its way to being disabled."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from channels.errors import FaultClass
from db.delivery_lane import ClaimedDeliveryRow
from handlers.webhooks.delivery import AttemptResult, DeliveryStatus, FinishedDelivery, Outcome, Settlement
from handlers.webhooks.health import (
    DISABLED,
    POLICY,
    WARNINGS,
    Verdict,
    blocked_until,
    facts_of,
    verdict,
    warning_due,
    way_to_disabling,
)

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
TENANT, ENDPOINT, OTHER = UUID(int=1), UUID(int=2), UUID(int=3)
ROW = ClaimedDeliveryRow(
    distributor_id=TENANT,
    endpoint_id=ENDPOINT,
    event_id=UUID(int=10),
    attempt_id=UUID(int=20),
    number=1,
    trigger="event",
    occurred_at=NOW,
    interruptions=0,
    schedule_position=0,
    lease_token=UUID(int=30),
    ordering_key=None,
    probes=None,
    body="{}",
    payload="full",
    url="https://erp.example.test/hook",
    secrets_sealed=b"",
    headers_sealed=None,
    auth_sealed=None,
)


def result(said: int | FaultClass, ended: float = 1.0, **more) -> AttemptResult:
    """An attempt that began at NOW and ended so many seconds later: with a status, or before one."""
    status, error_class = (said, None) if isinstance(said, int) else (None, said)
    good = status is not None and 200 <= status < 300
    if not good and error_class is None:
        error_class = FaultClass.STATUS
    outcome = Outcome.SUCCESS if good else Outcome.FAILURE
    return AttemptResult(outcome, NOW, NOW + timedelta(seconds=ended), status, error_class, **more)


def finished(
    event: int,
    said: int | FaultClass,
    ended: float = 1.0,
    *,
    due: float | None = None,
    probes=None,
    endpoint=ENDPOINT,
    **more,
) -> FinishedDelivery:
    claimed = replace(ROW, endpoint_id=endpoint, event_id=UUID(int=event), probes=probes)
    due_at = None if due is None else NOW + timedelta(seconds=due)
    status = DeliveryStatus.SUCCESS if due is None else DeliveryStatus.RETRYING
    return FinishedDelivery(claimed, result(said, ended, **more), Settlement(status, due_at, 0))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (200, Verdict.SUCCESS),
        (204, Verdict.SUCCESS),
        (302, Verdict.FAILURE),
        (400, Verdict.FAILURE),
        (410, Verdict.FAILURE),
        (429, Verdict.FAILURE),
        (500, Verdict.FAILURE),
        (503, Verdict.FAILURE),
        (FaultClass.DNS, Verdict.FAILURE),
        (FaultClass.REFUSED, Verdict.FAILURE),
        (FaultClass.RESET, Verdict.FAILURE),
        (FaultClass.TLS, Verdict.FAILURE),
        (FaultClass.TIMEOUT, Verdict.FAILURE),
        (FaultClass.PROTOCOL, Verdict.FAILURE),
        (FaultClass.EGRESS_BLOCKED, Verdict.FAILURE),
        (FaultClass.AUTHORISATION, Verdict.FAILURE),
        (FaultClass.CONFIGURATION, Verdict.NOTHING),
        (FaultClass.INTERRUPTED, Verdict.NOTHING),
        (FaultClass.DEFERRED, Verdict.NOTHING),
    ],
)
def test_what_an_attempt_says_of_its_endpoint(said, expected):
    assert verdict(result(said)) is expected


def test_every_class_of_failure_says_something():
    assert {verdict(result(error_class)) for error_class in FaultClass} == {Verdict.FAILURE, Verdict.NOTHING}


@pytest.mark.parametrize(
    ("status", "retry_after", "expected"),
    [
        (429, None, None),
        (429, 0.0, 0.0),
        (429, 20.0, 20.0),
        (503, 86_400.0, 86_400.0),
    ],
)
def test_how_long_an_endpoint_may_ask_for_silence(status, retry_after, expected):
    until = blocked_until(result(status, retry_after=retry_after))

    assert until == (None if expected is None else NOW + timedelta(seconds=1 + expected))


def test_a_batch_of_successes():
    assert facts_of([finished(10, 200, 1), finished(11, 204, 2)]) == [
        {
            "distributor_id": TENANT,
            "endpoint_id": ENDPOINT,
            "successes": 2,
            "succeeded_at": NOW + timedelta(seconds=2),
            "failures": 0,
            "failed_ids": [],
            "limited_ids": [],
            "failing_from": None,
            "probe_failed": False,
            "throttled_from": None,
            "rate_limited": False,
            "blocked_until": None,
            "next_due_at": None,
            "finished_at": NOW + timedelta(seconds=2),
        }
    ]


FAILED = [
    (
        "failures before the last success are over, whatever the batch's order",
        [finished(12, 204, 3), finished(10, 500, 1, due=9), finished(11, 500, 2, due=8)],
        {"successes": 1, "failures": 0, "failed_ids": [], "failing_from": None, "next_due_at": NOW + timedelta(seconds=8)},
    ),
    (
        "failures after it are a new row of failures",
        [finished(10, 500, 3, due=9), finished(11, 204, 2), finished(12, 500, 4, due=9)],
        {"failures": 2, "failed_ids": [UUID(int=10), UUID(int=12)], "failing_from": NOW + timedelta(seconds=3)},
    ),
    (
        "an event that failed twice is one, and two failures",
        [finished(10, 500, 1, due=9), finished(10, 500, 2, due=9)],
        {"failures": 2, "failed_ids": [UUID(int=10)]},
    ),
    (
        "too many posts are told apart from failures",
        [finished(10, 429, 1, due=9), finished(11, 500, 2, due=9)],
        {
            "failures": 2,
            "failed_ids": [UUID(int=11)],
            "limited_ids": [UUID(int=10)],
            "rate_limited": True,
            "throttled_from": NOW,
        },
    ),
    (
        "what throttles is 429, 502, 503 and 504; only the first speaks of a rate",
        [finished(10, 502, 1, due=9), finished(11, 503, 1, due=9), finished(12, 504, 1, due=9)],
        {"rate_limited": False, "throttled_from": NOW, "failures": 3},
    ),
    (
        "a time-out and a 500 throttle nothing",
        [finished(10, 500, 1, due=9), finished(11, FaultClass.TIMEOUT, 1, due=9)],
        {"throttled_from": None, "failures": 2},
    ),
    (
        "our own failures say nothing of the endpoint, but are due",
        [finished(10, FaultClass.DEFERRED, 1, due=9), finished(11, FaultClass.CONFIGURATION, 2, due=5, probes=1)],
        {"failures": 0, "failed_ids": [], "probe_failed": False, "successes": 0, "next_due_at": NOW + timedelta(seconds=5)},
    ),
    ("a probe's failure", [finished(10, 500, 1, due=9, probes=0)], {"probe_failed": True}),
    ("a probe's success", [finished(10, 204, 1, probes=3), finished(11, 500, 1, due=9)], {"probe_failed": False}),
    (
        "the longest silence that was asked for holds",
        [finished(10, 429, 1, due=9, retry_after=30.0), finished(11, 503, 2, due=9, retry_after=5.0)],
        {"blocked_until": NOW + timedelta(seconds=31)},
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("batch", "expected"), [case[1:] for case in FAILED], ids=[case[0] for case in FAILED]
)
def test_a_batch_with_failures(batch, expected):
    (facts,) = facts_of(batch)

    assert {name: facts[name] for name in expected} == expected


def test_each_endpoint_of_a_batch_has_its_own_facts():
    facts = facts_of([finished(10, 204), finished(10, 500, due=5, endpoint=OTHER), finished(11, 204)])

    assert [(row["endpoint_id"], row["successes"], row["failures"]) for row in facts] == [
        (ENDPOINT, 2, 0),
        (OTHER, 0, 1),
    ]


def test_pauses_double_up_to_the_longest():
    assert [POLICY.pause(probes) for probes in (0, 1, 2, 3, 4, 10_000)] == [30, 60, 120, 240, 300, 300]


@pytest.mark.parametrize(
    ("failing_for", "attempts", "expected"),
    [
        (None, 1_000, 0),
        (timedelta(), 0, 0),
        (timedelta(), 1_000, 0),
        (timedelta(hours=1), 10_000, 0),  # a busy endpoint's bad hour
        (timedelta(days=30), 1, 5),  # a quiet one's bad event
        (timedelta(days=30), 11, 55),  # the same, its whole schedule
        (timedelta(days=2.5), 20, 50),
        (timedelta(days=2.5), 10, 50),
        (timedelta(days=4.5), 18, 90),
        (timedelta(days=5), 19, 95),
        (timedelta(days=5), 20, 100),
        (timedelta(days=50), 2_000, 100),
        (timedelta(seconds=-5), 20, 0),  # clocks differ
    ],
)
def test_the_way_to_being_disabled_is_one_of_time_and_attempts(failing_for, attempts, expected):
    since = None if failing_for is None else NOW - failing_for

    assert way_to_disabling(since, attempts, NOW) == expected


@pytest.mark.parametrize(
    ("percent", "warned", "expected"),
    [
        (49, 0, None),
        (50, 0, 50),
        (69, 50, None),
        (70, 50, 70),
        (95, 50, 90),
        (95, 90, None),
        (99, 0, 90),
        (60, 70, None),
    ],
)
def test_which_warning_is_due(percent, warned, expected):
    assert warning_due(percent, warned) == expected


def days_until_disabled(
    failures_a_day: int, *, succeeds_every: int | None = None, days: int = 60
) -> tuple[int | None, list[int]]:
    """On which day an endpoint is disabled, and the warnings before it."""
    warnings: list[int] = []
    since, attempts, warned = None, 0, 0
    for day in range(days):
        now = NOW + timedelta(days=day)
        if succeeds_every and day % succeeds_every == 0:
            since, attempts, warned = None, 0, 0
            continue
        since, attempts = since or now, attempts + failures_a_day
        percent = way_to_disabling(since, attempts, now)
        if percent >= DISABLED:
            return day, warnings
        if mark := warning_due(percent, warned):
            warned = mark
            warnings.append(mark)
    return None, warnings


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ({"failures_a_day": 1}, (19, list(WARNINGS))),  # one event a day, tried once
        ({"failures_a_day": 11}, (5, [50, 70])),  # the same with retries: 90 % lies between two days
        ({"failures_a_day": 86_400}, (5, [50, 70])),
        ({"failures_a_day": 100, "succeeds_every": 2}, (None, [])),  # flapping
        ({"failures_a_day": 100, "succeeds_every": 4}, (None, [])),
        ({"failures_a_day": 100, "succeeds_every": 7}, (6, [50, 70])),
    ],
)
def test_quiet_busy_and_flapping_endpoints(endpoint, expected):
    disabled, warnings = days_until_disabled(**endpoint)

    assert (disabled, warnings) == expected
