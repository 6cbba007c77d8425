"""Customers with what they come to; made, renamed, given addresses and labels. Consent stays with the address."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from channels.base import Channel, ConsentChange
from handlers.inbound import accept_messages
from tests.factories import accepted_item, inbound, make_account
from tests.integration.api.seeds import ENDPOINT

CUSTOMERS = "/v1/customers"
CONTACT = {"channel": "SMS", "address": "+52 55 1234 5678", "display_name": "Lupita"}
LUPITA = {"business_name": "Abarrotes Lupita", "contacts": [CONTACT]}
ADDRESS = "+525512345678"


async def told(api) -> list[str]:
    _, page = await api.get("/v1/events")
    return [event["type"] for event in reversed(page["data"])]


async def write(runtime, account, text: str = "hola", key: str = "SM1", consent=None) -> None:
    message = inbound(text, key=key, sender=ADDRESS, channel=Channel.SMS, consent=consent)
    await accept_messages(runtime, [accepted_item(runtime, account, message)])


@pytest.fixture
async def account(runtime, api):
    return await make_account(runtime, api.distributor_id, Channel.SMS)


class TestFigures:
    async def test_what_is_stored_and_counted_is_shown(self, api, seeds, clock, admin) -> None:
        conversation = await seeds.conversation(name="Bodega Sol")
        customer_id = await admin.fetchval(
            "select customer_id from conversations where id = $1", conversation
        )
        order = {"customer_id": customer_id, "currency": "USD"}
        for days, amount, status in (
            (5, 100, "CONFIRMED"),
            (45, 51, "DELIVERED"),
            (1, 900, "PENDING"),
            (2, 900, "CANCELLED"),
        ):
            moment = clock() - timedelta(days=days)
            await seeds.order(conversation, status, total_amount=amount, created_at=moment, **order)
        await seeds.order(conversation, "CONFIRMED", **order | {"currency": "EUR"}, total_amount=7_777)
        async with seeds.runtime.database.tenant(api.distributor_id) as connection:
            await connection.execute("select refresh_customers($1, $2)", [customer_id], clock())

        status, shown = await api.get(f"{CUSTOMERS}/{customer_id}")
        assert status == 200
        assert (shown["total_orders"], shown["total_spent"], shown["status"]) == (3, 151, "ORDERING")
        assert shown["last_ordered_at"] == clock().isoformat().replace("+00:00", "Z")
        assert shown["expected_order_at"] is not None
        assert shown["statistics"] == {
            "orders_30_days": 2,
            "average_order": 75.5,
            "active_conversations_7_days": 1,
        }
        (listed,) = (await api.get(CUSTOMERS))[1]["data"]
        assert listed == {name: value for name, value in shown.items() if name != "statistics"}

    async def test_without_an_order_there_is_no_average(self, api, seeds) -> None:
        customer_id = await seeds.customer()
        _, shown = await api.get(f"{CUSTOMERS}/{customer_id}")
        assert shown["statistics"] == {
            "orders_30_days": 0,
            "average_order": None,
            "active_conversations_7_days": 0,
        }
        assert (shown["total_spent"], shown["last_ordered_at"], shown["labels"]) == (0, None, [])

    async def test_pages_with_a_filter_by_label_and_text(self, api, seeds) -> None:
        _, label = await api.post("/v1/labels", {"name": "Bar"})
        made = [await seeds.customer(f"Bodega {number}") for number in range(7)]
        for customer_id in made[::2]:
            await api.call("PUT", f"{CUSTOMERS}/{customer_id}/labels/{label['id']}")

        marked = await api.walk(f"{CUSTOMERS}?label_id={label['id']}", 2)
        assert [item["id"] for item in marked] == [str(one) for one in reversed(made[::2])]
        assert marked[0]["labels"] == [{"id": label["id"], "name": "Bar", "color": "#6b7280"}]
        assert [item["id"] for item in await api.walk(f"{CUSTOMERS}?q=bodega 3", 2)] == [str(made[3])]
        assert await api.walk(f"{CUSTOMERS}?label_id={made[0]}", 2) == []


class TestCreation:
    async def test_it_has_its_address_and_is_told(self, api) -> None:
        status, created = await api.post(CUSTOMERS, LUPITA)
        assert status == 201
        assert created["customer_code"].startswith("C-")
        assert (created["status"], created["total_orders"]) == ("NO_ORDERS_YET", 0)
        (contact,) = created["contacts"]
        assert (contact["address"], contact["display_name"]) == (ADDRESS, "Lupita")
        assert await api.get(f"{CUSTOMERS}/{created['id']}") == (200, created)

        _, page = await api.get("/v1/events")
        assert [event["type"] for event in page["data"]] == ["customer.created"]
        assert page["data"][0]["data"]["customer_id"] == created["id"]
        assert page["data"][0]["data"]["address"] == ADDRESS

    async def test_who_writes_from_that_address_is_that_customer(self, api, runtime, account) -> None:
        _, created = await api.post(CUSTOMERS, LUPITA)
        await write(runtime, account)
        _, page = await api.get("/v1/conversations")
        assert [shown["customer_id"] for shown in page["data"]] == [created["id"]]
        assert (await told(api)).count("customer.created") == 1

    async def test_a_taken_code_or_address_is_409_and_nothing_is_made(self, api, admin) -> None:
        assert (await api.post(CUSTOMERS, {**LUPITA, "customer_code": "L1"}))[0] == 201
        fresh = {"channel": "EMAIL", "address": "l@lupita.mx"}
        for body in (
            {**LUPITA, "contacts": [fresh, CONTACT]},
            {**LUPITA, "contacts": [fresh], "customer_code": "L1"},
        ):
            status, problem = await api.post(CUSTOMERS, body)
            assert (status, problem["code"]) == (409, "already_exists")
        assert await admin.fetchval("select count(*) from customers") == 1
        assert await admin.fetchval("select count(*) from customer_contacts") == 1
        assert await told(api) == ["customer.created"]

    async def test_one_of_many_at_once_gets_the_address(self, api, admin) -> None:
        answers = await asyncio.gather(*(api.post(CUSTOMERS, LUPITA) for _ in range(10)))
        assert Counter(status for status, _ in answers) == {201: 1, 409: 9}
        assert await admin.fetchval("select count(*) from customers") == 1

    @pytest.mark.parametrize(
        "contacts",
        [
            [],
            [{"channel": "SMS", "address": "12"}],
            [{"channel": "EMAIL", "address": "nobody"}],
            [{"channel": "FAX", "address": ADDRESS}],
            [CONTACT, CONTACT],
        ],
    )
    async def test_what_is_no_address_or_given_twice_is_422(self, api, contacts) -> None:
        assert (await api.post(CUSTOMERS, {**LUPITA, "contacts": contacts}))[0] == 422

    async def test_the_same_number_of_another_tenant_is_no_matter(self, api, other) -> None:
        assert (await api.post(CUSTOMERS, LUPITA))[0] == 201
        assert (await other.post(CUSTOMERS, LUPITA))[0] == 201


class TestRenaming:
    async def test_name_and_code(self, api, clock) -> None:
        _, created = await api.post(CUSTOMERS, LUPITA)
        path = f"{CUSTOMERS}/{created['id']}"
        clock.advance(1)
        status, changed = await api.patch(path, {"business_name": "Lupita e hijos"})
        assert (status, changed["business_name"]) == (200, "Lupita e hijos")
        assert changed["customer_code"] == created["customer_code"]
        assert changed["updated_at"] > created["updated_at"]
        assert (await api.patch(path, {"customer_code": "L-1"}))[1]["customer_code"] == "L-1"

    async def test_a_taken_code_is_409_and_null_422(self, api, seeds) -> None:
        _, created = await api.post(CUSTOMERS, LUPITA)
        await seeds.customer()
        path = f"{CUSTOMERS}/{created['id']}"
        assert (await api.patch(path, {"customer_code": "C-1"}))[0] == 409
        for body in (
            {"business_name": None},
            {"business_name": ""},
            {"status": "AT_RISK"},
            {"total_spent": 1},
        ):
            assert (await api.patch(path, body))[0] == 422


class TestAddresses:
    async def test_a_list_of_its_own(self, api) -> None:
        _, created = await api.post(CUSTOMERS, LUPITA)
        path = f"{CUSTOMERS}/{created['id']}/contacts"
        status, added = await api.post(path, {"channel": "EMAIL", "address": "L@Lupita.mx"})
        assert (status, added["address"]) == (201, "l@lupita.mx")
        listed = await api.walk(path, 1)
        assert [item["address"] for item in listed] == ["l@lupita.mx", ADDRESS]
        assert (await api.post(path, {"channel": "EMAIL", "address": "l@lupita.mx"}))[0] == 409

    async def test_an_address_that_is_taken_away_keeps_its_consent(
        self, api, runtime, account, admin
    ) -> None:
        _, created = await api.post(CUSTOMERS, LUPITA)
        await write(runtime, account, "STOP", consent=ConsentChange.OUT)
        path = f"{CUSTOMERS}/{created['id']}/contacts"
        (contact,) = (await api.get(path))[1]["data"]
        assert contact["opted_out_at"] is not None

        assert await api.delete(f"{path}/{contact['id']}") == (204, None)
        assert (await api.get(path))[1]["data"] == []
        assert (await api.delete(f"{path}/{contact['id']}"))[0] == 404
        assert await admin.fetchval("select count(*) from messages") == 1
        assert (await api.get("/v1/conversations"))[1]["data"][0]["customer_id"] is None

        body = {"business_name": "Otra", "contacts": [{"channel": "SMS", "address": ADDRESS}]}
        _, taken = await api.post(CUSTOMERS, body)
        assert taken["contacts"] == [contact]
        _, page = await api.get("/v1/conversations")
        assert [shown["customer_id"] for shown in page["data"]] == [taken["id"]]
        _, problem = await api.post(f"/v1/conversations/{page['data'][0]['id']}/messages", {"text": "hola"})
        assert problem["code"] == "opted_out"

    async def test_who_writes_again_from_it_is_a_new_customer(self, api, runtime, account) -> None:
        _, created = await api.post(CUSTOMERS, LUPITA)
        await write(runtime, account)
        path = f"{CUSTOMERS}/{created['id']}/contacts/{created['contacts'][0]['id']}"
        assert (await api.delete(path))[0] == 204
        await write(runtime, account, key="SM2")

        _, page = await api.get("/v1/conversations")
        (now_of,) = [shown["customer_id"] for shown in page["data"]]
        assert now_of not in {None, created["id"]}
        _, newcomer = await api.get(f"{CUSTOMERS}/{now_of}")
        assert [contact["address"] for contact in newcomer["contacts"]] == [ADDRESS]
        assert (await told(api)).count("customer.created") == 2

    async def test_a_contact_of_another_customer_is_404(self, api, seeds) -> None:
        _, created = await api.post(CUSTOMERS, LUPITA)
        stranger = await seeds.customer()
        path = f"{CUSTOMERS}/{stranger}/contacts/{created['contacts'][0]['id']}"
        assert (await api.delete(path))[0] == 404
        assert len((await api.get(f"{CUSTOMERS}/{created['id']}"))[1]["contacts"]) == 1

    async def test_taking_and_messages_at_once_come_to_an_end(self, api, runtime, account) -> None:
        """Both lock the address before its conversations."""
        _, created = await api.post(CUSTOMERS, LUPITA)
        path = f"{CUSTOMERS}/{created['id']}/contacts"

        async def move() -> None:
            await api.delete(f"{path}/{created['contacts'][0]['id']}")
            await api.post(path, CONTACT)

        async with asyncio.timeout(30):
            await asyncio.gather(
                *(
                    write(runtime, account, key=f"SM{number}") if number % 3 else move()
                    for number in range(30)
                )
            )
        _, page = await api.get("/v1/conversations")
        assert page["data"][0]["unread_count"] == 20


class TestLabels:
    async def test_a_life(self, api, seeds, clock) -> None:
        status, label = await api.post("/v1/labels", {"name": "Restaurant", "color": "#1D4ED8"})
        assert (status, label["color"], label["customers"]) == (201, "#1d4ed8", 0)
        path = f"/v1/labels/{label['id']}"
        clock.advance(1)
        _, changed = await api.patch(path, {"description": "with a kitchen"})
        assert changed == {**label, "description": "with a kitchen", "updated_at": changed["updated_at"]}

        customer_id = await seeds.customer()
        assigned = f"{CUSTOMERS}/{customer_id}/labels/{label['id']}"
        for _ in range(2):
            assert await api.call("PUT", assigned) == (204, None)
        assert (await api.get(path))[1]["customers"] == 1
        assert (await api.get("/v1/labels"))[1]["data"][0]["customers"] == 1
        assert (await api.delete(assigned))[0] == 204
        assert (await api.delete(assigned))[0] == 404

        await api.call("PUT", assigned)
        assert (await api.delete(path))[0] == 204
        assert (await api.get(path))[0] == 404
        assert (await api.get(f"{CUSTOMERS}/{customer_id}"))[1]["labels"] == []

    async def test_a_name_is_taken_once_whatever_its_capitals(self, api, other) -> None:
        _, label = await api.post("/v1/labels", {"name": "Bar"})
        await api.post("/v1/labels", {"name": "Café"})
        assert (await api.post("/v1/labels", {"name": "BAR"}))[0] == 409
        assert (await api.patch(f"/v1/labels/{label['id']}", {"name": "CAFÉ"}))[0] == 409
        assert (await other.post("/v1/labels", {"name": "Bar"}))[0] == 201

    async def test_pages(self, api) -> None:
        for number in range(5):
            await api.post("/v1/labels", {"name": f"L{number}"})
        assert [item["name"] for item in await api.walk("/v1/labels", 2)] == ["L4", "L3", "L2", "L1", "L0"]

    async def test_a_label_of_another_tenant_is_404(self, api, other, seeds) -> None:
        _, foreign = await other.post("/v1/labels", {"name": "Bar"})
        customer_id = await seeds.customer()
        path = f"{CUSTOMERS}/{customer_id}/labels/{foreign['id']}"
        assert (await api.call("PUT", path))[0] == 404
        assert (await api.delete(path))[0] == 404
        _, own = await api.post("/v1/labels", {"name": "Bar"})
        assert (await other.call("PUT", f"{CUSTOMERS}/{customer_id}/labels/{own['id']}"))[0] == 404

    async def test_assigning_and_deleting_at_once_end_in_404_or_204(self, api, seeds, admin) -> None:
        customer_id = await seeds.customer()
        for number in range(5):
            _, label = await api.post("/v1/labels", {"name": f"L{number}"})
            assigned = api.call("PUT", f"{CUSTOMERS}/{customer_id}/labels/{label['id']}")
            answers = await asyncio.gather(assigned, api.delete(f"/v1/labels/{label['id']}"))
            assert {status for status, _ in answers} <= {204, 404}
        assert await admin.fetchval("select count(*) from customer_label_assignments") == 0

    @pytest.mark.parametrize(
        "body", [{"name": ""}, {"name": "x", "color": "red"}, {"name": "x", "color": "#12345"}]
    )
    async def test_a_wrong_label_is_422(self, api, body) -> None:
        assert (await api.post("/v1/labels", body))[0] == 422


class TestConsent:
    """What staff may say of an address."""

    async def made(self, api) -> str:
        _, customer = await api.post(
            CUSTOMERS,
            {"business_name": "Lupita", "contacts": [{"channel": "SMS", "address": "+525512345678"}]},
        )
        return f"{CUSTOMERS}/{customer['id']}/contacts/{customer['contacts'][0]['id']}"

    async def events(self, admin, seeds) -> list[str]:
        rows = await admin.fetch(
            "select type from webhook_events where distributor_id = $1 and type like 'customer.opted%' order by id",
            seeds.distributor_id,
        )
        return [row["type"] for row in rows]

    async def test_staff_stop_an_address_and_open_it_again(self, api, admin, seeds) -> None:
        await api.post("/v1/webhook-endpoints", {**ENDPOINT, "event_types": ["*"]})
        path = await self.made(api)
        for _ in range(2):
            status, stopped = await api.patch(path, {"opted_out": True})
            assert (status, stopped["opt_out_reason"]) == (200, "manual")
            assert stopped["opted_out_at"] is not None
        for _ in range(2):
            status, opened = await api.patch(path, {"opted_out": False})
            assert (status, opened["opted_out_at"], opened["opt_out_reason"]) == (200, None, None)
        assert await self.events(admin, seeds) == ["customer.opted_out", "customer.opted_in"]

    @pytest.mark.parametrize("reason", ["keyword", "provider", "bounce", "complaint", "unsubscribe", None])
    async def test_what_others_stopped_is_opened_by_force_only(self, api, admin, seeds, reason) -> None:
        path = await self.made(api)
        await admin.execute(
            "update customer_contacts set opted_out_at = now(), opt_out_reason = $2 where distributor_id = $1",
            seeds.distributor_id,
            reason,
        )
        status, problem = await api.patch(path, {"opted_out": False})
        assert (status, problem["code"]) == (409, "wrong_state")
        _, page = await api.get(path.rpartition("/")[0])
        assert page["data"][0]["opt_out_reason"] == reason
        status, opened = await api.patch(path, {"opted_out": False, "force": True})
        assert (status, opened["opted_out_at"]) == (200, None)

    async def test_another_tenants_address_is_not_there(self, api, other) -> None:
        path = await self.made(api)
        assert (await other.patch(path, {"opted_out": True}))[0] == 404
        assert (await api.patch(path, {}))[0] == 422
