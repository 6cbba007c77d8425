"""Carts that customers fill in a channel's own catalogue: products by SKU, so that no words are read and no engine is
asked.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from handlers.ai.types import Band, Catalogue, Extraction, Intent, Operation, OperationKind

# What a cart beside these words still orders; "yes" beside a new cart is about an order that is no more.
_ORDERS = frozenset(
    {Intent.BUY, Intent.CONFIRM, Intent.QUESTION, Intent.FOLLOW_UP, Intent.GREETING, Intent.OTHER}
)


@dataclass(frozen=True, slots=True)
class CartLine:
    """So much of a product, in its sale unit."""

    sku: str
    quantity: Decimal

    @property
    def words(self) -> str:
        """The line as the message's text has it."""
        return f"{self.quantity} x {self.sku}"


@dataclass(frozen=True, slots=True)
class Cart:
    """A cart and what its customer wrote beside it."""

    lines: tuple[CartLine, ...]
    note: str


def read_cart(order: Mapping[str, Any] | None) -> Cart | None:
    """The cart of a message's ``metadata["order"]`` (``lines`` of ``sku`` and ``quantity``, ``note``); None where there is
    none. The adapter has checked its form.
    """
    if not order or not order.get("lines"):
        return None
    lines = tuple(CartLine(line["sku"], Decimal(line["quantity"])) for line in order["lines"])
    return Cart(lines, order.get("note", ""))


def with_carts(extraction: Extraction, carts: Iterable[Cart], catalogue: Catalogue) -> Extraction:
    """The extraction of the words beside the carts, with the carts' lines before its own.

    A product that the catalogue has not got is unmatched; more than is sold at once is to be confirmed. A wish to cancel
    beside a cart says two things: a person decides.
    """
    lines = [line for cart in carts for line in cart.lines]
    if not lines:
        return extraction
    intent = Intent.BUY if extraction.intent in _ORDERS else extraction.intent
    return replace(
        extraction,
        intent=Intent.HANDOFF if intent is Intent.CANCEL else intent,
        operations=(*_operations(lines, catalogue), *extraction.operations),
        unmatched=(
            *(line.words for line in lines if catalogue.find(line.sku) is None),
            *extraction.unmatched,
        ),
    )


def _operations(lines: Iterable[CartLine], catalogue: Catalogue) -> Iterable[Operation]:
    for line in lines:
        product = catalogue.find(line.sku)
        if product is not None:
            too_many = product.max_quantity is not None and line.quantity > product.max_quantity
            band = Band.CONFIRM if too_many else Band.AUTO
            yield Operation(OperationKind.ADD, line.sku, line.quantity, 1.0, band, line.words, {"cart": 1.0})
