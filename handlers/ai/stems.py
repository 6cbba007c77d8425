"""Normal form and stem of a word: one small rule set for es, en and pt, the same for messages and
catalogues.
"""

import re
import unicodedata

_VOWELS = "aeiouy"
_SHORT = 4  # words up to this length only lose a plural s: "copo" and "copa" differ


def fold(text: str) -> str:
    """Case-folded text without accents and apostrophes: "Jack Daniel's" becomes "jack daniels"."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    kept = "".join(c for c in decomposed if not unicodedata.combining(c))
    return re.sub(r"['\u2019\u00b4`]", "", kept)


def shorten(word: str) -> str:
    """A word without chat elongations: "holaaa" becomes "hola"."""
    return re.sub(r"([a-z])\1{2,}", r"\1", word)


def stem(word: str) -> str:
    """A folded word without plural and final vowels, so that "tomates", "tomato" and "tomatoes" meet."""
    if not word.isalpha() or not word.isascii():
        return word
    base = _singular(word)
    while len(base) > _SHORT and base[-1] in _VOWELS:
        base = base[:-1]
    return base


def _singular(word: str) -> str:
    for ending, replacement in (("veis", "vel"), ("oes", "o"), ("ao", "o"), ("ais", "al")):
        if word.endswith(ending) and len(word) > _SHORT:
            return word[: -len(ending)] + replacement
    if word.endswith("s") and not word.endswith("ss") and len(word) >= _SHORT:
        word = word[:-1]
    return word[:-1] + "c" if word.endswith("z") and len(word) > _SHORT else word


def sound(word: str) -> str:
    """A rough phonetic key for typing errors by ear: "xedar" and "cheddar" meet."""
    key = word
    for old, new in _SOUNDS:
        key = key.replace(old, new)
    return re.sub(r"(.)\1+", r"\1", key).rstrip(_VOWELS)


_SOUNDS = (
    ("sh", "x"), ("ch", "x"), ("ph", "f"), ("qu", "k"), ("lh", "y"), ("ll", "y"), ("nh", "n"), ("ck", "k"),
    ("ce", "se"), ("ci", "si"), ("ge", "je"), ("gi", "ji"), ("c", "k"), ("z", "s"), ("v", "b"), ("h", ""),
    ("y", "i"), ("w", "u"), ("ei", "e"), ("ou", "o"),
)  # fmt: skip
