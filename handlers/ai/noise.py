"""Numbers that are no quantities: telephones, addresses, money, times, invoices."""

import re
from collections.abc import Sequence

from handlers.ai.lexicon import LEXICON
from handlers.ai.text import Kind, Token

_GREETERS = frozenset(
    {
        "hi",
        "hello",
        "hey",
        "dear",
        "hola",
        "oi",
        "ola",
        "estimado",
        "estimada",
        "prezado",
        "prezada",
        "buenas",
        "morning",
        "cara",
        "caro",
        "querido",
        "querida",
        "gracias",
        "thanks",
        "obrigado",
        "obrigada",
        "valeu",
        "fala",
    }
)
_NAME_ENDS = frozenset({",", ":", "!", "\n", "."})
_NAME_WORDS = 2
_INTRODUCERS = frozenset({"soy", "somos", "sou"})
_YEARS = range(2011, 2036)
_LABEL_REACH = 4
_STREET_LABELS = frozenset({"calle", "avenida", "av", "avda", "rua", "street", "carretera"})
_NEAR_LABELS = frozenset(
    {
        "mesa",
        "table",
        "sala",
        "room",
        "piso",
        "floor",
        "andar",
        "suite",
        "apto",
        "depto",
        "pin",
        "cuenta",
        "conta",
        "site",
    }
)
_ENDS_LABEL = frozenset({"", "\n", "//", ","})
_LONG = 6  # digits: longer numbers are telephones, folios, codes
_PHONE_GROUPS = 3
_ORDINAL_ENDS = frozenset(
    {"st", "nd", "rd", "th", "ro", "ra", "er", "era", "ero", "do", "da", "to", "ta", "mo", "vo", "no"}
)
_MONEY = frozenset("$€£%#")
_CURRENCIES = frozenset(
    {"pesos", "reais", "dolares", "dollars", "euros", "usd", "mxn", "brl", "ars", "r$", "bucks"}
)
_TIME_OPENERS = frozenset(
    {
        "las",
        "as",
        "at",
        "antes",
        "before",
        "after",
        "despues",
        "depois",
        "until",
        "till",
        "hasta",
        "ate",
        "by",
        "la",
    }
)
_STREETS = frozenset(
    {
        "street",
        "st",
        "road",
        "rd",
        "avenue",
        "ave",
        "lane",
        "ln",
        "drive",
        "square",
        "blvd",
        "boulevard",
        "court",
        "close",
        "terrace",
        "dock",
    }
)


def noise_positions(tokens: Sequence[Token]) -> set[int]:
    """Positions of tokens that ask for nothing: uncounted numbers, salutations, introductions."""
    taken = _salutations(tokens) | _introductions(tokens)
    for position, token in enumerate(tokens):
        if token.kind is Kind.NUM and position not in taken:
            taken |= _noise_at(tokens, position)
    return taken


def _salutations(tokens: Sequence[Token]) -> set[int]:
    """As in "Hi Ana," and "Estimada Sole:" name a person: at most two words up to a separator."""
    taken: set[int] = set()
    for position, token in enumerate(tokens):
        if token.norm not in _GREETERS:
            continue
        end = position + 1
        while end < len(tokens) and tokens[end].kind is Kind.WORD and end - position <= _NAME_WORDS:
            end += 1
        named = range(position + 1, end)
        if (
            end < len(tokens)
            and tokens[end].norm in _NAME_ENDS
            and all(tokens[i].norm not in LEXICON.wish for i in named)
        ):
            taken |= set(named)
    return taken


def _introductions(tokens: Sequence[Token]) -> set[int]:
    """As in "Soy Dani del bar Tres Cuartos,": all up to the separator, unless digits or a wish come first."""
    taken: set[int] = set()
    end = 0
    for position in range(len(tokens)):
        if position < end or not _introduces(tokens, position):
            continue  # what begins inside an introduction ends where that one ends
        end = position + 1
        while end < len(tokens) and tokens[end].kind is Kind.WORD and tokens[end].norm not in LEXICON.wish:
            end += 1
        if end == len(tokens) or tokens[end].kind is not Kind.NUM:
            taken.update(range(position, end))
    return taken


def _introduces(tokens: Sequence[Token], position: int) -> bool:
    """Whether an introduction opens here; only a clause's beginning can: "3 soy milk" is an order."""
    norm, following = tokens[position].norm, tokens[position + 1] if position + 1 < len(tokens) else None
    before = tokens[position - 1] if position else None
    opens_clause = before is None or before.kind is Kind.SEP or before.norm in LEXICON.polite
    if following is None or not opens_clause:
        return False
    named = following.capital or following.norm in {
        "del",
        "de",
        "da",
        "do",
        "la",
        "el",
        "o",
        "a",
        "from",
        "los",
        "las",
    }
    if norm in _INTRODUCERS:
        return named
    if norm in {"aqui", "habla", "fala", "this"}:
        return following.norm in {"e", "es", "o", "a", "el", "la", "is"}
    return norm in {"its", "im"} and following.capital


def _noise_at(tokens: Sequence[Token], position: int) -> set[int]:
    if _norm(tokens, position + 1) in _ORDINAL_ENDS and tokens[position + 1].glued:
        return {position, position + 1}  # "3rd", "2do": which one, not how many
    run = _digit_run(tokens, position)
    digits = sum(len(re.sub(r"\D", "", tokens[i].norm)) for i in run)
    if _is_year(tokens, position) or _is_list_number(tokens, position):
        return {position}
    if len(run) >= _PHONE_GROUPS or digits > _LONG or (len(run) == 2 and digits > _LONG):  # noqa: PLR2004 - "5555 0132"
        return set(run)
    for check in (_clock, _money, _labelled, _followed):
        found = check(tokens, position)
        if found:
            return found
    return set()


def _is_list_number(tokens: Sequence[Token], position: int) -> bool:
    """As in "1. 10 kg carrots", "2) 5 kg": the number of a line."""
    opens_line = _norm(tokens, position - 1) in {"", "\n"}
    pointed = _norm(tokens, position + 1) in {".", ")"} and tokens[position + 1].glued
    return (
        opens_line
        and pointed
        and tokens[position].norm.isdigit()
        and _norm(tokens, position + 2) not in {"", "\n", "//"}
    )


def _is_year(tokens: Sequence[Token], position: int) -> bool:
    norm, after = tokens[position].norm, _norm(tokens, position + 1)
    plausible = len(norm) == 4 and norm.isdigit() and int(norm) in _YEARS  # noqa: PLR2004 - digits of a year
    return (
        plausible and after not in LEXICON.units and position > 0 and tokens[position - 1].kind is Kind.WORD
    )


def _digit_run(tokens: Sequence[Token], position: int) -> list[int]:
    """Neighbouring numbers without words between them, as in a telephone number."""
    run = [position]
    cursor = position + 1
    while cursor < len(tokens):
        if tokens[cursor].kind is Kind.NUM and len(tokens[cursor].norm) > 1:
            run.append(cursor)
        elif tokens[cursor].norm not in {"-", ")", "("}:
            break
        cursor += 1
    return run


def _clock(tokens: Sequence[Token], position: int) -> set[int]:
    """As in "10:30", "a las 6", "antes de las 8", "8 a 14 h", "11-9" behind days or opening words."""
    if _norm(tokens, position + 1) == ":" and _is_num(tokens, position + 2) and tokens[position + 2].glued:
        return {position, position + 1, position + 2}
    before, earlier = _norm(tokens, position - 1), _norm(tokens, position - 2)
    opened = before in {"las", "as", "at"} or (before == "la" and earlier == "a")
    opened = (
        opened
        or (before in _TIME_OPENERS and before not in {"la", "by"})
        or (before == "de" and earlier in {"antes", "depois", "despues"})
    )
    if opened and _norm(tokens, position + 1) not in LEXICON.units and not _counts_word(tokens, position + 1):
        return {position}
    return set()


def _counts_word(tokens: Sequence[Token], position: int) -> bool:
    """Whether the number stands before a noun: "las 3 cajas", "at least"."""
    if position >= len(tokens) or tokens[position].kind is not Kind.WORD:
        return False
    norm = tokens[position].norm
    return (
        norm not in LEXICON.function
        and norm not in LEXICON.polite
        and norm not in LEXICON.noise["after"]
        and norm not in {"tomorrow", "hoy", "manana", "amanha", "today"}
    )


def _money(tokens: Sequence[Token], position: int) -> set[int]:
    before, after = _norm(tokens, position - 1), _norm(tokens, position + 1)
    if (
        before in _MONEY
        or after in {"%", "€", "$"}
        or after in _CURRENCIES
        or (after == "mil" and _norm(tokens, position + 2) in _CURRENCIES)
    ):
        return {position}
    return set()


def _labelled(tokens: Sequence[Token], position: int) -> set[int]:
    """As in "Tel. 744", "factura A-2210", "calle Juárez 220": a word before that numbers things."""
    if _norm(tokens, position + 1) in LEXICON.units or _norm(tokens, position - 1) == "x":
        return set()
    for distance in range(1, _LABEL_REACH + 1):
        norm = _norm(tokens, position - distance)
        reach = 1 if norm in _NEAR_LABELS else _LABEL_REACH if norm in _STREET_LABELS else _LABEL_REACH - 1
        if norm in LEXICON.noise["before"] and distance <= reach:
            return {position}
        if norm in _ENDS_LABEL or _is_num(tokens, position - distance):
            return set()
    return set()


def _followed(tokens: Sequence[Token], position: int) -> set[int]:
    """As in "30 personas", "8 h", "7am", "18 Dock Street"."""
    after = _norm(tokens, position + 1)
    if after in LEXICON.noise["after"] or (
        after in {"-", "a", "to"}
        and _is_num(tokens, position + 2)
        and _norm(tokens, position + 3) in LEXICON.noise["after"]
    ):
        return {position, position + 2} if after in {"-", "a", "to"} else {position}
    if any(_norm(tokens, position + offset) in _STREETS for offset in (2, 3)) and _norm(
        tokens, position + 1
    ) not in {",", "\n"}:
        return {position}
    return set()


def _norm(tokens: Sequence[Token], position: int) -> str:
    return tokens[position].norm if 0 <= position < len(tokens) else ""


def _is_num(tokens: Sequence[Token], position: int) -> bool:
    return 0 <= position < len(tokens) and tokens[position].kind is Kind.NUM
