"""The draft after operations."""

from decimal import Decimal

import pytest

from handlers.ai.merge import MergedLine, merge, order_after
from handlers.ai.types import Band, DraftLine, Operation, OperationKind
from tests.unit.ai.shop import ask

DRAFT = (DraftLine("A", Decimal(3)), DraftLine("B", Decimal(2)))


def operation(
    kind: OperationKind, sku: str, quantity: int | None, band: Band = Band.AUTO, confidence: float = 0.95
) -> Operation:
    return Operation(kind, sku, None if quantity is None else Decimal(quantity), confidence, band)


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([], [("A", Decimal(3)), ("B", Decimal(2))]),
        ([operation(OperationKind.ADD, "C", 1)], [("A", Decimal(3)), ("B", Decimal(2)), ("C", Decimal(1))]),
        ([operation(OperationKind.ADD, "A", 1)], [("A", Decimal(4)), ("B", Decimal(2))]),
        ([operation(OperationKind.SET, "A", 1)], [("A", Decimal(1)), ("B", Decimal(2))]),
        ([operation(OperationKind.SET, "C", 1)], [("A", Decimal(3)), ("B", Decimal(2)), ("C", Decimal(1))]),
        ([operation(OperationKind.SET, "A", 0)], [("B", Decimal(2))]),
        ([operation(OperationKind.REMOVE, "A", None)], [("B", Decimal(2))]),
        ([operation(OperationKind.REMOVE, "X", None)], [("A", Decimal(3)), ("B", Decimal(2))]),
        ([operation(OperationKind.ADD, "C", None)], [("A", Decimal(3)), ("B", Decimal(2))]),
    ],
)
def test_merge(operations: list[Operation], expected: list[tuple[str, Decimal]]) -> None:
    """Adding sums, setting replaces, removing drops, and the draft's order stays."""
    assert [(line.sku, line.quantity) for line in merge(DRAFT, operations)] == expected


def test_untouched_lines_are_sure() -> None:
    """Lines of the draft stand; a touched line is as sure as what touched it."""
    merged = merge(DRAFT, [operation(OperationKind.SET, "B", 5, Band.CONFIRM, 0.7)])

    assert merged == (MergedLine("A", Decimal(3)), MergedLine("B", Decimal(5), Band.CONFIRM, 0.7))


def test_a_sum_is_no_surer_than_its_parts() -> None:
    """Adding to an unsure line keeps it unsure."""
    unsure = operation(OperationKind.ADD, "C", 1, Band.CONFIRM, 0.6)
    sure = operation(OperationKind.ADD, "C", 1)

    (line,) = merge((), [unsure, sure])

    assert (line.quantity, line.band, line.confidence) == (Decimal(2), Band.CONFIRM, 0.6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("agrega 2 kg de tomate", "CIL=2 auto; TOM=2 auto"),
        ("agrega 2 kg de tomate y 3 kg de quinoa", "CIL=2 confirm; TOM=2 confirm"),
        ("cancela todo", ""),
        ("sí, confirmo", "CIL=2 auto"),
        ("¿cuánto es?", "CIL=2 auto"),
        ("jajaja qué partidazo", "CIL=2 confirm"),
    ],
)
def test_order_after(text: str, expected: str) -> None:
    """The whole order after a burst; untouched lines are unsure where the burst was not understood."""
    draft = (DraftLine("CIL", Decimal(2)),)

    lines = order_after(draft, ask(text, draft="CIL=2"))

    assert "; ".join(f"{line.sku}={line.quantity} {line.band}" for line in lines) == expected
