"""Where a burst turns: "sí, pero …", "yes, but …" open a change, whatever was agreed to before."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from handlers.ai.item import Item
from handlers.ai.lexicon import INTENTS, LEXICON
from handlers.ai.matching import Fit
from handlers.ai.pieces import is_but
from handlers.ai.sentences import Sentence
from handlers.ai.text import Kind, Token
from handlers.ai.types import Language

_FEW = 5  # words of a consent
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
        """The items, those behind a turn of their own sentence, or in one that agrees, marked."""
        return [self._marked(item, _sentence_of(item, sentences)) for item in items]

    def _marked(self, item: Item, sentence: Sentence | None) -> Item:
        if sentence is None:
            return item
        before, inside = range(sentence.start, item.start), range(sentence.start, sentence.end)
        contrary = any(point in before for point in self.contrary)
        further = any(point in before for point in self.further)
        besides = any(point in inside for point in self.besides)
        telling = item.counted or item.cue is not None or item.reading.match.fit > Fit.NONE
        return replace(
            item,
            turned=contrary or (further and (telling or besides)),
            contrary=contrary,
            more=item.more or (contrary and besides),
            agreed=not further and INTENTS.any("confirm", sentence.words),
        )

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


def _sentence_of(item: Item, sentences: Sequence[Sentence]) -> Sentence | None:
    return next((s for s in sentences if s.start <= item.start < s.end), None)


def _follows_consent(tokens: Sequence[Token], place: int) -> bool:
    """As in "sí, y otra de corona", "perfecto, y además …": nothing but a consent or politeness before."""
    before = [token for token in tokens[:place] if token.kind is not Kind.SEP]
    if not before or any(token.kind is Kind.NUM for token in before):
        return False
    if all(token.norm in LEXICON.polite or token.norm in LEXICON.function for token in before):
        return True
    words = " ".join(token.norm.replace("_", " ") for token in before)
    agrees = INTENTS.any("confirm", words) or INTENTS.any("lone_consent", words)
    return len(before) <= _FEW and agrees
