"""Orders by mail: understood from what the writer added, or from the subject where that is all."""

import pytest

from handlers.runtime import Runtime
from tests.fakes import FakeClock
from tests.integration.mail_desk import customer_mail, open_mail_desk

LETTER = """Hola, buenos días:

¿me mandas 2 cajas de coca 600 por favor?

Muchas gracias, saludos cordiales

--{space}
Rosa Delgado · Tienda Rosa
Av. 5 de Mayo 12, local 3 · Tel. +52 55 5555 0101

El lun, 23 nov 2026 a las 9:10, Bebidas del Valle (<pedidos@bebidas.example>)
escribió:

> Tu pedido:
> • 9 caja - Agua Ciel 1 L
> ¿Lo confirmas?
""".replace("{space}", " ")
SIGNATURE = "-- \nRosa Delgado, 3 locales, Tel. 55 5555 0101\n"


@pytest.mark.parametrize(("text", "subject", "lines"), [
    (LETTER, "Re: pedido 7 de la semana", {"COCA-600": 2}),
    ("", "2 cajas de coca 600", {"COCA-600": 2}),
    (SIGNATURE, "4 cajas de agua ciel", {"CIEL-1": 4}),
    ("Enviado desde mi iPhone", "Fwd: 4 cajas de agua ciel", {"CIEL-1": 4}),
    ("3 cajas de agua ciel", "2 cajas de coca 600", {"CIEL-1": 3}),
], ids=["letter", "subject-alone", "subject-and-signature", "subject-and-device", "the-text-goes-before-the-subject"])  # fmt: skip
async def test_a_mail_is_an_order(
    runtime: Runtime, clock: FakeClock, text: str, subject: str, lines: dict[str, int]
):
    desk = await open_mail_desk(runtime)
    await desk.receive(customer_mail(text, subject=subject))
    clock.advance(5)
    await desk.turn()

    ordered = await desk.rows("select sku, quantity from order_products")
    assert {line["sku"]: int(line["quantity"]) for line in ordered} == lines
    assert len(await desk.replies()) == 1
    (turn,) = await desk.rows("select extracted_data -> 'unmatched' as unmatched from ai_responses")
    assert turn["unmatched"] == []


async def test_thanks_in_an_answer_order_nothing_again(runtime: Runtime, clock: FakeClock):
    """The subject of an answer is the first mail's: what it says was said before."""
    desk = await open_mail_desk(runtime)
    await desk.receive(
        customer_mail("Gracias", subject="Re: 2 cajas de coca 600", In_Reply_To="<x@bebidas.example>")
    )
    clock.advance(5)
    await desk.turn()

    assert await desk.rows("select id from orders") == []
