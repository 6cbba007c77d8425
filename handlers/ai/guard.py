"""Re-checks everything that a model says, on the assumption that it was fooled: code decides what happens.

A model gives no prices and no texts. Its operations stand only for products it was offered, in quantities that the
catalogue allows, on words that the customer wrote (``handlers.ai.lines``). A binding intent needs a second opinion:
the rules engine's, which no wording can talk into another grammar.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation

from pydantic import BaseModel, ConfigDict, Field

from handlers.ai.catalogue import IndexedCatalogue
from handlers.ai.confidence import AUTO_THRESHOLD
from handlers.ai.merge import merge
from handlers.ai.prompts import visible_texts
from handlers.ai.quantity import sale_class
from handlers.ai.quotes import Quotes
from handlers.ai.rules import understand
from handlers.ai.types import (
    Band,
    CatalogueProduct,
    DraftLine,
    Extraction,
    ExtractionRequest,
    Intent,
    Language,
    Operation,
    OperationKind,
)

MAX_OPERATIONS = 100
MAX_UNMATCHED = 20
MAX_SPAN = 200
# Of one line, where the catalogue sets no maximum of its own.
MAX_QUANTITY = Decimal(100_000)
_MAX_NUMBER = 20  # characters of a written quantity
_STEP = Decimal("0.001")
_HORIZON = timedelta(days=365)
_DATED = frozenset({Intent.BUY, Intent.MODIFY, Intent.CONFIRM})
_ORDERING = frozenset({Intent.BUY, Intent.MODIFY})
# What these do cannot be taken back, so a model alone must not cause them.
_BINDING = frozenset({Intent.CONFIRM, Intent.CANCEL, Intent.OPT_OUT})
# What these protect must not be talked away.
_PROTECTED = frozenset({Intent.OPT_OUT, Intent.HANDOFF})
_LINK = re.compile(
    r"\S*(?:://|www\.|@)\S*|\S+\.(?:com|net|org|info|io|ru|cn|xyz|link|ly|me|co)\b\S*", re.IGNORECASE
)
_AGREED, _ALONE = 0.97, 0.75
# Parts of a line's confidence; products of them, until an evaluation with a key calibrates them.
_MODEL, _SAME_WORDS, _SAME_NUMBER, _OTHER_WORDS, _OTHER_NUMBER, _CONTRADICTED = (
    0.97,
    0.93,
    0.95,
    0.7,
    0.8,
    0.6,
)


class ModelAnswer(BaseModel):
    """The answer as the model wrote it."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    intent: Intent
    language: Language
    operations: list[OperationAnswer] = Field(default_factory=list)
    unmatched: list[str] = Field(default_factory=list)
    delivery_date: str | None = None
    delivery_span: str | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """What of an answer may be used."""

    intent: Intent
    operations: tuple[Operation, ...]
    unmatched: tuple[str, ...]
    delivery_date: date | None
    confidence: float


def check(answer: ModelAnswer, offer: Offer) -> Checked:
    """The usable part of an answer. Never raises on any answer."""
    quotes = Quotes(offer.request.texts)
    intent, sureness = decide_intent(answer.intent, offer.rules, has_draft=bool(offer.request.draft))
    day = _delivery_day(answer, offer.request, quotes) if intent in _DATED else None
    if intent not in _ORDERING:
        operations = offer.rules.operations if intent is Intent.CANCEL else ()
        return Checked(intent, operations, (), day, sureness)
    lines = LineGuard(offer, quotes)
    lines.take(answer.operations)
    operations = (*lines.scored(), *lines.left_out())
    unmatched = _unmatched([*answer.unmatched, *lines.failed], offer, quotes, doubted=lines.dropped)
    sureness = min((operation.confidence for operation in operations), default=sureness)
    return Checked(intent, operations, unmatched, day, sureness)


def decide_intent(said: Intent, rules: Extraction, *, has_draft: bool) -> tuple[Intent, float]:
    """The intent and how sure it is: a binding one needs the rules' agreement, a protected one of theirs stands."""
    said, read = _fitting(said, has_draft=has_draft), _fitting(rules.intent, has_draft=has_draft)
    if said is read:
        return said, _AGREED
    ordered = read in _ORDERING and any(operation.band is Band.AUTO for operation in rules.operations)
    if said in _BINDING or read in _PROTECTED or ordered:
        return read, min(rules.confidence, _ALONE)
    return said, _ALONE


def _fitting(intent: Intent, *, has_draft: bool) -> Intent:
    """BUY opens an order, MODIFY changes the open one; which of them it is, the draft says."""
    if intent not in _ORDERING:
        return intent
    return Intent.MODIFY if has_draft else Intent.BUY


# --- spans and days ------------------------------------------------------------------------------------------------


def _unmatched(said: Sequence[str], offer: Offer, quotes: Quotes, *, doubted: bool) -> tuple[str, ...]:
    """Words of the customer, without links. Where the model's answer was partly refused, the rules' doubts count too,
    and so does what was too long to be shown.
    """
    _, unseen = visible_texts(offer.request.texts)
    rest = next((line for line in unseen.splitlines() if line.strip()), "")
    doubts = offer.rules.unmatched if doubted else ()
    spans = [span for text in (*said, *doubts, rest) if (span := _quoted(text, quotes))]
    return tuple(list(dict.fromkeys(spans))[:MAX_UNMATCHED])


def _quoted(text: str, quotes: Quotes) -> str | None:
    """The longest stretch without a link, as the customer wrote it."""
    stretch = max((piece.strip() for piece in _LINK.split(text)), key=len)
    return quotes.find(stretch[:MAX_SPAN]) if stretch else None


def _delivery_day(answer: ModelAnswer, request: ExtractionRequest, quotes: Quotes) -> date | None:
    """The day, if the customer's words for it exist and it is within a year from today."""
    if answer.delivery_date is None or quotes.find(answer.delivery_span or "") is None:
        return None
    try:
        day = date.fromisoformat(answer.delivery_date)
    except ValueError:
        return None
    today = request.now.date()
    return day if today <= day <= today + _HORIZON else None
