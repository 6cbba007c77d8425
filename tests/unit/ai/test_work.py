"""How much work a burst may cause: it grows with its length, whatever is repeated in it. Counted, not timed."""

from collections import Counter
from decimal import Decimal

import pytest

from handlers.ai import matching
from handlers.ai.catalogue import IndexedCatalogue
from handlers.ai.readings import Reader, Wish
from handlers.ai.rules import MAX_TOKENS, understand
from handlers.ai.text import tokenize
from handlers.ai.types import Band, DraftLine, Extraction, ExtractionRequest, Intent
from tests.unit.ai.shop import NOW, PRODUCTS, ask, cases, said, shop

LENGTH = 4_000
READINGS_PER_TOKEN = 10  # each costs a bounded number of look-ups
DRAFT = " ".join(f"{product.sku}=2" for product in PRODUCTS)
SHAPES = [(name, unit.replace("\\n", "\n")) for name, unit in cases("adversarial.txt")]


def repeated(unit: str, length: int = LENGTH) -> str:
    return (unit * (length // len(unit) + 1))[:length]


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts searches of the vocabulary, matches against the index and readings of a wish."""
    counted: Counter[str] = Counter()

    def count(name: str, owner: object, method: str) -> None:
        real = getattr(owner, method)

        def counting(*args: object, **kwargs: object) -> object:
            counted[name] += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, method, counting)

    count("searches", IndexedCatalogue, "similar")
    count("matches", matching, "_rank")
    count("readings", Reader, "_search")
    return counted


@pytest.mark.parametrize("draft", ["", DRAFT], ids=["no draft", "draft"])
@pytest.mark.parametrize(("name", "unit"), SHAPES, ids=[name for name, _ in SHAPES])
def test_work_grows_with_the_length_alone(name: str, unit: str, draft: str, work: Counter[str]) -> None:
    """Each different word is searched for once, and no text causes more than a few readings per token."""
    text = repeated(unit)

    ask(text, draft=draft)

    tokens = min(len(tokenize([text])), MAX_TOKENS)
    assert work["searches"] <= min(len(set(text.split())), matching.MAX_SEARCHES)
    assert work["readings"] <= READINGS_PER_TOKEN * (tokens + 1)
    assert work["matches"] <= READINGS_PER_TOKEN * (tokens + 1)


@pytest.mark.parametrize(("name", "unit"), SHAPES, ids=[name for name, _ in SHAPES])
def test_the_result_is_sane(name: str, unit: str) -> None:
    """Nothing unwritten is quoted, each product comes once and within its bounds, and what was cut off is
    open.
    """
    text = repeated(unit)

    extraction = ask(text)

    assert_sane(extraction, text)
    if len(tokenize([text])) > MAX_TOKENS and extraction.operations:
        assert extraction.unmatched
        assert all(operation.band is Band.CONFIRM for operation in extraction.operations)


def assert_sane(extraction: Extraction, text: str) -> None:
    skus = [operation.sku for operation in extraction.operations]
    assert len(skus) == len(set(skus))
    assert all(span in text for span in extraction.unmatched)
    for operation in extraction.operations:
        product = shop().find(operation.sku)
        assert product is not None
        assert operation.quantity is not None
        assert 0 < operation.quantity <= (product.max_quantity or 0)


def test_a_word_is_searched_for_once(work: Counter[str]) -> None:
    """However often a slip of the pen is repeated, the vocabulary is searched once."""
    ask("2 tomste, " * 50)

    assert work["searches"] == 1


def test_searches_are_capped(work: Counter[str]) -> None:
    """Words beyond the cap stay unknown, so that their lines go to a person."""
    letters = "abcdefghijklmnoprstuv"
    words = [f"q{a}{b}xw" for a in letters for b in letters][: matching.MAX_SEARCHES + 40]

    extraction = ask(", ".join(f"2 kg {word}" for word in words))

    assert work["searches"] == matching.MAX_SEARCHES
    assert not extraction.operations
    assert len(extraction.unmatched) > matching.MAX_SEARCHES // 2


def test_a_longer_order_is_read_up_to_a_line() -> None:
    """What is beyond the cap is one unmatched span that begins with a line, and no line is sure."""
    line = "1 kg de tomate\n"
    read = MAX_TOKENS // len(tokenize([line]))

    extraction = ask(line * (read + 20) + "quita el huevo")

    (rest,) = extraction.unmatched
    assert rest.startswith("1 kg de tomate")
    assert rest.endswith("quita el huevo")
    assert [operation.band for operation in extraction.operations] == [Band.CONFIRM]


def test_an_order_of_sixty_lines_is_read_whole() -> None:
    """The cap lies beyond any order: sixty full lines come out sure."""
    names = ("soda lima lata 350 ml", "vino tinto 750 ml", "tomate", "leche 1 L")

    extraction = ask("\n".join(f"1 de {names[place % 4]}" for place in range(60)))

    assert not extraction.unmatched
    assert said(extraction) == "add SODA=15; add WINE=15; add TOM=15; add MILK=15"


@pytest.mark.parametrize(
    ("tail", "reported"), [("bla " * 30, False), ("bla 3 bla", True), ("bla tres kilos", True)]
)
def test_idle_words_beyond_the_cap_are_nothing(tail: str, reported: bool) -> None:
    """Where nothing was ordered, only a number beyond the cap is worth a person's time."""
    extraction = ask("bla " * MAX_TOKENS + tail)

    assert bool(extraction.unmatched) is reported


def test_what_is_beyond_the_cap_keeps_the_draft() -> None:
    """A cancellation that may go on is no cancellation yet."""
    extraction = ask("cancela todo\n" + "bla " * MAX_TOKENS + "menos 3 tomates", draft="TOM=3")

    assert extraction.intent is Intent.MODIFY
    assert not extraction.operations
    assert extraction.unmatched


def test_a_number_of_any_length_is_only_noise() -> None:
    """Python refuses to turn more than 4,300 digits into a number."""
    assert not ask("1" * 9_000 + " tomate").operations
    assert not ask("el " + "1" * 9_000 + "/" + "2" * 9_000).operations


def test_long_drafts() -> None:
    """A draft with every product is doubled line by line, within the products' bounds."""
    lines = tuple(DraftLine(product.sku, Decimal(2)) for product in PRODUCTS)

    extraction = understand(ExtractionRequest((repeated("doble "),), shop(), lines, NOW))

    assert len(extraction.operations) == len(PRODUCTS)
    assert_sane(extraction, repeated("doble "))


def test_a_wish_of_too_many_words_is_none() -> None:
    """No order line has so many words: they are not even compared."""
    reader = Reader(shop(), tokenize([""]), ask("").language)

    assert reader.read(Wish(words=("tomate",) * 100)).entry is None
    assert reader.read(Wish(words=("tomate",) * 3)).entry is not None
