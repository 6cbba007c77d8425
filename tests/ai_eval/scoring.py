"""The figures of the order-understanding evaluation: our own reading of the labelled sets' scoring rules."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

Row = Mapping[str, Any]
Pair = tuple[str, Decimal]

_EMPTY: Row = {"intent": None, "lines": [], "unmatched": [], "delivery_date": None}
_HALF = 0.5


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one group of rows; None where nothing was there to measure."""

    rows: int
    lines: int
    precision: float | None
    recall: float | None
    f1: float | None
    exact: float | None
    exact_all: float | None
    intent: float | None
    date: float | None
    dated: float | None
    unmatched_f1: float | None
    false_orders: float | None
    auto_precision: float | None
    auto_coverage: float | None


def groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows by language, tier, vertical, language/tier and whether a draft was open; empty groups are
    left out.
    """
    out: dict[str, list[Row]] = {"all": list(rows)}
    for field in ("language", "tier", "vertical"):
        for value in sorted({row[field] for row in rows}):
            out[f"{field}={value}"] = [row for row in rows if row[field] == value]
    for language, tier in sorted({(row["language"], row["tier"]) for row in rows}):
        out[f"{language}/{tier}"] = [
            row for row in rows if (row["language"], row["tier"]) == (language, tier)
        ]
    out["draft=empty"] = [row for row in rows if not row["draft"]]
    out["draft=open"] = [row for row in rows if row["draft"]]
    return {name: part for name, part in out.items() if part}


def measure(rows: Iterable[Row], predictions: Mapping[str, Row]) -> Figures:
    """The figures of the rows; a row without a prediction counts as an empty one."""
    count: Counter[str] = Counter()
    for row in rows:
        _count_row(count, row, {**_EMPTY, **predictions.get(row["id"], {})})
    n = count["rows"]
    return Figures(
        rows=n,
        lines=count["gold"],
        precision=_ratio(count["pair"], count["pred"]),
        recall=_ratio(count["pair"], count["gold"]),
        f1=_ratio(2 * count["pair"], count["pred"] + count["gold"]),
        exact=_ratio(count["exact"], n),
        exact_all=_ratio(count["exact_all"], n),
        intent=_ratio(count["intent"], n),
        date=_ratio(count["date"], n),
        dated=_ratio(count["dated_ok"], count["dated"]),
        unmatched_f1=_ratio(2 * count["span"], count["span_gold"] + count["span_pred"]),
        false_orders=_ratio(count["false"], count["no_lines"]),
        auto_precision=_ratio(count["auto_ok"], count["auto"]),
        auto_coverage=_ratio(count["auto_ok"], count["gold"]),
    )


def _count_row(count: Counter[str], row: Row, got: Row) -> None:
    expected = row["expect"]
    gold, pred = _pairs(expected["lines"]), _pairs(got["lines"])
    auto = _pairs([line for line in got["lines"] if line.get("band") == "auto"])
    exact, intent = gold == pred, expected["intent"] == got["intent"]
    date = expected["delivery_date"] == got["delivery_date"]
    flag = bool(expected["unmatched"]) == bool(got["unmatched"])
    count.update(rows=1, gold=gold.total(), pred=pred.total(), pair=(gold & pred).total())
    count.update(auto=auto.total(), auto_ok=(gold & auto).total())
    count.update(exact=exact, intent=intent, date=date, exact_all=exact and intent and date and flag)
    if expected["delivery_date"] is not None:
        count.update(dated=1, dated_ok=date)
    hits = span_hits(expected["unmatched"], got["unmatched"])
    count.update(span=hits, span_gold=len(expected["unmatched"]), span_pred=len(got["unmatched"]))
    if not expected["lines"]:
        count.update(no_lines=1, false=bool(got["lines"]))


def _pairs(lines: Iterable[Mapping[str, Any]]) -> Counter[Pair]:
    return Counter((line["sku"], Decimal(str(line["quantity"])).normalize()) for line in lines)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def span_hits(wanted: Sequence[str], got: Sequence[str]) -> int:
    """One-to-one hits: a span hits another when they share at least half of both spans' words."""
    left, hits = [_words(span) for span in got], 0
    for words in map(_words, wanted):
        best = max(left, key=lambda other: _overlap(words, other), default=None)
        if best is not None and _overlap(words, best) >= _HALF:
            left.remove(best)
            hits += 1
    return hits


def _overlap(one: set[str], two: set[str]) -> float:
    return len(one & two) / (len(one | two) or 1)


def _words(text: str) -> set[str]:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return set(re.findall(r"\w+", "".join(c for c in decomposed if not unicodedata.combining(c))))
