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
from handlers.ai.switches import is_family, line_to_switch, other_than
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
    """Lines by SKU. ``failed`` are the items that were asked for and could not be placed; ``unclear`` the
    changes that nobody could tell, for a person to read in any case; ``unknown`` words without an amount.
    """

    catalogue: IndexedCatalogue
    reader: Reader
    draft: dict[str, Decimal]
    lines: dict[str, WorkLine] = field(default_factory=dict)
    failed: list[Item] = field(default_factory=list)
    unclear: list[Item] = field(default_factory=list)
    unknown: list[Item] = field(default_factory=list)
    touched: dict[str, tuple[tuple[int, int], Score]] = field(default_factory=dict)
    _steps: int = 0  # what the items did so far: lines put and dropped, items failed

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
            before = self._steps + len(self.unclear)
            used = self._apply_from(items, position)
            if self._steps + len(self.unclear) == before:
                self.unclear += [item for item in items[position : position + used] if _is_lost(item)]
            position += used

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
        elif item.cue == "keep":
            self.unclear += [item] if item.counted else []
        elif item.cue == "part":
            self._divide(item)
        elif item.denied or item.cue in {"remove", "remove_it", "less", "half", "double", "triple"}:
            self._reduce(item)
        else:
            self._place(item)

    # --- more or other ----------------------------------------------------------------------------

    def _place(self, item: Item) -> None:
        reading = item.reading
        if not item.counted and self._changes(item):
            self._switch(item)
            return
        bare = not item.wish.words and len(item.wish.amounts) == 1
        if bare and (reading.entry is None or (reading.context and item.more and self._touched_line())):
            self._recount_only(item)
        elif reading.entry is None or reading.quantity is None:
            self._fail(item)
        else:
            self._count(reading.entry.product.sku, reading.quantity, item)

    def _count(self, sku: str, quantity: Decimal, item: Item) -> None:
        held = self.lines.get(sku)
        said_again = sku in self.draft and item.cue is None and not item.more and not item.correction
        if held is not None and said_again and item.agreed and quantity == held.quantity:
            self._steps += 1  # "sí, 3 cajas de coca" agrees to the three that are there
            return
        item = replace(item, apart=item.apart or said_again)
        if held is None or self._sets(item):
            self._put(sku, quantity, item)
        else:
            self._put(sku, held.quantity + quantity, item, held)

    def _changes(self, item: Item) -> bool:
        """Whether an item without an amount speaks of the open draft."""
        if not self.draft or item.more:
            return False
        entry = item.reading.entry
        other = entry is not None and entry.product.sku not in self.lines and not item.reading.context
        said = item.cue in {"set", "replace"} or item.turned or item.correction
        return said or (other and item.reading.match.fit >= Fit.TERM)

    def _sets(self, item: Item) -> bool:
        """Whether the amount is the new one: said so, or corrected; "more" always adds."""
        said = item.cue in {"set", "replace"} or item.correction
        return not item.more and (said or ((item.contrary or item.agreed) and bool(self.draft)))

    def _recount_only(self, item: Item) -> None:
        """An amount without a product ("12 kg instead") means the only line of the draft."""
        amount = item.wish.amounts[0]
        said = bool(item.cue or item.more)
        sure = said or (not amount.weak and (item.correction or len(self.draft) == 1))
        if self._touched_line() is None and said and self.draft:
            self.unclear.append(item)
            return
        if self._touched_line() is None or self.reader.is_size(amount) or not sure:
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
        if self.draft and (item.turned or item.cue in {"instead", "replace", "replace_to"}):
            self.unclear.append(item)
        elif item.counted or item.usual or item.reading.match.fit > Fit.NONE:
            self._steps += 1
            self.failed.append(item)
        else:
            self.unknown.append(item)

    # --- less -------------------------------------------------------------------------------------

    def _reduce(self, item: Item) -> None:
        sku = self._held_sku(item)
        if sku is None:
            self._reduce_unnamed(item)
            return
        line = self.lines[sku]
        factor = _FACTORS.get(item.cue or "")
        if factor is not None:
            self._scale(sku, line, factor, item)
        elif item.counted and not item.denied and (less := self._amount_off(sku, item)) is not None:
            self._put_or_drop(sku, line.quantity - less, item, line)
        elif item.cue == "less":
            self.unclear.append(item)  # "menos coca": how much?
        else:
            self._drop(sku, item)

    def _reduce_unnamed(self, item: Item) -> None:
        """Less of no line that could be told: of all, or it has to be asked of which."""
        wordless = not item.wish.words and (item.reading.entry is None or item.reading.context)
        if item.cue == "half" and not wordless and self.touched:
            self._divide(item)
        elif wordless and item.cue in _FACTORS:
            self._scale_all(item)
        elif wordless and item.each and item.counted:
            self._take_off_each(item)
        elif self.draft and (item.turned or self._asks_for_less(item, wordless=wordless)):
            self.unclear.append(item)

    def _asks_for_less(self, item: Item, *, wordless: bool) -> bool:
        """Whether a line is meant that could not be told, not the one just taken off ("stop the straws, we
        don't need them").
        """
        if wordless:
            return not item.denied and (item.counted or not self.touched)
        return not item.denied and _is_telling(item)

    def _take_off_each(self, item: Item) -> None:
        for sku, line in list(self.lines.items()):
            less = self._amount_off(sku, item)
            if less is None:
                self.unclear.append(item)
            else:
                self._put_or_drop(sku, line.quantity - less, item, line)

    def _held_sku(self, item: Item) -> str | None:
        """The line that the words mean, if the order has it; the only or last line where no product is
        named.
        """
        entry = item.reading.entry
        if entry is not None:
            return entry.product.sku if entry.product.sku in self.lines else self._named_line(item)
        if item.wish.words:
            return self._named_line(item)
        said = item.counted or item.cue not in {"remove", "less"}  # "yes, but less": how much?
        return next(iter(self.lines)) if len(self.lines) == 1 and said and not item.denied else None

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
        entry = new.reading.entry if sku is None else other_than(self.catalogue, sku, new)
        if entry is None:
            self._fail(new)
            return
        if sku is None or sku == entry.product.sku:
            self._set_new(entry, old, new)
            return
        moved = self._moved(old, sku, self.lines[sku].quantity)
        self._move(sku, moved, old)
        self._settle(entry, self._asked(entry, new) or moved, new)

    def _move(self, sku: str, moved: Decimal, old: Item) -> None:
        held = self.lines[sku]
        self._put_or_drop(sku, held.quantity - moved, old, held)

    def _settle(self, entry: Entry, quantity: Decimal, new: Item) -> None:
        present = self.lines.get(entry.product.sku)
        total = quantity + (present.quantity if present else 0)
        self._put(entry.product.sku, total, replace(new, reading=_exact_reading(new, entry)), present)

    def _switch(self, item: Item) -> None:
        """As in "sí pero la coca zero", "que sea zero": the product named takes the place of the line that it
        is a variant of.
        """
        if self._takes_place_of_dropped(item):
            return
        found = line_to_switch(self.catalogue, self.lines, item)
        if found is None:
            self._keep(item)
            return
        sku, entry, variant = found
        item = replace(item, apart=item.cue is None or not variant)
        moved = self.lines[sku].quantity
        self._move(sku, moved, item)
        self._settle(entry, moved, item)

    def _takes_place_of_dropped(self, item: Item) -> bool:
        """As in "ya no quiero sprite, mejor fanta": the amount of the line that just went."""
        entry, gone = item.reading.entry, next(reversed(self.touched), None)
        if entry is None or entry.product.sku in self.lines or gone in self.lines or gone not in self.draft:
            return False
        self._settle(entry, self.draft[gone], replace(item, apart=True))
        return True

    def _keep(self, item: Item) -> None:
        """As in "deja la coca": nothing to change; what "but" announced and nobody understood stays open."""
        entry = item.reading.entry
        held = entry is not None and entry.product.sku in self.lines
        if item.turned or (item.reading.match.fit > Fit.NONE and not held):
            self.unclear.append(item)

    def _divide(self, item: Item) -> None:
        """As in "dos cajas de coca, una de ellas zero": a part of the line before becomes its variant."""
        sku = self._touched_line()
        entry = other_than(self.catalogue, sku, item) if sku else None
        if sku is None or entry is None or not is_family(self.catalogue.entry(sku), entry):
            self._place(replace(item, cue=None))  # "2 de esas cocas"
            return
        part = self._part_of(sku, item) if entry.product.sku != sku else None
        if part is None:
            self.unclear.append(item)
            return
        self._move(sku, part, item)
        self._settle(entry, part, item)

    def _part_of(self, sku: str, item: Item) -> Decimal | None:
        held = self.lines[sku].quantity
        amount = item.wish.amounts[0] if item.wish.amounts else None
        if amount is None and item.cue != "half":
            return None
        part = to_sale_units(self.catalogue.entry(sku), amount, amount.unit) if amount else held / 2
        return part if part is not None and part < held else None

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
        self._steps += 1
        self.lines[sku] = WorkLine(quantity, made)
        self.touched.pop(sku, None)  # so that the line last spoken of stands last
        self.touched[sku] = ((item.start, item.end), made)

    def _drop(self, sku: str, item: Item) -> None:
        self._steps += 1
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


def _is_telling(item: Item) -> bool:
    """Whether the item counts something or names goods that the catalogue has."""
    return item.counted or item.reading.match.fit > Fit.NONE


def _is_lost(item: Item) -> bool:
    """Whether an item that did nothing asks for an amount; what is denied or taken off gives nothing."""
    sure = any(not amount.weak or amount.halves for amount in item.wish.amounts)
    idle = item.denied or item.usual or item.cue in {"remove", "remove_it", "less"}
    return item.counted and sure and not idle


def _opens_clause(item: Item) -> bool:
    """Whether an "instead of" item opens its clause, so that what is wanted follows it."""
    return item.lead in {Role.STOP, Role.BREAK, Role.COLON}


def _has_size(item: Item) -> bool:
    return len(item.wish.amounts) > 1


def _exact_reading(item: Item, entry: Entry) -> Reading:
    """The item's reading with the product that the exchange settled on."""
    found = replace(item.reading.match, entry=entry, fit=max(item.reading.match.fit, Fit.RELAXED))
    return replace(item.reading, match=found)
