"""The lines of a model's answer: what may stand, on which evidence, and the words of what may not.

How sure a line is is computed from what can be observed, most of all whether the rules engine, reading the
same burst or the quoted words alone, comes to the same line. A model's own statement of confidence is not
even asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation

from pydantic import BaseModel, ConfigDict, StrictFloat, StrictInt, StrictStr

from handlers.ai.catalogue import IndexedCatalogue
from handlers.ai.confidence import AUTO_THRESHOLD
from handlers.ai.merge import merge
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
    Operation,
    OperationKind,
)

ORDERING = frozenset({Intent.BUY, Intent.MODIFY})
MAX_OPERATIONS = 100
MAX_SPAN = 200
# Of one line, where the catalogue sets no maximum of its own.
MAX_QUANTITY = Decimal(100_000)
_MAX_DIGITS = 20  # characters of a written quantity
_STEP = Decimal("0.001")
# A line's confidence is the product of these, until an evaluation with a key calibrates them: two readers of
# the whole burst agree (auto), of the quoted words alone (over the tenants' default threshold), of the
# product or of neither.
_MODEL = 0.97
_SAME_WORDS, _OTHER_WORDS = 0.93, 0.7
_SAME_NUMBER, _OTHER_NUMBER = 0.95, 0.8
_CONTRADICTED = 0.6


class OperationAnswer(BaseModel):
    """An operation as the model wrote it; other fields, such as a price, are never read."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    kind: OperationKind
    sku: StrictStr
    quantity: StrictStr | StrictInt | StrictFloat | None
    span: StrictStr


@dataclass(frozen=True, slots=True)
class Offer:
    """What the model was offered, and what the rules engine made of the same burst.

    The request's draft holds only products of the catalogue.
    """

    request: ExtractionRequest
    catalogue: IndexedCatalogue
    candidates: tuple[CatalogueProduct, ...]
    rules: Extraction


class LineGuard:
    """Takes a model's operations one by one; keeps what may stand, and the words of what may not
    (``failed``).
    """

    def __init__(self, offer: Offer, quotes: Quotes) -> None:
        rules = offer.rules.operations if offer.rules.intent in ORDERING else ()
        self._offer = offer
        self._quotes = quotes
        self._offered = {product.sku: product for product in offer.candidates}
        self._running = {line.sku: line.quantity for line in offer.request.draft}
        self._rules_after = _after(offer.request.draft, rules)
        self._rules_lines = {operation.sku: operation for operation in rules}
        self._kept: list[Operation] = []
        self._refused: set[str] = set()
        self.failed: list[str] = []

    @property
    def refused(self) -> bool:
        """Whether anything of the answer may not stand."""
        return bool(self._refused)

    def take(self, answers: Sequence[OperationAnswer]) -> None:
        """Keeps what is allowed; an operation said twice counts once."""
        for answer in dict.fromkeys(answers[:MAX_OPERATIONS]):
            span = self._quotes.find(answer.span) if len(answer.span) <= MAX_SPAN else None
            operation = None if span is None else self._allowed(answer, span)
            if operation is None:
                self._refuse(answer.sku, span)
            else:
                self._kept.append(operation)
                self._running[operation.sku] = self._total(operation)

    def operations(self) -> tuple[Operation, ...]:
        """What stands: the model's operations with their confidence, then the rules' lines that it passed
        over.
        """
        after = _after(self._offer.request.draft, self._kept)
        return (*(self._score(one, after.get(one.sku)) for one in self._kept), *self._passed_over())

    def _passed_over(self) -> list[Operation]:
        """Lines that the rules are sure of, or that the model said wrongly, stay and are to be confirmed."""
        said = {operation.sku for operation in self._kept}
        return [
            replace(
                operation, confidence=_CONTRADICTED, band=Band.CONFIRM, parts={"rules_only": _CONTRADICTED}
            )
            for sku, operation in self._rules_lines.items()
            if sku not in said and (operation.band is Band.AUTO or sku in self._refused)
        ]

    def _refuse(self, sku: str, span: str | None) -> None:
        self._refused.add(sku)
        if span is not None:
            self.failed.append(span)

    # --- what is allowed ------------------------------------------------------------------------------------

    def _allowed(self, answer: OperationAnswer, span: str) -> Operation | None:
        if answer.sku not in self._offered:
            return None
        if answer.kind is OperationKind.REMOVE:
            return self._removal(answer.sku, span)
        quantity = _quantity(answer.quantity)
        if quantity is None or (quantity != quantity.to_integral_value() and not self._divisible(answer.sku)):
            return None
        operation = Operation(answer.kind, answer.sku, quantity, 0.0, Band.CONFIRM, span)
        limit = self._offered[answer.sku].max_quantity or MAX_QUANTITY
        return operation if self._total(operation) <= limit else None

    def _removal(self, sku: str, span: str) -> Operation | None:
        """A line that goes cannot be marked for confirmation, so a removal needs the rules' agreement."""
        readings = (self._rules_lines.get(sku), self._alone(span).get(sku))
        agreed = any(one is not None and one.kind is OperationKind.REMOVE for one in readings)
        if sku not in self._running or not agreed:
            return None
        return Operation(OperationKind.REMOVE, sku, None, 0.0, Band.CONFIRM, span)

    def _divisible(self, sku: str) -> bool:
        return sale_class(self._offer.catalogue.entry(sku)) in {"kg", "l"}

    def _total(self, operation: Operation) -> Decimal:
        """The line after the operation."""
        adds = operation.kind is OperationKind.ADD
        held = self._running.get(operation.sku, Decimal(0)) if adds else Decimal(0)
        return held + (operation.quantity or Decimal(0))

    # --- how sure it is -------------------------------------------------------------------------------------

    def _score(self, operation: Operation, after: Decimal | None) -> Operation:
        parts = {"model": _MODEL, **self._evidence(operation, after)}
        value = 1.0
        for part in parts.values():
            value *= part
        band = Band.AUTO if value >= AUTO_THRESHOLD else Band.CONFIRM
        return replace(operation, confidence=round(value, 4), band=band, parts=parts)

    def _evidence(self, operation: Operation, after: Decimal | None) -> dict[str, float]:
        """What the rules make of the burst, else of the quoted words alone."""
        rules = self._rules_lines.get(operation.sku)
        if rules is not None and self._rules_after.get(operation.sku) == after:
            return {"product": 1.0, "quantity": 1.0}
        if rules is not None and rules.band is Band.AUTO:
            return {"product": 1.0, "quantity": _CONTRADICTED}
        alone = self._alone(operation.span).get(operation.sku)
        if alone is None:
            return {"product": _OTHER_WORDS, "quantity": _OTHER_NUMBER}
        same = alone.quantity == operation.quantity
        return {"product": _SAME_WORDS, "quantity": _SAME_NUMBER if same else _OTHER_NUMBER}

    def _alone(self, span: str) -> Mapping[str, Operation]:
        """What the rules engine makes of the quoted words by themselves."""
        request = replace(self._offer.request, texts=(span,))
        return {operation.sku: operation for operation in understand(request).operations}


def _after(draft: Sequence[DraftLine], operations: Sequence[Operation]) -> dict[str, Decimal]:
    return {line.sku: line.quantity for line in merge(draft, operations)}


def _quantity(written: object) -> Decimal | None:
    """A positive number of at most three decimals and MAX_QUANTITY; None for anything else."""
    try:
        number = Decimal(written) if isinstance(written, int) else Decimal(str(written)[: _MAX_DIGITS + 1])
    except InvalidOperation:
        return None
    if not number.is_finite() or not 0 < number <= MAX_QUANTITY or number % _STEP:
        return None
    return None if len(str(written)) > _MAX_DIGITS else Decimal(f"{number:f}")
