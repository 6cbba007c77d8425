"""A cart from the channel's own catalogue becomes the order, line by line, whatever its SKUs look like."""

from decimal import Decimal

import pytest

from channels.base import MessageType
from handlers.ai.rules import RulesEngine
from tests.factories import make_account, make_distributor, make_product
from tests.integration.test_turns import Shop


@pytest.fixture
async def shop(runtime):
    tenant = await make_distributor(runtime)
    account = await make_account(runtime, tenant)
    await make_product(runtime, tenant, "COLA-330-24", "Cola 330 ml", unit="caja", unit_price=Decimal(10))
    await make_product(runtime, tenant, "AGUA-1", "Agua 1 L", unit="caja", max_quantity=Decimal(5))
    return Shop(runtime, account)


async def order(shop, *lines, note=""):
    text = "\n".join([*(f"{quantity} x {sku}" for sku, quantity in lines), note])
    cart = {"note": note, "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in lines]}
    await shop.write(text, type=MessageType.ORDER, metadata={"order": cart})


async def lines_of(shop):
    return [
        (line["sku"], int(line["quantity"]))
        for line in await shop.rows("select sku, quantity from order_products order by sku")
    ]


class SilentEngine:
    """An engine that must not be asked."""

    name = "silent"

    async def extract(self, request):
        raise AssertionError(request.texts)


async def test_a_cart_is_ordered_without_asking_an_engine(shop, clock):
    await order(shop, ("COLA-330-24", 3), ("AGUA-1", 2))
    clock.advance(5)

    await shop.turn(SilentEngine())

    (stored,) = await shop.rows("select status, total_amount from orders")
    assert stored["status"] == "PENDING"
    assert await lines_of(shop) == [("AGUA-1", 2), ("COLA-330-24", 3)]
    assert "3 caja - Cola 330 ml" in (await shop.replies())[0]


async def test_the_note_beside_a_cart_is_read(shop, clock):
    await order(shop, ("COLA-330-24", 3), note="para mañana, y 1 caja de agua")
    clock.advance(5)

    await shop.turn(RulesEngine())

    (stored,) = await shop.rows("select delivery_date from orders")
    assert stored["delivery_date"] is not None
    assert await lines_of(shop) == [("AGUA-1", 1), ("COLA-330-24", 3)]


async def test_a_product_that_we_do_not_have_and_too_much_of_one_are_reviewed(shop, clock):
    await order(shop, ("COLA-330-24", 3), ("AGUA-1", 6), ("GONE-1", 1))
    clock.advance(5)

    await shop.turn(SilentEngine())

    (stored,) = await shop.rows("select status, review_reasons from orders")
    assert stored["status"] == "REVIEW"
    assert "unmatched" in stored["review_reasons"]
    assert await lines_of(shop) == [("AGUA-1", 6), ("COLA-330-24", 3)]


async def test_a_second_cart_adds_to_the_first(shop, clock):
    await order(shop, ("COLA-330-24", 3))
    clock.advance(5)
    await shop.turn(SilentEngine())
    await order(shop, ("COLA-330-24", 1), ("AGUA-1", 1))
    clock.advance(5)

    await shop.turn(SilentEngine())

    assert await lines_of(shop) == [("AGUA-1", 1), ("COLA-330-24", 4)]


@pytest.mark.parametrize(
    ("words", "intent", "ordered"),
    [
        ("sí, confirmo", "BUY", True),
        ("hola", "BUY", True),
        ("cancela el pedido", "HANDOFF", False),
        ("quiero hablar con una persona", "HANDOFF", False),
    ],
)
async def test_what_is_said_beside_a_cart(shop, clock, words, intent, ordered):
    await shop.write(words)
    await order(shop, ("COLA-330-24", 3))
    clock.advance(5)

    await shop.turn(RulesEngine())

    (response,) = await shop.rows("select intent from ai_responses")
    assert response["intent"] == intent
    assert (await lines_of(shop) == [("COLA-330-24", 3)]) is ordered
    assert not await shop.rows("select from orders where status = 'CONFIRMED'")
