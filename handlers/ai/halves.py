"""Halves that stand apart from their number: "una coca y media", "media coca", "half a coke"."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal

from handlers.ai.lexicon import LEXICON
from handlers.ai.numbers import Amount
from handlers.ai.text import Kind, Token

_AND = frozenset({"y", "e", "and"})
_HALF = LEXICON.number_parts["half"]
_OF = frozenset({"de", "of"})
_ARTICLES = frozenset({"a", "an"})
_NAMELESS = (
    LEXICON.function | LEXICON.polite | LEXICON.order_verbs | LEXICON.business | frozenset(LEXICON.units)
)
_HALF_DOZEN = Decimal(6)
_PART = Decimal("0.5")


class HalfReader:
    """Adds the halves of one burst to its amounts; ``is_name`` tells words that the catalogue uses itself
    ("media crema").
    """

    def __init__(self, tokens: Sequence[Token], is_name: Callable[[str], bool]) -> None:
        self._tokens = tokens
        self._is_name = is_name

    def add_to(self, amounts: Sequence[Amount]) -> list[Amount]:
        """The amounts in order, with the halves said behind a product and before one."""
        found = list(amounts)
        for position in range(len(self._tokens)):
            if self._norm(position) in _HALF and not self._is_name(self._norm(position)):
                self._take(position, found)
        return sorted(found, key=lambda amount: amount.start)

    def _take(self, position: int, found: list[Amount]) -> None:
        if any(amount.start <= position < amount.end for amount in found):
            return
        opener = self._opener(position)
        if opener is not None and self._ends(position + 1):
            self._behind(opener, position + 1, found)
        elif (begin := self._product_at(position)) is not None:
            found.append(Amount(position, begin, _PART, weak=True, halves=True))

    def _opener(self, position: int) -> int | None:
        """Where "y", "and a" before the half stands, with a product's word before it."""
        start = position - (2 if self._norm(position - 1) in _ARTICLES else 1)
        before = self._tokens[start - 1] if start > 0 else None
        named = before is not None and before.kind is Kind.WORD
        return start if named and self._norm(start) in _AND else None

    def _ends(self, position: int) -> bool:
        """Whether nothing behind the half says what it is a half of."""
        if position >= len(self._tokens) or self._tokens[position].kind is Kind.SEP:
            return True
        norm = self._norm(position)
        return norm in _AND or norm in LEXICON.polite or (norm in LEXICON.function and norm not in _OF)

    def _behind(self, opener: int, end: int, found: list[Amount]) -> None:
        """The half goes to the number before it in the same clause, else to a product that counts once."""
        before = max((a for a in found if a.end <= opener), key=lambda a: a.end, default=None)
        if before is None or any(t.kind is Kind.SEP for t in self._tokens[before.end : opener]):
            found.append(Amount(opener, end, 1 + _PART, halves=True))
            return
        half = _HALF_DOZEN if before.dozens else _PART
        found[found.index(before)] = replace(
            before, value=before.value + half, halves=not before.dozens, weak=False, tail=(opener, end)
        )

    def _product_at(self, position: int) -> int | None:
        """Where the word begins that "media", "half a" is half of; "half the tomatoes" speaks of the draft."""
        begin = position + 1
        opened = self._norm(begin) in (_ARTICLES | _OF)
        begin += opened
        told = self._norm(position) != "half" or opened
        if not told or begin >= len(self._tokens) or self._tokens[begin].kind is not Kind.WORD:
            return None
        return None if self._norm(begin) in _NAMELESS else begin

    def _norm(self, position: int) -> str:
        return self._tokens[position].norm if 0 <= position < len(self._tokens) else ""
