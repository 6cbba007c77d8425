"""The number grammar of es, en and pt: digits, words, fractions, dozens, ranges, each with the unit beside
it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from handlers.ai.lexicon import LEXICON
from handlers.ai.text import POWER, Kind, Token
from handlers.ai.types import Language

_ARTICLES = frozenset({"un", "una", "uno", "um", "uma", "a", "an", "one"})
_ANOTHER = frozenset({"otro", "otra", "outro", "outra", "another"})
_PLURAL_KILOS = frozenset({"kilos", "kgs", "quilos", "litros", "kg"})
_AND = frozenset({"y", "e", "and", "con"})
_OF = frozenset({"de", "of", "d", "a", "an", "the", "del"})
_RANGE_JOINTS = frozenset({"-", "\u2013", "a", "o", "ou", "or", "to", "u", "hasta", "ate"})
_RANGE_OPENERS = frozenset({"entre", "between", "de", "from"})
_THOUSAND = 1000
_HUNDRED = 100
_DOZEN = 12
_SMALLEST_PACK = 4
_SHORT_UNIT = 4  # letters: "kilo de" counts once, "kg de" does not
_FAR = 99
# Words that say a number by themselves, articles and words with another meaning left out.
COUNTING = frozenset(LEXICON.numbers) - _ARTICLES - {"once"}
_IDLE = LEXICON.function | LEXICON.polite | LEXICON.wish | LEXICON.business | LEXICON.order_verbs
_OF_MORE = LEXICON.cues["more"] | {"de", "of"}
_COUNT_CUES = frozenset().union(*(LEXICON.cues[name] for name in ("remove", "less", "add", "more")))
_RANGE_RATIO = 5  # "2 o 3" is a range; "600 o 5" is not one


@dataclass(frozen=True, slots=True)
class Amount:
    """A number as written, tokens ``start`` to ``end``: value, unit class and word, and what is special
    about it.

    ``extra`` is "another"; ``packs`` names the pieces of a pack ("caja de 24"); ``high`` closes a range;
    ``weak`` marks an article that may be no number; ``dozens`` counts pieces; ``vague`` has no value;
    ``code`` is part of a name ("A4", "v2"); ``tail`` is the place of a half behind the product ("una coca
    y media").
    """

    start: int
    end: int
    value: Decimal
    unit: str | None = None
    unit_at: int | None = None
    high: Decimal | None = None
    weak: bool = False
    dozens: bool = False
    vague: bool = False
    halves: bool = False
    packs: bool = False
    extra: bool = False
    code: bool = False
    tail: tuple[int, int] | None = None


def parse_digits(raw: str, language: Language) -> Decimal:
    """A written number: "1.000" is a thousand in es and pt, "1,000" in en; otherwise comma and point are
    decimal.
    """
    grouping = "," if language is Language.EN else "."
    if re.fullmatch(r"[1-9]\d{0,2}(?:[.,]\d{3})+", raw) and (
        grouping in raw or len(re.findall("[.,]", raw)) > 1
    ):
        return Decimal(re.sub("[.,]", "", raw))
    head, *tail = re.split("[.,]", raw)
    return Decimal(f"{head}.{''.join(tail)}" if tail else head)


def is_worded(norm: str) -> bool:
    """Whether digits are a name, no number: "000", "0.0"."""
    return norm in LEXICON.concepts or (norm.startswith("00") and norm.isdigit())


class NumberReader:
    """Reads amounts off a token list; one reader per burst."""

    def __init__(self, tokens: Sequence[Token], language: Language) -> None:
        self._tokens = tokens
        self._language = language

    def read_all(self, taken: set[int]) -> list[Amount]:
        """The amounts in order; tokens in ``taken`` (dates, telephone numbers) are passed over."""
        amounts: list[Amount] = []
        position = 0
        while position < len(self._tokens):
            amount = None if position in taken or self._is_name(position) else self.read(position)
            if amount is None or any(i in taken for i in range(amount.start, amount.end)):
                position += 1
                continue
            if self._names_pack(amount, amounts):
                amount = replace(amount, packs=True)
            if amount.packs and amounts and amounts[-1].weak:
                amounts[-1] = replace(amounts[-1], weak=False)
            amounts.append(amount)
            position = amount.end
        return amounts

    def _names_pack(self, amount: Amount, before: list[Amount]) -> bool:
        """As in "Caja de 24", "cx c/ 24", "a 24 of", "una de 24": the number says what one pack holds."""
        countable = not (amount.dozens or amount.code)
        if not countable or amount.unit not in {None, "piece", "pack"} or amount.value < _SMALLEST_PACK:
            return False
        opener, earlier = self._norm(amount.start - 1), self._unit(amount.start - 2)
        if opener in {"con", "com", "with"} and amount.unit is None:
            return True
        if opener in {"de", "of", "d", "x"} and earlier in {"box", "pack"}:
            return True
        gap = amount.start - before[-1].end if before else _FAR
        near = gap == 0 or (gap == 1 and opener in {"de", "of", "x"})
        return (
            near
            and before[-1].value < amount.value
            and before[-1].unit in {None, "box", "pack"}
            and not before[-1].dozens
        )

    def _is_name(self, position: int) -> bool:
        """Digits that the lexicon knows as words ("0.0", "000") and capitalised number words inside names
        ("Tres Cuartos").
        """
        token = self._tokens[position]
        before = self._tokens[position - 1] if position else None
        inside = before is not None and before.kind is Kind.WORD and before.capital
        return (token.kind is Kind.NUM and is_worded(token.norm)) or (
            token.capital and inside and token.norm in LEXICON.numbers
        )

    def read(self, position: int) -> Amount | None:
        """The amount or range that begins at the token, or None."""
        first = self._read_single(position)
        opener = self._norm(position) in _RANGE_OPENERS
        if opener:
            first = self._read_single(position + 1)
        if first is None:
            return None
        closed = self._close_range(first, opener=opener)
        if closed is None:
            return None if opener else first
        return replace(closed, start=position)

    def _close_range(self, first: Amount, *, opener: bool) -> Amount | None:
        joint = self._norm(first.end)
        between = opener and self._norm(first.start - 1) in {"entre", "between"}
        if joint not in _RANGE_JOINTS and not (between and joint in _AND):
            return None
        second = self._read_single(first.end + 1)
        if (
            second is None
            or first.weak
            or first.code
            or not first.value < second.value <= first.value * _RANGE_RATIO
        ):
            return None
        if joint == "-" and not self._tokens[first.end].glued and not opener:
            return None
        return replace(second, high=second.value, value=first.value)

    # --- one amount -------------------------------------------------------------------------------

    def _read_single(self, position: int) -> Amount | None:
        amount = (
            self._vague(position)
            or self._fraction(position)
            or self._plain(position)
            or self._bare_unit(position)
        )
        if amount is None:
            return None
        amount = self._with_half(amount)
        amount = self._with_dozen(amount)
        return self._with_half(self._with_unit(amount))

    def _vague(self, position: int) -> Amount | None:
        norm = self._norm(position)
        if (norm not in LEXICON.quantities["vague"] or norm == "some") and norm != POWER:
            return None
        return Amount(position, position + 1, Decimal(0), vague=True)

    def _fraction(self, position: int) -> Amount | None:
        """Half and quarter with a unit or a dozen behind: "medio kilo", "half a dozen", "tres cuartos de
        kilo".
        """
        count, after = self._fraction_head(position)
        if count is None:
            return None
        while self._norm(after) in _OF:
            after += 1
        if self._norm(after) in {"milheiro", "millar", "thousand"}:
            return Amount(position, after + 1, count * _THOUSAND)
        if self._unit(after) is None:
            return self._implied_kilo(position, count)
        return Amount(position, after, count, halves=True)

    def _implied_kilo(self, position: int, count: Decimal) -> Amount | None:
        """As in "tres cuartos de queso", "medio de queso": parts are of a kilo."""
        if self._norm(position) in {"medio", "meio"} and self._norm(position + 1) == "de":
            return Amount(position, position + 1, count, unit="kg", halves=True)
        end = position + 1 + (self._norm(position + 1) in {"cuartos", "cuarto"})
        if (
            self._norm(end - 1) not in {"cuartos", "cuarto", "quarters"}
            or self._norm(end) != "de"
            or count == 1
        ):
            return None
        return Amount(position, end, count, unit="kg", halves=True)

    def _fraction_head(self, position: int) -> tuple[Decimal | None, int]:
        parts = LEXICON.number_parts
        word, following = self._norm(position), self._norm(position + 1)
        if word in parts["half"]:
            return Decimal("0.5"), position + 1
        if word in parts["quarter"]:
            return Decimal("0.25"), position + 1
        if following in {"cuarto", "cuartos", "quarter", "quarters", "quartos"} and word in LEXICON.numbers:
            return Decimal(LEXICON.numbers[word]) / 4, position + 2
        if word in _ARTICLES and following in {"half", "quarter"}:
            return Decimal("0.5" if following == "half" else "0.25"), position + 2
        return None, position

    def _plain(self, position: int) -> Amount | None:
        word = self._norm(position)
        if word in {"x", "por"} and self._is_num(position + 1):
            inner = self._digits(position + 1)
            return inner and replace(inner, start=position)
        pair = self._pair(position) or self._another(position)
        return pair or self._digits(position) or self._words(position)

    def _pair(self, position: int) -> Amount | None:
        start = position
        if self._norm(position) in _ARTICLES:
            position += 1
        if self._norm(position) not in LEXICON.number_parts["pair"]:
            return None
        return Amount(start, position + 1, Decimal(2))

    def _another(self, position: int) -> Amount | None:
        """As in "Otro maple", "another case", "otra de zero", "outra coca": one more, where no number
        follows.
        """
        if self._norm(position) not in _ANOTHER:
            return None
        said = self._unit(position + 1) is not None or self._norm(position + 1) in _OF_MORE
        said = said or (self._norm(position - 1) in _COUNT_CUES and self._closes(position + 1))
        if not said and not self._names_goods(position + 1):
            return None
        return Amount(position, position + 1, Decimal(1), weak=not said, extra=True)

    def _closes(self, position: int) -> bool:
        following = self._tokens[position] if position < len(self._tokens) else None
        return following is None or following.kind is Kind.SEP or following.norm in LEXICON.polite

    def _names_goods(self, position: int) -> bool:
        following = self._tokens[position] if position < len(self._tokens) else None
        word = following is not None and following.kind is Kind.WORD
        return word and self._norm(position) not in _IDLE and self._norm(position) not in LEXICON.numbers

    def _digits(self, position: int) -> Amount | None:
        if not self._is_num(position):
            return None
        raw, end = self._norm(position), position + 1
        if self._is_code(position):
            return Amount(position, end, parse_digits(raw, self._language), code=True)
        value = self._slash_fraction(position)
        if value is not None:
            return Amount(position, position + 3, value, halves=True)
        value = parse_digits(raw, self._language)
        mixed = self._slash_fraction(end) if self._is_num(end) else None
        if mixed is not None and not self._tokens[end].glued:
            return Amount(position, end + 3, value + mixed, halves=True)
        if self._is_num(end) and self._tokens[end].norm in {"0.5", "0.25", "0.75"}:
            return Amount(position, end + 1, value + Decimal(self._tokens[end].norm), halves=True)
        end, value = self._thousands(end, value)
        if self._norm(end) == "x" and not self._is_num(end + 1):
            end += 1
        return Amount(position, end, value)

    def _is_code(self, position: int) -> bool:
        """As in "A4", "v2": a number that hangs on a single letter, if that does not hang on a number."""
        letter = self._tokens[position - 1] if position else None
        lone = letter is not None and letter.kind is Kind.WORD and letter.end - letter.start == 1
        joined = position > 1 and letter is not None and letter.glued and self._is_num(position - 2)
        return lone and self._tokens[position].glued and not joined and self._norm(position - 1) != "x"

    def _thousands(self, end: int, value: Decimal) -> tuple[int, Decimal]:
        if self._norm(end) == "k" and self._tokens[end].glued:
            return end + 1, value * _THOUSAND
        scale = LEXICON.numbers.get(self._norm(end), 0)
        if scale in {_HUNDRED, _THOUSAND} and self._norm(end) in {
            "mil",
            "thousand",
            "hundred",
            "milheiro",
            "milheiros",
            "millar",
            "millares",
        }:
            return end + 1, value * scale
        return end, value

    def _slash_fraction(self, position: int) -> Decimal | None:
        window = self._tokens[position : position + 3]
        if len(window) < 3 or window[1].norm != "/" or not (window[1].glued and window[2].glued):  # noqa: PLR2004 - n / n
            return None
        numerator, denominator = window[0].norm, window[2].norm
        if (
            denominator not in {"2", "3", "4", "8"}
            or not numerator.isdigit()
            or int(numerator) >= int(denominator)
        ):
            return None
        return (Decimal(numerator) / Decimal(denominator)).quantize(Decimal("0.001")).normalize()

    def _words(self, position: int) -> Amount | None:
        """A number in words: "treinta y cinco", "two hundred", "mil e quinhentos"."""
        total, current, end, last = 0, 0, position, 0
        while (value := self._number_word(end)) is not None:
            if end > position and not _follows(last, value):
                break
            total, current = _accumulate(total, current, value)
            last, end = value, end + 1
            following = self._number_word(end + 1)
            if (
                self._norm(end) in {"y", "e", "and"}
                and following is not None
                and self._joined(last, following)
            ):
                end += 1
        if end == position:
            return None
        lone = end == position + 1 and self._norm(position) in _ARTICLES
        weak = lone and self._norm(position - 1) not in _COUNT_CUES
        return Amount(position, end, Decimal(total + current), weak=weak)

    def _joined(self, last: int, value: int) -> bool:
        """Spanish joins tens and units only: "doscientos y una caja" is two numbers."""
        return _joins(last, value) and (last < _HUNDRED or self._language is not Language.ES)

    def _number_word(self, position: int) -> int | None:
        word = self._norm(position)
        if word in {"once", "um"} and self._language is Language.EN:
            return None
        if word in _ARTICLES and not self._counts_something(position):
            return None
        if word == "dos" and self._language is Language.PT:
            return None  # "of the"
        if word in {"a", "an"}:
            return 1 if self._language is Language.EN and self._article_counts(position) else None
        return LEXICON.numbers.get(word)

    def _counts_something(self, position: int) -> bool:
        """As in "The baby one, 4 bags" and "la uno" count nothing: an article counts the word behind it."""
        if self._norm(position - 1) in _COUNT_CUES:
            return True  # "quita una", "menos una", "mais uma"
        if self._norm(position - 1) in {"the", "this", "that", "which", "la", "el", "cada", "each"}:
            return False
        following = self._tokens[position + 1] if position + 1 < len(self._tokens) else None
        return (
            following is not None
            and following.kind is not Kind.SEP
            and following.norm not in {"and", "y", "e", "pls", "please"}
        )

    def _article_counts(self, position: int) -> bool:
        following = self._norm(position + 1)
        if self._unit(position + 1) is not None or following in {"hundred", "thousand"}:
            return True
        if self._is_num(position + 1):
            return self._norm(position) == "a" and self._unit(position + 2) not in {"kg", "g", "l"}
        return bool(following) and self._tokens[position + 1].kind is Kind.WORD and following not in _IDLE

    def _bare_unit(self, position: int) -> Amount | None:
        """As in "Kilo y medio", "docena de", "kilo de": a unit that counts once without a number."""
        unit = self._unit(position)
        if unit is None or (position and self._is_num(position - 1)):
            return None
        if (
            unit in {"l", "kg"}
            and self._norm(position - 1) == "de"
            and len(self._norm(position)) >= _SHORT_UNIT
        ):
            return Amount(position, position, Decimal(1)) if self._unit(position - 2) is None else None
        counted = unit == "dozen" or (
            unit == "kg"
            and self._norm(position + 1) in {"de", "of"}
            and len(self._norm(position)) >= _SHORT_UNIT
        )
        if not counted and not self._half_follows(position + 1):
            return None
        return Amount(position, position, Decimal(1))

    # --- what follows the number ------------------------------------------------------------------

    def _half_follows(self, position: int, *, counted: bool = False) -> int:
        """How many tokens "y medio", "and a half", "e meia" take here; 0 if they are not here.

        After a counted unit "2 kg y medio kilo de ajo" begins a new item, so a unit behind the half forbids
        it.
        """
        if self._norm(position) not in _AND:
            return 0
        if self._norm(position + 1) in LEXICON.number_parts["half"]:
            new_item = self._unit(position + 2) is not None if counted else self._is_new_half(position + 2)
            return 0 if new_item else 2
        return 3 if self._norm(position + 1) == "a" and self._norm(position + 2) == "half" else 0

    def _is_new_half(self, position: int) -> bool:
        """As in "200 e meio milheiro", "3 y medio kilo" begin a new amount; "dos y medio kilos" does not."""
        scale = self._norm(position) in {"milheiro", "millar", "thousand"}
        return scale or (self._unit(position) is not None and self._norm(position) not in _PLURAL_KILOS)

    def _with_half(self, amount: Amount) -> Amount:
        if amount.code:
            return amount
        size = self._half_follows(amount.end, counted=amount.unit is not None or amount.dozens)
        if not size or amount.vague:
            return amount
        half = Decimal(6) if amount.dozens else Decimal("0.5")
        return replace(amount, value=amount.value + half, end=amount.end + size, halves=not amount.dozens)

    def _with_dozen(self, amount: Amount) -> Amount:
        if self._unit(amount.end) != "dozen" or amount.vague or amount.code:
            return amount
        end = amount.end + 1
        dozen = replace(amount, value=amount.value * _DOZEN, end=end, dozens=True, weak=False, halves=False)
        return self._with_half(dozen)

    def _with_unit(self, amount: Amount) -> Amount:
        if amount.code:
            return amount
        position = amount.end
        if self._norm(position) in {"de", "of"} and amount.dozens:
            position += 1
        if (
            amount.halves
            and self._norm(position) in {"de", "of", "d"}
            and self._unit(position + 1) in {"kg", "l"}
        ):
            position += 1
        unit = self._unit(position)
        if unit is None or unit == "dozen" or (unit in {"g", "l", "m"} and self._shouted(position)):
            return amount
        return replace(amount, end=position + 1, unit=unit, unit_at=position, weak=False)

    def _shouted(self, position: int) -> bool:
        """A letter of a clothing size after a space ("1 g e 1 m") is no unit where another follows; "500 g"
        is.
        """
        lone = self._norm(position) == "m" and not self._tokens[position].glued
        return lone and len(self._norm(position - 1)) == 1

    # --- tokens -----------------------------------------------------------------------------------

    def _norm(self, position: int) -> str:
        return self._tokens[position].norm if 0 <= position < len(self._tokens) else ""

    def _is_num(self, position: int) -> bool:
        return 0 <= position < len(self._tokens) and self._tokens[position].kind is Kind.NUM

    def _unit(self, position: int) -> str | None:
        return LEXICON.units.get(self._norm(position))


def _follows(last: int, value: int) -> bool:
    """Whether a number word continues the one before without a joint: "two hundred", "thirty five", "mil
    doscientos".
    """
    if value in {_HUNDRED, _THOUSAND}:
        return last < value
    return (last >= _HUNDRED and value < last) or (20 <= last < _HUNDRED and last % 10 == 0 and value < 10)  # noqa: PLR2004 - tens and units


def _joins(last: int, value: int) -> bool:
    """Whether "y", "e", "and" between the two makes one number: "treinta y cinco", "cento e vinte"."""
    if last >= _HUNDRED:
        return value < _HUNDRED or (last >= _THOUSAND and value < _THOUSAND)
    return 20 <= last < _HUNDRED and last % 10 == 0 and 0 < value < 10  # noqa: PLR2004 - tens and units


def _accumulate(total: int, current: int, value: int) -> tuple[int, int]:
    if value == _THOUSAND:
        return total + max(current, 1) * _THOUSAND, 0
    if value == _HUNDRED and 0 < current < 10:  # noqa: PLR2004 - "two hundred"
        return total, current * _HUNDRED
    return total, current + value
