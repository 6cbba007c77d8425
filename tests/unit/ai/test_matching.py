"""Which product words mean: exact alias, one candidate, several candidates, slips of the pen."""

import pytest

from handlers.ai.catalogue import IndexedCatalogue, Size
from handlers.ai.matching import Fit, Matcher, Query
from tests.unit.ai.shop import PRODUCTS, ask, product, said, shop


@pytest.mark.parametrize(
    ("words", "sku", "fit"),
    [
        ("tomate", "TOM", Fit.EXACT),
        ("tomates", "TOM", Fit.EXACT),
        ("tomatoes", "TOM", Fit.EXACT),
        ("red wine", "WINE", Fit.EXACT),
        ("cebolla morada", "ONR", Fit.EXACT),
        ("cebola roxa", "ONR", Fit.EXACT),
        ("cola sol zero lata", "COLZ", Fit.EXACT),
        ("zero", "COLZ", Fit.TERM),
        ("red onion", "ONR", Fit.EXACT),
        ("tomatte", "TOM", Fit.EXACT),
        ("silantro", "CIL", Fit.EXACT),
    ],
)
def test_found(words: str, sku: str, fit: Fit) -> None:
    """Names, aliases, translations and slips of the pen lead to the product."""
    found = Matcher(shop()).match(Query(tuple(words.split())))

    assert found.entry is not None
    assert found.entry.product.sku == sku
    assert found.fit in {fit, Fit.TERM}


@pytest.mark.parametrize("words", ["cebolla", "cola", "onion", "cola sol"])
def test_several_products_are_no_match(words: str) -> None:
    """Words that fit several products leave the choice to the customer."""
    found = Matcher(shop()).match(Query(tuple(words.split())))

    assert found.fit is Fit.AMBIGUOUS
    assert found.entry is None


@pytest.mark.parametrize("words", ["quinoa", "tomate seco", "vino blanco", "queso azul", "polvo"])
def test_unknown_goods(words: str) -> None:
    """A word that no product carries keeps the others from matching."""
    assert Matcher(shop()).match(Query(tuple(words.split()))).entry is None


def test_a_size_chooses() -> None:
    """A number that is no quantity chooses among sizes, with or without its unit."""
    with_unit = Matcher(shop()).match(Query(("cola",), sizes=(Size(600, 600, "ml"),)))  # type: ignore[arg-type]  # int stands for Decimal
    bare = Matcher(shop()).match(Query(("cola",), sizes=(Size(600),)))  # type: ignore[arg-type]  # int stands for Decimal

    assert [m.entry and m.entry.product.sku for m in (with_unit, bare)] == ["COL6", "COL6"]


def test_zero_is_never_assumed() -> None:
    """A can of cola without "zero" is the normal one."""
    assert said(ask("3 cajas de cola sol lata")) == "add COLC=3"


def test_a_qualifier_is_not_the_thing() -> None:
    """Cups are not the lids for cups."""
    assert said(ask("5 paquetes de vaso de papel 240")) == "add CUP=5"
    assert said(ask("5 paquetes de tapa 240")) == "add LIDC=5"


def test_near_decides_among_candidates() -> None:
    """The draft's line is meant where the words alone would fit several."""
    found = Matcher(shop()).match(Query(("cebolla",), near=frozenset({"ONR"})))

    assert found.entry is not None
    assert found.entry.product.sku == "ONR"


def test_rejected_products_are_out() -> None:
    """As in "But not the red one" leaves the other."""
    found = Matcher(shop()).match(Query(("cebolla",), rejected=frozenset({"ONR"})))

    assert found.entry is not None
    assert found.entry.product.sku == "ONW"


def test_whole_words_only() -> None:
    """A short name inside a longer word is not that name."""
    catalogue = IndexedCatalogue([product("GIN", "Gin", "botella"), *PRODUCTS])

    assert Matcher(catalogue).match(Query(("ginger",))).entry is None


def test_find_and_entry() -> None:
    """The index finds products by SKU."""
    assert shop().find("TOM") == PRODUCTS[0]
    assert shop().find("NONE") is None
    assert shop().entry("TOM").product.name == "Tomate"
