"""How money and quantities are answered: as JSON numbers, and how exact those are."""

import json
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.webhooks.payloads import json_number

FIFTEEN_DIGITS = st.integers(-(10**15) + 1, 10**15 - 1)


@given(FIFTEEN_DIGITS, st.integers(0, 4))
def test_fifteen_digits_are_exact(digits, places):
    value = Decimal(digits).scaleb(-places)
    text = orjson.dumps(json_number(value)).decode()

    assert Decimal(repr(json.loads(text))) == value


@given(st.decimals(0, Decimal("9" * 24), places=4))
def test_a_larger_one_is_the_nearest_double_and_can_always_be_written(value):
    text = orjson.dumps(json_number(value)).decode()

    assert float(text) == float(value)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("2.0000", b"2"),
        ("0.000", b"0"),
        ("120.5000", b"120.5"),
        ("1E+3", b"1000"),
        ("9007199254740992", b"9007199254740992"),
        ("20000000000000000000.0000", b"2e+19"),
    ],
)
def test_whole_values_have_no_fraction(value, shown):
    assert orjson.dumps(json_number(Decimal(value))) == shown
