"""A burst half read: what the steps of the rules engine hand to the last one."""

from bisect import bisect_right
from dataclasses import dataclass

from handlers.ai.dates import DateMention
from handlers.ai.item import Item
from handlers.ai.sentences import Sentence
from handlers.ai.text import Token
from handlers.ai.turning import Turns
from handlers.ai.types import Language
from handlers.ai.working import WorkingOrder


@dataclass(frozen=True, slots=True)
class Understanding:
    """One burst half read: tokens, sentences, days and items; ``rest`` are the words beyond MAX_TOKENS,
    where they may order something.
    """

    tokens: tuple[Token, ...]
    rest: str
    language: Language
    sentences: tuple[Sentence, ...]
    days: tuple[DateMention, ...]
    items: tuple[Item, ...]
    order: WorkingOrder
    turns: Turns

    def sentence_of(self, item: Item) -> Sentence | None:
        """The sentence that the item begins in."""
        place = bisect_right(self.sentences, item.start, key=lambda sentence: sentence.start) - 1
        found = self.sentences[place] if place >= 0 else None
        return found if found is not None and item.start < found.end else None
