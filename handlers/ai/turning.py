"""Where a burst turns: "sí, pero …", "yes, but …" open a change, whatever was agreed to before."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from handlers.ai.item import Item
from handlers.ai.lexicon import LEXICON
from handlers.ai.pieces import is_but
from handlers.ai.sentences import Sentence
from handlers.ai.text import Kind, Token
from handlers.ai.types import Language

_HOLDING = LEXICON.cues["negation"] | LEXICON.cues["correction"]


@dataclass(frozen=True, slots=True)
class Turns:
    """Token positions: ``contrary`` of "pero", "but", "mas"; ``further`` of "y", "and" behind a bare consent."""

    contrary: frozenset[int] = frozenset()
    further: frozenset[int] = frozenset()
    besides: frozenset[int] = frozenset()  # of "también", "also", "too"

    @property
    def all(self) -> frozenset[int]:
        return self.contrary | self.further

    def mark(self, items: Sequence[Item], sentences: Sequence[Sentence]) -> list[Item]:
        """The items, those behind a turn of their own sentence marked."""
        return [self._marked(item, *_range_of(item, sentences)) for item in items]

    def _marked(self, item: Item, begin: int, end: int) -> Item:
        contrary = any(begin <= point < item.start for point in self.contrary)
        further = any(begin <= point < item.start for point in self.further)
        besides = contrary and any(begin <= point < end for point in self.besides)
        return replace(item, turned=contrary or further, contrary=contrary, more=item.more or besides)

    def held_back(
        self, tokens: Sequence[Token], items: Sequence[Item], sentences: Sequence[Sentence]
    ) -> list[tuple[int, int]]:
        """As in "sí pero no", "yes but not yet": behind the turn nothing is asked for, yet it is denied."""
        ends = [(point, s.end) for point in self.contrary for s in sentences if s.start <= point < s.end]
        return [
            (point + 1, end)
            for point, end in ends
            if any(tokens[place].norm in _HOLDING for place in range(point + 1, end))
            and not any(point < item.start < end for item in items)
        ]


def read_turns(tokens: Sequence[Token], language: Language) -> Turns:
    """Where the burst turns."""
    contrary = {place for place, token in enumerate(tokens) if is_but(token.norm, language)}
    further = {
        place
        for place, token in enumerate(tokens)
        if token.norm in LEXICON.cues["also"] and _follows_consent(tokens, place)
    }
    besides = {place for place, token in enumerate(tokens) if token.norm in LEXICON.cues["besides"]}
    return Turns(frozenset(contrary), frozenset(further), frozenset(besides))


def _range_of(item: Item, sentences: Sequence[Sentence]) -> tuple[int, int]:
    found = next((s for s in sentences if s.start <= item.start < s.end), None)
    return (found.start, found.end) if found else (item.start, item.end)


def _follows_consent(tokens: Sequence[Token], place: int) -> bool:
    """As in "sí, y otra de corona": nothing but politeness stands before."""
    before = tokens[:place]
    said = [token.norm for token in before if token.kind is not Kind.SEP]
    return bool(said) and all(norm in LEXICON.polite or norm in LEXICON.function for norm in said)
