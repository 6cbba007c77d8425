"""How fast an account may send: usual, set, and learnt."""

from datetime import timedelta

import pytest

from channels.registry import build_adapters
from handlers.send_rates import USUAL_RATES, current_rate, slower, usual_rate
from tests.fakes import START


def test_every_provider_has_a_usual_rate():
    named = {
        f"{name} {channel}" for name, adapter in build_adapters().items() for channel in adapter.channels
    }

    assert named == set(USUAL_RATES)


@pytest.mark.parametrize(
    ("provider", "channel", "settings", "rate"),
    [
        ("twilio", "SMS", {}, 80),
        ("twilio", "WHATSAPP", {}, 80),
        ("twilio", "SMS", {"rate_per_second": 30}, 30),
        ("a later one", "SMS", {}, 10),
    ],
)
def test_an_accounts_own_rate_goes_before_its_providers(provider, channel, settings, rate):
    assert usual_rate(provider, channel, settings) == rate


@pytest.mark.parametrize(
    ("learnt", "seconds", "rate"),
    [(None, 0, 80), (10.0, -5, 10), (10.0, 59, 10), (10.0, 60, 20), (10.0, 125, 30), (10.0, 3600, 80)],
    ids=["never", "throttled", "at-once", "a-minute", "two", "an-hour"],
)
def test_each_minute_after_a_throttling_gives_a_step_back(learnt, seconds, rate):
    assert current_rate(80.0, learnt, START, START + timedelta(seconds=seconds)) == rate


def test_a_provider_that_goes_on_refusing_halves_the_rate_down_to_a_floor_and_doubles_the_wait():
    rate, told = 64.0, []
    for _ in range(8):
        rate, wait = slower(64.0, rate)
        told.append((rate, wait))

    assert told == [(32, 2), (16, 4), (8, 8), (4, 16), (2, 32), (1, 64), (1, 64), (1, 64)]
