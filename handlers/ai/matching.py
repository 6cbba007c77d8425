"""Which product a group of words means: exact term, then one term, then the product as a whole; several
fits are no match.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
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
_COMPARED = 2  # sizes that it takes to say which is the larger


def match(catalogue: IndexedCatalogue, query: Query) -> Match:
    """The product that the query names; see the rules "When a line is sure" of the order messages'
    labelling.
    """
    readings = _readings(catalogue, query.words)
    if not readings and not query.optional:
        return NO_MATCH
    best = NO_MATCH
    for words, likeness in readings or [((), 1.0)]:
        found = _match_words(catalogue, words, likeness, query)
        if (found.fit, found.likeness) > (best.fit, best.likeness):
            best = found
    return best


def _readings(catalogue: IndexedCatalogue, words: Sequence[str]) -> list[tuple[tuple[str, ...], float]]:
    """The words as concepts of this catalogue; an unknown word opens one reading per likely meaning."""
    readings: list[tuple[tuple[str, ...], float]] = [((), 1.0)]
    for word in words:
        options = _options(catalogue, word)
        readings = [(sofar + more, min(like, score)) for sofar, like in readings for more, score in options][
            :_MAX_CANDIDATES
        ]
    return readings if words else []


def _options(catalogue: IndexedCatalogue, word: str) -> list[tuple[tuple[str, ...], float]]:
    concepts = catalogue.concepts(word)
    if all(catalogue.knows(concept) for concept in concepts):
        return [(concepts, 1.0)]
    return [((concept,), score) for concept, score in catalogue.similar(word)] or [(concepts, 1.0)]


def _match_words(catalogue: IndexedCatalogue, words: tuple[str, ...], likeness: float, query: Query) -> Match:
    optional = tuple(c for word in query.optional for c in catalogue.concepts(word) if catalogue.knows(c))
    for extra in (optional, ()) if optional else ((),):
        wanted = frozenset(words) | frozenset(extra)
        if not wanted:
            continue
        found = _rank(_fitting(catalogue, wanted, query), wanted, likeness, query)
        if found.fit is not Fit.NONE:
            return Match(found.fit, found.entry, found.likeness, found.candidates, frozenset(extra))
    if optional and (sized := _by_magnitude(catalogue, (*words, *optional), likeness, query)):
        return sized
    return _relax(catalogue, words, likeness, query)


def _fitting(catalogue: IndexedCatalogue, wanted: frozenset[str], query: Query) -> list[Entry]:
    """The products that carry every wanted word and size."""
    postings = sorted((catalogue.posting(word) for word in wanted), key=len)
    common = frozenset.intersection(*postings) if postings else frozenset()
    fitting = [catalogue.entries[place] for place in sorted(common)]
    return [
        e for e in fitting if all(e.has_size(s) for s in query.sizes) and e.product.sku not in query.rejected
    ]


def _rank(entries: Sequence[Entry], wanted: frozenset[str], likeness: float, query: Query) -> Match:
    for fit, group in (
        (Fit.EXACT, [e for e in entries if _exact(e, wanted, query.sizes)]),
        (
            Fit.TERM,
            _leading(wanted, [e for e in entries if any(wanted <= t.words for t in e.terms)]),
        ),
        (Fit.UNION, _leading(wanted, entries)),
    ):
        chosen = group if len(group) == 1 else _near(group, query)
        if len(chosen) == 1 and (fit is Fit.EXACT or query.near or not wanted <= LEXICON.adjectives):
            return Match(fit, chosen[0], likeness, tuple(group))
        if group:
            return Match(Fit.AMBIGUOUS, None, likeness, tuple(group[:_MAX_CANDIDATES]))
    return NO_MATCH


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


def _relax(catalogue: IndexedCatalogue, words: Sequence[str], likeness: float, query: Query) -> Match:
    """All words are known here, yet no product has all: leave out one word that does not tell products
    apart.
    """
    sized = _by_magnitude(catalogue, words, likeness, query)
    if sized is not None:
        return sized
    known = [word for word in dict.fromkeys(words) if catalogue.knows(word)]
    if len(known) < len(set(words)) or len(known) < 2:  # noqa: PLR2004 - one word cannot be relaxed
        return NO_MATCH
    for dropped in sorted(known, key=lambda word: -len(catalogue.posting(word))):
        rest = frozenset(known) - {dropped}
        if dropped in LEXICON.distinctive or not _tells(catalogue, rest, dropped):
            continue
        found = _rank(_fitting(catalogue, rest, query), rest, likeness, query)
        if found.entry is not None:
            return Match(Fit.RELAXED, found.entry, found.likeness, found.candidates)
    return NO_MATCH


def _by_magnitude(
    catalogue: IndexedCatalogue, words: Sequence[str], likeness: float, query: Query
) -> Match | None:
    """As in "The little coronas", "do grande": the smallest or largest of the products that fit otherwise."""
    rest = frozenset(words) - {"small", "large"}
    if len(rest) == len(set(words)) or not rest:
        return None
    entries = _leading(rest, _fitting(catalogue, rest, query))
    if len(entries) == 1:
        return Match(Fit.RELAXED, entries[0], likeness, tuple(entries))
    measure = next((size.measure for entry in entries for size in entry.sizes if size.measure), None)
    sized = sorted(
        (
            (size.base, e.product.sku, e)
            for e in entries
            for size in e.sizes
            if size.measure == measure and size.base
        ),
        reverse="large" in words,
    )
    if (
        len(sized) < _COMPARED
        or len({e.product.sku for _, _, e in sized}) != len(sized)
        or len(sized) != len(entries)
        or sized[0][0] == sized[1][0]
    ):
        return None
    return Match(Fit.RELAXED, sized[0][2], likeness, tuple(entries))


def _tells(catalogue: IndexedCatalogue, rest: Iterable[str], dropped: str) -> bool:
    """Whether what stays is rarer than what is left out."""
    return (
        min(len(catalogue.posting(word)) for word in rest) <= len(catalogue.posting(dropped)) * _RELAXED_SHARE
    )
