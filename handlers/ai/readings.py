"""The best reading of a part: which number counts, which numbers are sizes, which product the words name."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from handlers.ai.catalogue import Entry, IndexedCatalogue, Size, make_size
from handlers.ai.lexicon import LEXICON
from handlers.ai.matching import NO_MATCH, Fit, Match, Matcher, Query
from handlers.ai.numbers import Amount
from handlers.ai.parts import is_pure_size
from handlers.ai.quantity import (
    contradicts,
    is_ambiguous_count,
    names_sale_unit,
    sale_class,
    sells_by,
    to_sale_units,
    unit_kind,
)
from handlers.ai.text import Kind, Token
from handlers.ai.types import Language

_MEASURING = frozenset({None, "ml", "cl", "l", "g", "kg", "cm", "m", "oz", "inch"})
_OF = frozenset({"de", "of", "do", "da", "dos", "das", "del"})
_SIZE_OPENERS = frozenset({"de", "del", "da", "do", "of", "en", "em", "the", "no", "nro"})
_CONTAINERS = frozenset({"can", "bottle", "keg", "jug", "pet"})
_CARRIED = frozenset(
    {"box", "kg", "bunch", "pack", "bag", "piece", "container", "roll", "jug", "bucket", "keg"}
)


@dataclass(frozen=True, slots=True)
class Wish:
    """Words, loose unit words and numbers of one wanted product, wherever in the burst they stood."""

    words: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    amounts: tuple[Amount, ...] = ()
    rejected: tuple[str, ...] = ()
    heard: tuple[str, ...] = ()  # words in front of the amount, where the product usually is not
    tail: int = 0  # how many of the last words only say what for
    tail_amounts: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """A product with the amount that counts it; ``partial`` says that words were left out, ``context`` that
    words before helped.
    """

    match: Match
    amount: Amount | None
    unit: str | None = None
    quantity: Decimal | None = None
    partial: bool = False
    context: bool = False
    carried: bool = False
    like_size: bool = False  # the amount stands where a printed size stands
    by_unit: bool = False  # the words fit several products, the unit only this one
    against_unit: bool = False  # the unit named is another than the product is sold in
    unheeded: bool = False  # what was denied of it tells no products apart
    bare: bool = False  # the number may count packs or pieces, and is large enough for both

    @property
    def entry(self) -> Entry | None:
        return self.match.entry

    @property
    def rank(self) -> tuple[int, int, int, int, int]:
        """Order of trust among readings of the same words."""
        settled = self.entry is not None and self.quantity is not None
        return (
            int(self.entry is not None) + settled,
            -int(self.like_size),
            int(self.match.fit) - 2 * self.partial,
            int(self.unit is not None and not self.carried),
            -len(self.match.candidates),
        )


LIKE_SIZE = 100  # bare numbers from here on are rather millilitres than packs
LEFT_OUT = 2  # an unknown word was left out: only a whole name or alias may stand
# No product's name and no order line has so many words or numbers: such a wish is prose, or an attack.
_MAX_WORDS = 24
_MAX_AMOUNTS = 8
NO_READING = Reading(NO_MATCH, None)


class Reader:
    """Finds the best reading of a wish in one catalogue."""

    def __init__(self, catalogue: IndexedCatalogue, tokens: Sequence[Token], language: Language) -> None:
        self._catalogue = catalogue
        self._tokens = tokens
        self._language = language
        self._matcher = Matcher(catalogue)
        self._readings: dict[tuple[object, ...], Reading] = {}
        self._rejections: dict[tuple[str, ...], frozenset[str]] = {}

    def read(
        self,
        wish: Wish,
        *,
        context: tuple[str, ...] = (),
        near: frozenset[str] = frozenset(),
        carried: str | None = None,
    ) -> Reading:
        """The best reading of the wish.

        ``context`` are the words of the product before, for "y 2 de la grande"; ``near`` the SKUs likelier
        than others; ``carried`` the unit class that a number without unit inherits.
        """
        best = self._best(wish, near, carried)
        if best.entry is None and context:
            best = self._in_context(wish, context, near, carried) or best
        return best

    def _in_context(
        self, wish: Wish, context: tuple[str, ...], near: frozenset[str], carried: str | None
    ) -> Reading | None:
        family = tuple(w for w in context if not self._is_distinctive(w))
        bare = tuple(w for w in family if not _CONTAINERS & set(self._matcher.concepts(w)))
        for words in dict.fromkeys((context, family, bare)):
            if not words:
                continue
            found = self._best(replace(wish, words=(*words, *wish.words)), near, carried)
            if found.match.fit > Fit.RELAXED and not found.partial:
                return replace(found, context=True)
        return None

    def concepts(self, words: Sequence[str]) -> frozenset[str]:
        """The words as concepts of this catalogue."""
        return frozenset(c for word in words for c in self._matcher.concepts(word))

    def _is_distinctive(self, word: str) -> bool:
        return any(c in LEXICON.distinctive or ":" in c for c in self._matcher.concepts(word))

    def _best(self, wish: Wish, near: frozenset[str], carried: str | None) -> Reading:
        """The best reading with or without the words of purpose; with them where both are as good."""
        best = self._best_of(wish, near, carried)
        if wish.tail:
            amounts = wish.amounts[: len(wish.amounts) - wish.tail_amounts]
            short = replace(wish, words=wish.words[: -wish.tail], amounts=amounts, tail=0)
            without = self._best_of(short, near, carried)
            best = without if without.rank > best.rank else best
        return best

    def _best_of(self, wish: Wish, near: frozenset[str], carried: str | None) -> Reading:
        key = (wish, near, carried)
        found = self._readings.get(key)
        if found is None:
            long = len(wish.heard) + len(wish.words) > _MAX_WORDS or len(wish.amounts) > _MAX_AMOUNTS
            found = self._readings[key] = NO_READING if long else self._search(wish, near, carried)
        return found

    def _search(self, wish: Wish, near: frozenset[str], carried: str | None) -> Reading:
        best = NO_READING
        choices = tuple(_amount_choices(wish.amounts))
        for partial, words in self._word_choices(wish):
            said = replace(wish, words=words)
            for amount, sizes, more in choices:
                asked = replace(said, words=(*words, *more)) if more else said
                found = self._one(asked, amount, sizes, near, carried)
                if partial:
                    found = replace(found, partial=True)
                if found.rank > best.rank and not (partial == LEFT_OUT and found.match.fit < Fit.EXACT):
                    best = found
            if best.entry is not None:
                return best
        return best

    def _word_choices(self, wish: Wish) -> Iterator[tuple[int, tuple[str, ...]]]:
        """All words; then without what stood before the amount; then without one unknown word at the edge."""
        words = (*wish.heard, *wish.words)
        yield 0, words
        if wish.heard and wish.words:
            yield int(any(self._known(word) for word in wish.heard)), wish.words
            if not any(self._known(word) for word in wish.words):
                yield 1, wish.heard
        telling = tuple(word for word in words if word not in LEXICON.generic)
        if 0 < len(telling) < len(words):
            yield 0, telling
        if len(words) > 1:
            edge = 0 if self._language is Language.EN else -1
            if not self._known(words[edge]) and not self._matcher.similar(words[edge]):
                yield LEFT_OUT, words[1:] if edge == 0 else words[:-1]

    def _known(self, word: str) -> bool:
        return word in LEXICON.concepts or self._matcher.knows(word)

    def _one(
        self,
        wish: Wish,
        amount: Amount | None,
        sizes: tuple[Size, ...],
        near: frozenset[str],
        carried: str | None,
    ) -> Reading:
        query = Query(wish.words, (*wish.units, *self._unit_word(amount)), sizes, near, self._rejected(wish))
        plain = self._headed(self._matcher.match(query), wish)
        found = self._sold_so(plain, query)
        reading = Reading(
            found,
            amount,
            amount.unit if amount else None,
            like_size=bool(sizes) and (self._like_size(amount) or _is_measured_beside(amount, sizes)),
            by_unit=plain.entry is None and found.entry is not None,
            unheeded=bool(wish.rejected) and not query.rejected,
        )
        if found.entry is None or amount is None:
            return reading
        if self._is_printed(amount, found.entry):
            return replace(reading, amount=None, unit=None)
        reading = self._counted(reading, found.entry, wish, carried)
        if self._counts_nothing(reading, amount, (*wish.words, *wish.units)):
            return replace(reading, quantity=None)
        return reading

    def _counts_nothing(self, reading: Reading, amount: Amount, words: tuple[str, ...]) -> bool:
        """As in "sprite 600: 2", which are no 600 pieces of the 2 L, and "azúcar de 25 kg": printed there."""
        bare = reading.like_size and amount.unit is None and amount.value >= LIKE_SIZE
        opener = self._tokens[amount.start - 1].norm if amount.start > 1 else ""
        printed = amount.unit in _MEASURING - {None} and opener in _OF and not amount.halves
        named = printed and self._tokens[amount.start - 2].norm in {*words, *LEXICON.units}
        entry = reading.entry
        return bare or (named and entry is not None and sale_class(entry) not in {"kg", "l"})

    def _sold_so(self, found: Match, query: Query) -> Match:
        """As in "3 costales de azúcar": of several sugars the only one that is sold in that unit."""
        kind = next((kind for word in query.optional if (kind := unit_kind(word))), None)
        if kind is None or not query.words or found.fit is Fit.NONE:
            return found
        if found.entry and (sells_by(found.entry, kind) or found.entry.head in found.used_optional):
            return found
        chosen = self._matcher.choose(query, lambda entry: sells_by(entry, kind))
        return found if chosen.entry is None else chosen

    def _is_printed(self, amount: Amount, entry: Entry) -> bool:
        """As in "copo de 200", "coca 600": the number behind the words is the size printed on the product."""
        printed = any(size.number == amount.value for size in entry.sizes)
        return printed and amount.value >= LIKE_SIZE and self._like_size(amount)

    def _headed(self, found: Match, wish: Wish) -> Match:
        """Cups with a lid are no lids: a product that the first word only qualifies is a guess at best. A
        container alone names what is called by it ("garrafón"), not what is packed in it.
        """
        if found.entry is not None and not wish.words:
            named = found.fit is Fit.EXACT or found.entry.head in found.used_optional
            return found if named else NO_MATCH
        if found.entry is None or self._language is Language.EN:
            return found
        first = set(self._matcher.concepts(wish.words[0]))
        return replace(found, fit=min(found.fit, Fit.RELAXED)) if first & found.entry.modifiers else found

    def _like_size(self, amount: Amount | None) -> bool:
        """As in "La zero en 600", "coca 600": a bare number right behind the words is rather a size than a
        quantity.
        """
        if amount is None or amount.unit is not None or amount.start == 0:
            return False
        before = self._tokens[amount.start - 1]
        if before.norm in _SIZE_OPENERS:
            return True
        return before.kind is Kind.WORD and self._known(before.norm) and before.norm not in LEXICON.numbers

    def is_size(self, amount: Amount) -> bool:
        """As in "el de 25", "the 25 kg sack": a number without a product that says which, not how many."""
        before = self._tokens[amount.start - 1].norm if amount.start else ""
        if amount.unit is None:
            return before in _OF
        return amount.unit in _MEASURING and (before in _OF or before in LEXICON.articles)

    def _unit_word(self, amount: Amount | None) -> tuple[str, ...]:
        return () if amount is None or amount.unit_at is None else (self._tokens[amount.unit_at].norm,)

    def _rejected(self, wish: Wish) -> frozenset[str]:
        if not wish.rejected:
            return frozenset()
        found = self._rejections.get(wish.rejected)
        if found is None:
            found = self._rejections[wish.rejected] = self._find_rejected(wish)
        return found

    def _find_rejected(self, wish: Wish) -> frozenset[str]:
        concepts = [c for word in wish.rejected for c in self._matcher.concepts(word)]
        places = [self._catalogue.posting(concept) for concept in concepts]
        return frozenset(self._catalogue.entries[i].product.sku for i in frozenset().union(*places))

    def _counted(self, reading: Reading, entry: Entry, wish: Wish, carried: str | None) -> Reading:
        """The reading with its quantity in the sale unit."""
        amount, unit = reading.amount, reading.unit
        assert amount is not None
        own, inherited = unit, False
        if unit is None:
            own = self._implied_unit(amount, entry, wish)
            unit = own or _fitting_unit(entry, carried)
            inherited = unit is not None and own is None
        elif any(sells_by(entry, unit_kind(word) or "") for word in self._unit_word(amount)):
            unit = own = sale_class(entry)  # "bulto" is a sack where the product is sold in sacks
        elif self._names_product(reading, entry, unit):
            unit = own = None
        return replace(
            reading,
            unit=unit,
            quantity=to_sale_units(entry, amount, unit),
            carried=inherited,
            against_unit=own is not None and self._other_unit(amount, entry, wish),
            bare=self._is_open(amount, entry, unit, inherited=inherited),
        )

    def _is_open(self, amount: Amount, entry: Entry, unit: str | None, *, inherited: bool) -> bool:
        """Whether the number may count pieces or packs: it has no unit, or one of pieces from the line before."""
        if inherited:
            packed = unit == "piece" and entry.product.pack_size is not None
            return packed and self._following(amount) not in _OF  # "24 latas de coca y 24 de sprite" is clear
        return unit is None and not amount.dozens and is_ambiguous_count(entry, amount.value)

    def _other_unit(self, amount: Amount, entry: Entry, wish: Wish) -> bool:
        """Whether a container was named that the product is not sold in, and no size said which is meant."""
        said = self._unit_word(amount) or tuple(w for w in wish.units if not self._prints(entry, w))
        sized = any(a is not amount and entry.has_size(_size(a)) for a in wish.amounts)
        if sized:  # "3 sacks of the 25 kg flour" are as good as bags, but jugs are not
            said = tuple(word for word in said if LEXICON.units.get(word) != sale_class(entry))
        return any((kind := unit_kind(word)) and contradicts(entry, kind) for word in said)

    def _following(self, amount: Amount) -> str:
        return self._tokens[amount.end].norm if amount.end < len(self._tokens) else ""

    def _prints(self, entry: Entry, word: str) -> bool:
        return bool(entry.words & set(self._matcher.concepts(word)))

    def _implied_unit(self, amount: Amount, entry: Entry, wish: Wish) -> str | None:
        """The unit of a bare number that the words say otherwise: the product's own unit, or goods that are
        counted one by one ("12 huevos", but not "2 de huevo").
        """
        sold = sale_class(entry)
        if any(LEXICON.units.get(word) == sold for word in wish.units):
            return sold
        if names_sale_unit(entry, (*wish.words, *wish.units)):
            return sold
        other = next(
            (u for word in wish.units if (u := LEXICON.units.get(word)) and not self._prints(entry, word)),
            None,
        )
        if other is not None:
            return other
        single = any(word in LEXICON.singles for word in (*wish.heard, *wish.words))
        return "piece" if single and entry.product.pack_size and self._following(amount) not in _OF else None

    def _names_product(self, reading: Reading, entry: Entry, unit: str) -> bool:
        """As in "10 cajas de pizza 30": the container is part of the product's name and counts nothing."""
        if unit not in {"box", "bag", "pack", "container", "roll"} or unit == sale_class(entry):
            return False
        words = [c for word in self._unit_word(reading.amount) for c in self._matcher.concepts(word)]
        return bool(words) and all(c in entry.words and c in reading.match.used_optional for c in words)


def _fitting_unit(entry: Entry, carried: str | None) -> str | None:
    if carried not in _CARRIED:
        return None
    sold = sale_class(entry)
    return carried if carried == sold or (carried == "piece" and entry.product.pack_size) else None


def _amount_choices(
    amounts: Sequence[Amount],
) -> Iterator[tuple[Amount | None, tuple[Size, ...], tuple[str, ...]]]:
    """Each amount in turn as the one that counts, the others as sizes; at last all as sizes."""
    for chosen in amounts:
        if is_pure_size(chosen) or any(
            a.unit not in _MEASURING and not a.packs for a in amounts if a is not chosen
        ):
            continue
        others = tuple(_size(a) for a in amounts if a is not chosen and not _same_pack(a, chosen))
        yield chosen, others, ()
        if chosen.unit in {"g", "m"}:
            yield replace(chosen, unit=None, unit_at=None), others, (chosen.unit,)
    measures = tuple(_size(a) for a in amounts if a.unit in _MEASURING or a.unit is None)
    yield None, measures, ()


def _is_measured_beside(amount: Amount | None, sizes: Sequence[Size]) -> bool:
    """As in "Harina bolsa 25 kg: 1": the measured number is printed rather than the bare one."""
    measured = amount is not None and amount.unit in _MEASURING - {None}
    return measured and any(size.measure is None and not size.packs for size in sizes)


def _same_pack(amount: Amount, chosen: Amount) -> bool:
    """As in "A 24 of": the article beside the pack's number says nothing more."""
    return amount.weak and amount.end == chosen.start


def _size(amount: Amount) -> Size:
    if amount.code:
        return Size(amount.value, amount.value, "code")  # "A4" is printed without a measure; "v2" is no 2 L
    return replace(make_size(amount.value, amount.unit), packs=amount.packs)
