"""Bills: what a call costs, on which day, and which models have no price."""

from datetime import date

import pytest

from handlers.ai.model import ModelOptions
from handlers.ai.openai_engine import choose_tariff
from handlers.ai.prices import FREE, PRICES, ModelTariff, Tokens, UnknownModel, read_prices, require_tariff

DAY = date(2026, 11, 1)


@pytest.mark.parametrize(
    ("model", "micro_usd"),
    [
        ("gpt-6-luna", 250),
        ("gpt-5-nano", 158),
        ("gpt-5.4-nano", 555),
        ("gpt-5-mini", 790),
        ("gpt-6.1-terra", 2500),
        ("gpt-6.1-sol", 5000),
    ],
)
def test_one_extraction_of_1400_in_and_220_out(model: str, micro_usd: int):
    assert require_tariff(model).cost(Tokens(input=1400, output=220), DAY) == micro_usd


def test_cached_and_written_tokens_have_their_own_price_and_bills_are_rounded_up():
    tariff = require_tariff("gpt-6-luna")

    assert (
        tariff.cost(Tokens(input=1400, cached=1000, cache_write=300, output=0), DAY) == 58
    )  # 10 + 10 + 37.5
    assert tariff.cost(Tokens(input=1), DAY) == 1


def test_strange_counts_are_never_negative():
    assert require_tariff("gpt-5-mini").cost(Tokens(input=1, cached=1000), DAY) == 25


def test_a_price_holds_from_its_day_on():
    row = '[[model]]\nname = "m"\nvalid_from = {day}\ninput = "{price}"\ncached_input = "0"\ncache_write = "0"\noutput = "0"\n'
    tariff = ModelTariff(
        read_prices(row.format(day="2026-06-01", price="2") + row.format(day="2026-01-01", price="1"))
    )

    assert [tariff.cost(Tokens(input=10), date(2026, month, 1)) for month in (5, 6)] == [10, 20]
    assert tariff.cost(Tokens(input=10), date(2025, 1, 1)) == 10


def test_every_row_of_the_table_is_plausible():
    for row in PRICES:
        assert 0 < row.cached_input <= row.input <= row.cache_write < row.output


def test_a_dated_snapshot_costs_what_its_model_costs():
    assert require_tariff("gpt-5-mini-2025-08-07") == require_tariff("gpt-5-mini")


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(UnknownModel, match=r"'gpt-9'.*gpt-5-mini, .*gpt-6.1-sol"):
        choose_tariff(ModelOptions("k", "gpt-9"))


@pytest.mark.parametrize("url", ["https://api.openai.com/v1", "https://eu.api.openai.com/v1"])
def test_openais_own_addresses_need_a_price(url: str):
    with pytest.raises(UnknownModel):
        choose_tariff(ModelOptions("k", "llama-4", url))


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/v1", "https://api.openai.com.evil.test/v1"])
def test_a_model_of_another_server_costs_nothing_here(url: str):
    assert choose_tariff(ModelOptions("k", "llama-4", url)) == FREE
    assert FREE.cost(Tokens(input=10**6), DAY) == 0
    assert choose_tariff(ModelOptions("k", "gpt-5-mini", url)) != FREE, "a proxy in front of a priced model"


def test_a_key_does_not_print():
    assert "sk-secret" not in repr(ModelOptions("sk-secret", "gpt-5-mini"))
