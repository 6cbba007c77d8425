"""Message templates: kept, filled in, and sent where they may be."""

from typing import Any
from uuid import UUID

import pytest

PATH = "/v1/message-templates"
TEMPLATE: dict[str, Any] = {
    "name": "pedido_en_camino",
    "language": "es",
    "body": "Hola {{nombre}}, llega el {{ dia }}. Gracias, {{nombre}}.",
}
VALUES = {"nombre": "Lupita", "dia": "martes"}
FILLED = "Hola Lupita, llega el martes. Gracias, Lupita."


async def whatsapp(admin, conversation: UUID, provider: str = "whatsapp_cloud") -> None:
    """Makes a conversation one of WhatsApp whose 24 hours are over."""
    await admin.execute(
        "update conversations set channel = 'WHATSAPP', last_inbound_at = null where id = $1", conversation
    )
    await admin.execute(
        "update channel_accounts set channel = 'WHATSAPP', provider = $2"
        " where id = (select channel_account_id from conversations where id = $1)",
        conversation,
        provider,
    )


class TestTemplates:
    async def test_made_read_changed_and_deleted(self, api) -> None:
        status, made = await api.post(PATH, TEMPLATE)
        assert status == 201
        assert made.items() >= {"variables": ["nombre", "dia"], "approval": "NONE", "channel": None}.items()
        one = f"{PATH}/{made['id']}"
        assert (await api.get(one))[1] == made
        _, changed = await api.patch(one, {"approval": "APPROVED", "provider_template_id": "HX1"})
        assert (changed["approval"], changed["provider_template_id"]) == ("APPROVED", "HX1")
        assert (await api.patch(one, {"active": False}))[1]["provider_template_id"] == "HX1"
        assert (await api.patch(one, {"provider_template_id": None}))[1]["provider_template_id"] is None
        assert [item["id"] for item in await api.walk(PATH, 2)] == [made["id"]]
        assert (await api.delete(one))[0] == 204
        assert (await api.get(one))[0] == 404

    async def test_other_words_are_not_approved(self, api) -> None:
        _, made = await api.post(PATH, {**TEMPLATE, "approval": "APPROVED"})
        one = f"{PATH}/{made['id']}"
        assert (await api.patch(one, {"body": TEMPLATE["body"]}))[1]["approval"] == "APPROVED"
        _, changed = await api.patch(one, {"body": "Adiós {{quien}}"})
        assert (changed["approval"], changed["variables"]) == ("NONE", ["quien"])

    async def test_a_name_is_once_per_language_and_channel(self, api, other) -> None:
        assert (await api.post(PATH, TEMPLATE))[0] == 201
        assert (await api.post(PATH, TEMPLATE))[0] == 409
        assert (await api.post(PATH, {**TEMPLATE, "channel": "SMS"}))[0] == 201
        _, english = await api.post(PATH, {**TEMPLATE, "language": "en"})
        assert (await api.patch(f"{PATH}/{english['id']}", {"language": "es"}))[0] == 409
        assert (await other.post(PATH, TEMPLATE))[0] == 201

    @pytest.mark.parametrize(
        "wrong",
        [
            {"body": "Hola {{}}"},
            {"body": "Hola {{nombre"},
            {"body": "Hola {{un nombre}}"},
            {"body": "  "},
            {"language": "fr"},
            {"language": "es-MX"},
            {"approval": "MAYBE"},
            {"name": ""},
            {"variables": ["x"]},
        ],
    )
    async def test_what_cannot_be_filled_in_is_422(self, api, wrong) -> None:
        assert (await api.post(PATH, {**TEMPLATE, **wrong}))[0] == 422

    async def test_another_tenants_template_is_not_there(self, api, other) -> None:
        _, foreign = await other.post(PATH, TEMPLATE)
        one = f"{PATH}/{foreign['id']}"
        assert (await api.get(one))[0] == 404
        assert (await api.patch(one, {"active": False}))[0] == 404
        assert (await api.delete(one))[0] == 404
        assert (await other.get(one))[1] == foreign


class TestSending:
    async def send(self, api, conversation: UUID, headers=None, **template):
        body = {"template": {"name": TEMPLATE["name"], "variables": VALUES, **template}}
        return await api.post(f"/v1/conversations/{conversation}/messages", body, headers=headers)

    async def test_over_sms_it_is_its_text(self, api, seeds) -> None:
        await api.post(PATH, TEMPLATE)
        status, message = await self.send(api, await seeds.conversation(), language="es")
        assert (status, message["type"], message["text"]) == (202, "TEXT", FILLED)

    @pytest.mark.parametrize(
        ("asked", "conversations", "text"),
        [("pt", "en", "pt"), (None, "en", "en"), (None, "pt", "pt"), (None, None, "es")],
        ids=["given", "the-conversation's", "the-conversation's-too", "the-tenant's"],
    )
    async def test_the_language(self, api, seeds, admin, asked, conversations, text) -> None:
        for language in ("es", "en", "pt"):
            await api.post(PATH, {"name": "hi", "language": language, "body": language})
        conversation = await seeds.conversation()
        await admin.execute(
            "update conversations set language = $1 where id = $2", conversations, conversation
        )
        await admin.execute("update distributors set locale = 'es' where id = $1", seeds.distributor_id)
        _, message = await self.send(api, conversation, name="hi", language=asked, variables={})
        assert message["text"] == text

    @pytest.mark.parametrize(
        ("asked", "conversations", "text"),
        [("es_MX", None, "es_MX"), ("es", None, "es"), ("pt", None, "pt_BR"), (None, "pt", "pt_BR")],
    )
    async def test_the_language_of_a_country(self, api, seeds, admin, asked, conversations, text) -> None:
        for language in ("es", "es_MX", "pt_BR"):
            status, _ = await api.post(PATH, {"name": "hi", "language": language, "body": language})
            assert status == 201
        conversation = await seeds.conversation()
        await admin.execute(
            "update conversations set language = $1 where id = $2", conversations, conversation
        )
        _, message = await self.send(api, conversation, name="hi", language=asked, variables={})
        assert message["text"] == text

    async def test_one_for_the_channel_goes_before_one_for_all(self, api, seeds) -> None:
        await api.post(PATH, {**TEMPLATE, "body": "for all"})
        await api.post(PATH, {**TEMPLATE, "body": "for SMS", "channel": "SMS"})
        await api.post(PATH, {**TEMPLATE, "body": "for mails", "channel": "EMAIL"})
        _, message = await self.send(api, await seeds.conversation(), language="es", variables={})
        assert message["text"] == "for SMS"

    @pytest.mark.parametrize(
        ("template", "field", "code"),
        [
            ({"name": "nobody"}, "template.name", "template_not_found"),
            ({"language": "pt"}, "template.name", "template_not_found"),
            ({"variables": {"nombre": "x"}}, "template.variables", "variable_missing"),
            ({"variables": {**VALUES, "more": "x"}}, "template.variables", "variable_unknown"),
        ],
    )
    async def test_what_cannot_be_filled_in_says_why(self, api, seeds, template, field, code) -> None:
        await api.post(PATH, TEMPLATE)
        status, problem = await self.send(api, await seeds.conversation(), **{"language": "es", **template})
        assert status == 422
        assert [(error["field"], error["code"]) for error in problem["errors"]] == [(field, code)]

    async def test_what_is_not_active_is_not_found(self, api, seeds) -> None:
        await api.post(PATH, {**TEMPLATE, "active": False})
        status, problem = await self.send(api, await seeds.conversation(), language="es")
        assert (status, problem["errors"][0]["code"]) == (422, "template_not_found")

    async def test_another_tenants_is_not_found(self, api, other, seeds) -> None:
        await other.post(PATH, TEMPLATE)
        status, problem = await self.send(api, await seeds.conversation(), language="es")
        assert (status, problem["errors"][0]["code"]) == (422, "template_not_found")

    async def test_it_passes_whatsapps_24_hours_and_a_text_does_not(self, api, seeds, admin) -> None:
        await api.post(PATH, {**TEMPLATE, "approval": "APPROVED"})
        conversation = await seeds.conversation()
        await whatsapp(admin, conversation)
        status, problem = await api.post(f"/v1/conversations/{conversation}/messages", {"text": "hola"})
        assert (status, problem["code"]) == (409, "window_closed")
        status, message = await self.send(api, conversation, language="es")
        assert (status, message["type"], message["text"]) == (202, "TEMPLATE", FILLED)
        assert message["metadata"]["template"] == {
            "name": TEMPLATE["name"],
            "language": "es",
            "provider_template_id": None,
            "variables": [{"name": "nombre", "value": "Lupita"}, {"name": "dia", "value": "martes"}],
        }

    @pytest.mark.parametrize(
        ("provider", "columns", "code"),
        [
            ("whatsapp_cloud", {}, "template_not_approved"),
            ("whatsapp_cloud", {"approval": "PENDING"}, "template_not_approved"),
            ("twilio", {"approval": "APPROVED"}, "template_without_provider_id"),
        ],
    )
    async def test_whatsapp_takes_approved_ones_only(
        self, api, seeds, admin, provider, columns, code
    ) -> None:
        await api.post(PATH, {**TEMPLATE, **columns})
        conversation = await seeds.conversation()
        await whatsapp(admin, conversation, provider)
        status, problem = await self.send(api, conversation, language="es")
        assert (status, problem["errors"][0]["code"]) == (422, code)

    async def test_a_repeated_request_sends_once(self, api, seeds) -> None:
        await api.post(PATH, TEMPLATE)
        conversation = await seeds.conversation()
        headers = {"Idempotency-Key": "k-1"}
        _, first = await self.send(api, conversation, headers, language="es")
        _, again = await self.send(api, conversation, headers, language="es")
        assert again == first
        assert len(await api.walk(f"/v1/conversations/{conversation}/messages", 5)) == 1

    async def test_a_stop_stands_before_a_template_too(self, api, seeds, admin) -> None:
        await api.post(PATH, TEMPLATE)
        conversation = await seeds.conversation()
        await admin.execute(
            "update customer_contacts set opted_out_at = now() where distributor_id = $1",
            seeds.distributor_id,
        )
        status, problem = await self.send(api, conversation, language="es")
        assert (status, problem["code"]) == (409, "opted_out")


async def test_bulk_is_stored_as_such(api, seeds, admin) -> None:
    conversation = await seeds.conversation()
    for priority in ("bulk", "normal"):
        body = {"text": "hola", "priority": priority}
        assert (await api.post(f"/v1/conversations/{conversation}/messages", body))[0] == 202
    rows = await admin.fetch(
        "select send_priority from messages where conversation_id = $1 order by id", conversation
    )
    assert [row["send_priority"] for row in rows] == [10, 0]
