"""One thing asked for: the words, the reading of them and what is to be done with it."""

from dataclasses import dataclass

from handlers.ai.numbers import Amount
from handlers.ai.parts import Part, is_pure_size
from handlers.ai.pieces import Role
from handlers.ai.readings import Reading, Wish

RELATIVE = frozenset({"remove", "remove_it", "double", "triple", "half", "less", "replace", "instead"})


@dataclass(frozen=True, slots=True)
class Item:
    """One thing asked for: its words, the reading of them, and what is to be done with it.

    ``start`` and ``end`` are token positions; ``parts`` how many parts it was joined from; ``denied`` that
    it is not wanted.
    """

    wish: Wish
    reading: Reading
    start: int
    end: int
    cue: str | None = None
    more: bool = False
    denied: bool = False
    correction: bool = False
    usual: bool = False
    asked: bool = True
    lead: Role = Role.COMMA
    each: bool = False
    turned: bool = False  # behind "pero", "but", or "y" after a consent
    contrary: bool = False  # behind "pero", "but"
    agreed: bool = False  # in a sentence that agrees to the order
    apart: bool = False  # amount and product stood on two lines, or a comma between them

    @property
    def counted(self) -> bool:
        """Whether an amount counts the product."""
        return any(not is_pure_size(amount) for amount in self.wish.amounts)

    @property
    def named(self) -> bool:
        """Whether words or a container that is a product's name say what is meant."""
        return bool(self.wish.words or self.wish.heard) or self.reading.entry is not None


def wish_of(part: Part) -> Wish:
    """The words and amounts of a part; words before a counting amount are only "heard" where words follow
    it.
    """
    first = next((i for i, piece in enumerate(part.pieces) if piece.amount is not None), None)
    words = [(i, piece.word) for i, piece in enumerate(part.pieces) if piece.role is Role.WORD]
    behind = tuple(word for i, word in words if first is not None and i > first)
    heard = tuple(word for i, word in words if first is not None and i < first)
    if not behind or not heard:
        behind, heard = tuple(word for _, word in words), ()
    tail = sum(1 for i, _ in words if part.tail is not None and i >= part.tail)
    tail_amounts = (
        sum(1 for piece in part.pieces[part.tail :] if piece.amount) if part.tail is not None else 0
    )
    return Wish(behind, part.units, part.amounts, part.rejected, heard, tail, tail_amounts)


def counts_of(item: Item) -> tuple[Amount, ...]:
    """The amount that counts the item, else the first one."""
    return (item.reading.amount,) if item.reading.amount is not None else item.wish.amounts[:1]
