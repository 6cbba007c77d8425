"""The draft after an extraction's operations: one pure function for the order handler and for the
evaluation.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from handlers.ai.types import Band, DraftLine, Operation, OperationKind


@dataclass(frozen=True, slots=True)
class MergedLine:
    """A line of the order after the burst; lines that no operation touched are ``auto`` and keep confidence
    1.
    """

    sku: str
    quantity: Decimal
    band: Band = Band.AUTO
    confidence: float = 1.0


def merge(draft: Iterable[DraftLine], operations: Iterable[Operation]) -> tuple[MergedLine, ...]:
    """The complete order: the draft's lines in their order, changed, then new ones.

    ADD sums with an existing line and keeps the lower confidence, SET replaces, REMOVE drops; a quantity
    that is missing or not above zero drops the line. Removing an unknown line does nothing.
    """
    lines = {line.sku: MergedLine(line.sku, line.quantity) for line in draft}
    for operation in operations:
        merged = _apply(lines.get(operation.sku), operation)
        if merged is None:
            lines.pop(operation.sku, None)
        else:
            lines[operation.sku] = merged
    return tuple(lines.values())


def _apply(held: MergedLine | None, operation: Operation) -> MergedLine | None:
    if operation.kind is OperationKind.REMOVE or operation.quantity is None:
        return None
    quantity, band, confidence = operation.quantity, operation.band, operation.confidence
    if operation.kind is OperationKind.ADD and held is not None:
        quantity += held.quantity
        band = Band.CONFIRM if Band.CONFIRM in {band, held.band} else Band.AUTO
        confidence = min(confidence, held.confidence)
    return MergedLine(operation.sku, quantity, band, confidence) if quantity > 0 else None
