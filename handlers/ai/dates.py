"""Delivery days in es, en and pt: relative days, weekdays, days of a month, counted from the tenant's local
date.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from handlers.ai.lexicon import LEXICON
from handlers.ai.text import Kind, Token
from handlers.ai.types import Language


def _table(*groups: str, first: int = 0) -> dict[str, int]:
    """Every word of a group to the group's number."""
    return {word: number for number, words in enumerate(groups, start=first) for word in words.split()}


_RELATIVE = _table(
    "hoy today hoje hj tonight 2day",
    "manana amanha tomorrow tomorrows tomorow tommorow tommorrow tmrw tmr tomo tomoz",
)
_WEEKDAYS = _table(
    "lunes lun monday mon mondays",
    "martes tuesday tue tues tuesdays",
    "miercoles mie mier wednesday wed weds wednesdays wendsday wensday",
    "jueves jue thursday thu thur thurs thursdays",
    "viernes vie friday fri fridays",
    "sabado sab saturday sat saturdays",
    "domingo dom sunday sun sundays",
)
_WEEKDAYS_PT = _table(
    "segunda seg", "terca", "quarta qua", "quinta qui", "sexta sex", "sabado sab", "domingo dom"
)
_FEIRA = _table("2", "3", "4", "5", "6")
_MONTHS_EN = _table(
    "january jan",
    "february feb",
    "march mar",
    "april apr",
    "may",
    "june jun",
    "july jul",
    "august aug",
    "september sept sep",
    "october oct",
    "november nov",
    "december dec",
    first=1,
)
_MONTHS_LATIN = _table(
    "enero ene janeiro jan",
    "febrero feb fevereiro fev",
    "marzo mar marco",
    "abril abr",
    "mayo may maio mai",
    "junio jun junho",
    "julio jul julho",
    "agosto ago",
    "septiembre setiembre sep sept set setembro",
    "octubre oct outubro out",
    "noviembre nov novembro",
    "diciembre dic dezembro dez",
    first=1,
)
_MORNING_OPENERS = frozenset({"la", "las", "da", "de", "na", "pela", "por", "in"})
_OTHER_DAYS = frozenset({"buen", "bom", "medio", "meio"})  # "bom dia 3 caixas": a greeting, "medio día": noon
_DAYS = frozenset({"dia", "dias", "days", "day"})
_IN = frozenset({"en", "in", "dentro", "em", "daqui"})
_ORDINALS = frozenset({"st", "nd", "rd", "th", "o"})
_DATE_TOKENS = 3  # day, sign, month
_LAST_DAY = 31
_LAST_MONTH = 12
_WEEKDAY_REACH = timedelta(days=14)
_HORIZON = timedelta(days=60)


@dataclass(frozen=True, slots=True)
class DateMention:
    """A day named by the tokens ``start`` to ``end``; ``day`` is None where it names no single day
    ("weekend").
    """

    start: int
    end: int
    day: date | None


class DateReader:
    """Finds the days that a burst names; ``today`` is the tenant's local date."""

    def __init__(self, tokens: Sequence[Token], language: Language, today: date) -> None:
        self._tokens = tokens
        self._language = language
        self._today = today
        self._weekdays = {**_WEEKDAYS, **_WEEKDAYS_PT} if language is Language.PT else _WEEKDAYS
        self._months = _MONTHS_EN if language is Language.EN else _MONTHS_LATIN

    def read_all(self) -> Iterator[DateMention]:
        """The mentions in order of place."""
        position = 0
        while position < len(self._tokens):
            mention = self._read(position)
            if mention is None:
                position += 1
            else:
                yield mention
                position = mention.end

    def _read(self, position: int) -> DateMention | None:
        readers = (
            self._day_after,
            self._in_days,
            self._relative,
            self._feira,
            self._weekday,
            self._numeric,
            self._month_day,
            self._day_number,
        )
        return next((found for reader in readers if (found := reader(position)) is not None), None)

    def _mention(self, start: int, end: int, day: date | None) -> DateMention:
        return DateMention(start, end, day)

    def _after(self, days: int) -> date:
        return self._today + timedelta(days=days)

    def _day_after(self, position: int) -> DateMention | None:
        words = [self._norm(position + offset) for offset in range(5)]
        if words[:2] in (["pasado", "manana"], ["depois", "amanha"]):
            return self._mention(position, position + 2, self._after(2))
        if words[:3] == ["depois", "de", "amanha"] or words[:3] == ["day", "after", "tomorrow"]:
            return self._mention(position, position + 3, self._after(2))
        return None

    def _in_days(self, position: int) -> DateMention | None:
        if self._norm(position) not in _IN:
            return None
        number_at = position + (2 if self._norm(position + 1) in {"de", "a"} else 1)
        count = self._small_number(number_at)
        if count is None or self._norm(number_at + 1) not in _DAYS:
            return None
        return self._mention(position, number_at + 2, self._after(count))

    def _relative(self, position: int) -> DateMention | None:
        word = self._norm(position)
        if (
            word == "manana"
            and self._norm(position - 1) in _MORNING_OPENERS
            and self._norm(position - 2) not in {"", "para"}
        ):
            return self._morning(position)
        if word in _RELATIVE:
            return self._mention(position, position + 1, self._after(_RELATIVE[word]))
        if word in {"this", "esta"} and self._norm(position + 1) in {
            "afternoon",
            "evening",
            "morning",
            "tarde",
            "noche",
            "noite",
            "manana",
        }:
            return self._mention(position, position + 2, self._today)
        if word in {"weekend", "finde"} or (word == "fim" and self._norm(position + 2) == "semana"):
            return None
        return None

    def _morning(self, position: int) -> DateMention | None:
        """As in "En la mañana" is a time of day; "para la mañana" too, so neither names a day."""
        return (
            self._mention(position, position + 1, self._today) if self._norm(position - 1) == "esta" else None
        )

    def _feira(self, position: int) -> DateMention | None:
        if self._language is not Language.PT:
            return None
        number = re.fullmatch(r"([2-6])", self._norm(position))
        ordinal = self._norm(position + 1)
        if number and ordinal in {"a", "ª", "feira"} and (self._glued(position + 1) or ordinal == "feira"):
            end = position + (3 if self._norm(position + 2) == "feira" else 2)
            return self._mention(position, end, self._next(_FEIRA[number.group(1)]))
        return None

    def _weekday(self, position: int) -> DateMention | None:
        word = self._norm(position)
        if word not in self._weekdays and not self._short_weekday(position):
            return None
        if self._language is Language.PT and not self._names_pt_day(position):
            return None
        weekday = self._weekdays.get(word, 1)
        end = position + 1
        while self._norm(end) in {"feira", "que", "vem", "next"} or (
            self._norm(end) == "-" and self._norm(end + 1) == "feira"
        ):
            end += 1
        return self._month_day(end, start=position) or self._mention(position, end, self._next(weekday))

    def _short_weekday(self, position: int) -> bool:
        """As in "mar" and "ter" are words of their own; after an article or "-feira" they are Tuesday."""
        if self._norm(position) == "mar":
            return self._norm(position - 1) in {"el", "este"} and self._language is Language.ES
        return self._norm(position) == "ter" and (
            self._norm(position + 1) == "feira" or self._norm(position - 1) in {"na", "pra", "proxima"}
        )

    def _names_pt_day(self, position: int) -> bool:
        """As in "segunda" may be an ordinal ("a segunda caixa"): not before a noun of the catalogue, so
        before a unit.
        """
        return self._norm(position + 1) not in LEXICON.units or self._norm(position) not in {
            "segunda",
            "quarta",
            "quinta",
            "sexta",
            "terca",
        }

    def _next(self, weekday: int) -> date:
        return self._after((weekday - self._today.weekday() - 1) % 7 + 1)

    def _numeric(self, position: int) -> DateMention | None:
        """As in "22/06", "22-06-2026", "6/22": day first, month first where only that is a date."""
        window = self._tokens[position : position + 3]
        if (
            len(window) < _DATE_TOKENS
            or window[0].kind is not Kind.NUM
            or window[1].norm not in {"/", "-", "."}
            or not window[2].glued
        ):
            return self._dotted(position)
        first, second = window[0].norm, window[2].norm
        if not (first.isdigit() and second.isdigit()) or self._is_fraction(first, second, position):
            return None
        end = position + 3
        if self._norm(end) == window[1].norm and self._is_number(end + 1):
            end += 2
        elif window[1].norm == "-":
            return None  # "6-8" is a range
        day = self._near(int(first), int(second)) or self._near(int(second), int(first))
        return self._mention(position, end, day) if day else None

    def _dotted(self, position: int) -> DateMention | None:
        matched = re.fullmatch(r"(\d{1,2})\.(\d{2})\.(?:20)?\d{2}", self._norm(position))
        day = self._near(int(matched[1]), int(matched[2])) if matched else None
        return self._mention(position, position + 1, day) if day else None

    def _is_fraction(self, first: str, second: str, position: int) -> bool:
        return (
            second in {"2", "3", "4", "8"}
            and int(first) < int(second)
            and self._norm(position - 1) not in {"dia", "el", "para", "on", "pro", "entrega", "delivery"}
        )

    def _near(self, day: int, month: int) -> date | None:
        """That day within the horizon, this year or the next."""
        for year in (self._today.year, self._today.year + 1):
            found = _safe_date(year, month, day)
            if found and timedelta(0) <= found - self._today <= _HORIZON * 6:
                return found
        return None

    def _month_day(self, position: int, start: int | None = None) -> DateMention | None:
        """As in "20 de mayo", "3 June", "June 3rd", "the 3rd of June"."""
        begin = position if start is None else start
        at = position
        while start is not None and self._norm(at) in {",", "the", "el", "dia", "o"}:
            at += 1
        if self._is_number(at):
            return self._day_then_month(begin, at)
        month = self._months.get(self._norm(at)) if self._language is Language.EN else None
        if month is None or not self._is_number(at + 1):
            return None
        day = self._near(int(float(self._norm(at + 1).replace(",", "."))), month)
        return self._mention(begin, at + 2 + (self._norm(at + 2) in _ORDINALS), day) if day else None

    def _day_then_month(self, begin: int, at: int) -> DateMention | None:
        if not self._norm(at).isdigit():
            return None
        cursor = at + 1
        while self._norm(cursor) in _ORDINALS | {"de", "of"}:
            cursor += 1
        named = self._language is Language.EN or cursor > at + 1
        month = self._months.get(self._norm(cursor)) if named else None
        day = self._near(int(self._norm(at)), month) if month else None
        if day:
            return self._mention(begin, cursor + 1, day)
        return self._matching_day(begin, at) if begin != at else None

    def _matching_day(self, begin: int, at: int) -> DateMention | None:
        """As in "Viernes 15": a day number behind a weekday counts only if that day is such a weekday."""
        found = self._plain_day(begin, int(self._norm(at)), at + 1)
        named = self._weekdays.get(self._norm(begin))
        near = found is not None and found.day is not None and found.day - self._today <= _WEEKDAY_REACH
        return found if found and found.day and near and found.day.weekday() == named else None

    def _day_number(self, position: int) -> DateMention | None:
        """As in "el día 15", "para el 15", "on the 15th", "dia 15": the next such day."""
        if not self._is_number(position) or not self._norm(position).isdigit():
            return None
        before, earlier = self._norm(position - 1), self._norm(position - 2)
        ordinal = self._norm(position + 1) in {"st", "nd", "rd", "th"} and self._glued(position + 1)
        named = (
            (before == "dia" and earlier not in _OTHER_DAYS and self._norm(position + 1) not in LEXICON.units)
            or (before == "el" and self._ends_clause(position + 1))
            or (ordinal and before in {"the", "on", "by", "for", "until"})
        )
        if not named or (before == "el" and earlier in {"de", "en"}):
            return None
        start = position - (1 if before in {"dia", "el"} else 0)
        return self._plain_day(start, int(self._norm(position)), position + 1 + ordinal)

    def _plain_day(self, start: int, day: int, end: int) -> DateMention | None:
        if not 1 <= day <= _LAST_DAY:
            return None
        month = self._today.replace(day=1)
        for _ in range(3):
            found = _safe_date(month.year, month.month, day)
            if found and found > self._today:
                return self._mention(start, end, found)
            month = (month + timedelta(days=32)).replace(day=1)
        return None

    def _ends_clause(self, position: int) -> bool:
        return (
            position >= len(self._tokens)
            or self._tokens[position].kind is Kind.SEP
            or self._norm(position) in {"por", "a", "en", "temprano", "porfa", "gracias", "y"}
        )

    def _small_number(self, position: int) -> int | None:
        word = self._norm(position)
        value = int(word) if word.isdigit() else LEXICON.numbers.get(word)
        if word in {"a", "an"} or value is None:
            return None
        return value if value <= _HORIZON.days else None

    def _norm(self, position: int) -> str:
        return self._tokens[position].norm if 0 <= position < len(self._tokens) else ""

    def _glued(self, position: int) -> bool:
        return 0 <= position < len(self._tokens) and self._tokens[position].glued

    def _is_number(self, position: int) -> bool:
        return 0 <= position < len(self._tokens) and self._tokens[position].kind is Kind.NUM


def _safe_date(year: int, month: int, day: int) -> date | None:
    if not 1 <= month <= _LAST_MONTH or not 1 <= day <= _LAST_DAY:
        return None
    first = date(year, month, 1)
    found = first + timedelta(days=day - 1)
    return found if found.month == month else None
