"""The number grammar and the conversion into sale units, as tables."""

from decimal import Decimal

import pytest

from handlers.ai.numbers import NumberReader, parse_digits
from handlers.ai.text import tokenize
from handlers.ai.types import Language
from tests.unit.ai.shop import ask, cases


@pytest.mark.parametrize(("language", "text", "expected"), cases("numbers.txt"))
def test_number(language: str, text: str, expected: str) -> None:
    """Digits, words, fractions, dozens and ranges are read as the table says."""
    tokens = tokenize([f"{text} tomate"])

    (amount,) = NumberReader(tokens, Language(language)).read_all(set())

    low, _, high = expected.partition("-")
    assert amount.value == Decimal(low)
    assert amount.high == (Decimal(high) if high else None)


@pytest.mark.parametrize(("language", "text", "expected"), cases("quantities.txt"))
def test_quantity(language: str, text: str, expected: str) -> None:
    """A message orders the quantity in the sale unit, or names the item as unmatched."""
    extraction = ask(text, language=language)

    got = (
        " ".join(
            f"{o.sku}={o.quantity.normalize():f}" for o in extraction.operations if o.quantity is not None
        )
        or "-"
    )
    assert got == expected
    assert bool(extraction.unmatched) == (expected == "-")


@pytest.mark.parametrize(
    ("raw", "language", "value"),
    [
        ("1.000", Language.ES, 1000),
        ("1,000", Language.EN, 1000),
        ("1.5", Language.EN, Decimal("1.5")),
        ("1,5", Language.PT, Decimal("1.5")),
        ("0.500", Language.ES, Decimal("0.5")),
        ("12", Language.EN, 12),
    ],
)
def test_digits(raw: str, language: Language, value: Decimal) -> None:
    """A group of three digits is a thousand only with the language's own separator."""
    assert parse_digits(raw, language) == value
