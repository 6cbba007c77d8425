"""The review queue: what needs a person and why, in either order, page by page."""

import json
from typing import Any
from uuid import UUID

import pytest

from handlers.handoff import HandoffReason
from tests.integration.api.seeds import Seeds

QUEUE = "/v1/review-queue"


async def waiting(seeds: Seeds, text: str, reason: str = "customer_asked", **response: Any) -> UUID:
    """A conversation that waits for a person since this message; gives back the message's id."""
    conversation = await seeds.conversation(name=text, handoff="WAITING_HUMAN")
    message = await seeds.message(conversation, text, ai_processed=True)
    await seeds.analysis(
        message, conversation, extracted_data=json.dumps({"handoff_reason": reason}), **response
    )
    return message


async def doubtful(seeds: Seeds, *reasons: str, **columns: Any) -> UUID:
    conversation = await seeds.conversation()
    message = await seeds.message(conversation, "3 de eso", ai_processed=True)
    review = {"requires_review": True, "review_reasons": list(reasons), "confidence": 0.61}
    return await seeds.order(conversation, "REVIEW", source_message_id=message, **{**review, **columns})


async def ids(api, query: str = "") -> list[str]:
    return [item["id"] for item in await api.walk(f"{QUEUE}?sort=newest{query}", 2)]


async def test_a_failed_turn_is_shown_with_its_message_and_the_kind_of_failure(api, seeds) -> None:
    message = await waiting(
        seeds, "2 cocas", "engine_error", status="FAILED", intent=None, confidence=None, error_class="timeout"
    )
    status, page = await api.get(QUEUE)
    (item,) = page["data"]
    assert status == 200
    assert (item["kind"], item["reasons"], item["error_class"]) == ("MESSAGE", ["engine_error"], "timeout")
    assert (item["id"], item["message_id"], item["order_id"]) == (str(message), str(message), None)
    assert (item["text"], item["customer_name"], item["channel"]) == ("2 cocas", "2 cocas", "SMS")


@pytest.mark.parametrize("reason", HandoffReason)
async def test_the_reason_is_that_of_the_turn_that_asked(api, seeds, reason) -> None:
    """Also when other messages came after it."""
    message = await waiting(seeds, "una persona", reason)
    conversation = await seeds.admin.fetchval("select conversation_id from messages where id = $1", message)
    await seeds.analysis(await seeds.message(conversation, "y 2 aguas"), conversation)
    _, page = await api.get(QUEUE)
    assert [(item["id"], item["reasons"]) for item in page["data"]] == [(str(message), [reason])]


async def test_a_conversation_that_waits_for_a_reason_that_nobody_kept_is_shown_all_the_same(
    api, seeds
) -> None:
    conversation = await seeds.conversation(handoff="WAITING_HUMAN")
    _, page = await api.get(QUEUE)
    (item,) = page["data"]
    assert (item["id"], item["reasons"], item["message_id"]) == (str(conversation), ["handoff"], None)


async def test_an_order_is_shown_with_its_reasons_until_a_person_was_at_it(api, seeds) -> None:
    order = await doubtful(seeds, "low_confidence", "unmatched")
    _, page = await api.get(QUEUE)
    (item,) = page["data"]
    assert (item["kind"], item["reasons"]) == ("ORDER", ["low_confidence", "unmatched"])
    assert (item["id"], item["order_id"], item["text"], item["confidence"]) == (
        str(order),
        str(order),
        "3 de eso",
        0.61,
    )
    assert (await api.post(f"/v1/orders/{order}/confirm"))[0] == 200
    assert await ids(api) == []


@pytest.mark.parametrize("who", ["human", "bot"])
async def test_a_conversation_leaves_when_a_person_takes_it_or_hands_it_back(api, seeds, who) -> None:
    await waiting(seeds, "hola")
    _, page = await api.get(QUEUE)
    await api.patch(f"/v1/conversations/{page['data'][0]['conversation_id']}", {"handoff": who})
    assert await ids(api) == []


async def test_pages_in_both_orders_hold_everything_once(api, seeds) -> None:
    made = []
    for number in range(9):
        make = waiting(seeds, f"m{number}") if number % 2 else doubtful(seeds, "unmatched")
        made.append(str(await make))
    for limit in (1, 2, 4, 200):
        newest = await api.walk(QUEUE, limit)
        oldest = await api.walk(f"{QUEUE}?sort=oldest", limit)
        assert [item["id"] for item in oldest] == made
        assert [item["id"] for item in newest] == made[::-1]


async def test_filters(api, seeds) -> None:
    message = await waiting(seeds, "hola")
    order = await doubtful(seeds, "unmatched", channel="WHATSAPP")
    assert await ids(api, "&kind=ORDER") == [str(order)]
    assert await ids(api, "&kind=MESSAGE") == [str(message)]
    assert await ids(api, "&channel=WHATSAPP") == [str(order)]
    assert await ids(api, "&channel=SMS") == [str(message)]
    assert await ids(api, "&kind=ORDER&channel=SMS") == []
    assert (await api.get(f"{QUEUE}?kind=CHAT"))[0] == 422


async def test_what_needs_nobody_is_not_shown(api, seeds) -> None:
    conversation = await seeds.conversation(handoff="HUMAN")
    message = await seeds.message(conversation, ai_processed=True)
    await seeds.analysis(message, conversation, status="FAILED", error_class="timeout")
    await seeds.order(conversation)
    assert await ids(api) == []
