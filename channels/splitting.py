"""Long texts in parts that a provider takes, and how many segments an SMS needs. Every character is kept.

Lengths are counted in UTF-16 code units, which is never less than characters: a provider may count either, and a part
that is a little short is taken by both.
"""

import re
import unicodedata
from collections.abc import Iterator

_ZWJ = "\u200d"
# Where a text is best cut, the best first, with how much of the room a part must fill for it (a cut at the first blank of
# a text without others would make one part of three letters). The cut is behind the match.
_BREAKS: tuple[tuple[re.Pattern[str], float], ...] = (
    (re.compile(r"\n[^\S\n]*\n\s*"), 0.5),  # a paragraph
    (re.compile(r"\n\s*"), 0.5),  # a line
    (re.compile(r"(?:[.!?…]+[\"'»”)\]]*\s+|[。！？]+[」』”）]*\s*)"), 0.5),  # a sentence  # noqa: RUF001
    (re.compile(r"\s+"), 0.25),
)
# 3GPP TS 23.038, section 6.2.1: the default alphabet, and what needs an escape before it.
_GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_ESCAPED = frozenset("\f^{}\\[~]|€")
_GSM_ALONE, _GSM_JOINED = 160, 153
_UCS_ALONE, _UCS_JOINED = 70, 67


def units(text: str) -> int:
    """The text's length in UTF-16 code units."""
    return len(text) + sum(char > "\uffff" for char in text)


def split_text(text: str, limit: int) -> tuple[str, ...]:
    """The text in parts of at most ``limit`` UTF-16 code units (2 at least), in order; joined they are the text.

    Cuts are at the end of a paragraph, a line, a sentence or a word where there is one, else between two characters as
    readers see them (grapheme clusters), and within such a one only if it is longer than a part. An empty text is one
    part.
    """
    if limit < 2:  # noqa: PLR2004 - a character beyond the basic plane has two units
        raise ValueError("a part must have room for any one character")
    parts = []
    while units(text) > limit:
        cut = _cut(text, limit)
        parts.append(text[:cut])
        text = text[cut:]
    return (*parts, text)


def count_segments(text: str) -> int:
    """How many SMS the text is carried in; Twilio's NumSegments. An empty one is one."""
    if all(char in _GSM or char in _GSM_ESCAPED for char in text):
        septets = len(text) + sum(char in _GSM_ESCAPED for char in text)
        return _segments(septets, _GSM_ALONE, _GSM_JOINED)
    return _segments(units(text), _UCS_ALONE, _UCS_JOINED)


def _segments(length: int, alone: int, joined: int) -> int:
    return 1 if length <= alone else -(-length // joined)


def _cut(text: str, limit: int) -> int:
    """Where the first part ends, for a text that is longer than the limit."""
    longest = _fitting(text, limit)
    for pattern, share in _BREAKS:
        ends = (match.end() for match in pattern.finditer(text, 0, longest + 1))
        # One that reaches past the room is cut there: what is left of its blanks begins the next part.
        cut = max((min(end, longest) for end in ends), default=0)
        if (
            cut >= longest * share and _is_boundary(text, cut) and text[:cut].strip()
        ):  # blank parts are refused
            return cut
    return next((cut for cut in range(longest, 0, -1) if _is_boundary(text, cut)), longest)


def _fitting(text: str, limit: int) -> int:
    """How many characters have room."""
    room = limit
    for index, char in enumerate(text):
        room -= 2 if char > "\uffff" else 1
        if room < 0:
            return index
    return len(text)


def _is_boundary(text: str, index: int) -> bool:
    """Whether no grapheme cluster lies across the index; Unicode Standard Annex 29, the rules that messages meet:
    marks and variation selectors, joined emoji, skin tones, flags, Hangul letters, CR LF.
    """
    before, after = text[index - 1], text[index]
    if before + after == "\r\n":
        return False
    if _ZWJ in {before, after} or _extends(after):
        return False
    if _is_flag_letter(before) and _is_flag_letter(after):
        return _flag_letters_before(text, index) % 2 == 0
    return not (_is_hangul(before) and "\u1160" <= after <= "\u11ff")


def _extends(char: str) -> bool:
    if "\U0001f3fb" <= char <= "\U0001f3ff" or "\U000e0020" <= char <= "\U000e007f":  # skin tones, tags
        return True
    return char >= "\u0300" and unicodedata.category(char) in {"Mn", "Me", "Mc"}


def _is_flag_letter(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _flag_letters_before(text: str, index: int) -> int:
    return sum(1 for _ in _run_before(text, index))


def _run_before(text: str, index: int) -> Iterator[str]:
    for char in reversed(text[:index]):
        if not _is_flag_letter(char):
            return
        yield char


def _is_hangul(char: str) -> bool:
    return "\u1100" <= char <= "\u11ff" or "\uac00" <= char <= "\ud7a3"
