"""Which product a group of words means: exact term, then one term, then the product as a whole; several
fits are no match.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

from handlers.ai.catalogue import Entry, IndexedCatalogue, Size
from handlers.ai.lexicon import LEXICON


class Fit(IntEnum):
    """How surely the words name the product; the order is the order of trust."""

    NONE = 0
    AMBIGUOUS = 1
    RELAXED = 2  # a word of the customer had to be left out
    UNION = 3  # all words fit, but not those of one name or alias
    TERM = 4  # all words are part of one name or alias
    EXACT = 5  # the words are a name or alias


@dataclass(frozen=True, slots=True)
class Query:
    """What the customer wrote about one product.

    ``words`` are normalised words that must fit, ``optional`` words that may ("latas" of "24 latas de coca"),
    ``sizes`` the numbers that are no quantity, ``near`` SKUs that the draft or the words before make
    likelier.
    """

    words: tuple[str, ...]
    optional: tuple[str, ...] = ()
    sizes: tuple[Size, ...] = ()
    near: frozenset[str] = frozenset()
    rejected: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Match:
    """The best product or none; ``likeness`` is 1 without slips of the pen, ``candidates`` all that still
    fit.
    """

    fit: Fit
    entry: Entry | None = None
    likeness: float = 1.0
    candidates: tuple[Entry, ...] = ()
    used_optional: frozenset[str] = field(default_factory=frozenset)

    @property
    def found(self) -> bool:
        return self.entry is not None


NO_MATCH = Match(Fit.NONE)
_MAX_CANDIDATES = 40
_RELAXED_SHARE = 0.5
# Different unknown words of one burst, two in each of 60 lines; each costs a search of the vocabulary. More
# are no slips of the pen: they stay unknown.
MAX_SEARCHES = 120
_COMPARED = 2  # sizes that it takes to say which is the larger


class Matcher:
    """Matches the queries of one burst against one catalogue. What was looked up once is kept, so that a
    burst costs as much as its different words, however often it repeats them.
    """

    def __init__(self, catalogue: IndexedCatalogue) -> None:
        self._catalogue = catalogue
        self._concepts: dict[str, tuple[str, ...]] = {}
        self._similar: dict[str, list[tuple[str, float]]] = {}
        self._found: dict[tuple[object, ...], Match] = {}
        self._ranked: dict[tuple[object, ...], Match] = {}

    def match(self, query: Query) -> Match:
        """The product that the query names; see the rules "When a line is sure" of the order messages'
        labelling.
        """
        readings = self._readings(query.words)
        if not readings and not query.optional:
            return NO_MATCH
        best = NO_MATCH
        for words, likeness in readings or [((), 1.0)]:
            found = self._match_words(words, query)
            if (found.fit, likeness) > (best.fit, best.likeness):
                best = replace(found, likeness=likeness) if likeness < 1 else found
        return best

    def choose(self, query: Query, wanted_by: Callable[[Entry], bool]) -> Match:
        """The one product for which ``wanted_by`` holds among all that carry the words, else none."""
        for words, likeness in self._readings(query.words):
            wanted = frozenset(words)
            fitting = _leading(wanted, _fitting(self._catalogue, wanted, query)) if wanted else []
            chosen = [entry for entry in fitting if wanted_by(entry)]
            if len(chosen) == 1:
                return replace(_rank(chosen, wanted, query), likeness=likeness)
        return NO_MATCH

    def concepts(self, word: str) -> tuple[str, ...]:
        """See ``IndexedCatalogue.concepts``."""
        found = self._concepts.get(word)
        if found is None:
            found = self._concepts[word] = self._catalogue.concepts(word)
        return found

    def knows(self, word: str) -> bool:
        """Whether the catalogue carries all concepts of the word."""
        return all(self._catalogue.knows(concept) for concept in self.concepts(word))

    def similar(self, word: str) -> list[tuple[str, float]]:
        """See ``IndexedCatalogue.similar``; each word is searched for once."""
        found = self._similar.get(word)
        if found is None:
            found = self._catalogue.similar(word) if len(self._similar) < MAX_SEARCHES else []
            self._similar[word] = found
        return found

    def _match_words(self, words: tuple[str, ...], query: Query) -> Match:
        key = (words, query.optional, query.sizes, query.near, query.rejected)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._search(words, query)
        return found

    def _readings(self, words: Sequence[str]) -> list[tuple[tuple[str, ...], float]]:
        """The words as concepts of this catalogue; an unknown word opens one reading per likely meaning."""
        readings: list[tuple[tuple[str, ...], float]] = [((), 1.0)]
        for word in words:
            options = self._options(word)
            readings = [
                (sofar + more, min(like, score)) for sofar, like in readings for more, score in options
            ][:_MAX_CANDIDATES]
        return readings if words else []

    def _options(self, word: str) -> list[tuple[tuple[str, ...], float]]:
        if self.knows(word):
            return [(self.concepts(word), 1.0)]
        return [((concept,), score) for concept, score in self.similar(word)] or [(self.concepts(word), 1.0)]

    def _search(self, words: tuple[str, ...], query: Query) -> Match:
        optional = tuple(
            c for word in query.optional for c in self.concepts(word) if self._catalogue.knows(c)
        )
        for extra in (optional, ()) if optional else ((),):
            wanted = frozenset(words) | frozenset(extra)
            if not wanted:
                continue
            found = self._rank(wanted, query)
            if found.fit is not Fit.NONE:
                return replace(found, used_optional=frozenset(extra))
        if optional and (sized := _by_magnitude(self._catalogue, (*words, *optional), query)):
            return sized
        return self._relax(words, query)

    def _rank(self, wanted: frozenset[str], query: Query) -> Match:
        key = (wanted, query.sizes, query.near, query.rejected)
        found = self._ranked.get(key)
        if found is None:
            found = self._ranked[key] = _rank(_fitting(self._catalogue, wanted, query), wanted, query)
        return found

    def _relax(self, words: Sequence[str], query: Query) -> Match:
        """All words are known here, yet no product has all: leave out one word that does not tell products
        apart.
        """
        sized = _by_magnitude(self._catalogue, words, query)
        if sized is not None:
            return sized
        known = [word for word in dict.fromkeys(words) if self._catalogue.knows(word)]
        if len(known) < len(set(words)) or len(known) < 2:  # noqa: PLR2004 - one word cannot be relaxed
            return NO_MATCH
        for dropped in sorted(known, key=lambda word: -len(self._catalogue.posting(word))):
            rest = frozenset(known) - {dropped}
            if dropped in LEXICON.distinctive or not _tells(self._catalogue, rest, dropped):
                continue
            found = self._rank(rest, query)
            if found.entry is not None:
                return replace(found, fit=Fit.RELAXED)
        return NO_MATCH


def _fitting(catalogue: IndexedCatalogue, wanted: frozenset[str], query: Query) -> list[Entry]:
    """The products that carry every wanted word and size."""
    postings = sorted((catalogue.posting(word) for word in wanted), key=len)
    common = frozenset.intersection(*postings) if postings else frozenset()
    for size in query.sizes:
        common = catalogue.sized(size, common)
    fitting = [catalogue.entries[place] for place in sorted(common)]
    return [e for e in fitting if e.product.sku not in query.rejected]


def _rank(entries: Sequence[Entry], wanted: frozenset[str], query: Query) -> Match:
    for fit, group in _groups(entries, wanted, query):
        chosen = group if len(group) == 1 else _near(group, query)
        if len(chosen) == 1 and (fit is Fit.EXACT or query.near or not wanted <= LEXICON.adjectives):
            return Match(fit, chosen[0], candidates=tuple(group))
        if group:
            return Match(Fit.AMBIGUOUS, candidates=tuple(group[:_MAX_CANDIDATES]))
    return NO_MATCH


def _groups(
    entries: Sequence[Entry], wanted: frozenset[str], query: Query
) -> Iterator[tuple[Fit, list[Entry]]]:
    """The products by how well the words fit, the best first."""
    yield Fit.EXACT, [e for e in entries if _exact(e, wanted, query.sizes)]
    yield Fit.TERM, _leading(wanted, [e for e in entries if any(wanted <= t.words for t in e.terms)])
    yield Fit.UNION, _leading(wanted, entries)


def _exact(entry: Entry, wanted: frozenset[str], sizes: Sequence[Size]) -> bool:
    return any(
        term.words == wanted
        and all(entry.has_size(size) for size in sizes)
        and all(any(own.fits(size) for size in sizes) for own in term.sizes)
        for term in entry.terms
    )


def _leading(wanted: frozenset[str], group: Sequence[Entry]) -> list[Entry]:
    """Without products that only mention the words as a qualifier, and without "zero" variants nobody asked
    for.
    """
    kept = [e for e in group if not wanted <= e.modifiers]
    if "zero" not in wanted and any(not e.is_zero for e in kept):
        kept = [e for e in kept if not e.is_zero]
    return kept


def _near(group: Sequence[Entry], query: Query) -> list[Entry]:
    return [e for e in group if e.product.sku in query.near]


def _by_magnitude(catalogue: IndexedCatalogue, words: Sequence[str], query: Query) -> Match | None:
    """As in "The little coronas", "do grande": the smallest or largest of the products that fit otherwise."""
    rest = frozenset(words) - {"small", "large"}
    if len(rest) == len(set(words)) or not rest:
        return None
    entries = _leading(rest, _fitting(catalogue, rest, query))
    if len(entries) == 1:
        return Match(Fit.RELAXED, entries[0], candidates=tuple(entries))
    measure = next((size.measure for entry in entries for size in entry.sizes if size.measure), None)
    sized = sorted(
        (
            (size.base, e.product.sku, e)
            for e in entries
            for size in e.sizes
            if size.measure == measure and size.base
        ),
        key=lambda found: found[:2],
        reverse="large" in words,
    )
    if (
        len(sized) < _COMPARED
        or len({e.product.sku for _, _, e in sized}) != len(sized)
        or len(sized) != len(entries)
        or sized[0][0] == sized[1][0]
    ):
        return None
    return Match(Fit.RELAXED, sized[0][2], candidates=tuple(entries))


def _tells(catalogue: IndexedCatalogue, rest: Iterable[str], dropped: str) -> bool:
    """Whether what stays is rarer than what is left out."""
    return (
        min(len(catalogue.posting(word)) for word in rest) <= len(catalogue.posting(dropped)) * _RELAXED_SHARE
    )
