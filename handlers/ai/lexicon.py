"""The words of the rules engine as typed tables, read once from the data files beside this module."""

import re
import tomllib
from dataclasses import dataclass
from importlib import resources

from handlers.ai.stems import stem

WordSet = frozenset[str]
Pattern = re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Every table of ``data/lexicon.toml`` and ``data/concepts.toml``; words are normalised, phrases joined
    by "_".
    """

    language_words: dict[str, WordSet]
    language_goods: dict[str, WordSet]
    function: WordSet
    polite: WordSet
    order_verbs: WordSet
    wish: WordSet
    business: WordSet
    generic: WordSet
    cues: dict[str, WordSet]
    quantities: dict[str, WordSet]
    singles: WordSet
    articles: WordSet
    units: dict[str, str]
    unit_kinds: dict[str, str]
    numbers: dict[str, int]
    number_parts: dict[str, WordSet]
    noise: dict[str, WordSet]
    concepts: dict[str, str]
    distinctive: WordSet
    adjectives: WordSet
    phrases: dict[str, tuple[tuple[str, ...], ...]]

    def concept(self, word: str) -> str:
        """The concept of a normalised word or phrase; its stem where no group holds it."""
        return self.concepts.get(word) or self.concepts.get(stem(word)) or stem(word)


@dataclass(frozen=True, slots=True)
class IntentPatterns:
    """The compiled patterns of ``data/intents.toml`` by name."""

    by_name: dict[str, tuple[Pattern, ...]]

    def any(self, name: str, text: str) -> bool:
        """Whether one of the patterns of that name occurs in the normalised text."""
        return any(pattern.search(text) for pattern in self.by_name[name])

    def count(self, name: str, text: str) -> int:
        """How many of the patterns of that name occur in the normalised text."""
        return sum(1 for pattern in self.by_name[name] if pattern.search(text))


def _read(name: str) -> dict[str, dict[str, str]]:
    text = resources.files("handlers.ai.data").joinpath(name).read_text(encoding="utf-8")
    return tomllib.loads(text)


def _words(value: str) -> WordSet:
    # An entry that ends in "_" is a reminder that the word is deliberately left to another table.
    return frozenset(word for word in value.split() if not word.endswith("_"))


def _tables(section: dict[str, str]) -> dict[str, WordSet]:
    return {name: _words(value) for name, value in section.items()}


def _units(section: dict[str, str]) -> dict[str, str]:
    table: dict[str, str] = {}
    for name, value in section.items():
        for word in _words(value):
            table.setdefault(word, name)
    return table


def _group_lines(groups: dict[str, str]) -> list[list[str]]:
    return [line.split() for block in groups.values() for line in block.splitlines() if line.strip()]


def _concepts(groups: dict[str, str]) -> dict[str, str]:
    """Word or stem to concept; "con:"/"sin:" entries are keyed by the concept of the word they qualify."""
    table: dict[str, str] = {}
    qualified: list[tuple[str, str]] = []
    for name, *members in _group_lines(groups):
        for word in [name, *members]:
            if word[:4] in {"con:", "sin:"}:
                qualified.append((word, name))
            elif not word.endswith("_"):
                table.setdefault(word, name)
                table.setdefault(stem(word), name)
    for word, name in qualified:
        base = word[4:]
        table[word[:4] + (table.get(base) or table.get(stem(base)) or stem(base))] = name
    return table


def _phrases(words: list[str]) -> dict[str, tuple[tuple[str, ...], ...]]:
    """First word to the phrases that begin with it, longest first."""
    table: dict[str, set[tuple[str, ...]]] = {}
    for word in words:
        if "_" in word and not word.endswith("_"):
            parts = tuple(word.split("_"))
            table.setdefault(parts[0], set()).add(parts)
    return {first: tuple(sorted(parts, key=len, reverse=True)) for first, parts in table.items()}


def _load() -> Lexicon:
    raw, groups = _read("lexicon.toml"), _read("concepts.toml")["groups"]
    stop, cues, quantities = raw["stop"], _tables(raw["cues"]), _tables(raw["quantities"])
    concepts = _concepts(groups)
    tables = [*cues.values(), *quantities.values(), *_tables(stop).values()]
    phrase_words = [word for table in tables for word in table] + list(concepts)
    distinctive = {
        line[0] for name in ("sizes", "colours", "forms") for line in _group_lines({name: groups[name]})
    }
    numbers = dict(entry.split("=") for entry in raw["numbers"]["words"].split())
    return Lexicon(
        language_words=_tables(raw["languages"]),
        language_goods=_tables(raw["language_goods"]),
        function=_words(stop["function"]),
        polite=_words(stop["polite"]),
        order_verbs=_words(stop["order_verbs"]) | _words(stop["wish"]),
        wish=_words(stop["wish"]),
        business=_words(stop["business"]),
        generic=_words(stop["generic"]),
        cues=cues,
        quantities=quantities,
        singles=_words(raw["goods"]["single"]),
        articles=_words(raw["goods"]["articles"]),
        units=_units(raw["units"]),
        unit_kinds=_units(raw["unit_kinds"]),
        numbers={word: int(value) for word, value in numbers.items()},
        number_parts={name: _words(raw["numbers"][name]) for name in ("half", "quarter", "pair")},
        noise=_tables(raw["noise"]),
        concepts=concepts,
        distinctive=frozenset(distinctive),
        adjectives=frozenset(
            line[0] for name in ("sizes", "colours") for line in _group_lines({name: groups[name]})
        ),
        phrases=_phrases(phrase_words),
    )


def _load_intents() -> IntentPatterns:
    text = resources.files("handlers.ai.data").joinpath("intents.toml").read_text(encoding="utf-8")
    raw: dict[str, list[str]] = tomllib.loads(text)
    return IntentPatterns(
        {name: tuple(re.compile(_whole(p)) for p in patterns) for name, patterns in raw.items()}
    )


def _whole(pattern: str) -> str:
    """Patterns match whole words only; one that begins with an anchor or a sign is left as it is."""
    return pattern if not pattern[0].isalpha() and pattern[0] != "(" else r"\b(?:" + pattern + r")(?!\w)"


LEXICON = _load()
INTENTS = _load_intents()
