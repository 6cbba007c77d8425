"""What customers wrote, made safe to show to a model, and the proof that a model's quotation really is
theirs.
"""

import unicodedata
from collections.abc import Iterator, Sequence

from handlers.ai.text import body_ranges

_BREAK = "\0"  # between places that a quotation must not span; no cleaned text holds it
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})


def clean(text: str, limit: int | None = None) -> str:
    """Text without control, bidi, tag and other invisible characters; line breaks stay, other white space is
    a blank.
    """
    kept = "".join(_visible(char) for char in text)
    return kept.strip() if limit is None else kept.strip()[:limit]


def own_words(text: str) -> str:
    """A message without the e-mails that it quotes and without its signature."""
    return "".join(text[begin:end] for begin, end in body_ranges(text))


def _visible(char: str) -> str:
    if char in "\n\u2028\u2029":
        return "\n"
    if char.isspace():
        return " "
    return "" if unicodedata.category(char) in _HIDDEN else char


class Quotes:
    """The customer's own words of a burst, searchable without regard to case, accents and white space."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = tuple(texts)
        self._folded = [_fold_places(text, body_ranges(text)) for text in self._texts]

    def find(self, quotation: str) -> str | None:
        """The quotation as it stands in one of the texts, at word boundaries; None if nobody wrote it."""
        needle = "".join(char for char, _ in _fold(quotation, 0, len(quotation))).strip()
        if not any(char.isalnum() for char in needle):
            return None
        for text, (folded, places) in zip(self._texts, self._folded, strict=True):
            start = _find_words(folded, needle)
            if start is not None:
                return text[places[start] : places[start + len(needle) - 1] + 1]
        return None


def _fold_places(text: str, ranges: Sequence[tuple[int, int]]) -> tuple[str, list[int]]:
    """The folded text and, for each of its characters, the place in the original."""
    pairs: list[tuple[str, int]] = []
    last_end = 0
    for begin, end in ranges:
        if begin != last_end:
            pairs.append((_BREAK, begin))
        pairs.extend(_fold(text, begin, end))
        last_end = end
    return "".join(char for char, _ in pairs), [place for _, place in pairs]


def _fold(text: str, begin: int, end: int) -> Iterator[tuple[str, int]]:
    blank = False
    for place in range(begin, end):
        for char in _fold_char(text[place]):
            if char == " " and blank:
                continue
            blank = char == " "
            yield char, place


def _fold_char(char: str) -> str:
    """The character without case and accents; one blank for white space, nothing for what cannot be seen."""
    visible = _visible(char)
    if not visible or visible.isspace():
        return " " if visible else ""
    decomposed = unicodedata.normalize("NFKD", visible.casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c) and not c.isspace())


def _find_words(folded: str, needle: str) -> int | None:
    start = folded.find(needle)
    while start != -1:
        if not _splits_word(folded, start) and not _splits_word(folded, start + len(needle)):
            return start
        start = folded.find(needle, start + 1)
    return None


def _splits_word(folded: str, cut: int) -> bool:
    """Whether a cut there parts two letters or two digits ("3kg" may be parted)."""
    if not 0 < cut < len(folded):
        return False
    before, after = folded[cut - 1], folded[cut]
    return (before.isalpha() and after.isalpha()) or (before.isdigit() and after.isdigit())
