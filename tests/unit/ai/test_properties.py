"""What holds for every text: no exception, real spans, known products, quantities within bounds."""

from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.ai.merge import merge
from handlers.ai.rules import RulesEngine, understand
from handlers.ai.types import DraftLine, ExtractionRequest, Language
from tests.unit.ai.shop import NOW, PRODUCTS, cases, shop

WORDS = sorted(
    {word for _, text, _ in cases("quantities.txt") for word in text.split()}
    | {
        "quita",
        "cambia",
        "por",
        "swap",
        "for",
        "en vez de",
        "double",
        "no",
        "mejor",
        ",",
        "\n",
        "?",
        "el viernes",
        "24",
        "0",
        "1/2",
    }
)
orders = st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join)
texts = st.lists(st.one_of(st.text(max_size=80), orders), min_size=1, max_size=3)
drafts = st.lists(st.sampled_from(PRODUCTS), max_size=3, unique_by=lambda p: p.sku).map(
    lambda ps: tuple(DraftLine(p.sku, p.max_quantity) for p in ps if p.max_quantity)
)


@settings(max_examples=300, deadline=None)
@given(texts=texts, draft=drafts, hint=st.sampled_from(list(Language)))
def test_every_extraction_is_grounded(texts: list[str], draft: tuple[DraftLine, ...], hint: Language) -> None:
    """Whatever a customer writes, the result names only what is there."""
    extraction = understand(ExtractionRequest(tuple(texts), shop(), draft, NOW, hint))

    for operation in extraction.operations:
        product = shop().find(operation.sku)
        assert product is not None
        assert operation.quantity is None or 0 < operation.quantity <= (product.max_quantity or 0)
        assert any(operation.span in text for text in texts)
        assert 0 <= operation.confidence <= 1
    assert all(any(span in text for text in texts) for span in extraction.unmatched)
    assert all(line.quantity > 0 for line in merge(draft, extraction.operations))


async def test_the_engine_answers_the_same_as_the_function() -> None:
    """The port is a thin coat over the pure function."""
    request = ExtractionRequest(("3 kg de tomate",), shop(), (), NOW)

    assert await RulesEngine().extract(request) == understand(request)
    assert RulesEngine().name == "rules"
