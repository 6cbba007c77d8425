"""The draft after an extraction's operations: one pure function for the order handler and for the
evaluation.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

from handlers.ai.types import Band, DraftLine, Extraction, Intent, Operation, OperationKind


@dataclass(frozen=True, slots=True)
class MergedLine:
    """A line of the order after the burst; a line that no operation touched is as sure as it was."""

    sku: str
    quantity: Decimal
    band: Band = Band.AUTO
    confidence: float = 1.0


def merge(draft: Iterable[DraftLine], operations: Iterable[Operation]) -> tuple[MergedLine, ...]:
    """The complete order: the draft's lines in their order, changed, then new ones.

    ADD sums with an existing line and keeps the lower confidence: a doubtful line stays doubtful when it is
    added to. SET replaces the line and is as sure as the operation. REMOVE drops it, and so does a quantity
    that is missing or not above zero. Removing an unknown line does nothing.
    """
    lines = {line.sku: MergedLine(line.sku, line.quantity, line.band, line.confidence) for line in draft}
    for operation in operations:
        merged = _apply(lines.get(operation.sku), operation)
        if merged is None:
            lines.pop(operation.sku, None)
        else:
            lines[operation.sku] = merged
    return tuple(lines.values())


def order_after(draft: Iterable[DraftLine], extraction: Extraction) -> tuple[MergedLine, ...]:
    """The complete order after a burst: empty after CANCEL, the draft where nothing is ordered.

    Lines that nobody touched are unsure where the burst was not understood: with OTHER, or where a change
    left words unmatched or an operation unsure.
    """
    if extraction.intent is Intent.CANCEL:
        return ()
    changing = extraction.intent in {Intent.BUY, Intent.MODIFY}
    merged = merge(draft, extraction.operations if changing else ())
    unsure = extraction.unmatched or any(o.band is Band.CONFIRM for o in extraction.operations)
    if extraction.intent is not Intent.OTHER and not (changing and unsure):
        return merged
    touched = {operation.sku for operation in extraction.operations}
    return tuple(line if line.sku in touched else replace(line, band=Band.CONFIRM) for line in merged)


def _apply(held: MergedLine | None, operation: Operation) -> MergedLine | None:
    if operation.kind is OperationKind.REMOVE or operation.quantity is None:
        return None
    quantity, band, confidence = operation.quantity, operation.band, operation.confidence
    if operation.kind is OperationKind.ADD and held is not None:
        quantity += held.quantity
        band = Band.CONFIRM if Band.CONFIRM in {band, held.band} else Band.AUTO
        confidence = min(confidence, held.confidence)
    return MergedLine(operation.sku, quantity, band, confidence) if quantity > 0 else None
