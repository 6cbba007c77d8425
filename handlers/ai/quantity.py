"""From what was counted to the sale unit: packs, pieces, kilos, litres; None where it does not come out
even.
"""

from collections.abc import Iterable
from decimal import Decimal

from handlers.ai.catalogue import Entry
from handlers.ai.lexicon import LEXICON
from handlers.ai.numbers import Amount
from handlers.ai.stems import fold, stem

_KILO = Decimal(1000)
# Of a product without a maximum of its own; more sale units than that are rather a slip than an order.
SANE_QUANTITY = Decimal(1000)
_LOOSE = frozenset({"container", "pack", "bag", "jug", "bucket", "roll", "keg", "bunch"})
_SINGLES = frozenset({"piece", "container", "pack", "bag", "jug", "bucket", "roll", "keg", "bunch"})
_PIECES = frozenset({"piece", "container", "roll"})
_TELLING = frozenset({"bag", "sack", "jug", "bucket", "roll", "keg", "bunch", "box"})


def sale_class(entry: Entry) -> str:
    """The class of the product's sale unit ("caja" and "case" are box); an unknown unit is a pack where it
    holds several pieces, else the piece.
    """
    return LEXICON.units.get(_sale_unit(entry)) or ("pack" if entry.product.pack_size else "piece")


def _sale_unit(entry: Entry) -> str:
    return fold(entry.product.unit).strip()


def unit_kind(word: str) -> str | None:
    """What the unit word names; finer than its class where containers of one class differ in size."""
    return LEXICON.unit_kinds.get(word) or LEXICON.units.get(word)


def sells_by(entry: Entry, kind: str) -> bool:
    """Whether the product's own sale unit is of that kind."""
    return unit_kind(_sale_unit(entry)) == kind


def contradicts(entry: Entry, kind: str) -> bool:
    """Whether the kind of a named container is another than the one that the product is sold in."""
    sold = unit_kind(_sale_unit(entry))
    return kind != sold and kind in _TELLING and sold in _TELLING


def names_sale_unit(entry: Entry, words: Iterable[str]) -> bool:
    """Whether the words hold the product's own sale unit, one that only its catalogue knows."""
    unit = _sale_unit(entry)
    return bool(unit) and unit not in LEXICON.units and stem(unit) in {stem(word) for word in words}


def is_ambiguous_count(entry: Entry, value: Decimal) -> bool:
    """Whether a bare number may as well count single pieces as packs: from half a pack on."""
    pack = entry.product.pack_size or 1
    return pack > 1 and value * 2 >= pack


def is_sane(entry: Entry, quantity: Decimal) -> bool:
    """Whether the quantity is believable for a product that sets no maximum."""
    return entry.product.max_quantity is not None or quantity <= SANE_QUANTITY


def to_sale_units(entry: Entry, amount: Amount, unit: str | None) -> Decimal | None:
    """The amount in the product's sale unit, or None where it does not convert, is open or exceeds the
    maximum.

    ``unit`` is the unit class that holds for the amount, its own or one carried over from the line before.
    """
    if amount.vague or amount.high is not None or (amount.weak and amount.halves):
        return None  # "media coca": half of what is open
    quantity = _convert(entry, amount, unit)
    if quantity is None or quantity <= 0:
        return None
    if quantity != quantity.to_integral_value() and sale_class(entry) not in {"kg", "l"}:
        return None
    limit = entry.product.max_quantity
    return None if limit is not None and quantity > limit else quantity


def _convert(entry: Entry, amount: Amount, unit: str | None) -> Decimal | None:
    sold = sale_class(entry)
    if unit is None:
        return _pieces(entry, amount.value) if amount.dozens else _bare(entry, amount.value)
    if unit == "piece" and (not amount.dozens or sold != "kg"):
        return _pieces(entry, amount.value)
    if unit == sold:
        return amount.value
    if unit in {"kg", "g", "lb", "l", "ml", "cl", "oz"}:
        return _measured(entry, amount.value, unit)
    return _contained(entry, amount.value, unit)


def _bare(entry: Entry, value: Decimal) -> Decimal | None:
    """A bare number counts sale units, from a full pack on it counts pieces."""
    pack = entry.product.pack_size
    return _pieces(entry, value) if pack and value >= pack else value


def _pieces(entry: Entry, value: Decimal) -> Decimal | None:
    pack = entry.product.pack_size
    if pack:
        return value / pack if value % pack == 0 else None
    return None if sale_class(entry) == "kg" else value


def _measured(entry: Entry, value: Decimal, unit: str) -> Decimal | None:
    sold = sale_class(entry)
    if unit in {"g", "kg"}:
        kilos = value / _KILO if unit == "g" else value
        return kilos if sold == "kg" else _packages(entry, kilos)
    if unit == "l":
        return value if sold == "l" else _packages(entry, value)
    return None


def _packages(entry: Entry, value: Decimal) -> Decimal | None:
    """Packages of exactly 1 kg or 1 L may be counted in kilos or litres; no other printed weight converts."""
    single = any(size.measure in {"g", "ml"} and size.base == _KILO for size in entry.sizes)
    return _pieces(entry, value) if single else None


def _contained(entry: Entry, value: Decimal, unit: str) -> Decimal | None:
    """A container's word names the single item, or the pack where the product is sold in packs."""
    sold = sale_class(entry)
    if unit == "box" or sold == "kg":
        return None
    if entry.product.pack_size:
        return _pieces(entry, value) if unit in _PIECES or sold == "box" else value
    return value if unit in _LOOSE and sold in _SINGLES else None
