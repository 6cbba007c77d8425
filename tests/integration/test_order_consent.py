"""A customer's yes, no and second thoughts: what they were asked, and what it does to their order."""

from decimal import Decimal
from typing import Any

import pytest

from handlers.ai.types import Extraction, Intent
from handlers.orders import confirm_order, patch_order_lines
from tests.fakes import FakeClock, FakeEngine
from tests.integration.test_turns import Shop, add, extraction, shop

__all__ = ["shop"]  # a fixture


async def say(shop: Shop, *texts: str, engine: Any = None) -> None:
    """The customer writes, and the turn is done."""
    await shop.write(*texts)
    wait(shop, 25)
    await shop.turn(engine)


def wait(shop: Shop, seconds: float) -> None:
    clock: FakeClock = shop.runtime.clock  # type: ignore[assignment]
    clock.advance(seconds)


async def orders(shop: Shop) -> list[tuple[str, list[str]]]:
    """Each order's status and why a person must look, the oldest first."""
    rows = await shop.rows("select status, review_reasons from orders order by id")
    return [(row["status"], row["review_reasons"]) for row in rows]


async def lines(shop: Shop) -> dict[str, int]:
    """The newest order's quantities."""
    rows = await shop.rows(
        "select sku, quantity from order_products where order_id = (select id from orders order by id desc limit 1)"
    )
    return {row["sku"]: int(row["quantity"]) for row in rows}


async def test_the_stamp_of_a_consent_goes_with_what_was_consented_to(shop: Shop):
    async def confirmed_at() -> object:
        return (await shop.rows("select confirmed_at from orders"))[0]["confirmed_at"]

    await say(shop, "2 cajas de coca 600 y 3 tornillos")
    await say(shop, "sí, confirmo")
    assert await confirmed_at() is not None  # a person has to look at the screws all the same
    await say(shop, "agrega 1 agua ciel")
    assert await confirmed_at() is None

    await say(shop, "sí, confirmo")
    (order,) = await shop.rows("select id from orders")
    await patch_order_lines(shop.runtime, shop.tenant, order["id"], [("COCA-600", Decimal(5))])
    assert await confirmed_at() is None
    await confirm_order(shop.runtime, shop.tenant, order["id"])
    assert await confirmed_at() == shop.runtime.clock()


UNASKED = ("REVIEW", ["consent_unasked"])


async def test_a_yes_after_the_summary_binds_whatever_was_said_between(shop: Shop):
    await say(shop, "2 cajas de coca 600")
    await say(shop, "gracias")
    await say(shop, "sí, confirmo")

    assert await orders(shop) == [("CONFIRMED", [])]


@pytest.mark.parametrize("handoff", ["HUMAN", "WAITING_HUMAN"])
async def test_a_yes_to_a_person_confirms_nothing(shop: Shop, handoff: str):
    await say(shop, "2 cajas de coca 600")
    await shop.rows("update conversations set handoff = $1 returning 1", handoff)
    await say(shop, "sí")

    (order,) = await shop.rows("select confirmed_at, requires_review from orders")
    assert await orders(shop) == [UNASKED]
    assert (order["confirmed_at"], order["requires_review"]) == (None, True)
    assert await lines(shop) == {"COCA-600": 2}
    assert (await shop.events())[-3:] == ["order.updated", "order.review_required", "ai.completed"]
    assert len(await shop.replies()) == 1


async def test_a_yes_where_nothing_is_answered_by_itself_confirms_nothing(shop: Shop):
    await shop.rows("update distributors set auto_reply = 'off' returning 1")
    await say(shop, "2 cajas de coca 600")
    await say(shop, "ok")

    assert await orders(shop) == [UNASKED]


async def test_a_yes_of_an_opted_out_customer_confirms_nothing(shop: Shop):
    await say(shop, "2 cajas de coca 600")
    await shop.write("STOP")
    await say(shop, "sí, confirmo")

    assert await orders(shop) == [UNASKED]


async def test_a_yes_to_lines_that_a_person_changed_goes_to_a_person(shop: Shop):
    await say(shop, "2 cajas de coca 600")
    (order,) = await shop.rows("select id from orders")
    wait(shop, 60)
    await patch_order_lines(shop.runtime, shop.tenant, order["id"], [("COCA-600", Decimal(5))])
    await say(shop, "sí, confirmo")

    assert await orders(shop) == [UNASKED]
    assert "Una persona revisará" in (await shop.replies())[-1]


async def test_a_yes_after_the_bot_got_a_conversation_back_is_about_nothing_it_showed(shop: Shop):
    await shop.write("2 cajas de coca 600")
    await shop.rows("update conversations set handoff = 'HUMAN' returning 1")
    wait(shop, 25)
    await shop.turn()
    await shop.rows("update conversations set handoff = 'BOT' returning 1")
    await say(shop, "hola buenas tardes")
    await say(shop, "sí, confirmo")

    assert await orders(shop) == [UNASKED]


async def test_a_yes_to_a_summary_that_could_not_be_sent_goes_to_a_person(shop: Shop):
    await say(shop, "2 cajas de coca 600")
    await shop.rows("update messages set status = 'FAILED' where direction = 'OUTBOUND' returning 1")
    await say(shop, "sí, confirmo")

    assert await orders(shop) == [UNASKED]


async def test_a_yes_that_was_written_before_the_summary_goes_to_a_person(shop: Shop):
    """Past the cap a burst is answered although more of it has come."""
    await shop.write("2 cajas de coca 600")
    wait(shop, 25)

    async def interrupted(_request: Any) -> Extraction:
        await shop.write("sí")
        wait(shop, 1)
        return extraction(Intent.BUY, add("COCA-600", 2))

    await shop.turn(FakeEngine(interrupted))
    wait(shop, 5)
    await shop.turn()

    assert await orders(shop) == [UNASKED]


async def test_a_change_after_an_unasked_yes_is_asked_about_anew(shop: Shop):
    await shop.rows("update distributors set auto_reply = 'off' returning 1")
    await say(shop, "2 cajas de coca 600")
    await say(shop, "ok")
    await shop.rows("update distributors set auto_reply = 'safe' returning 1")
    await say(shop, "agrega 1 agua ciel")
    assert await orders(shop) == [("PENDING", [])]

    await say(shop, "sí, confirmo")
    assert await orders(shop) == [("CONFIRMED", [])]


async def test_a_second_yes_to_an_order_in_review_is_as_good_as_the_first(shop: Shop):
    await say(shop, "2 cajas de coca 600 y 3 tornillos")
    for _ in range(2):
        await say(shop, "sí, confirmo")

    assert await orders(shop) == [("REVIEW", ["unmatched"])]
    assert (await shop.rows("select confirmed_at from orders"))[0]["confirmed_at"] is not None


WEEK = 7 * 24 * 3600


async def test_a_week_old_open_order_is_not_added_to(shop: Shop):
    await say(shop, "2 cajas de coca 600")
    wait(shop, WEEK)
    await say(shop, "hola, 3 cajas de coca 600 por favor")

    assert await orders(shop) == [("CANCELLED", ["expired"]), ("PENDING", [])]
    assert await lines(shop) == {"COCA-600": 3}
    old = await shop.rows("select quantity from order_products order by id limit 1")
    assert int(old[0]["quantity"]) == 2
    assert (await shop.events())[-3:] == ["order.cancelled", "order.created", "ai.completed"]
    reply = (await shop.replies())[-1]
    assert reply.startswith("Tu pedido anterior quedó sin confirmar y se cerró")
    assert "3 caja - Coca-Cola" in reply


async def test_an_open_order_of_this_morning_is_added_to(shop: Shop):
    await say(shop, "2 cajas de coca 600")
    wait(shop, 23 * 3600)
    await say(shop, "agrega 3 cajas de coca 600")

    assert await lines(shop) == {"COCA-600": 5}


async def test_a_burst_that_waited_for_a_worker_is_judged_by_when_it_was_written(shop: Shop):
    await say(shop, "2 cajas de coca 600")
    await shop.write("agrega 3 cajas de coca 600")
    wait(shop, WEEK)
    await shop.turn()

    assert await lines(shop) == {"COCA-600": 5}


async def test_a_greeting_closes_no_open_order(shop: Shop):
    await say(shop, "2 cajas de coca 600")
    wait(shop, WEEK)
    await say(shop, "hola buenas tardes")

    assert await orders(shop) == [("PENDING", [])]


async def test_a_late_yes_goes_to_a_person(shop: Shop):
    await say(shop, "2 cajas de coca 600")
    wait(shop, WEEK)
    await say(shop, "sí, confirmo")

    assert await orders(shop) == [("REVIEW", ["consent_late"])]
    assert "Una persona revisará" in (await shop.replies())[-1]


async def test_a_late_no_is_a_no(shop: Shop):
    await say(shop, "2 cajas de coca 600")
    wait(shop, WEEK)
    await say(shop, "cancela todo el pedido")

    assert await orders(shop) == [("CANCELLED", [])]


async def test_an_expired_order_that_waited_for_a_person_is_not_lost_from_their_sight(shop: Shop):
    await say(shop, "2 cajas de coca 600 y 3 tornillos")
    await say(shop, "sí, confirmo")
    wait(shop, WEEK)
    await say(shop, "3 cajas de coca 600")
    await say(shop, "agrega 1 agua ciel")

    assert await orders(shop) == [
        ("CANCELLED", ["unmatched", "expired"]),
        ("REVIEW", ["earlier_unreviewed"]),
    ]
    assert (await shop.events()).count("order.review_required") == 2


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("cancela mi pedido por favor", "Le pasamos tu cancelación a una persona"),
        ("please cancel my order", "We are passing your cancellation on to a person"),
        ("pode cancelar o meu pedido, por favor", "Vamos passar o seu cancelamento a uma pessoa"),
    ],
)
async def test_a_wish_to_cancel_a_placed_order_asks_a_person(shop: Shop, text: str, reply: str):
    await say(shop, "2 cajas de coca 600")
    await say(shop, "sí, confirmo")
    await say(shop, text)

    (conversation,) = await shop.rows("select handoff from conversations")
    (event,) = await shop.rows(
        "select body from webhook_events where type = 'conversation.handoff_requested'"
    )
    assert await orders(shop) == [("CONFIRMED", [])]
    assert conversation["handoff"] == "WAITING_HUMAN"
    assert event["body"]["data"]["reason"] == "cancel_requested"
    assert reply in (await shop.replies())[-1]


async def test_a_wish_to_cancel_an_open_order_asks_nobody(shop: Shop):
    await say(shop, "2 cajas de coca 600")
    await say(shop, "cancela mi pedido por favor")

    assert await orders(shop) == [("CANCELLED", [])]
    assert "conversation.handoff_requested" not in await shop.events()
