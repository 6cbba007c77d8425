"""Whether an item that found no line was asked for, so that a person has to read it, or merely mentioned."""

from collections.abc import Sequence

from handlers.ai.item import Item
from handlers.ai.lexicon import LEXICON
from handlers.ai.matching import Fit
from handlers.ai.sentences import Sentence
from handlers.ai.text import Kind
from handlers.ai.understanding import Understanding

_IDLE = (
    LEXICON.articles
    | LEXICON.polite
    | LEXICON.cues["also"]
    | LEXICON.quantities["approx"]
    | {"de", "do", "da"}
)
_FEW = 8  # words of a message that only names products
_INFINITIVES = ("ar", "er", "ir", "arlo", "arme", "erme", "irme")  # "quiero pagar": no goods


def was_wanted(item: Item, read: Understanding) -> bool:
    """Whether an item that found no line was asked for at all, not merely mentioned."""
    if item.usual:
        return True
    if not item.counted:
        return _is_wished(item, read)
    amount = item.wish.amounts[0]
    if item.reading.entry is not None:
        return not amount.weak or amount.halves
    if _is_name(item, read) or _is_asked_about(item, read) or _is_told(item, read):
        return False
    if item.reading.match.fit is Fit.NONE and (amount.vague or amount.weak):
        return amount.extra and bool(read.order.draft)  # "y otra igual"
    said = item.wish.words or item.wish.heard or item.wish.units or any(a.unit for a in item.wish.amounts)
    return bool(said or read.order.touched or read.order.draft)  # a number alone, beside an order


def _is_wished(item: Item, read: Understanding) -> bool:
    """Whether something without an amount is asked for: a product by a verb, beside counted ones, or alone."""
    sentence = read.sentence_of(item)
    if sentence is None:
        return False
    if item.reading.match.fit is Fit.NONE:
        return _is_asked_by_verb(item, read)
    others = [other for other in read.items if read.sentence_of(other) is sentence]
    return sentence.wishes or _is_listed(item, others) or _is_alone(others, sentence, read)


def _is_listed(item: Item, others: Sequence[Item]) -> bool:
    """As in "2 cajas de coca, sabritas y 3 de sprite"."""
    match = item.reading.match
    named = match.entry is not None and match.fit >= Fit.TERM and match.likeness == 1
    counted = any(other.counted and other.reading.quantity for other in others)
    return named and counted and not item.correction


def _is_alone(others: Sequence[Item], sentence: Sentence, read: Understanding) -> bool:
    """As in "unas cocas", "coca y sprite": nothing but products."""
    told = [t for t in read.tokens[sentence.start : sentence.end] if t.kind is Kind.WORD]
    inside = {i for other in others for i in range(other.start, other.end)}
    rest = [read.tokens[i].norm for i in range(sentence.start, sentence.end) if i not in inside]
    idle = all(norm in _IDLE or not norm.isidentifier() for norm in rest)
    return len(told) <= _FEW and idle and all(other.reading.match.found for other in others)


def _is_asked_by_verb(item: Item, read: Understanding) -> bool:
    """As in "agrega zorblat", "y que traigan hielo": unknown goods right behind the verb that asks for them,
    beside an order.
    """
    words = (*item.wish.heard, *item.wish.words)
    place = item.start - 1
    while place >= 0 and read.tokens[place].norm in LEXICON.articles:
        place -= 1
    verb = read.tokens[place].norm if place >= 0 else ""
    beside = bool(read.order.touched or read.order.draft) and verb in LEXICON.wish
    added = bool(read.order.draft) and verb in LEXICON.cues["add"]
    named = read.tokens[item.start].capital and not added
    return bool(words) and (beside or added) and not named and not words[0].endswith(_INFINITIVES)


def _is_asked_about(item: Item, read: Understanding) -> bool:
    """As in "does that come to over 50 thousand?": a bare number about nothing known, in a question."""
    sentence = read.sentence_of(item)
    bare = all(a.unit is None for a in item.wish.amounts) and not item.more
    return (
        bare
        and item.reading.match.fit is Fit.NONE
        and sentence is not None
        and sentence.asks
        and not sentence.wishes
    )


def _is_told(item: Item, read: Understanding) -> bool:
    """As in "mi hijo sacó 10 en matemáticas": a bare number inside unknown words, without a wish."""
    sentence = read.sentence_of(item)
    words = (*item.wish.heard, *item.wish.words)
    bare = all(a.unit is None for a in item.wish.amounts)
    known = any(read.order.catalogue.has_word(word) for word in words)
    inside = bool(item.wish.heard and item.wish.words) and bare and not known
    return inside and item.reading.match.fit is Fit.NONE and sentence is not None and not sentence.wishes


def _is_name(item: Item, read: Understanding) -> bool:
    """As in "Slice House Unit 12", "Chela - Mitre 332": unknown capitalised words with a bare number behind
    them.
    """
    inside = read.tokens[item.start : item.end]
    words = [t for t in inside if t.kind is Kind.WORD and t.norm not in LEXICON.function]
    bare = all(a.unit is None for a in item.wish.amounts) and inside[-1].kind is Kind.NUM
    return item.reading.match.fit is Fit.NONE and bare and len(words) > 1 and all(t.capital for t in words)
