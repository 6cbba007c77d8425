"""A tenant's catalogue indexed for matching: concepts to products, printed sizes, a vocabulary for typing
errors.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from rapidfuzz import process
from rapidfuzz.distance import OSA

from handlers.ai.lexicon import LEXICON
from handlers.ai.numbers import is_worded
from handlers.ai.stems import sound, stem
from handlers.ai.text import Kind, Token, join_phrases, tokenize
from handlers.ai.types import CatalogueProduct

_MEASURES = {
    "ml": ("ml", Decimal(1)),
    "cl": ("ml", Decimal(10)),
    "l": ("ml", Decimal(1000)),
    "g": ("g", Decimal(1)),
    "kg": ("g", Decimal(1000)),
    "cm": ("cm", Decimal(1)),
    "m": ("cm", Decimal(100)),
    "oz": ("oz", Decimal(1)),
    "inch": ("inch", Decimal(1)),
}
_LETTERS = {"p": "small", "s": "small", "m": "medium", "g": "large", "l": "large"}
_MODIFIER_OPENERS = frozenset({"para", "pra", "for", "con", "com", "with"})
_ZERO = "zero"
_FUZZY_MIN = 4
_FUZZY_CUTS = ((4, 0.75), (6, 0.8), (8, 0.75), (40, 0.7))  # nobody mistypes a word of more letters
_SOUND_SCORE = 0.86
_FUZZY_LIMIT = 4
_ROUNDING = 1e-9
SizeKey = tuple[str, Decimal]  # how it is written, and its number or base measure


@dataclass(frozen=True, slots=True)
class Size:
    """A printed or spoken size: the number as written, and its base measure where a unit stood beside it.

    ``packs`` says that it may name the pieces of a pack as well ("caja de 24").
    """

    number: Decimal
    base: Decimal | None = None
    measure: str | None = None
    packs: bool = False

    def fits(self, other: "Size") -> bool:
        """Whether both can mean the same: equal measures, or equal numbers where one has no unit."""
        if self.measure and other.measure:
            return self.measure == other.measure and self.base == other.base
        return self.number == other.number


def make_size(number: Decimal, unit: str | None) -> Size:
    """A size from a number and a unit class; units that measure nothing leave a bare number."""
    if unit not in _MEASURES:
        return Size(number)
    measure, factor = _MEASURES[unit]
    return Size(number, number * factor, measure)


@dataclass(frozen=True, slots=True)
class Term:
    """A name or alias as concepts and sizes."""

    words: frozenset[str]
    sizes: frozenset[Size]


@dataclass(frozen=True, slots=True)
class Entry:
    """A product as the matcher sees it; ``modifiers`` are words that only qualify it ("tampa para copo":
    copo).
    """

    product: CatalogueProduct
    terms: tuple[Term, ...]
    words: frozenset[str]
    sizes: frozenset[Size]
    modifiers: frozenset[str]
    head: str = ""  # the first concept of the name: what the product is
    brand: frozenset[str] = frozenset()

    @property
    def is_zero(self) -> bool:
        return _ZERO in self.words

    def has_size(self, size: Size) -> bool:
        """Whether the product carries that size, or packs that number of pieces."""
        if size.packs and self.product.pack_size == size.number:
            return True
        return any(size.fits(own) for own in self.sizes)


class IndexedCatalogue:
    """Products indexed once per catalogue version; shared by all turns, never changed."""

    def __init__(self, products: Iterable[CatalogueProduct]) -> None:
        self._products = tuple(products)
        self._by_sku = {product.sku: product for product in self._products}
        self.entries = tuple(_entry(product) for product in self._products)
        self._postings = _postings(self.entries)
        self._joined = _joined_words(self.entries)
        self._surface = _surface_words(self._products, self._postings)
        self._vocabulary = tuple(word for word in self._surface if len(word) >= _FUZZY_MIN)
        self._by_length = _by_length(self._vocabulary)
        self._lettered = any(letter in self._surface for letter in _LETTERS)
        self._sounds = _sound_index(self._vocabulary)
        self.numbers = frozenset(size.number for entry in self.entries for size in entry.sizes)
        self._sized = _size_index(self.entries)

    @property
    def products(self) -> tuple[CatalogueProduct, ...]:
        return self._products

    def find(self, sku: str) -> CatalogueProduct | None:
        """The product with that SKU, or None."""
        return self._by_sku.get(sku)

    def entry(self, sku: str) -> Entry:
        """The indexed product; raises KeyError for an unknown SKU."""
        return next(self.entries[i] for i in self._postings["sku:" + sku])

    def posting(self, concept: str) -> frozenset[int]:
        """The positions in ``entries`` of the products that carry the concept."""
        return self._postings.get(concept, frozenset())

    def sized(self, size: Size, among: frozenset[int]) -> frozenset[int]:
        """Of those positions in ``entries`` the products that carry the size (see ``Entry.has_size``)."""
        keys: list[SizeKey] = [("plain", size.number)]
        if size.measure and size.base is not None:
            keys.append((size.measure, size.base))
        else:
            keys.append(("printed", size.number))
        if size.packs:
            keys.append(("pack", size.number))
        return frozenset().union(*(among & self._sized[key] for key in keys if key in self._sized))

    def knows(self, concept: str) -> bool:
        """Whether any product carries the concept."""
        return concept in self._postings

    def has_word(self, word: str) -> bool:
        """Whether a product's text holds the word, or one of the same concepts."""
        return all(self.knows(concept) for concept in self.concepts(word))

    def concepts(self, word: str) -> tuple[str, ...]:
        """The concepts of a normalised word or phrase; a letter of a clothing size is its size."""
        if word in _LETTERS:
            return (_LETTERS[word],) if self._lettered else (word,)
        concept = LEXICON.concept(word)
        if not self.knows(concept) and word in self._joined:
            return self._joined[word]
        return tuple(concept.split("+"))

    def similar(self, word: str) -> list[tuple[str, float]]:
        """Concepts that an unknown word may be a slip of, with their likeness, best first; none for known
        words.
        """
        if (
            len(word) < _FUZZY_MIN
            or len(word) > _FUZZY_CUTS[-1][0]
            or not word.isalpha()
            or word in LEXICON.concepts
            or stem(word) in LEXICON.concepts
        ):
            return []
        cut = next((score for length, score in _FUZZY_CUTS if len(word) <= length), None)
        if cut is None:
            return []
        near = self._by_length.get(len(word), ())
        scored = process.extract(
            word, near, scorer=OSA.normalized_similarity, score_cutoff=cut, limit=_FUZZY_LIMIT
        )
        found = [(self._surface[name], _first_letter(word, name, score)) for name, score, _ in scored]
        found += [(self._surface[name], _SOUND_SCORE) for name in self._sounds.get(sound(word), ())]
        best: dict[str, float] = {}
        for concept, score in found:
            best[concept] = max(score, best.get(concept, 0))
        return sorted(((c, s) for c, s in best.items() if s >= cut), key=lambda pair: -pair[1])


def _first_letter(word: str, name: str, score: float) -> float:
    """People rarely miss the first letter: another one costs."""
    return score if word[0] == name[0] else score - 0.1


def _entry(product: CatalogueProduct) -> Entry:
    texts = [product.name, *product.aliases]
    terms = [_term(text) for text in texts]
    brand = _term(product.brand).words if product.brand else frozenset()
    rest = terms[0].words - brand
    if brand and rest:
        terms.append(Term(rest, terms[0].sizes))
    words = frozenset().union(brand, *(term.words for term in terms))
    sizes = frozenset().union(*(term.sizes for term in terms))
    head = next(iter(term_parts(tokenize([product.name]))[0]), "")
    return Entry(product, tuple(terms), words, sizes, _modifiers(product.name), head, brand)


def _term(text: str) -> Term:
    words, sizes = term_parts(tokenize([text]))
    return Term(frozenset(words), frozenset(sizes))


def term_parts(tokens: Sequence[Token]) -> tuple[list[str], list[Size]]:
    """The concepts and sizes of a product text."""
    words: list[str] = []
    sizes: list[Size] = []
    for position, token in enumerate(tokens):
        if token.kind is Kind.NUM and not is_worded(token.norm):
            unit = _unit_after(tokens, position)
            sizes.append(make_size(Decimal(token.norm.replace(",", ".", 1)), unit))
        elif token.kind is not Kind.SEP:
            words.extend(_word_concepts(tokens, position))
    return words, sizes


def _unit_after(tokens: Sequence[Token], position: int) -> str | None:
    for token in tokens[position + 1 :]:
        unit = LEXICON.units.get(token.norm)
        if unit in _MEASURES:
            return unit
        if token.norm != "x" and token.kind is not Kind.NUM:
            return None
    return None


def _word_concepts(tokens: Sequence[Token], position: int) -> Iterator[str]:
    norm = tokens[position].norm
    previous = tokens[position - 1] if position else None
    if previous and previous.kind is Kind.NUM and LEXICON.units.get(norm) in _MEASURES:
        return
    if previous and (qualified := qualify(previous.norm, norm)):
        yield qualified
        return
    following = tokens[position + 1].norm if position + 1 < len(tokens) else ""
    if qualify(norm, following):
        return
    if norm in _LETTERS:
        yield _LETTERS[norm]
    elif (
        norm not in LEXICON.function
        and norm not in _MODIFIER_OPENERS
        and norm not in {"x", "no", "nro", "sin", "sem"}
    ):
        yield from LEXICON.concept(norm).split("+")


_WITHOUT = frozenset({"sin", "sem", "without"})
_WITH = frozenset({"con", "com", "with"})


def qualify(opener: str, word: str) -> str | None:
    """The concept of "sin gas", "com sal", "without sugar" where the lexicon has one."""
    prefix = "sin:" if opener in _WITHOUT else "con:" if opener in _WITH else ""
    return LEXICON.concepts.get(prefix + LEXICON.concept(word)) if prefix and word else None


def _modifiers(name: str) -> frozenset[str]:
    tokens = tokenize([name])
    opened = next((i for i, t in enumerate(tokens) if t.norm in _MODIFIER_OPENERS and i), None)
    if opened is None:
        return frozenset()
    following = tokens[opened + 1].norm if opened + 1 < len(tokens) else ""
    if qualify(tokens[opened].norm, following):
        return frozenset()
    head, tail = set(term_parts(tokens[:opened])[0]), set(term_parts(tokens[opened + 1 :])[0])
    return frozenset(tail - head)


def _postings(entries: Sequence[Entry]) -> dict[str, frozenset[int]]:
    table: dict[str, set[int]] = {}
    for position, entry in enumerate(entries):
        for word in (*entry.words, "sku:" + entry.product.sku):
            table.setdefault(word, set()).add(position)
    return {word: frozenset(places) for word, places in table.items()}


def _joined_words(entries: Sequence[Entry]) -> dict[str, tuple[str, ...]]:
    """As in "clingfilm" to the concepts of "cling film": neighbours of a product text written as one word."""
    table: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        for text in (entry.product.name, *entry.product.aliases):
            words = [t for t in tokenize([text]) if t.kind is Kind.WORD]
            for one, two in itertools.pairwise(words):
                parts = [*LEXICON.concept(one.norm).split("+"), *LEXICON.concept(two.norm).split("+")]
                table.setdefault(one.norm + two.norm, tuple(p for p in parts if p not in LEXICON.function))
    return table


def _surface_words(
    products: Sequence[CatalogueProduct], postings: dict[str, frozenset[int]]
) -> dict[str, str]:
    """Written word to concept: the catalogue's own words and the glossary's words for the same concepts."""
    surface = {w: concept for w, concept in LEXICON.concepts.items() if concept in postings and w.isalpha()}
    for product in products:
        for text in (product.name, product.brand or "", *product.aliases):
            tokens = join_phrases(tokenize([text]))
            for before, token in zip([None, *tokens], tokens, strict=False):
                concept = LEXICON.concept(token.norm)
                letter = token.norm in _LETTERS and before is not None and before.kind is Kind.WORD
                if token.kind is Kind.WORD and (letter or concept in postings):
                    surface[token.norm] = concept
    return surface


def _by_length(vocabulary: Sequence[str]) -> dict[int, tuple[str, ...]]:
    """For each length of a searched word the words that can be like enough, by their length alone."""
    shortest = 0
    table: dict[int, tuple[str, ...]] = {}
    for longest, cut in _FUZZY_CUTS:
        for length in range(max(shortest, _FUZZY_MIN), longest + 1):
            table[length] = tuple(
                w for w in vocabulary if min(len(w), length) >= (cut - _ROUNDING) * max(len(w), length)
            )
        shortest = longest + 1
    return {length: words for length, words in table.items() if words}


def _size_index(entries: Sequence[Entry]) -> dict[SizeKey, frozenset[int]]:
    """Places by measure, by number without a measure ("plain"), by any number ("printed") and by pack."""
    table: dict[SizeKey, set[int]] = {}
    for place, entry in enumerate(entries):
        keys: list[SizeKey] = [("printed", size.number) for size in entry.sizes]
        for size in entry.sizes:
            measured = size.measure is not None and size.base is not None
            keys.append(
                (size.measure or "", size.base or size.number) if measured else ("plain", size.number)
            )
        if entry.product.pack_size is not None:
            keys.append(("pack", Decimal(entry.product.pack_size)))
        for key in keys:
            table.setdefault(key, set()).add(place)
    return {key: frozenset(places) for key, places in table.items()}


def _sound_index(vocabulary: Iterable[str]) -> dict[str, tuple[str, ...]]:
    table: dict[str, list[str]] = {}
    for word in vocabulary:
        table.setdefault(sound(word), []).append(word)
    return {key: tuple(words) for key, words in table.items()}
