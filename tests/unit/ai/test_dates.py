"""Delivery days counted from Wednesday, 15 April 2026."""

import pytest

from tests.unit.ai.shop import ask

DAYS = [
    ("es", "para hoy", "2026-04-15"),
    ("es", "para mañana", "2026-04-16"),
    ("es", "mañana por la mañana", "2026-04-16"),
    ("es", "pasado mañana", "2026-04-17"),
    ("es", "para el viernes", "2026-04-17"),
    ("es", "el miércoles", "2026-04-22"),
    ("es", "antes del lunes", "2026-04-20"),
    ("es", "en 3 días", "2026-04-18"),
    ("es", "dentro de tres días", "2026-04-18"),
    ("es", "el 20 de mayo", "2026-05-20"),
    ("es", "para el día 18", "2026-04-18"),
    ("es", "el día 10", "2026-05-10"),
    ("es", "22/04", "2026-04-22"),
    ("es", "viernes 17 de abril", "2026-04-17"),
    ("es", "lunes 7am", "2026-04-20"),
    ("es", "jueves o viernes", None),
    ("es", "el fin de semana", None),
    ("es", "lo antes posible", None),
    ("es", "en la mañana", None),
    ("es", "a las 8", None),
    ("es", "el jueves, no, mejor el viernes", "2026-04-17"),
    ("en", "today", "2026-04-15"),
    ("en", "tomorrow", "2026-04-16"),
    ("en", "the day after tomorrow", "2026-04-17"),
    ("en", "by Friday", "2026-04-17"),
    ("en", "on Weds", "2026-04-22"),
    ("en", "next monday", "2026-04-20"),
    ("en", "in 3 days", "2026-04-18"),
    ("en", "on 3 June", "2026-06-03"),
    ("en", "June 3rd", "2026-06-03"),
    ("en", "on the 20th", "2026-04-20"),
    ("en", "tonight", "2026-04-15"),
    ("en", "asap", None),
    ("en", "Thursday or Friday", None),
    ("en", "this weekend", None),
    ("en", "before 10 tomorrow", "2026-04-16"),
    ("pt", "pra hoje", "2026-04-15"),
    ("pt", "hj", "2026-04-15"),
    ("pt", "amanhã cedo", "2026-04-16"),
    ("pt", "depois de amanhã", "2026-04-17"),
    ("pt", "na sexta", "2026-04-17"),
    ("pt", "sexta-feira", "2026-04-17"),
    ("pt", "segunda de manhã", "2026-04-20"),
    ("pt", "2ª feira", "2026-04-20"),
    ("pt", "daqui a 3 dias", "2026-04-18"),
    ("pt", "em dois dias", "2026-04-17"),
    ("pt", "dia 20", "2026-04-20"),
    ("pt", "5 de maio", "2026-05-05"),
    ("pt", "22/04", "2026-04-22"),
    ("pt", "de manhã", None),
    ("pt", "quinta ou sexta", None),
]
ORDERS = {
    "es": "quiero 3 kg de tomate, entrega {}",
    "en": "we need 3 kg tomatoes please, delivery {}",
    "pt": "preciso de 3 kg de tomate, entrega {}",
}


@pytest.mark.parametrize(("language", "words", "day"), DAYS)
def test_day(language: str, words: str, day: str | None) -> None:
    """One named day is the delivery day; two, none or a time of day alone are not."""
    extraction = ask(ORDERS[language].format(words), language=language)

    assert extraction.delivery_date == (
        None
        if day is None
        else type(extraction.delivery_date).fromisoformat(day)
        if extraction.delivery_date
        else day
    )
    assert [o.quantity for o in extraction.operations] == [3]


def test_no_day_without_an_order() -> None:
    """A question about a day names no delivery day."""
    assert ask("¿abren mañana?").delivery_date is None
