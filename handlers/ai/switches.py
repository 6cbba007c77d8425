"""Which line of an open order another product takes the place of, and which product words of change mean."""

from collections.abc import Collection

from handlers.ai.catalogue import Entry, IndexedCatalogue
from handlers.ai.item import Item
from handlers.ai.lexicon import LEXICON
from handlers.ai.matching import Fit

_CONTAINERS = frozenset(LEXICON.concept(word) for word in LEXICON.units)
_TELLS_NOTHING = LEXICON.distinctive | LEXICON.generic | _CONTAINERS


def variant_of(catalogue: IndexedCatalogue, old: Entry, new: Item, own: Entry | None) -> Entry | None:
    """The product with the new words that shares most with the old one; None where two share as much."""
    words = {
        c
        for word in (*new.wish.heard, *new.wish.words)
        for c in catalogue.concepts(word)
        if catalogue.knows(c)
    }
    candidates = (
        [catalogue.entries[i] for i in frozenset.intersection(*(catalogue.posting(w) for w in words))]
        if words
        else []
    )
    ranked = sorted(
        (
            (
                len((e.words & old.words))
                + 2 * len(e.sizes & old.sizes)
                - 0.1 * len(e.words - old.words - words),
                e.product.sku,
                e,
            )
            for e in candidates
            if e is not old
        ),
        reverse=True,
    )
    if not ranked or (len(ranked) > 1 and ranked[0][0] == ranked[1][0]):
        return own
    return ranked[0][2] if ranked[0][0] > 0 else own


def other_than(catalogue: IndexedCatalogue, sku: str, new: Item) -> Entry | None:
    """The product that takes the line's place; words that fit several mean the variant most like it."""
    own = new.reading.entry
    if not new.wish.words:
        return own
    named = own is not None and own.product.sku != sku and new.reading.match.fit >= Fit.TERM
    if named and not new.reading.context:
        return own
    return variant_of(catalogue, catalogue.entry(sku), new, own)


def is_family(one: Entry, two: Entry) -> bool:
    """Whether the products share a word that tells what they are, so that one may be a variant of the other.
    A brand alone does not, where both are more than their brand.
    """
    kinds = [entry.words - _TELLS_NOTHING - entry.brand for entry in (one, two)]
    if all(kinds):
        return bool(kinds[0] & kinds[1])
    return bool((one.words & two.words) - _TELLS_NOTHING)


def line_to_switch(
    catalogue: IndexedCatalogue, skus: Collection[str], new: Item
) -> tuple[str, Entry, bool] | None:
    """The one line that the named product replaces, the product, and whether it is a variant of the line.

    A product of another kind takes a line's place only where there is one line and the words say so.
    """
    own = new.reading.entry
    if own is not None and own.product.sku in skus:
        return None
    found = [
        (sku, other)
        for sku in skus
        if (other := other_than(catalogue, sku, new)) is not None
        and other.product.sku != sku
        and is_family(catalogue.entry(sku), other)
    ]
    if len(found) == 1:
        return (*found[0], True)
    said = new.cue in {"set", "replace"} or new.correction
    if found or own is None or len(skus) != 1 or not said:
        return None
    words = {c for word in (*new.wish.heard, *new.wish.words) for c in catalogue.concepts(word)}
    return (next(iter(skus)), own, False) if words - LEXICON.distinctive else None
