"""Sentences of a burst and what each is for: an order, a question, a complaint about something past."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from handlers.ai.lexicon import INTENTS, LEXICON
from handlers.ai.text import MESSAGE_BREAK, Kind, Token

_ENDS = frozenset({".", "!", ";", "\n", MESSAGE_BREAK})


class Purpose(StrEnum):
    ORDER = "order"  # may hold items
    QUESTION = "question"
    COMPLAINT = "complaint"
    PAST = "past"  # tells of something past
    FOLLOW_UP = "follow_up"
    AWAY = "away"  # opt-out, hand-over, automatic mail


@dataclass(frozen=True, slots=True)
class Sentence:
    """The tokens ``start`` to ``end``; ``words`` is their normalised text, ``asks`` that it ends in a
    question mark.
    """

    start: int
    end: int
    words: str
    asks: bool
    purpose: Purpose
    wishes: bool


def read_sentences(tokens: Sequence[Token], counted: frozenset[int]) -> list[Sentence]:
    """The sentences in order; ``counted`` are the positions where an amount begins."""
    return [_sentence(tokens, begin, end, counted) for begin, end in _ranges(tokens)]


def _ranges(tokens: Sequence[Token]) -> list[tuple[int, int]]:
    ranges, begin = [], 0
    for position, token in enumerate(tokens):
        if token.norm in _ENDS or token.norm == "?":
            ranges.append((begin, position + 1))
            begin = position + 1
    ranges.append((begin, len(tokens)))
    return [(b, e) for b, e in ranges if any(t.kind is not Kind.SEP for t in tokens[b:e])]


def _sentence(tokens: Sequence[Token], begin: int, end: int, counted: frozenset[int]) -> Sentence:
    inside = tokens[begin:end]
    words = " ".join(t.norm.replace("_", " ") for t in inside if t.kind is not Kind.SEP)
    asks = any(t.norm == "?" for t in inside)
    wishes = any(t.norm in _WISHES for t in inside) and not _HABIT.match(words)
    has_amount = any(
        _counts_there(tokens, position, begin) for position in range(begin, end) if position in counted
    )
    purpose = _purpose(words, asks=asks, wishes=wishes, has_amount=has_amount)
    return Sentence(begin, end, words, asks, purpose, wishes)


_WISHES = LEXICON.wish | (
    (LEXICON.cues["replace"] | LEXICON.cues["remove"] | LEXICON.cues["add"])
    - {
        "menos",
        "except",
        "minus",
        "without",
        "salvo",
        "excepto",
        "exceto",
        "plus",
        "cambio",
        "cambios",
        "cut",
        "change",
    }
)
_HABIT = re.compile(r"(\w+ ){0,2}?(do|does|did) (you|u|they|we)\b")


def _counts_there(tokens: Sequence[Token], position: int, begin: int) -> bool:
    """Whether the amount is said as a quantity: at the beginning, or with a unit behind it."""
    following = tokens[position + 1].norm if position + 1 < len(tokens) else ""
    before = tokens[position - 1].norm if position > begin else ""
    return before not in {"de", "of", "del"} or following in LEXICON.units


def _purpose(words: str, *, asks: bool, wishes: bool, has_amount: bool) -> Purpose:
    orders = wishes and has_amount
    told = INTENTS.any("past", words)
    checks = (
        (Purpose.AWAY, not wishes and INTENTS.any("other_auto", words)),
        (Purpose.AWAY, not orders and (INTENTS.any("opt_out", words) or INTENTS.any("handoff", words))),
        (Purpose.COMPLAINT, not (orders and not told) and INTENTS.any("complaint", words)),
        (Purpose.FOLLOW_UP, not orders and INTENTS.any("follow_up", words)),
        (Purpose.PAST, told and not wishes),
        (Purpose.QUESTION, _asks_only(words, asks=asks, wishes=wishes, has_amount=has_amount)),
    )
    return next((purpose for purpose, fits in checks if fits), Purpose.ORDER)


def _asks_only(words: str, *, asks: bool, wishes: bool, has_amount: bool) -> bool:
    """Whether the sentence wants to know and orders nothing."""
    asked = asks or INTENTS.any("interrogative", words)
    if asked and not wishes and (INTENTS.any("question_words", words) or not has_amount):
        return True
    return INTENTS.any("quote", words) or (asked and INTENTS.any("price", words))
