"""What customers are answered, in their language: templates filled by code with the catalogue's names and
the order's numbers.
"""

import tomllib
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from importlib import resources
from types import MappingProxyType

from db.orders import LineRow, OrderRow
from handlers.ai.types import Language

# What ten messages of a provider hold (handlers.outbound_parts). A longer reply names as many lines as have room and counts
# the others.
LONGEST_REPLY = 15_000
_LONGEST_SPAN = 60


class Reply(StrEnum):
    """The kinds of answers."""

    SUMMARY = "summary"
    REVIEW = "review"
    NOT_FOUND = "not_found"
    CONFIRMED = "confirmed"
    CONFIRMED_REVIEW = "confirmed_review"
    CANCELLED = "cancelled"
    CANCEL_REQUESTED = "cancel_requested"
    GREETING = "greeting"
    QUESTION = "question"
    HANDOFF = "handoff"
    TEXT_ONLY = "text_only"
    NO_ORDER = "no_order"
    WHAT_TO_CHANGE = "what_to_change"
    HELP = "help"


def _read_texts() -> Mapping[Language, Mapping[str, str]]:
    text = resources.files("handlers").joinpath("replies.toml").read_text(encoding="utf-8")
    return MappingProxyType(
        {Language(name): MappingProxyType(texts) for name, texts in tomllib.loads(text).items()}
    )


_TEXTS = _read_texts()


def render_reply(
    kind: Reply,
    language: Language,
    order: OrderRow | None = None,
    lines: Sequence[LineRow] = (),
    unmatched: Sequence[str] = (),
    *,
    replaced: bool = False,
    tenant: str = "",
) -> str:
    """The text of an answer. Names and prices are the order's own; ``unmatched`` quotes the customer; ``replaced`` says
    that an earlier order was closed for this one; ``tenant`` is who answers.
    """
    texts = _TEXTS[language]
    slots = {
        "total": _total(texts, order, lines),
        "delivery": _delivery(texts, order),
        "doubts": _doubts(texts, lines, unmatched),
        "replaced": texts["replaced"] if replaced else "",
        "tenant": tenant,
    }
    room = LONGEST_REPLY - len(_filled(texts[kind], slots, ""))
    return _filled(texts[kind], slots, _line_list(texts, lines, room))


def _filled(template: str, slots: Mapping[str, str], lines: str) -> str:
    text = template.format(lines=lines, **slots)
    return "\n".join(line for line in text.splitlines() if line.strip())


def _line_list(texts: Mapping[str, str], lines: Sequence[LineRow], room: int) -> str:
    rendered = [f"• {format_number(line.quantity)} {line.unit} - {line.product_name}" for line in lines]
    kept = _fitting(rendered, room)
    if len(kept) == len(rendered):
        return "\n".join(kept)
    kept = _fitting(kept, room - len(texts["more"].format(count=len(rendered))) - 1)
    return "\n".join([*kept, texts["more"].format(count=len(rendered) - len(kept))])


def _fitting(rendered: Sequence[str], room: int) -> list[str]:
    kept: list[str] = []
    for line in rendered:
        room -= len(line) + 1
        if room < 0:
            break
        kept.append(line)
    return kept


def _total(texts: Mapping[str, str], order: OrderRow | None, lines: Sequence[LineRow]) -> str:
    """The total, only if every line has a price: a sum that leaves something out would be a promise."""
    if order is None or any(line.unit_price is None for line in lines):
        return ""
    return texts["total"].format(amount=f"{order.total_amount:,.2f} {order.currency}")


def _delivery(texts: Mapping[str, str], order: OrderRow | None) -> str:
    if order is None or order.delivery_date is None:
        return ""
    return texts["delivery"].format(day=format_day(order.delivery_date))


def _doubts(texts: Mapping[str, str], lines: Sequence[LineRow], unmatched: Sequence[str]) -> str:
    unsure = [_shortened(line.product_name) for line in lines if line.band == "confirm"]
    spans = "; ".join(f"“{_shortened(span)}”" for span in unmatched[:5])
    return "\n".join(
        [
            *([texts["doubts"].format(spans=spans)] if unmatched else []),
            *([texts["unsure"].format(names=", ".join(unsure[:5]))] if unsure else []),
        ]
    )


def _shortened(span: str) -> str:
    one_line = " ".join(span.split())
    return one_line if len(one_line) <= _LONGEST_SPAN else f"{one_line[: _LONGEST_SPAN - 1]}…"


def format_number(value: Decimal) -> str:
    """A quantity without trailing zeros: 2, 0.5, 1200."""
    return f"{value.normalize():f}"


def format_day(day: date) -> str:
    """A day that es, en and pt readers take for the same: 2026-07-10 as 10/07/2026 would not be."""
    return day.isoformat()
