"""What strangers wrote to a corner shop, and its neighbours: tables of messages with what they must do."""

import pytest

from handlers.ai.types import Band, Extraction
from tests.unit.ai.corner import told
from tests.unit.ai.shop import cases

SIGNS = {"add": "+", "set": "=", "remove": "-"}


def done(extraction: Extraction) -> str:
    """The operations in one line, "?" behind those to be confirmed: "+COC=2 =SPR=1? -COR"."""
    return " ".join(
        SIGNS[o.kind.value]
        + o.sku
        + ("" if o.quantity is None else f"={o.quantity:f}")
        + ("?" if o.band is Band.CONFIRM and o.quantity is not None else "")
        for o in extraction.operations
    )


@pytest.mark.parametrize(("draft", "text", "expected", "open_words"), cases("corner_units.txt"))
def test_units_and_packs(draft: str, text: str, expected: str, open_words: str) -> None:
    """The named unit chooses the product, single pieces are pieces, and what may mean much more is asked."""
    extraction = told(text, draft=draft)

    assert done(extraction) == expected
    assert " ; ".join(extraction.unmatched) == open_words


@pytest.mark.parametrize(("draft", "text", "expected", "open_words"), cases("corner_halves.txt"))
def test_halves_and_one_more(draft: str, text: str, expected: str, open_words: str) -> None:
    """A half is never dropped, and "another" counts one."""
    extraction = told(text, draft=draft)

    assert done(extraction) == expected
    assert " ; ".join(extraction.unmatched) == open_words


@pytest.mark.parametrize(("draft", "text", "expected", "open_words"), cases("corner_lists.txt"))
def test_lists(draft: str, text: str, expected: str, open_words: str) -> None:
    """A number counts what its own line or list item names, and nothing else."""
    extraction = told(*text.replace(r"\n", "\n").split(" // "), draft=draft)

    assert done(extraction) == expected
    assert " ; ".join(extraction.unmatched) == open_words
