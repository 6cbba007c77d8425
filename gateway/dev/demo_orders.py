"""The demo's steps about orders: a burst becomes one, a yes confirms it, in the customer's language."""

from collections.abc import Mapping
from typing import Any

from gateway.dev.demo_story import JAMES, MARTA, Customer, Story
from gateway.dev.observing import NotObserved, observe, observe_steady, require

_TURN_SECONDS = 20.0
_DELIVERY_SECONDS = 15.0
# Longer than the quiet period of a burst: a second turn would show in it.
_QUIET_SECONDS = 1.5
_FAILED_ATTEMPTS = """
select error_class, status_code, count(*) as times from webhook_delivery_attempts
where outcome <> 'success' group by 1, 2
"""
_BURST = ("hola! me mandas 2 cajas de coca 600", "y 3 de agua ciel 1.5", "para el viernes porfa")
_BURST_LINES = {"REF-COLA-600": 2.0, "AGU-NAT-1500": 3.0}
_ENGLISH = "Hi, please send 3 cases of orange soda and 10 bags of white rice"
_ENGLISH_LINES = {"REF-NAR-600": 3.0, "ARR-1KG": 10.0}


async def order_by_burst(story: Story) -> str:
    """Three WhatsApp messages become one conversation, one turn, one order and one reply."""
    for text in _BURST:
        await story.write_accepted(MARTA, text)
    order = await see_order(story, MARTA, _BURST_LINES, "PENDING")
    require(
        order["delivery_date"],
        order["delivery_date"] is not None and order["delivery_date"].weekday() == 4,  # noqa: PLR2004 - Friday
        "a Friday as the day of delivery",
    )
    reply = await see_reply(story, MARTA, 1, "Tu pedido")
    counts = {
        "messages in": len(await story.messages(MARTA, "INBOUND")),
        "conversations": await story.count("conversations"),
        "turns": await story.count("ai_responses"),
    }
    wanted = {"messages in": 3, "conversations": 1, "turns": 1}
    require(counts, counts == wanted, f"{wanted}")
    await observe_steady(
        lambda: story.sent(MARTA), lambda seen: len(seen) == 1, "only one reply", _QUIET_SECONDS
    )
    return f"3 messages → 1 order ({describe(order)}) → 1 reply: “{in_one_line(reply)}”"


async def confirm_order(story: Story) -> str:
    """A yes confirms the order; the integrator hears of it, and its own library verifies the signature."""
    await story.write_accepted(MARTA, "sí, confirmo")
    order = await see_order(story, MARTA, _BURST_LINES, "CONFIRMED")
    reply = await see_reply(story, MARTA, 2, "confirmado")
    event = await see_event(story, "order.confirmed", {"order_id": str(order["id"])})
    require(event["verified"], event["verified"], "a signature that the standardwebhooks library verifies")
    total = event["json"]["data"]["total_amount"]
    require(
        total, float(total) == float(order["total_amount"]), f"the total {order['total_amount']} in the event"
    )
    amount = f"{total:g} {order['currency']}"
    return f"order CONFIRMED, reply “{in_one_line(reply)}”, order.confirmed verified ({amount})"


async def order_in_english(story: Story) -> str:
    """Another customer, another channel, another language."""
    await story.write_accepted(JAMES, _ENGLISH)
    order = await see_order(story, JAMES, _ENGLISH_LINES, "PENDING")
    reply = await see_reply(story, JAMES, 1, "Your order")
    return f"SMS → order ({describe(order)}) → “{in_one_line(reply)}”"


async def see_order(
    story: Story, customer: Customer, lines: Mapping[str, float], status: str, number: int = 1
) -> dict[str, Any]:
    """The customer's latest order, their ``number``-th, once it has these lines and this status."""

    def is_it(orders: list[dict[str, Any]]) -> bool:
        return len(orders) == number and orders[-1]["lines"] == lines and orders[-1]["status"] == status

    expected = f"order {number} of {customer.name} with {dict(lines)}, {status}"
    return (await observe(lambda: story.orders(customer), is_it, expected, _TURN_SECONDS))[-1]


async def see_reply(story: Story, customer: Customer, number: int, words: str) -> str:
    """The ``number``-th message that the provider was given for this customer; it says ``words``."""

    def is_it(sent: list[dict[str, Any]]) -> bool:
        return len(sent) == number and words in sent[-1]["body"]

    expected = f"message {number} to {customer.name} at the provider, with the words “{words}”"
    sent = await observe(lambda: story.sent(customer), is_it, expected, _TURN_SECONDS)
    return str(sent[-1]["body"])


async def see_event(story: Story, event_type: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """The event as the integrator got it; waits no longer once the gateway has given up."""
    expected = f"{event_type} with {dict(data)} at the receiver"

    async def look() -> list[dict[str, Any]]:
        got = [event for event in await story.received(type=event_type) if _holds(event, data)]
        if not got and await story.count("webhook_deliveries where status = 'EXHAUSTED'"):
            raise NotObserved(expected, f"attempts that failed: {await story.rows(_FAILED_ATTEMPTS)}")
        return got

    return (await observe(look, bool, expected, _DELIVERY_SECONDS))[0]


def _holds(event: Mapping[str, Any], data: Mapping[str, Any]) -> bool:
    return bool(data.items() <= event["json"]["data"].items())


def describe(order: Mapping[str, Any]) -> str:
    """An order in a few words."""
    lines = ", ".join(f"{quantity:g} {sku}" for sku, quantity in order["lines"].items())
    day = f", for {order['delivery_date']}" if order["delivery_date"] else ""
    return f"{lines}{day}"


def in_one_line(text: str) -> str:
    """A reply as a quotation."""
    return " ".join(text.split())
