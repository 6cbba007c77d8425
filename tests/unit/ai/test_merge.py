"""The draft after operations."""

from decimal import Decimal

import pytest

from handlers.ai.merge import MergedLine, merge, order_after
from handlers.ai.rules import understand
from handlers.ai.types import Band, DraftLine, ExtractionRequest, Operation, OperationKind
from tests.unit.ai.shop import NOW, ask, shop

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


DOUBTFUL = DraftLine("A", Decimal(3), 0.6, Band.CONFIRM)


@pytest.mark.parametrize(
    ("operations", "quantity", "confidence", "band"),
    [
        ([], 3, 0.6, Band.CONFIRM),
        ([operation(OperationKind.ADD, "A", 1)], 4, 0.6, Band.CONFIRM),
        ([operation(OperationKind.ADD, "A", 1, Band.CONFIRM, 0.5)], 4, 0.5, Band.CONFIRM),
        ([operation(OperationKind.SET, "A", 1)], 1, 0.95, Band.AUTO),
        ([operation(OperationKind.SET, "A", 1), operation(OperationKind.ADD, "A", 2)], 3, 0.95, Band.AUTO),
        ([operation(OperationKind.ADD, "B", 1)], 3, 0.6, Band.CONFIRM),
        (
            [operation(OperationKind.REMOVE, "A", None), operation(OperationKind.ADD, "A", 2)],
            2,
            0.95,
            Band.AUTO,
        ),
    ],
)
def test_a_doubtful_line_stays_doubtful_until_it_is_set(
    operations: list[Operation], quantity: int, confidence: float, band: Band
) -> None:
    """What was doubtful before the burst still is, unless the burst says the line anew."""
    line = merge([DOUBTFUL], operations)[0]

    assert (line.sku, line.quantity, line.confidence, line.band) == (
        "A",
        Decimal(quantity),
        confidence,
        band,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("agrega 2 kg de tomate", "TOM=5 confirm 0.6"),
        ("2 kg de tomate más", "TOM=5 confirm 0.6"),
        ("quita 1 kg de tomate", "TOM=2 confirm 0.6"),
        ("doble tomate", "TOM=6 confirm 0.6"),
        ("mejor que sean 5 kg de tomate", "TOM=5 auto 1"),
        ("¿cuánto es?", "TOM=3 confirm 0.6"),
    ],
)
def test_the_rules_do_not_forget_a_doubt(text: str, expected: str) -> None:
    """The rules give a held line's new total; counted from a doubtful line it is as doubtful."""
    draft = (DraftLine("TOM", Decimal(3), 0.6, Band.CONFIRM),)

    (line,) = order_after(draft, understand(ExtractionRequest((text,), shop(), draft, NOW)))

    assert f"{line.sku}={line.quantity} {line.band} {line.confidence:g}" == expected


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
