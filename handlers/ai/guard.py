"""Re-checks everything that a model says, on the assumption that it was fooled: code decides what happens.

A model gives no prices and no texts. Its operations stand only for products it was offered, in quantities
that the catalogue allows, on words that the customer wrote (``handlers.ai.lines``). What binds needs a second
opinion: that of the rules engine, which no wording can talk into another grammar.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby

from pydantic import BaseModel, ConfigDict, StrictStr

from handlers.ai.lines import MAX_SPAN, ORDERING, LineGuard, Offer, OperationAnswer
from handlers.ai.prompts import visible_texts
from handlers.ai.quotes import Quotes
from handlers.ai.types import Band, Extraction, ExtractionRequest, Intent, Language, Operation

MAX_UNMATCHED = 20
_HORIZON = timedelta(days=365)
_DATED = frozenset({Intent.BUY, Intent.MODIFY, Intent.CONFIRM})
# What these do cannot be taken back, so a model alone must not cause them.
_BINDING = frozenset({Intent.CONFIRM, Intent.CANCEL, Intent.OPT_OUT})
# What these protect must not be talked away.
_PROTECTED = frozenset({Intent.OPT_OUT, Intent.HANDOFF})
_AGREED, _ALONE = 0.97, 0.75
_LINK = re.compile(r"://|@|www\.|\w\.[a-z]{2}", re.IGNORECASE)


class ModelAnswer(BaseModel):
    """The answer as the model wrote it; fields that the schema does not have are never read."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    intent: Intent
    language: Language
    operations: list[OperationAnswer]
    unmatched: list[StrictStr]
    delivery_date: StrictStr | None
    delivery_span: StrictStr | None


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
    if intent not in ORDERING:
        operations = offer.rules.operations if intent is Intent.CANCEL else ()
        return Checked(intent, operations, (), day, sureness)
    lines = LineGuard(offer, quotes)
    lines.take(answer.operations)
    operations = lines.operations()
    doubts = offer.rules.unmatched if lines.refused else ()
    unmatched = _unmatched((*answer.unmatched, *lines.failed, *doubts, *_unread(offer.request)), quotes)
    sureness = min((operation.confidence for operation in operations), default=sureness)
    return Checked(intent, operations, unmatched, day, sureness)


def decide_intent(said: Intent, rules: Extraction, *, has_draft: bool) -> tuple[Intent, float]:
    """The intent and how sure it is.

    The rules' own stands against the model where the model's would bind, where theirs protects (a wish to be
    left alone, or to speak to a person), and where they are sure of a line. Without an open order CANCEL drops nothing:
    it asks a person, so whoever reads it is believed.
    """
    said, read = _fitting(said, has_draft=has_draft), _fitting(rules.intent, has_draft=has_draft)
    if said is read:
        return said, _AGREED
    ordered = read in ORDERING and any(operation.band is Band.AUTO for operation in rules.operations)
    asks_person = not has_draft and Intent.CANCEL in {said, read} and not ORDERING & {said, read}
    if read in _PROTECTED or ordered:
        return read, min(rules.confidence, _ALONE)
    if asks_person:
        return Intent.CANCEL, _ALONE
    return (read, min(rules.confidence, _ALONE)) if said in _BINDING else (said, _ALONE)


def _fitting(intent: Intent, *, has_draft: bool) -> Intent:
    """BUY opens an order, MODIFY changes the open one; which of them it is, the draft says."""
    if intent not in ORDERING:
        return intent
    return Intent.MODIFY if has_draft else Intent.BUY


def _unread(request: ExtractionRequest) -> Sequence[str]:
    """The first line of what was too long to be shown: it sends the order to a person."""
    _, rest = visible_texts(request.texts)
    return [line for line in rest.splitlines() if line.strip()][:1]


def _unmatched(said: Sequence[str], quotes: Quotes) -> tuple[str, ...]:
    """Words of the customer, each once, without links: they are quoted in replies."""
    spans = [span for text in said if (span := quotes.find(_without_links(text)))]
    return tuple(list(dict.fromkeys(spans))[:MAX_UNMATCHED])


def _without_links(text: str) -> str:
    """The longest stretch of words without a link, cut to MAX_SPAN at a word's end."""
    words = text[: 4 * MAX_SPAN].split()
    runs = [
        " ".join(run) for linked, run in groupby(words, lambda word: bool(_LINK.search(word))) if not linked
    ]
    longest = max(runs, key=len, default="")
    return longest if len(longest) <= MAX_SPAN else longest[:MAX_SPAN].rpartition(" ")[0]


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
