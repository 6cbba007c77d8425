"""What strangers wrote to a corner shop, and its neighbours: tables of messages with what they must do."""

import itertools

import pytest

from handlers.ai.types import Band, Extraction
from tests.unit.ai.corner import told
from tests.unit.ai.shop import cases

SIGNS = {"add": "+", "set": "=", "remove": "-"}
TABLES = ("corner_units.txt", "corner_halves.txt", "corner_lists.txt", "corner_clauses.txt")


def done(extraction: Extraction) -> str:
    """The operations in one line, "?" behind those to be confirmed: "+COC=2 =SPR=1? -COR"."""
    return " ".join(
        SIGNS[o.kind.value]
        + o.sku
        + ("" if o.quantity is None else f"={o.quantity:f}")
        + ("?" if o.band is Band.CONFIRM and o.quantity is not None else "")
        for o in extraction.operations
    )


def left_open(extraction: Extraction) -> str:
    return " ; ".join(extraction.unmatched)


@pytest.mark.parametrize(
    ("draft", "text", "expected", "open_words"), [row for table in TABLES for row in cases(table)]
)
def test_messages(draft: str, text: str, expected: str, open_words: str) -> None:
    """The unit chooses the product, halves and list lines are read as they stand, and no clause vanishes."""
    extraction = told(*text.replace(r"\n", "\n").split(" // "), draft=draft)

    assert done(extraction) == expected
    assert left_open(extraction) == open_words


@pytest.mark.parametrize(("draft", "text", "expected", "open_words", "intent"), cases("corner_changes.txt"))
def test_changes(draft: str, text: str, expected: str, open_words: str, intent: str) -> None:
    """A change behind a consent is done or stays open; one off is not all off; a refusal confirms nothing."""
    extraction = told(text, draft=draft)

    assert done(extraction) == expected
    assert left_open(extraction) == open_words
    assert extraction.intent == intent


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("20 eggs", "en"),
        ("12 beers", "en"),
        ("10 rice", "en"),
        ("3 cervejas", "pt"),
        ("12 ovos", "pt"),
        ("12 huevos", "es"),
        ("2 six de corona", "es"),
        ("un cartón de modelo y dos de negra modelo", "es"),
        ("3 red bull", "es"),
    ],
)
def test_names_of_goods_tell_the_language(text: str, language: str) -> None:
    """Short lists have no function words: names of goods and units decide; the hint where they do not."""
    other = "pt" if language == "en" else "en"

    assert told(text, hint=other if text != "3 red bull" else "es").language == language


YES_BUT = {
    "es": (
        ("sí", "ok", "dale", "perfecto", "así está bien", "confirmo"),
        (" pero ", ", pero ", " // pero ", ", y además "),
        (
            "zero",
            "corona",
            "4",
            "quita una",
            "otra marca",
            "en lata",
            "la mitad",
            "2 más",
            "cambia",
            "la coca",
        ),
    ),
    "en": (
        ("yes", "ok", "perfect", "looks good", "confirmed"),
        (" but ", ", but ", " // but "),
        (
            "zero",
            "corona",
            "4",
            "take one off",
            "cheaper",
            "in cans",
            "half",
            "2 more",
            "change it",
            "the coke",
        ),
    ),
    "pt": (
        ("sim", "ok", "beleza", "tudo certo", "fechado"),
        (" mas ", ", mas ", " // mas "),
        (
            "zero",
            "corona",
            "4",
            "tira uma",
            "mais barato",
            "em lata",
            "a metade",
            "mais 2",
            "troca",
            "a coca",
        ),
    ),
}


@pytest.mark.parametrize("draft", ["COC=6", "COC=6 SAB=5"])
@pytest.mark.parametrize("language", YES_BUT)
def test_a_consent_with_a_but_is_no_consent(language: str, draft: str) -> None:
    """Whatever follows "yes, but" is done or left open; the order is never confirmed as it was."""
    for consent, joint, change in itertools.product(*YES_BUT[language]):
        extraction = told(*f"{consent}{joint}{change}".split(" // "), draft=draft, hint=language)

        assert extraction.intent == "MODIFY", (consent, joint, change)
        assert extraction.operations or extraction.unmatched, (consent, joint, change)
