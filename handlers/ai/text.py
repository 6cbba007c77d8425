"""Tokens of a burst with their place in the original texts, e-mail quotes and signatures left out."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from handlers.ai.lexicon import LEXICON
from handlers.ai.stems import fold, shorten


class Kind(StrEnum):
    WORD = "word"
    NUM = "num"
    SEP = "sep"


@dataclass(frozen=True, slots=True)
class Token:
    """A word, number or separator: ``text`` is the message's index, ``start`` and ``end`` its place in it.

    ``glued`` says that no space parts it from the token before ("4kg", "6-8"); ``capital`` that it begins
    with one.
    """

    text: int
    start: int
    end: int
    norm: str
    kind: Kind
    glued: bool = False
    capital: bool = False


_NAMELESS = frozenset().union(
    LEXICON.function,
    LEXICON.order_verbs,
    LEXICON.business - set(LEXICON.concepts),
    LEXICON.polite - set(LEXICON.concepts),
    LEXICON.units,
    LEXICON.numbers,
    *LEXICON.number_parts.values(),
    *LEXICON.quantities.values(),
    *LEXICON.cues.values(),
)
MESSAGE_BREAK = "//"  # the separator token between two messages of a burst
_TOKEN = re.compile(
    r"(?P<power>(?:\d+|[½¼¾])(?:[.,/]\d+){0,2}(?:(?:[eE]\+?|\^|\*\*)\d+|[¹²³⁰-⁹])+)"
    r"|(?P<num>\d+(?:[.,]\d+)*|[½¼¾])"
    r"|(?P<abbr>\b[cspCSP]/[uU]?(?=[\s\w]|$))"
    r"|(?P<nro>\b(?:[nN][ºo°]\.?|[nN]ro\.?|[nN]\.º)(?=\s?\d))"
    r"|(?P<word>[^\W\d_]+(?:['\u2019\u00b4`][^\W\d_]+)*)"
    r"|(?P<sep>\n|[^\s\w]|_)"
)
POWER = "^"  # "1e9", "2^3", "10²": nobody orders so, and no value of it is safe
EMOJI = "emoji"  # parts clauses like a comma
_LONGEST_NUMBER = (
    40  # characters: nobody counts so far, and Python turns no more than 4,300 digits into a number
)
_PICTURES = 0x2600
_VARIATION = frozenset({0xFE0F, 0x200D})
_ABBREVIATIONS = {"c/": "con", "s/": "sin", "p/": "para", "c/u": "cada", "s/u": "sin", "p/u": "para"}
_MARKS = frozenset("\n,.;:?!/+-\u2013\u2014()[]•*·|=&#$%@\"'“”>→°")


def tokenize(texts: Sequence[str]) -> list[Token]:
    """The tokens of all messages in order, phrases joined, messages parted by MESSAGE_BREAK."""
    tokens: list[Token] = []
    for index, text in enumerate(texts):
        if tokens:
            tokens.append(Token(index, 0, 0, MESSAGE_BREAK, Kind.SEP))
        tokens.extend(join_phrases(_dehyphenate(list(_raw_tokens(index, text)))))
    return tokens


def _raw_tokens(index: int, text: str) -> Iterator[Token]:
    last_end = -1
    for begin, end in body_ranges(text):
        for match in _TOKEN.finditer(text, begin, end):
            kind, norm = _classify(match)
            if norm:
                glued = match.start() == last_end
                last_end = match.end()
                if not (glued and norm == "s"):  # "the 750s"
                    yield Token(
                        index, match.start(), match.end(), norm, kind, glued, text[match.start()].isupper()
                    )


def _classify(match: re.Match[str]) -> tuple[Kind, str]:
    raw, group = match.group(), match.lastgroup
    if group == "num":
        return Kind.NUM, {"½": "0.5", "¼": "0.25", "¾": "0.75"}.get(raw, raw[:_LONGEST_NUMBER])
    if group == "power":
        return Kind.WORD, POWER
    if group == "abbr":
        return Kind.WORD, _ABBREVIATIONS[raw.casefold()]
    if group == "nro":
        # "no 8" in "no espere, no 8" is a negation; only the written number sign is one.
        return Kind.WORD, "no" if raw.casefold() == "no" else "nro"
    if group == "word":
        return Kind.WORD, shorten(fold(raw))
    return Kind.SEP, raw if raw in _MARKS else EMOJI if ord(raw) > _PICTURES and ord(
        raw
    ) not in _VARIATION else ""


def _dehyphenate(tokens: list[Token]) -> list[Token]:
    """Without the hyphens inside words ("coca-cola"); those between numbers or spaces stay."""
    kept: list[Token] = []
    for position, token in enumerate(tokens):
        if token.norm == "-" and token.glued and 0 < position < len(tokens) - 1:
            after, before = tokens[position + 1], tokens[position - 1]
            if (
                after.glued
                and Kind.WORD in (after.kind, before.kind)
                and Kind.SEP not in (after.kind, before.kind)
            ):
                continue
        kept.append(token)
    return kept


def join_phrases(tokens: list[Token]) -> list[Token]:
    """Phrases of the lexicon as one token, its words joined by "_"; the longest phrase wins."""
    joined: list[Token] = []
    position = 0
    while position < len(tokens):
        size = _phrase_size(tokens, position)
        joined.append(tokens[position] if size == 1 else _join(tokens[position : position + size]))
        position += size
    return joined


def _phrase_size(tokens: list[Token], position: int) -> int:
    for phrase in LEXICON.phrases.get(tokens[position].norm, ()):
        window = tokens[position : position + len(phrase)]
        if len(window) == len(phrase) and all(t.norm == w for t, w in zip(window, phrase, strict=True)):
            return len(phrase)
    return 1


def _join(tokens: list[Token]) -> Token:
    first, last = tokens[0], tokens[-1]
    norm = "_".join(token.norm for token in tokens)
    return Token(first.text, first.start, last.end, norm, Kind.WORD, first.glued, first.capital)


def content_words(text: str) -> frozenset[str]:
    """The words of a text that can name a product, as concepts, so that "tomates" and "tomato" meet: without
    numbers, units, cues ("quita", "instead") and words of grammar and politeness.
    """
    norms = (token.norm for token in tokenize([text]) if token.kind is Kind.WORD)
    naming = (norm for norm in norms if len(norm) > 1 and norm.isidentifier() and norm not in _NAMELESS)
    return frozenset(concept for norm in naming for concept in LEXICON.concept(norm).split("+"))


# --- e-mail: what the customer wrote now, without quotes and signature ----------------------------

_QUOTE = re.compile(
    r"^(?:>|-{2,}\s*(?:original|mensaje|mensagem|forwarded)|_{5,}|(?:on|el|em|le)\b.{4,120}\b(?:wrote|escribi[oó]|escreveu)\s*:"
    r"|(?:from|de|sent|enviado el|enviado em)\s*:\s.*@)",
    re.IGNORECASE,
)
_CLOSINGS = (
    r"saludos|un saludo|cordiales saludos|saludos cordiales|(?:un )?(?:besos?|abrazo)",
    r"(?:muchas |mil )?gracias|un placer",
    r"atte|atentamente|cordialmente|quedo atent[oa]|enviado (?:do|desde) .*|thank you",
    r"(?:many )?(?:thanks|thx)",
    r"(?:kind |best |warm )?regards|best(?: wishes)?|all the best|cheers|ta|sincerely|warmly|respectfully",
    r"yours(?: sincerely| faithfully| truly)?|sent from .*|att|at\.?te|sds|atenciosamente|abs",
    r"bjs?|falou|valeu",
    r"(?:um )?(?:abra[cç]os?|beijos?)|obrigad[oa]|grat[oa]|desde j[aá] (?:agrade[cç]o|obrigad[oa])|--",
)
_CLOSING = re.compile(
    rf"^(?:{'|'.join(_CLOSINGS)})" + r"[\s,.!:;🙏👍]*(?:[^\W\d]+[\s,.!]*){0,2}$",
    re.IGNORECASE,
)
_LONGEST_CLOSING = 200  # characters: a longer line is a text, and slow to compare with every closing
_ITEM_LINE = re.compile(
    r"\d\s*(?:kg|kilos?|quilos?|cajas?|caixas?|cx|cases?|box(?:es)?|pacotes?|paquetes?|packs?|bolsas?|bags?|manojos?|trays?)\b",
    re.IGNORECASE,
)


def body_ranges(text: str) -> list[tuple[int, int]]:
    """The places of the lines that hold the customer's own words; everything after a quote head or closing
    is left out.
    """
    lines = _lines(text)
    last_item = _last_item_line(text, lines)
    kept: list[tuple[int, int]] = []
    for position, (begin, end) in enumerate(lines):
        line = text[begin:end].strip()
        if _QUOTE.match(line):
            if line.startswith(">"):
                continue
            break
        if position >= max(last_item, 1) and len(line) <= _LONGEST_CLOSING and _CLOSING.match(line):
            break
        kept.append((begin, end))
    return kept


def _lines(text: str) -> list[tuple[int, int]]:
    return [(match.start(), match.end()) for match in re.finditer(r"[^\n]*\n|[^\n]+$", text)]


def _last_item_line(text: str, lines: list[tuple[int, int]]) -> int:
    """The last line of the customer's own that counts something in a unit: no letter ends before it."""
    return max(
        (
            place
            for place, (begin, end) in enumerate(lines)
            if not text.startswith(">", begin) and _ITEM_LINE.search(text, begin, end)
        ),
        default=0,
    )
