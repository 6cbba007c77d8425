"""What waits for a person, who is told of it, and what is answered meanwhile."""

import pytest

from channels.errors import Permanent
from handlers.conversations import patch_conversation
from handlers.handoff import Handoff
from tests.fakes import FakeEngine
from tests.integration.test_order_consent import orders, say
from tests.integration.test_turns import Shop, shop

__all__ = ["shop"]  # a fixture


async def reasons(shop: Shop) -> list[str]:
    """Why a person was asked for, each time that it was told."""
    events = await shop.rows(
        "select body from webhook_events where type = 'conversation.handoff_requested' order by id"
    )
    return [event["body"]["data"]["reason"] for event in events]


async def handoff(shop: Shop) -> str:
    return str((await shop.rows("select handoff from conversations"))[0]["handoff"])


@pytest.mark.parametrize(
    ("text", "reason"), [("¿a qué hora cierran?", "question"), ("¿dónde está mi pedido?", "follow_up")]
)
async def test_a_question_is_given_to_a_person_and_orders_are_answered_meanwhile(
    shop: Shop, text: str, reason: str
):
    await say(shop, text)
    assert (await handoff(shop), await reasons(shop)) == ("WAITING_HUMAN", [reason])
    assert "Te respondemos en breve" in (await shop.replies())[0]

    await say(shop, "2 cajas de coca 600")
    assert "¿Lo confirmas?" in (await shop.replies())[-1]
    await say(shop, "sí, confirmo")
    assert await orders(shop) == [("CONFIRMED", [])]
    assert (await handoff(shop), await reasons(shop)) == ("WAITING_HUMAN", [reason])


async def test_each_question_is_told(shop: Shop):
    await say(shop, "¿a qué hora cierran?")
    await say(shop, "¿cuánto cuesta el envío?")

    assert await reasons(shop) == ["question", "question"]
    assert len(await shop.replies()) == 2


async def test_a_complaint_after_a_question_ends_the_answers(shop: Shop):
    await say(shop, "¿a qué hora cierran?")
    await say(shop, "llegaron 3 cajas rotas")
    await say(shop, "2 cajas de coca 600")
    await say(shop, "¿a qué hora cierran?")

    assert await reasons(shop) == ["question", "complaint"]
    assert len(await shop.replies()) == 2


async def test_a_question_after_the_conversation_was_given_back_is_a_new_one(shop: Shop):
    await say(shop, "llegaron 3 cajas rotas")
    (conversation,) = await shop.rows("select id from conversations")
    await patch_conversation(shop.runtime, shop.tenant, conversation["id"], handoff=Handoff.BOT)
    await say(shop, "¿a qué hora cierran?")
    await say(shop, "2 cajas de coca 600")

    assert await reasons(shop) == ["complaint", "question"]
    assert "¿Lo confirmas?" in (await shop.replies())[-1]


async def test_a_person_who_answers_a_question_is_not_talked_over(shop: Shop):
    await say(shop, "¿a qué hora cierran?")
    (conversation,) = await shop.rows("select id from conversations")
    await patch_conversation(shop.runtime, shop.tenant, conversation["id"], handoff=Handoff.HUMAN)
    await say(shop, "2 cajas de coca 600")

    assert len(await shop.replies()) == 1


async def test_what_an_engine_could_not_read_ends_the_answers(shop: Shop):
    await say(shop, "¿a qué hora cierran?")
    await say(shop, "2 cajas de coca 600", engine=FakeEngine(Permanent()))
    await say(shop, "2 cajas de coca 600")

    assert await reasons(shop) == ["question", "engine_error"]
    assert len(await shop.replies()) == 1
