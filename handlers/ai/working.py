"""The order while a burst is read: the draft plus what every item does to it, and the operations that come
out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from handlers.ai.catalogue import Entry, IndexedCatalogue
from handlers.ai.confidence import Score, bounded, score
from handlers.ai.item import Item
from handlers.ai.matching import Fit
from handlers.ai.pieces import Role
from handlers.ai.quantity import sale_class, to_sale_units
from handlers.ai.readings import Reader, Reading
from handlers.ai.types import Band, DraftLine, OperationKind

_FACTORS = {"double": Decimal(2), "triple": Decimal(3), "half": Decimal("0.5")}


@dataclass(frozen=True, slots=True)
class WorkLine:
    """A line while the burst is read: its quantity, and how sure it is."""

    quantity: Decimal
    score: Score


@dataclass(frozen=True, slots=True)
class Change:
    """One step from the draft to the lines; ``quantity`` is None only for REMOVE."""

    kind: OperationKind
    sku: str
    quantity: Decimal | None


@dataclass(slots=True)
class WorkingOrder:
    """Lines by SKU. ``failed`` are the items that were asked for and could not be placed."""

    catalogue: IndexedCatalogue
    reader: Reader
    draft: dict[str, Decimal]
    lines: dict[str, WorkLine] = field(default_factory=dict)
    failed: list[Item] = field(default_factory=list)
    touched: dict[str, tuple[tuple[int, int], Score]] = field(default_factory=dict)

    @classmethod
    def open(cls, catalogue: IndexedCatalogue, reader: Reader, draft: Sequence[DraftLine]) -> "WorkingOrder":
        """A working order that begins with the draft's lines."""
        quantities = {line.sku: line.quantity for line in draft}
        held = {
            line.sku: WorkLine(line.quantity, Score(line.confidence, unsure=line.band is Band.CONFIRM))
            for line in draft
        }
        return cls(catalogue, reader, quantities, held)

    def apply(self, items: Sequence[Item]) -> None:
        """Do what the items ask, in order."""
        position = 0
        while position < len(items):
            position += self._apply_from(items, position)

    def _apply_from(self, items: Sequence[Item], position: int) -> int:
        """Apply the item at the place and say how many items that used up."""
        item = items[position]
        following = items[position + 1] if position + 1 < len(items) else None
        if item.cue == "instead" and following is not None and _opens_clause(item):
            self._exchange(item, following)
            return 2
        if following is not None and following.cue == "instead" and not _opens_clause(following):
            self._exchange(following, item)
            return 2
        if following is not None and following.cue == "replace_to":
            self._exchange(item, following)
            return 2
        self._apply(item)
        return 1

    def _apply(self, item: Item) -> None:
        if item.usual:
            self.failed += [] if self.draft else [item]  # "the same as before" keeps an open draft
        elif item.denied or item.cue in {"remove", "less", "half", "double", "triple"}:
            self._reduce(item)
        else:
            self._place(item)

    # --- more or other ----------------------------------------------------------------------------

    def _place(self, item: Item) -> None:
        reading = item.reading
        if item.cue in {"set", "replace"} and not item.counted:
            return  # "deja la coca": nothing to change
        bare = not item.wish.words and len(item.wish.amounts) == 1
        if bare and (reading.entry is None or (reading.context and item.more and self._touched_line())):
            self._recount_only(item)
        elif reading.entry is None or reading.quantity is None:
            self._fail(item)
        else:
            sku = reading.entry.product.sku
            held = self.lines.get(sku)
            if held is None or self._sets(item):
                self._put(sku, reading.quantity, item)
            else:
                self._put(sku, held.quantity + reading.quantity, item, held)

    def _sets(self, item: Item) -> bool:
        """Whether the amount is the new one: said so, or corrected; "more" always adds."""
        return not item.more and (item.cue in {"set", "replace"} or item.correction)

    def _recount_only(self, item: Item) -> None:
        """An amount without a product ("12 kg instead") means the only line of the draft."""
        amount = item.wish.amounts[0]
        if (
            self._touched_line() is None
            or (amount.weak and not (item.cue or item.more))
            or not (item.cue or item.correction or item.more or len(self.draft) == 1)
        ):
            self._fail(item)
            return
        sku = self._touched_line() or ""
        line = self.lines[sku]
        quantity = to_sale_units(self.catalogue.entry(sku), amount, amount.unit)
        if quantity is None:
            self._fail(item)
            return
        if item.more:
            self._put(sku, line.quantity + quantity, item, line)
        else:
            self._put(sku, quantity, item)

    def _touched_line(self) -> str | None:
        """The line last spoken of, else the only one."""
        spoken = [sku for sku in self.touched if sku in self.lines]
        return spoken[-1] if spoken else next(iter(self.lines)) if len(self.lines) == 1 else None

    def _fail(self, item: Item) -> None:
        if item.counted or item.usual or item.reading.match.fit > Fit.NONE:
            self.failed.append(item)

    # --- less -------------------------------------------------------------------------------------

    def _reduce(self, item: Item) -> None:
        sku = self._held_sku(item)
        if sku is None:
            if item.cue in _FACTORS and item.reading.entry is None and not item.wish.words:
                self._scale_all(item)
            return
        line = self.lines[sku]
        factor = _FACTORS.get(item.cue or "")
        if factor is not None:
            self._scale(sku, line, factor, item)
        elif item.counted and not item.denied and (less := self._amount_off(sku, item)) is not None:
            self._put_or_drop(sku, line.quantity - less, item, line)
        else:
            self._drop(sku, item)

    def _held_sku(self, item: Item) -> str | None:
        """The line that the words mean, if the order has it; the only or last line where no product is
        named.
        """
        entry = item.reading.entry
        if entry is not None:
            return entry.product.sku if entry.product.sku in self.lines else self._named_line(item)
        if item.wish.words:
            return self._named_line(item)
        return next(iter(self.lines)) if len(self.lines) == 1 and not item.denied else None

    def _named_line(self, item: Item) -> str | None:
        near = frozenset(self.lines)
        found = self.reader.read(replace(item.wish, amounts=()), near=near)
        if found.entry is not None and found.entry.product.sku in self.lines:
            return found.entry.product.sku
        held = [c.product.sku for c in item.reading.match.candidates if c.product.sku in self.lines]
        return held[0] if len(held) == 1 else None

    def _amount_off(self, sku: str, item: Item) -> Decimal | None:
        amount = item.wish.amounts[0] if item.reading.entry is None else item.reading.amount
        if amount is None:
            return None  # "quita el vaso de 200" names a size
        return to_sale_units(self.catalogue.entry(sku), amount, amount.unit)

    def _scale_all(self, item: Item) -> None:
        for sku, line in list(self.lines.items()):
            self._scale(sku, line, _FACTORS[item.cue or ""], item)

    def _scale(self, sku: str, line: WorkLine, factor: Decimal, item: Item) -> None:
        quantity, entry = line.quantity * factor, self.catalogue.entry(sku)
        limit = entry.product.max_quantity
        if (quantity % 1 and sale_class(entry) != "kg") or (limit is not None and quantity > limit):
            self._fail(item)
            return
        self._put(sku, quantity, item, line)

    # --- one for another --------------------------------------------------------------------------

    def _exchange(self, old: Item, new: Item) -> None:
        """``new`` takes the place of ``old``; without words of its own it only recounts it."""
        sku = self._held_sku(replace(old, cue=None)) if old.wish.words else None
        other = new.reading.entry
        variant = new.reading.context and other is not None and other.product.sku != sku
        if not new.wish.words and not _has_size(new) and not variant:
            self._recount(old, new, sku)
            return
        entry = self._other(sku, new)
        if entry is None:
            self._fail(new)
            return
        if sku is None or sku == entry.product.sku:
            self._set_new(entry, old, new)
            return
        held = self.lines[sku]
        moved = self._moved(old, sku, held.quantity)
        quantity = self._asked(entry, new) or moved
        self._put_or_drop(sku, held.quantity - moved, old, held)
        present = self.lines.get(entry.product.sku)
        self._put(
            entry.product.sku,
            quantity + (present.quantity if present else 0),
            replace(new, reading=_exact_reading(new, entry)),
            present,
        )

    def _recount(self, old: Item, new: Item, sku: str | None) -> None:
        target = sku or (old.reading.entry.product.sku if old.reading.entry else None)
        if target is None and len(self.lines) == 1:
            target = next(iter(self.lines))
        amount = new.wish.amounts[0] if new.wish.amounts else None
        if target is None or amount is None:
            self._fail(old)
            return
        quantity = to_sale_units(self.catalogue.entry(target), amount, amount.unit)
        if quantity is None:
            self._fail(old)
            return
        self._put(target, quantity, old if old.reading.entry else new)

    def _set_new(self, entry: Entry, old: Item, new: Item) -> None:
        quantity = self._asked(entry, new) or self._asked(entry, old)
        if quantity is None:
            if entry.product.sku not in self.lines:
                self._fail(new)
            return
        self._put(entry.product.sku, quantity, replace(new, reading=_exact_reading(new, entry)))

    def _asked(self, entry: Entry, item: Item) -> Decimal | None:
        settled = item.reading.entry is not None and item.reading.amount is None
        amount = item.reading.amount or (item.wish.amounts[0] if item.wish.amounts and not settled else None)
        return None if amount is None else to_sale_units(entry, amount, amount.unit)

    def _moved(self, old: Item, sku: str, held: Decimal) -> Decimal:
        if not old.counted or (old.reading.entry is not None and old.reading.amount is None):
            return held
        off = self._amount_off(sku, old)
        return held if off is None else min(off, held)

    def _other(self, sku: str | None, new: Item) -> Entry | None:
        """The product that replaces; words that fit several mean the variant most like the replaced one."""
        if sku is None:
            return new.reading.entry
        old = self.catalogue.entry(sku)
        own = new.reading.entry
        if not new.wish.words:
            return own
        if (
            own is not None
            and own.product.sku != sku
            and new.reading.match.fit >= Fit.TERM
            and not new.reading.context
        ):
            return own
        return variant_of(self.catalogue, old, new, own)

    # --- lines ------------------------------------------------------------------------------------

    def _put(self, sku: str, quantity: Decimal, item: Item, onto: WorkLine | None = None) -> None:
        """The line becomes that quantity; ``onto`` is the line that the quantity was counted from."""
        entry = self.catalogue.entry(sku)
        limit = entry.product.max_quantity
        if limit is not None and quantity > limit:
            self._fail(item)
            return
        made = bounded(score(item.reading, item, in_draft=sku in self.draft), entry, quantity)
        made = made if onto is None else made.onto(onto.score)
        self.lines[sku] = WorkLine(quantity, made)
        self.touched.pop(sku, None)  # so that the line last spoken of stands last
        self.touched[sku] = ((item.start, item.end), made)

    def _drop(self, sku: str, item: Item) -> None:
        self.lines.pop(sku)
        self.touched[sku] = ((item.start, item.end), score(item.reading, item, in_draft=sku in self.draft))

    def _put_or_drop(self, sku: str, quantity: Decimal, item: Item, onto: WorkLine) -> None:
        if quantity > 0:
            self._put(sku, quantity, item, onto)
        else:
            self._drop(sku, item)

    def changed(self) -> bool:
        """Whether the lines differ from the draft."""
        return {sku: line.quantity for sku, line in self.lines.items()} != self.draft

    def changes(self) -> list[Change]:
        """What must be done to the draft so that it becomes these lines."""
        found = [Change(OperationKind.REMOVE, sku, None) for sku in self.draft if sku not in self.lines]
        for sku, line in self.lines.items():
            if sku not in self.draft:
                found.append(Change(OperationKind.ADD, sku, _plain(line.quantity)))
            elif line.quantity != self.draft[sku]:
                found.append(Change(OperationKind.SET, sku, _plain(line.quantity)))
        return found


def _plain(quantity: Decimal) -> Decimal:
    """Without trailing zeros and without an exponent."""
    return Decimal(f"{quantity.normalize():f}")


def _opens_clause(item: Item) -> bool:
    """Whether an "instead of" item opens its clause, so that what is wanted follows it."""
    return item.lead in {Role.STOP, Role.BREAK, Role.COLON}


def variant_of(catalogue: IndexedCatalogue, old: Entry, new: Item, own: Entry | None) -> Entry | None:
    """The product with the new words that shares most with the old one; None where two share as much."""
    words = {
        c
        for word in (*new.wish.heard, *new.wish.words)
        for c in catalogue.concepts(word)
        if catalogue.knows(c)
    }
    candidates = (
        [catalogue.entries[i] for i in frozenset.intersection(*(catalogue.posting(w) for w in words))]
        if words
        else []
    )
    ranked = sorted(
        (
            (
                len((e.words & old.words))
                + 2 * len(e.sizes & old.sizes)
                - 0.1 * len(e.words - old.words - words),
                e.product.sku,
                e,
            )
            for e in candidates
            if e is not old
        ),
        reverse=True,
    )
    if not ranked or (len(ranked) > 1 and ranked[0][0] == ranked[1][0]):
        return own
    return ranked[0][2] if ranked[0][0] > 0 else own


def _has_size(item: Item) -> bool:
    return len(item.wish.amounts) > 1


def _exact_reading(item: Item, entry: Entry) -> Reading:
    """The item's reading with the product that the exchange settled on."""
    found = replace(item.reading.match, entry=entry, fit=max(item.reading.match.fit, Fit.RELAXED))
    return replace(item.reading, match=found)
