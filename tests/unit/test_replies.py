"""Answers: the order's own names and numbers, the customer's language, never too long, never a promise."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.orders import LineRow, OrderRow
from handlers.ai.types import Language
from handlers.replies import LONGEST_REPLY, Reply, render_reply

NOW = datetime(2026, 7, 6, tzinfo=UTC)
ALL = [(kind, language) for kind in Reply for language in Language]


def order(**fields: Any) -> OrderRow:
    values: dict[str, Any] = {
        "id": UUID(int=1), "conversation_id": None, "customer_id": None, "channel": "SMS", "status": "PENDING",
        "requires_review": False, "review_reasons": [], "unmatched": [], "delivery_date": None, "currency": "MXN",
        "total_amount": Decimal("1234.5"), "confidence": Decimal(1), "confirmed_at": None, "created_at": NOW, "updated_at": NOW,
        **fields,
    }  # fmt: skip
    return OrderRow(**values)


def line(
    name: str = "Coca-Cola 600 ml", quantity: str = "2", price: str | None = "10", band: str = "auto"
) -> LineRow:
    money = None if price is None else Decimal(price)
    return LineRow(
        "A",
        None,
        name,
        "caja",
        Decimal(quantity),
        money,
        Decimal(quantity) * (money or 0),
        Decimal(1),
        band,
        "",
    )


@pytest.mark.parametrize(("kind", "language"), ALL)
def test_every_answer_exists_in_every_language_without_open_slots(kind: Reply, language: Language):
    text = render_reply(kind, language, order(delivery_date=date(2026, 7, 10)), [line()], ["coca"])

    assert text
    assert "{" not in text
    assert "\n\n" not in text


@pytest.mark.parametrize("kind", Reply)
def test_the_languages_differ(kind: Reply):
    assert len({render_reply(kind, language) for language in Language}) == len(Language)


def test_a_summary_has_lines_total_and_day():
    text = render_reply(
        Reply.SUMMARY, Language.ES, order(delivery_date=date(2026, 7, 10)), [line(), line("Agua", "0.500")]
    )

    assert text.splitlines() == [
        "Tu pedido:",
        "• 2 caja - Coca-Cola 600 ml",
        "• 0.5 caja - Agua",
        "Total: 1,234.50 MXN",
        "Entrega: 2026-07-10",
        "¿Lo confirmas? Responde SÍ, o dinos qué cambiar.",
    ]


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("kind", [Reply.SUMMARY, Reply.REVIEW])
def test_an_order_that_took_anothers_place_says_so_first(kind: Reply, language: Language):
    replaced = render_reply(kind, language, order(), [line()], replaced=True).splitlines()

    assert replaced[1:] == render_reply(kind, language, order(), [line()]).splitlines()


def test_a_total_is_only_told_when_every_line_has_a_price():
    assert "Total" not in render_reply(Reply.SUMMARY, Language.EN, order(), [line(), line(price=None)])


def test_doubts_quote_the_customer_and_name_unsure_lines():
    text = render_reply(Reply.REVIEW, Language.EN, order(), [line(band="confirm")], ["three\n cokes"])

    assert "“three cokes”" in text
    assert "To be confirmed: Coca-Cola 600 ml." in text


@given(
    names=st.lists(st.text(min_size=1, max_size=300), max_size=80),
    unmatched=st.lists(st.text(max_size=3000), max_size=30),
    kind=st.sampled_from(Reply),
    language=st.sampled_from(Language),
)
def test_no_answer_is_longer_than_ten_messages(
    names: list[str], unmatched: list[str], kind: Reply, language: Language
):
    lines = [line(name, band="confirm") for name in names]
    text = render_reply(kind, language, order(), lines, unmatched, replaced=True)

    assert len(text) <= LONGEST_REPLY


def test_lines_have_all_the_room_that_a_reply_has():
    text = render_reply(Reply.SUMMARY, Language.ES, order(), [line(f"Producto {n:014}") for n in range(400)])

    assert text.count("•") == 400
    assert "más" not in text


def test_what_has_no_room_is_counted():
    lines = [line(f"Producto {n:014}") for n in range(1000)]
    text = render_reply(Reply.SUMMARY, Language.ES, order(), lines)

    assert LONGEST_REPLY - 40 < len(text) <= LONGEST_REPLY
    assert f"… y {1000 - text.count('•')} más" in text
    assert text.endswith("¿Lo confirmas? Responde SÍ, o dinos qué cambiar.")


def test_the_longest_names_that_the_catalogue_takes_fit():
    lines = [line("x" * 200, band="confirm") for _ in range(600)]

    assert all(
        len(render_reply(kind, Language.ES, order(), lines, ["y" * 3000] * 9)) <= LONGEST_REPLY
        for kind in Reply
    )


def test_braces_in_names_and_words_are_just_braces():
    text = render_reply(Reply.REVIEW, Language.EN, order(), [line("{total} {0}")], ["{lines}"])

    assert "{total} {0}" in text
    assert "{lines}" in text
