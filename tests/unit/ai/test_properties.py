"""What holds for every text: no exception, real spans, known products, quantities within bounds."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.ai import rules
from handlers.ai.merge import merge
from handlers.ai.rules import RulesEngine, understand
from handlers.ai.types import DraftLine, Extraction, ExtractionRequest, Language
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


async def test_other_tasks_go_on_while_the_engine_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine reads outside the event loop: here it ends only after another task ran."""
    other_ran = threading.Event()

    def reading(request: ExtractionRequest) -> Extraction:
        assert other_ran.wait(timeout=30)
        return understand(request)

    async def other() -> None:
        other_ran.set()

    monkeypatch.setattr(rules, "understand", reading)
    request = ExtractionRequest(("3 kg de tomate",), shop(), (), NOW)

    extraction, _ = await asyncio.gather(RulesEngine().extract(request), other())

    assert extraction == understand(request)


def test_threads_share_a_catalogue() -> None:
    """One catalogue serves many threads at once: every answer is the one that a lone reader gets."""
    texts = ["2 kg de tomste y 3 huevos", "soda lima 3 cajas", "cebola 2 kg", "1 vino tinto, 2 leche"] * 25
    requests = [ExtractionRequest((text,), shop(), (), NOW) for text in texts]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(understand, requests))

    assert answers == [understand(request) for request in requests]


async def test_the_engine_answers_the_same_as_the_function() -> None:
    """The port is a thin coat over the pure function."""
    request = ExtractionRequest(("3 kg de tomate",), shop(), (), NOW)

    assert await RulesEngine().extract(request) == understand(request)
    assert RulesEngine().name == "rules"
