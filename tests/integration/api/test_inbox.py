"""Conversations, messages, customers and orders as people work with them."""

import asyncio

import pytest

from handlers.handoff import Handoff
from tests.integration.api.seeds import ENDPOINT, PRODUCT


async def told(api) -> list[str]:
    """The types of what was told, the oldest first."""
    _, page = await api.get("/v1/events")
    return [event["type"] for event in reversed(page["data"])]


class TestConversations:
    async def test_the_shape(self, api, seeds) -> None:
        conversation = await seeds.conversation(unread=3)
        status, shown = await api.get(f"/v1/conversations/{conversation}")
        assert status == 200
        assert (
            shown.items()
            >= {
                "id": str(conversation),
                "channel": "SMS",
                "status": "ACTIVE",
                "handoff": "bot",
                "unread_count": 3,
                "customer_name": "Bodega Sol",
            }.items()
        )
        assert (await api.get("/v1/conversations"))[1]["data"] == [shown]

    async def test_archive_and_open(self, api, seeds) -> None:
        path = f"/v1/conversations/{await seeds.conversation()}"
        assert (await api.patch(path, {"status": "ARCHIVED"}))[1]["status"] == "ARCHIVED"
        assert (await api.patch(path, {"status": "ACTIVE"}))[1]["status"] == "ACTIVE"
        assert await told(api) == []

    async def test_taking_over_and_handing_back_are_told_once(self, api, seeds) -> None:
        path = f"/v1/conversations/{await seeds.conversation()}"
        answers = [
            (await api.patch(path, {"handoff": who}))[1]["handoff"]
            for who in ("human", "human", "bot", "bot")
        ]
        assert answers == ["human", "human", "bot", "bot"]
        assert await told(api) == ["conversation.handoff_requested", "conversation.handoff_ended"]

    async def test_a_conversation_that_waits_for_a_person_is_shown_so(self, api, seeds, admin) -> None:
        conversation = await seeds.conversation()
        await admin.execute("update conversations set handoff = 'WAITING_HUMAN'")
        assert (await api.get(f"/v1/conversations/{conversation}"))[1]["handoff"] == "waiting_human"
        assert (await api.patch(f"/v1/conversations/{conversation}", {"handoff": "human"}))[0] == 200
        assert await told(api) == []

    async def test_a_change_waits_for_no_message_that_is_being_stored(self, api, seeds, admin) -> None:
        conversation = await seeds.conversation(unread=1)
        path = f"/v1/conversations/{conversation}"
        async with asyncio.timeout(10), admin.transaction():
            await seeds.message(conversation)
            assert (await api.patch(path, {"handoff": "human", "status": "ARCHIVED"}))[0] == 200
            assert (await api.post(f"{path}/read"))[1]["unread_count"] == 0
        assert (await api.get(path))[1]["handoff"] == "human"

    async def test_the_words_for_who_answers_are_those_of_the_database(self, api, seeds, admin) -> None:
        path = f"/v1/conversations/{await seeds.conversation()}"
        for who in Handoff:
            await admin.execute("update conversations set handoff = $1", who)
            assert (await api.get(path))[1]["handoff"] == who.lower()

    @pytest.mark.parametrize(
        "body", [{"status": "GONE"}, {"handoff": "waiting_human"}, {"handoff": None}, {"x": 1}]
    )
    async def test_a_wrong_change_is_422(self, api, seeds, body) -> None:
        assert (await api.patch(f"/v1/conversations/{await seeds.conversation()}", body))[0] == 422

    async def test_read_clears_what_is_unread(self, api, seeds) -> None:
        conversation = await seeds.conversation(unread=3)
        for _ in range(2):
            status, shown = await api.post(f"/v1/conversations/{conversation}/read")
            assert (status, shown["unread_count"]) == (200, 0)


class TestMessages:
    async def test_a_thread_newest_first(self, api, seeds) -> None:
        conversation = await seeds.conversation()
        sent = [str(await seeds.message(conversation, f"text {number}")) for number in range(5)]
        await seeds.message(await seeds.conversation(), "elsewhere")
        items = await api.walk(f"/v1/conversations/{conversation}/messages", 2)
        assert [item["id"] for item in items] == sent[::-1]
        assert items[0].items() >= {"direction": "INBOUND", "status": "RECEIVED", "attachments": []}.items()

    async def test_a_message_to_the_customer_is_stored_queued(self, api, seeds) -> None:
        conversation = await seeds.conversation()
        body = {
            "text": "Su pedido sale mañana.",
            "attachments": [{"url": "https://files.example.com/a.pdf", "content_type": "application/pdf"}],
            "template": None,
        }
        status, message = await api.post(f"/v1/conversations/{conversation}/messages", body)
        assert status == 202
        assert message.items() >= {"status": "QUEUED", "direction": "OUTBOUND", "text": body["text"]}.items()
        assert message["conversation_id"] == str(conversation)
        assert [file["url"] for file in message["attachments"]] == ["https://files.example.com/a.pdf"]
        assert (await api.get(f"/v1/messages/{message['id']}"))[1] == message

    async def test_buttons_are_kept_with_the_message(self, api, seeds) -> None:
        buttons = [{"id": "yes", "title": "Sí, confirmo"}, {"id": "no", "title": "Cambiar algo"}]
        path = f"/v1/conversations/{await seeds.conversation()}/messages"
        status, message = await api.post(path, {"text": "¿Confirmas?", "buttons": buttons})
        assert (status, message["text"], message["metadata"]["buttons"]) == (202, "¿Confirmas?", buttons)

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"text": "  "},
            {"buttons": [{"id": "a", "title": "A"}]},
            {"text": "x", "buttons": [{"id": "a", "title": "A"}] * 4},
            {"text": "x", "buttons": [{"id": "a", "title": "x" * 21}]},
            {"template": "t"},
            {"text": "x", "template": {"name": "t"}},
            {"text": "x", "priority": "urgent"},
            {"attachments": [{"url": "file:///x"}]},
            {"text": "x" * 65_537},
            {"text": "x" * 16_001},  # more than ten messages of Twilio's hold
        ],
    )
    async def test_a_message_that_cannot_be_sent_is_422(self, api, seeds, body) -> None:
        assert (await api.post(f"/v1/conversations/{await seeds.conversation()}/messages", body))[0] == 422

    async def test_a_customer_who_opted_out_is_not_written_to(self, api, seeds, admin) -> None:
        conversation = await seeds.conversation()
        await admin.execute("update customer_contacts set opted_out_at = now()")
        status, problem = await api.post(f"/v1/conversations/{conversation}/messages", {"text": "hola"})
        assert (status, problem["code"]) == (409, "opted_out")

    async def test_a_repeated_send_makes_one_message(self, api, seeds) -> None:
        path = f"/v1/conversations/{await seeds.conversation()}/messages"
        answers = [
            await api.post(path, {"text": "hola"}, headers={"Idempotency-Key": "m1"}) for _ in range(3)
        ]
        assert answers == [answers[0]] * 3
        assert len((await api.get(path))[1]["data"]) == 1

    async def test_a_message_with_its_analysis(self, api, seeds) -> None:
        conversation = await seeds.conversation()
        message = await seeds.message(conversation)
        assert (await api.get(f"/v1/messages/{message}"))[1]["ai_analysis"] is None
        await seeds.analysis(message, conversation)
        _, shown = await api.get(f"/v1/messages/{message}")
        assert (
            shown["ai_analysis"].items()
            >= {
                "intent": "BUY",
                "confidence": 0.95,
                "engine": "rules",
                "input_tokens": 900,
                "cached_tokens": 800,
                "output_tokens": 70,
                "request_id": "req_1",
            }.items()
        )
        assert shown["status_history"] == []

    async def test_a_message_names_the_one_that_it_answers(self, api, seeds) -> None:
        conversation = await seeds.conversation()
        message = await seeds.message(conversation)
        _, shown = await api.get(f"/v1/messages/{message}")
        assert shown["reply_to_provider_id"] == "SM-quoted"
        _, page = await api.get(f"/v1/conversations/{conversation}/messages")
        assert [item["reply_to_provider_id"] for item in page["data"]] == ["SM-quoted"]


async def test_a_customer_with_its_addresses(api, seeds) -> None:
    customer = await seeds.customer("Café Luna")
    await seeds.contact(customer, "Ana")
    status, shown = await api.get(f"/v1/customers/{customer}")
    assert status == 200
    assert (shown["business_name"], shown["status"]) == ("Café Luna", "NO_ORDERS_YET")
    assert [(contact["channel"], contact["display_name"]) for contact in shown["contacts"]] == [
        ("SMS", "Ana")
    ]
    del shown["statistics"]
    assert (await api.get("/v1/customers"))[1]["data"] == [shown]


class TestOrders:
    async def test_the_shape(self, api, seeds) -> None:
        conversation = await seeds.conversation()
        message = await seeds.message(conversation)
        order = await seeds.order(conversation, source_message_id=message)
        status, shown = await api.get(f"/v1/orders/{order}")
        assert status == 200
        assert shown["source_message_id"] == str(message)
        assert (shown["status"], shown["total_amount"], shown["currency"]) == ("PENDING", 241, "MXN")
        assert (
            shown["lines"][0].items()
            >= {
                "sku": "AGUA-600",
                "product_name": "Agua 600 ml",
                "quantity": 2,
                "unit_price": 120.5,
                "line_total": 241,
            }.items()
        )
        assert (await api.get("/v1/orders"))[1]["data"] == [shown]

    async def test_lines_are_replaced_and_told(self, api, seeds) -> None:
        await api.post("/v1/webhook-endpoints", ENDPOINT)
        await api.post(
            "/v1/products/import", {"products": [PRODUCT, {**PRODUCT, "sku": "B", "unit_price": 10}]}
        )
        order = await seeds.order(await seeds.conversation(), status="REVIEW")
        body = {"lines": [{"sku": "B", "quantity": "1.5"}, {"sku": "AGUA-600", "quantity": 1}]}
        status, changed = await api.patch(f"/v1/orders/{order}", body)
        assert status == 200
        assert [(line["sku"], line["quantity"]) for line in changed["lines"]] == [("B", 1.5), ("AGUA-600", 1)]
        assert (changed["total_amount"], changed["requires_review"]) == (135.5, False)
        assert "order.updated" in await told(api)

    @pytest.mark.parametrize(
        "lines",
        [[], [{"sku": "NOT", "quantity": 1}], [{"sku": "AGUA-600", "quantity": 0}], [{"sku": "AGUA-600"}]],
    )
    async def test_wrong_lines_are_422(self, api, seeds, lines) -> None:
        await api.post("/v1/products", PRODUCT)
        order = await seeds.order(await seeds.conversation())
        assert (await api.patch(f"/v1/orders/{order}", {"lines": lines}))[0] == 422

    async def test_a_total_beyond_every_integer_is_shown_and_told(self, api, seeds) -> None:
        dear = {**PRODUCT, "unit_price": "9999999999"}
        await api.post("/v1/products/import", {"products": [{**dear, "sku": sku} for sku in "ABC"]})
        order = await seeds.order(await seeds.conversation())
        body = {"lines": [{"sku": sku, "quantity": "999999999"} for sku in "ABC"]}
        status, changed = await api.patch(f"/v1/orders/{order}", body)
        assert (status, changed["total_amount"]) == (200, 3 * 9999999999 * 999999999.0)
        _, page = await api.get("/v1/events?event_type=order.updated")
        assert [event["data"]["total_amount"] for event in page["data"]] == [changed["total_amount"]]

    async def test_confirm_and_cancel(self, api, seeds) -> None:
        order = await seeds.order(await seeds.conversation())
        status, confirmed = await api.post(f"/v1/orders/{order}/confirm")
        assert (status, confirmed["status"]) == (200, "CONFIRMED")
        assert (await api.post(f"/v1/orders/{order}/confirm"))[0] == 409
        assert (await api.patch(f"/v1/orders/{order}", {"lines": [{"sku": "AGUA-600", "quantity": 1}]}))[
            0
        ] == 409
        status, cancelled = await api.post(f"/v1/orders/{order}/cancel")
        assert (status, cancelled["status"]) == (200, "CANCELLED")
        assert (await api.post(f"/v1/orders/{order}/cancel"))[0] == 409
        assert [name for name in await told(api) if name.startswith("order.")] == [
            "order.confirmed",
            "order.cancelled",
        ]
