"""Where a burst turns: "sí, pero …", "yes, but …" open a change, whatever was agreed to before."""

from collections.abc import Sequence
from dataclasses import replace

from handlers.ai.item import Item
from handlers.ai.lexicon import LEXICON
from handlers.ai.sentences import Sentence
from handlers.ai.text import Kind, Token
from handlers.ai.types import Language


def turning_points(tokens: Sequence[Token], language: Language) -> list[int]:
    """The positions of "pero", "but" and, in Portuguese, "mas"; of "y", "and" only behind a bare consent."""
    return [
        place
        for place, token in enumerate(tokens)
        if token.norm in LEXICON.cues["but"]
        or (token.norm == "mas" and language is Language.PT)
        or (token.norm in LEXICON.cues["also"] and _follows_consent(tokens, place))
    ]


def with_turns(items: Sequence[Item], points: Sequence[int], sentences: Sequence[Sentence]) -> list[Item]:
    """The items, those behind a turn of their own sentence marked."""
    return [
        replace(item, turned=True) if _is_behind(item.start, points, sentences) else item for item in items
    ]


def _is_behind(start: int, points: Sequence[int], sentences: Sequence[Sentence]) -> bool:
    begin = next((s.start for s in sentences if s.start <= start < s.end), start)
    return any(begin <= point < start for point in points)


def _follows_consent(tokens: Sequence[Token], place: int) -> bool:
    """As in "sí, y otra de corona": nothing but politeness stands before."""
    before = tokens[:place]
    said = [token.norm for token in before if token.kind is not Kind.SEP]
    return bool(said) and all(norm in LEXICON.polite or norm in LEXICON.function for norm in said)
