"""Which products a burst may mean: the few that a model may choose from, instead of the whole catalogue."""

import math
from collections.abc import Iterator, Sequence
from itertools import islice, zip_longest

from handlers.ai.catalogue import IndexedCatalogue
from handlers.ai.lexicon import LEXICON
from handlers.ai.text import Kind, Token, tokenize
from handlers.ai.types import CatalogueProduct

MAX_CANDIDATES = 40
_PER_MENTION = 8
_MIN_WORD = 2


def recall(
    catalogue: IndexedCatalogue, texts: Sequence[str], first: Sequence[str] = (), limit: int = MAX_CANDIDATES
) -> tuple[CatalogueProduct, ...]:
    """At most ``limit`` products: those named in ``first`` (SKUs), then the likeliest of each mention in
    turn.
    """
    named = [product for sku in first if (product := catalogue.find(sku))]
    ranked = [_likeliest(catalogue, mention) for mention in _mentions(tokenize(texts))]
    in_turn = (product for rank in zip_longest(*ranked) for product in rank if product is not None)
    chosen: dict[str, CatalogueProduct] = {}
    for product in (*named, *in_turn):
        chosen.setdefault(product.sku, product)
    return tuple(islice(chosen.values(), limit))


def _mentions(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """Stretches of words; separators part them, and so does a number behind words."""
    words: list[Token] = []
    for token in tokens:
        if token.kind is Kind.SEP or (token.kind is Kind.NUM and words):
            if words:
                yield words
            words = []
        elif token.kind is Kind.WORD and _tells(token.norm):
            words.append(token)
    if words:
        yield words


def _tells(norm: str) -> bool:
    return len(norm) >= _MIN_WORD and norm not in LEXICON.function


def _likeliest(catalogue: IndexedCatalogue, mention: Sequence[Token]) -> list[CatalogueProduct]:
    """The products with most of the mention's words, rare words counting more."""
    scores: dict[int, float] = {}
    for token in mention:
        for concept, likeness in _concepts(catalogue, token.norm):
            places = catalogue.posting(concept)
            weight = likeness * math.log(1 + len(catalogue.entries) / len(places)) if places else 0.0
            for place in places:
                scores[place] = scores.get(place, 0.0) + weight
    # Among equals the shorter name: nothing in it was left unsaid.
    best = sorted(scores, key=lambda place: (-scores[place], len(catalogue.entries[place].words), place))
    return [catalogue.entries[place].product for place in best[:_PER_MENTION]]


def _concepts(catalogue: IndexedCatalogue, norm: str) -> list[tuple[str, float]]:
    known = [(concept, 1.0) for concept in catalogue.concepts(norm) if catalogue.knows(concept)]
    return known or catalogue.similar(norm)
