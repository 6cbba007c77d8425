"""The lines of a model's answer: what may stand, on which evidence, and the words of what may not."""

class OperationAnswer(BaseModel):
    """An operation as the model wrote it; other fields, such as a price, are never read."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    kind: OperationKind
    sku: str
    quantity: str | int | float | None
    span: str


@dataclass(frozen=True, slots=True)
class Offer:
    """What the model was offered, and what the rules engine made of the same burst."""

    request: ExtractionRequest
    catalogue: IndexedCatalogue
    candidates: tuple[CatalogueProduct, ...]
    rules: Extraction


class LineGuard:
    """Takes a model's operations one by one; keeps what may stand, and the words of what may not."""

    def __init__(self, offer: Offer, quotes: Quotes) -> None:
        self._offer = offer
        self._quotes = quotes
        self._offered = {product.sku: product for product in offer.candidates}
        self._running = {line.sku: line.quantity for line in offer.request.draft}
        self._rules_after = _after(offer.request.draft, offer.rules.operations)
        self._rules_lines = {operation.sku: operation for operation in offer.rules.operations}
        self._kept: list[Operation] = []
        self.failed: list[str] = []
        self.dropped = False

    def take(self, answers: Sequence[OperationAnswer]) -> None:
        """Keeps what is allowed; an operation said twice counts once."""
        for answer in dict.fromkeys(answers[:MAX_OPERATIONS]):
            span = self._quotes.find(answer.span) if len(answer.span) <= MAX_SPAN else None
            quantity = self._quantity(answer)
            if span is None or answer.sku not in self._offered or not self._allowed(answer, quantity):
                self._drop(span)
                continue
            self._kept.append(Operation(answer.kind, answer.sku, quantity, 0.0, Band.CONFIRM, span))
            self._running[answer.sku] = self._total(answer, quantity)

    def scored(self) -> list[Operation]:
        """What is kept, each with its confidence and the parts it is the product of."""
        after = _after(self._offer.request.draft, self._kept)
        return [self._score(operation, after.get(operation.sku)) for operation in self._kept]

    def left_out(self) -> list[Operation]:
        """Sure lines of the rules that the model says nothing of: they stay, to be confirmed."""
        said = {operation.sku for operation in self._kept}
        return [
            replace(operation, confidence=_CONTRADICTED, band=Band.CONFIRM, parts={"left_out": _CONTRADICTED})
            for sku, operation in self._rules_lines.items()
            if sku not in said and operation.band is Band.AUTO
        ]

    def _drop(self, span: str | None) -> None:
        self.dropped = True
        if span is not None:
            self.failed.append(span)

    # --- what is allowed ----------------------------------------------------------------------------------------

    def _quantity(self, answer: OperationAnswer) -> Decimal | None:
        """The quantity in thousandths at most; None for a removal and for what is no positive number."""
        if answer.kind is OperationKind.REMOVE:
            return None
        written = str(answer.quantity) if not isinstance(answer.quantity, int) else f"{answer.quantity:.20g}"
        try:
            number = Decimal(written) if len(written) <= _MAX_NUMBER else Decimal(0)
        except InvalidOperation:
            return None
        if not number.is_finite() or not 0 < number <= MAX_QUANTITY or number % _STEP:
            return None
        return number

    def _allowed(self, answer: OperationAnswer, quantity: Decimal | None) -> bool:
        if answer.kind is OperationKind.REMOVE:
            return answer.sku in self._running
        product = self._offered[answer.sku]
        if quantity is None or self._total(answer, quantity) > (product.max_quantity or MAX_QUANTITY):
            return False
        return quantity == quantity.to_integral_value() or self._divisible(answer.sku)

    def _divisible(self, sku: str) -> bool:
        return sale_class(self._offer.catalogue.entry(sku)) in {"kg", "l"}

    def _total(self, answer: OperationAnswer, quantity: Decimal | None) -> Decimal:
        """The line after the operation."""
        held = self._running.get(answer.sku, Decimal(0)) if answer.kind is OperationKind.ADD else Decimal(0)
        return held + (quantity or Decimal(0))

    # --- how sure it is -----------------------------------------------------------------------------------------

    def _score(self, operation: Operation, after: Decimal | None) -> Operation:
        parts = {"model": _MODEL, **self._evidence(operation, after)}
        value = 1.0
        for part in parts.values():
            value *= part
        value = round(value, 4)
        band = Band.AUTO if value >= AUTO_THRESHOLD else Band.CONFIRM
        return replace(operation, confidence=value, band=band, parts=parts)

    def _evidence(self, operation: Operation, after: Decimal | None) -> dict[str, float]:
        """What the rules make of the burst, else of the quoted words alone."""
        rules = self._rules_lines.get(operation.sku)
        if rules is not None and self._rules_after.get(operation.sku) == after:
            return {"product": 1.0, "quantity": 1.0}
        if rules is not None and rules.band is Band.AUTO:
            return {"product": 1.0, "quantity": _CONTRADICTED}
        alone = self._alone(operation.span).get(operation.sku)
        same = alone is not None and (alone.kind is OperationKind.REMOVE, alone.quantity) == (
            operation.kind is OperationKind.REMOVE,
            operation.quantity,
        )
        return {
            "product": _SAME_WORDS if alone is not None else _OTHER_WORDS,
            "quantity": _SAME_NUMBER if same else _OTHER_NUMBER,
        }

    def _alone(self, span: str) -> Mapping[str, Operation]:
        request = replace(self._offer.request, texts=(span,), catalogue=self._offer.catalogue)
        return {operation.sku: operation for operation in understand(request).operations}


def _after(draft: Sequence[DraftLine], operations: Sequence[Operation]) -> dict[str, Decimal]:
    return {line.sku: line.quantity for line in merge(draft, operations)}


