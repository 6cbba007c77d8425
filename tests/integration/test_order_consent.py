"""A customer's yes, no and second thoughts: what they were asked, and what it does to their order."""

from decimal import Decimal

from handlers.orders import confirm_order, patch_order_lines
from tests.fakes import FakeClock
from tests.integration.test_turns import Shop, shop

__all__ = ["shop"]  # a fixture


async def say(shop: Shop, *texts: str) -> None:
    """The customer writes, and the turn is done."""
    await shop.write(*texts)
    clock: FakeClock = shop.runtime.clock  # type: ignore[assignment]
    clock.advance(25)
    await shop.turn()


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
