"""Parts joined into wanted items: a product and its amount may stand in different parts or messages."""

from collections.abc import Sequence
from dataclasses import replace

from handlers.ai.catalogue import Entry, make_size
from handlers.ai.item import RELATIVE, Item, counts_of, wish_of
from handlers.ai.lexicon import LEXICON
from handlers.ai.matching import Fit
from handlers.ai.parts import Part
from handlers.ai.pieces import Role
from handlers.ai.quantity import sale_class
from handlers.ai.readings import LIKE_SIZE, NO_READING, Reader, Reading, Wish


class Assembler:
    """Joins the parts of a burst; ``near`` are the SKUs of the open draft."""

    def __init__(self, reader: Reader, near: frozenset[str]) -> None:
        self._reader = reader
        self._near = near
        self._items: list[Item] = []
        self._waiting: Part | None = None  # an amount whose product has not come yet
        self._each: Part | None = None  # "2 of each:" holds for all products behind it
        self._correcting = False

    def assemble(self, parts: Sequence[Part], context_only: frozenset[int] = frozenset()) -> list[Item]:
        """The items in order; parts whose start is in ``context_only`` (questions) lend words but ask for
        nothing.
        """
        for part in parts:
            self._take(part, asked=part.start not in context_only)
        self._give_up_waiting()
        return self._items

    def _take(self, part: Part, *, asked: bool) -> None:
        part = self._with_correction(part)
        has_words = bool(part.words or part.rejected) or (bool(part.amounts) and not part.counted)
        if part.counted:
            self._give_up_waiting(corrected=part.correction)
            self._pass_denied(part)
        if part.usual:
            self._append(Item(Wish(), NO_READING, part.start, part.end, usual=True, asked=asked))
        elif part.choice:
            self._append(Item(wish_of(part), NO_READING, part.start, part.end, asked=asked))
        elif part.negated:
            self._take_denied(part)
        elif part.counted and (has_words or self._is_labelled(part)):
            self._take_full(part, asked=asked)
        elif part.counted:
            self._take_amount(part, asked=asked)
        elif has_words or part.units or part.cue in RELATIVE:
            self._take_words(part, asked=asked)

    def _with_correction(self, part: Part) -> Part:
        """A correcting word may stand alone ("no, espera") and holds for the part behind it."""
        lone = not part.words and not part.amounts and not part.units
        if lone and (part.correction or part.negated or part.cue == "set"):
            self._correcting = True
            return part
        if self._correcting:
            self._correcting = False
            return replace(part, correction=True)
        return part

    def _give_up_waiting(self, *, corrected: bool = False) -> None:
        """What follows has an amount of its own: the amount that waits counts none of it."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not corrected:
            self._add(waiting, wish_of(waiting), asked=True)

    def _pass_denied(self, part: Part) -> None:
        """As in "quiero coca, no sprite, 2 cajas": an amount alone counts what is wanted, so that goes last."""
        denied, open_item = (self._items[-1], self._items[-2]) if len(self._items) > 1 else (None, None)
        alone = not part.words and not part.negated and not part.correction
        if alone and denied and open_item and denied.denied and not (open_item.counted or open_item.denied):
            self._items[-2:] = [denied, open_item]

    def _is_labelled(self, part: Part) -> bool:
        """As in "Garrafón: 10": a container's word in front of the number that is a product's name."""
        return part.pieces[0].role is Role.UNIT and self._named(part) is not None

    def _named(self, part: Part) -> Entry | None:
        """The product that is called by the part's container alone, as "garrafón" where one is sold."""
        return None if part.words else self._reader.read(wish_of(part)).entry

    # --- the four forms of a part -----------------------------------------------------------------

    def _take_denied(self, part: Part) -> None:
        last = self._last()
        if part.words or part.units:
            self._add(part, wish_of(part), asked=True, denied=True)
        elif last is not None and part.cue == "set" and not part.amounts:
            self._items[-1] = replace(last, denied=True)  # "2 coca, no, mejor nada"
        elif part.amounts and last is not None and last.counted and last.cue is None and not last.more:
            self._items[-1] = replace(last, cue="set")  # "4 kg of it, not 14"

    def _take_full(self, part: Part, *, asked: bool) -> None:
        wish, alone = wish_of(part), self._read(wish_of(part), part)
        last = self._last()
        if last and not last.counted and not last.denied and last.cue is None and part.lead is not Role.STOP:
            joined = replace(
                wish, words=(*last.wish.words, *wish.words), units=(*last.wish.units, *wish.units)
            )
            together = self._read(joined, part)
            if together.match.fit > alone.match.fit and together.entry is not None and not together.partial:
                self._replace_last(part, joined, together)
                return
        if (
            last
            and last.counted
            and last.reading.quantity is None
            and last.cue not in RELATIVE
            and alone.entry is None
            and self._completes(last, wish, part)
        ):
            return
        if (
            last
            and part.correction
            and last.counted
            and last.cue not in RELATIVE
            and self._refines(last, wish, part)
        ):
            return
        self._add(part, wish, asked=asked)
        if part.each:
            self._spread(part)
            self._each = part

    def _take_amount(self, part: Part, *, asked: bool) -> None:
        last = self._last()
        if (
            last is not None
            and last.asked == asked
            and last.counted
            and last.cue not in RELATIVE
            and not part.correction
            and self._completes(last, wish_of(part), part)
        ):
            return
        open_items = (
            last is not None
            and not last.counted
            and not last.denied
            and not last.usual
            and (self._waits(part) or part.pieces[0].role is Role.UNIT or self._fits_open(last, part))
        )
        if open_items and part.cue not in RELATIVE:
            self._count_open(part)
        elif last is not None and asked and not last.asked:
            self._add(part, replace(wish_of(part), words=(*last.wish.heard, *last.wish.words)), asked=asked)
        elif len(part.amounts) > 1 and last is not None:
            self._add(part, wish_of(part), asked=asked)
        elif (
            last is not None
            and last.counted
            and last.cue not in RELATIVE
            and (part.correction or part.cue == "set")
        ):
            self._recount(part)
        elif part.each and part.cue not in RELATIVE:
            self._each = part
        elif part.cue in RELATIVE | {"replace_to", "set", "part"} or part.more or part.correction:
            self._add(part, wish_of(part), asked=asked)
        elif asked and self._waits(part):
            self._waiting = part
        elif asked:
            self._add(part, wish_of(part), asked=asked)

    def _waits(self, part: Part) -> bool:
        """Whether the product may follow: not behind "Cajas: 10", nor where the container is the product."""
        named = self._named(part)
        return part.pieces[0].role is not Role.UNIT and (
            named is None or sale_class(named) not in {a.unit for a in part.amounts}
        )

    def _take_words(self, part: Part, *, asked: bool) -> None:
        wish, last = wish_of(part), self._last()
        if (
            last is not None
            and last.denied
            and len(self._items) > 1
            and self._items[-2].counted
            and not self._items[-2].denied
            and part.lead is Role.COMMA
        ):
            self._items[-2:] = [
                self._items[-1],
                self._items[-2],
            ]  # "chicos no, medianos" speaks of the gloves before
            last = self._items[-1]
        if self._waiting is not None and part.cue not in RELATIVE:
            waiting, self._waiting = self._waiting, None
            self._add(
                part,
                replace(wish, amounts=(*waiting.amounts, *wish.amounts)),
                asked=asked,
                start=waiting.start,
            )
            if part.lead in {Role.COMMA, Role.STOP}:
                self._items[-1] = replace(self._items[-1], apart=True)
            return
        if self._each is not None and part.cue is None:
            self._add(
                part,
                replace(
                    wish, amounts=(*self._each.amounts, *wish.amounts), units=(*self._each.units, *wish.units)
                ),
                asked=asked,
            )
            return
        if (
            last is not None
            and last.asked == asked
            and part.cue in {None, "set"}
            and not last.denied
            and last.cue not in RELATIVE
            and (last.named or part.lead in {Role.BREAK, Role.CUE})
            and self._refines(last, wish, part)
        ):
            return
        self._add(part, wish, asked=asked)

    def _fits_open(self, last: Item, part: Part) -> bool:
        """Whether the container that is a product's name rather counts the product before: "agua, 3
        garrafones".
        """
        joined = replace(
            last.wish, amounts=(*last.wish.amounts, *part.amounts), units=(*last.wish.units, *part.units)
        )
        return not self._read(joined, part, upto=len(self._items) - 1).against_unit

    def _completes(self, last: Item, wish: Wish, part: Part) -> bool:
        """Whether the part settles the last item: "Pepsi 2L, two cases", "3 sacks of flour, the 25 kg
        ones".
        """
        joined = replace(
            last.wish,
            words=(*last.wish.words, *wish.words),
            units=(*last.wish.units, *wish.units),
            amounts=(*last.wish.amounts, *wish.amounts),
        )
        together = self._read(joined, part, upto=len(self._items) - 1)
        settles = together.entry is not None and together.quantity is not None and not together.against_unit
        if not settles or together.partial or together.context:
            return False
        bare = all(a.unit is None for a in (*part.amounts, *last.wish.amounts))
        if bare and all(a.value >= LIKE_SIZE for a in part.amounts):
            return False  # "copos 200 e 300": two sizes
        if last.reading.quantity is not None and part.pieces[0].role is Role.UNIT:
            return False  # "leche 9, cajas 1": no litre
        settled = last.reading.quantity is not None and together.amount is not last.reading.amount
        if settled and not self._was_size(last, part):
            return False
        self._replace_last(part, joined, together)
        return True

    def _was_size(self, last: Item, part: Part) -> bool:
        """As in "Azúcar 1 kg: 3", "Servilleta 20x20: 3 paquetes": what seemed the amount is printed on the
        product.
        """
        entry, amount = last.reading.entry, last.reading.amount
        if entry is None or amount is None or amount.start < last.start + 1:
            return False
        printed = any(make_size(amount.value, amount.unit).fits(size) for size in entry.sizes)
        return printed and (
            part.lead is Role.COLON or any(a.unit not in {None, amount.unit} for a in part.amounts)
        )

    # --- joining ----------------------------------------------------------------------------------

    def _refines(self, last: Item, wish: Wish, part: Part) -> bool:
        """Whether the part says more about the last item ("the tall ones", "no, medianos"); it is then
        joined to it.
        """
        amounts = (
            wish.amounts or last.wish.amounts
            if part.correction and part.counted
            else (*last.wish.amounts, *wish.amounts)
        )
        words = (*last.wish.heard, *last.wish.words)
        joined = Wish(
            (*words, *wish.heard, *wish.words),
            (*last.wish.units, *wish.units),
            amounts,
            (*last.wish.rejected, *wish.rejected),
        )
        together, alone = self._read(joined, part), self._read(wish, part)
        if (
            together.entry is not None
            and not together.partial
            and (together.match.fit is not Fit.RELAXED or last.reading.entry is None)
            and self._says_more(last, together, alone)
        ):
            self._replace_last(part, joined, together)
            return True
        if (
            last.reading.entry is None
            and alone.entry is None
            and together.match.fit is Fit.AMBIGUOUS
            and alone.match.fit is Fit.AMBIGUOUS
        ):
            self._replace_last(part, joined, together)
            return True
        return part.correction and self._replaces_variant(last, wish, alone, part)

    def _says_more(self, last: Item, together: Reading, alone: Reading) -> bool:
        if last.reading.entry is None:
            return alone.entry is None or together.match.fit >= alone.match.fit
        if alone.entry is None:
            return True
        return alone.entry == together.entry and self._is_family(last, alone.entry)

    def _replaces_variant(self, last: Item, wish: Wish, alone: Reading, part: Part) -> bool:
        """As in "Sorry, M": the correction takes the place of the last variant."""
        counts = wish.amounts if part.counted else (*counts_of(last), *wish.amounts)
        asked = replace(wish, amounts=counts)
        found = self._reader.read(
            asked, context=(*last.wish.heard, *last.wish.words), carried=last.reading.unit
        )
        if alone.entry is not None and not self._is_family(last, alone.entry):
            return False
        if found.entry is None or (
            alone.entry is not None
            and not found.context
            and alone.entry != last.reading.entry
            and not part.correction
        ):
            return False
        self._replace_last(part, replace(last.wish, words=(*last.wish.words,), amounts=counts), found)
        return True

    def _is_family(self, last: Item, entry: Entry) -> bool:
        """Whether the product shares a telling word with the last item, so that it can be its variant."""
        words = last.reading.entry.words if last.reading.entry else self._reader.concepts(last.wish.words)
        return bool((words & entry.words) - LEXICON.distinctive)

    def _count_open(self, part: Part) -> None:
        """The amount behind a product without one; "each" counts all open products before it."""
        open_from = len(self._items) - 1
        while (
            part.each
            and open_from > 0
            and not self._items[open_from - 1].counted
            and not self._items[open_from - 1].denied
        ):
            open_from -= 1
        for place in range(open_from, len(self._items)):
            item = replace(self._items[place], asked=True)
            wish = replace(
                item.wish, amounts=(*item.wish.amounts, *part.amounts), units=(*item.wish.units, *part.units)
            )
            reading = self._read(wish, part, upto=place)
            self._items[place] = replace(
                item,
                wish=wish,
                reading=reading,
                cue=item.cue or part.cue,
                more=item.more or part.more,
                end=part.end,
            )

    def _recount(self, part: Part) -> None:
        last = self._items[-1]
        sizes = tuple(a for a in last.wish.amounts if a is not last.reading.amount)
        wish = replace(last.wish, amounts=(*sizes, *part.amounts))
        reading = self._reader.read(
            wish, context=self._context(len(self._items) - 1), near=self._near, carried=last.reading.unit
        )
        self._items[-1] = replace(
            last, wish=wish, reading=reading, cue="set" if part.cue == "set" else last.cue
        )

    def _spread(self, part: Part) -> None:
        """As in "Knives and forks, 5 packs each" in one part: the open products before take the same
        amount.
        """
        place = len(self._items) - 2
        while place >= 0 and not self._items[place].counted and not self._items[place].denied:
            item = self._items[place]
            wish = replace(item.wish, amounts=part.amounts)
            self._items[place] = replace(item, wish=wish, reading=self._read(wish, part, upto=place))
            place -= 1

    # --- the list ---------------------------------------------------------------------------------

    def _add(
        self, part: Part, wish: Wish, *, asked: bool, denied: bool = False, start: int | None = None
    ) -> None:
        self._append(
            Item(
                wish=wish,
                reading=self._own_reading(wish, part),
                start=part.start if start is None else min(start, part.start),
                end=part.end,
                cue=part.cue or (None if denied else self._inherited_cue(part, wish)),
                more=part.more,
                denied=denied,
                correction=part.correction,
                asked=asked,
                lead=part.lead,
                each=part.each,
            )
        )

    def _own_reading(self, wish: Wish, part: Part) -> Reading:
        """The reading; an amount alone counts no product a second time ("coca 5, 10 cajas"), and another one
        of the same words only by its own unit ("5 bolsas de azúcar y 2 costales").
        """
        reading = self._read(wish, part)
        wordless = not wish.words and not wish.heard and len(wish.amounts) == 1
        said = part.more or part.cue is not None or part.correction or part.each
        if reading.entry is None or not reading.context or not wordless or said:
            return reading
        again = any(item.counted and item.reading.entry == reading.entry for item in self._items)
        own = sale_class(reading.entry) == wish.amounts[0].unit
        return reading if own and not again else NO_READING

    def _inherited_cue(self, part: Part, wish: Wish) -> str | None:
        """As in "quita el ajo y la papa", "el ajo que sean 2 y la papa 6": a cue holds for what is joined
        to it.
        """
        last = self._last()
        if last is None or part.lead is not Role.COMMA or part.more or last.denied:
            return None
        if last.cue in {"remove", "double", "triple", "half"} and not last.counted and not wish.amounts:
            return last.cue
        entry = self._read(wish, part).entry
        held = entry is not None and entry.product.sku in self._near
        return "set" if last.cue == "set" and wish.amounts and held else None

    def _append(self, item: Item) -> None:
        self._items.append(item)

    def _replace_last(self, part: Part, wish: Wish, reading: Reading) -> None:
        last = self._items[-1]
        self._items[-1] = replace(
            last,
            wish=wish,
            reading=reading,
            end=max(last.end, part.end),
            cue=last.cue or part.cue,
            more=last.more or part.more,
        )

    def _last(self) -> Item | None:
        return self._items[-1] if self._items else None

    def _read(self, wish: Wish, part: Part, upto: int | None = None) -> Reading:
        place = len(self._items) if upto is None else upto
        near = self._near if part.cue in RELATIVE | {"set"} or part.negated or part.another else frozenset()
        return self._reader.read(wish, context=self._context(place), near=near, carried=self._carried(place))

    def _context(self, place: int) -> tuple[str, ...]:
        """The words before: with those that the item before needed itself ("guantes: 3 chicos, 2
        medianos").
        """
        first = place - 1
        while first > 0 and self._items[first].reading.context:
            first -= 1
        said: dict[str, None] = {}
        for item in self._items[max(first, 0) : place]:
            if item.denied:
                continue
            containers = (
                u for u in item.wish.units if LEXICON.units.get(u) == "piece" and item.reading.entry
            )
            said.update(dict.fromkeys((*item.wish.heard, *item.wish.words, *containers)))
        return tuple(said)

    def _carried(self, place: int) -> str | None:
        said = (
            item
            for item in reversed(self._items[:place])
            if item.named and (item.wish.units or any(a.unit for a in item.wish.amounts))
        )
        return next((unit for item in said if (unit := item.reading.unit)), None)
