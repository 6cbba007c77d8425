"""What follows from an attempt: the retry schedule, jitter, Retry-After, and when it ends."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.errors import FaultClass
from handlers.runtime import RetrySchedule
from handlers.webhooks.delivery import (
    DEFERRAL,
    AttemptResult,
    DeliveryStatus,
    DisableReason,
    Outcome,
    Settlement,
    decide,
    jittered_wait,
)

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
DEFAULT = RetrySchedule((0, 5, 30, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400))
schedules = st.lists(st.floats(0, 100_000), min_size=1, max_size=12).map(
    lambda waits: RetrySchedule(tuple(waits))
)
seeds = st.integers(0, 2**32).map(random.Random)


def _failure(**changes) -> AttemptResult:
    return AttemptResult(Outcome.FAILURE, NOW, NOW, 500, FaultClass.STATUS, **changes)


def _success(**changes) -> AttemptResult:
    return AttemptResult(Outcome.SUCCESS, NOW, NOW, 204, **changes)


def _seconds(settlement: Settlement) -> float:
    assert settlement.due_at is not None
    return (settlement.due_at - NOW).total_seconds()


@given(schedules, seeds)
def test_n_waits_are_n_attempts_and_each_wait_is_within_its_jitter(schedule, rng):
    """Fails until the end: positions count up, waits stay in ±20 %, the n-th failure is the last."""
    attempts, position = 0, 0
    while True:
        attempts += 1
        settlement = decide(_failure(), schedule, position, NOW, rng)
        if settlement.status is DeliveryStatus.EXHAUSTED:
            break
        position += 1
        wait = schedule.waits[position]
        assert (DeliveryStatus.RETRYING, position) == (settlement.status, settlement.schedule_position)
        assert 0.8 * wait - 1e-6 <= _seconds(settlement) <= 1.2 * wait + 1e-6
    assert attempts == len(schedule.waits)
    assert (None, attempts) == (settlement.due_at, settlement.schedule_position)


@given(schedules, st.integers(0, 11), st.floats(0, 86_400), seeds)
def test_retry_after_is_never_undercut(schedule, position, retry_after, rng):
    settlement = decide(_failure(retry_after=retry_after), schedule, position, NOW, rng)

    assert settlement.due_at is None or _seconds(settlement) >= retry_after - 1e-6


def test_retry_after_does_not_shorten_a_wait():
    settlement = decide(_failure(retry_after=1.0), DEFAULT, 2, NOW, random.Random(1))

    assert _seconds(settlement) >= 240


@given(schedules, seeds, st.integers(0, 12))
def test_success_ends_a_delivery_at_any_position(schedule, rng, position):
    assert decide(_success(), schedule, position, NOW, rng) == Settlement(
        DeliveryStatus.SUCCESS, None, position
    )


@pytest.mark.parametrize("reason", DisableReason)
def test_a_receiver_that_wants_no_more_exhausts_the_delivery_at_once(reason):
    settlement = decide(_failure(disable_reason=reason, retry_after=5.0), DEFAULT, 0, NOW, random.Random(1))

    assert settlement == Settlement(DeliveryStatus.EXHAUSTED, None, 1, reason)


def test_a_receiver_may_take_the_last_one_and_ask_for_no_more():
    settlement = decide(
        _success(disable_reason=DisableReason.RECEIVER_ASKED), DEFAULT, 0, NOW, random.Random(1)
    )

    assert settlement == Settlement(DeliveryStatus.SUCCESS, None, 0, DisableReason.RECEIVER_ASKED)


def test_a_schedule_that_was_shortened_meanwhile_ends_the_delivery():
    settlement = decide(_failure(), RetrySchedule((0.0, 1.0)), 7, NOW, random.Random(1))

    assert settlement.status is DeliveryStatus.EXHAUSTED


def test_a_wait_of_nothing_has_no_jitter():
    assert [jittered_wait(DEFAULT, 0, random.Random(seed)) for seed in range(20)] == [0.0] * 20


def test_jitter_uses_both_sides():
    waits = [jittered_wait(DEFAULT, 3, random.Random(seed)) for seed in range(100)]

    assert min(waits) < 270
    assert max(waits) > 330


def test_the_default_schedule_ends_within_its_75_hours():
    rng, position, now = random.Random(1), 0, NOW
    while (settlement := decide(_failure(), DEFAULT, position, now, rng)).due_at:
        position, now = settlement.schedule_position, settlement.due_at

    assert timedelta(hours=60) < now - NOW < timedelta(hours=91)


@pytest.mark.parametrize("position", [0, 3, 10])
def test_what_could_not_be_posted_for_a_reason_of_ours_costs_no_place_of_the_schedule(position):
    deferred = AttemptResult(Outcome.FAILURE, NOW, NOW, error_class=FaultClass.DEFERRED)

    settlement = decide(deferred, DEFAULT, position, NOW, random.Random(1))

    assert (settlement.status, settlement.schedule_position) == (DeliveryStatus.RETRYING, position)
    assert _seconds(settlement) == DEFERRAL
