"""How sure a line is, from what can be observed: the fit of the words, slips of the pen, and how the amount
was said.
"""

from dataclasses import dataclass, field, replace
from decimal import Decimal

from handlers.ai.catalogue import Entry
from handlers.ai.item import Item
from handlers.ai.matching import Fit
from handlers.ai.quantity import is_sane
from handlers.ai.readings import Reading
from handlers.ai.types import Band

AUTO_THRESHOLD = 0.9
_FIT = {Fit.EXACT: 1.0, Fit.TERM: 0.97, Fit.UNION: 0.94, Fit.RELAXED: 0.7, Fit.AMBIGUOUS: 0.4, Fit.NONE: 0.0}
_DOUBT = 0.85
_LINE_SPOKEN_OF = 0.8  # "12 kg instead" names no product, only the line before
_PARTIAL = 0.75
_CONTEXT = 0.9
_WEAK_AMOUNT = 0.95
_CORRECTED = 0.88
_CHANGE = 0.93
_TO_CONFIRM = 0.85  # right by the rules, but the other meaning is many times as much or as little


@dataclass(frozen=True, slots=True)
class Score:
    """A confidence between 0 and 1 with the parts it is the product of; ``unsure`` says that the line has to
    be confirmed whatever the confidence.
    """

    value: float
    parts: dict[str, float] = field(default_factory=dict)
    unsure: bool = False

    @property
    def band(self) -> Band:
        return Band.AUTO if self.value >= AUTO_THRESHOLD and not self.unsure else Band.CONFIRM

    def onto(self, held: "Score") -> "Score":
        """The score of what is added to, or taken off, a line with that score: no surer than the line was."""
        unsure = self.unsure or held.band is Band.CONFIRM
        if held.value >= self.value:
            return replace(self, unsure=unsure)
        return Score(held.value, {**self.parts, "held": round(held.value / self.value, 4)}, unsure)


def score(reading: Reading, item: Item, *, in_draft: bool) -> Score:
    """The score of a line that the item made or changed."""
    parts = {
        "fit": _FIT[reading.match.fit] if reading.entry is not None else _LINE_SPOKEN_OF,
        "likeness": reading.match.likeness,
        "words": _PARTIAL if reading.partial else 1.0,
        "context": _CONTEXT if reading.context else 1.0,
        "amount": _amount(reading),
        "unit": _TO_CONFIRM if reading.by_unit or reading.against_unit or reading.bare else 1.0,
        "denied": _TO_CONFIRM if reading.unheeded else 1.0,
        "place": _TO_CONFIRM if item.apart else 1.0,
        "change": _change(item, in_draft=in_draft),
    }
    value = 1.0
    for part in parts.values():
        value *= part
    return Score(round(value, 4), parts)


def bounded(made: Score, entry: Entry, quantity: Decimal) -> Score:
    """The score of a line that became that quantity; to be confirmed where nobody orders so much."""
    if is_sane(entry, quantity):
        return made
    return Score(round(made.value * _TO_CONFIRM, 4), {**made.parts, "quantity": _TO_CONFIRM}, unsure=True)


def doubted(made: Score, *, doubt: bool) -> Score:
    """The score in a burst that was not understood as a whole; unchanged where there is no doubt."""
    if not doubt:
        return made
    return replace(made, value=round(made.value * _DOUBT, 4), parts={**made.parts, "burst": _DOUBT})


def _amount(reading: Reading) -> float:
    if reading.amount is None:
        return 1.0
    return _WEAK_AMOUNT if reading.amount.weak else 1.0


def _change(item: Item, *, in_draft: bool) -> float:
    if item.apart:
        return 1.0
    if item.correction:
        return _CORRECTED
    if item.cue in {"instead", "replace", "replace_to"}:
        return _CHANGE
    return (
        _CHANGE
        if in_draft and item.cue is None and not item.turned and not item.more and not item.denied
        else 1.0
    )
