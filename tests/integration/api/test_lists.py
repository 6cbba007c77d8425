"""Lists: pages without gaps and repetitions, ties, limits, cursors, filters."""

import base64
import itertools
from datetime import date, timedelta
from urllib.parse import quote, urlencode

import pytest

from gateway.api.operations import Operation
from gateway.api.routes import OPERATIONS
from gateway.api.schemas import PageQuery
from handlers.webhooks.delivery import DeliveryStatus
from tests.integration.api.seeds import ENDPOINT


@pytest.fixture
def admin_dsn(shared_dsn: str) -> str:
    """One database for all: each test has tenants of its own, and no tenant sees another's rows."""
    return shared_dsn


LISTS = [operation for operation in OPERATIONS if issubclass(operation.query, PageQuery)]
PRODUCTS = "/v1/products"


def by_name(operation: Operation) -> str:
    return operation.name


async def add_products(api, count: int) -> None:
    rows = [{"sku": f"S-{number:04}", "name": f"Product {number}", "unit": "pz"} for number in range(count)]
    status, answer = await api.post(f"{PRODUCTS}/import", {"products": rows})
    assert (status, answer["created"]) == (200, count)


async def conversation_path(operation: Operation, seeds) -> str:
    return operation.path.replace("{id}", str(await seeds.conversation()) if operation.id_names else "")


class TestLimits:
    @pytest.mark.parametrize("operation", LISTS, ids=by_name)
    @pytest.mark.parametrize("limit", ["0", "201", "-1", "x", "1.5", ""])
    async def test_a_limit_out_of_range_is_422(self, api, seeds, operation, limit) -> None:
        status, problem = await api.get(f"{await conversation_path(operation, seeds)}?limit={limit}")
        assert (status, problem["code"]) == (422, "invalid_field")
        assert [(error["location"], error["field"]) for error in problem["errors"]] == [("query", "limit")]

    async def test_the_default_is_50_and_the_most_200(self, api) -> None:
        await add_products(api, 210)
        assert len((await api.get(PRODUCTS))[1]["data"]) == 50
        assert len((await api.get(f"{PRODUCTS}?limit=200"))[1]["data"]) == 200

    async def test_the_last_page_has_no_cursor(self, api) -> None:
        await add_products(api, 3)
        assert (await api.get(f"{PRODUCTS}?limit=3"))[1]["next_cursor"] is None
        assert (await api.get(f"{PRODUCTS}?limit=2"))[1]["next_cursor"] is not None


class TestWalks:
    @pytest.mark.parametrize("limit", [1, 2, 7, 200])
    async def test_every_item_once_newest_first(self, api, limit) -> None:
        await add_products(api, 23)
        items = await api.walk(PRODUCTS, limit)
        assert [item["sku"] for item in items] == [f"S-{number:04}" for number in reversed(range(23))]

    async def test_conversations_with_the_same_time_are_neither_lost_nor_repeated(
        self, api, seeds, clock
    ) -> None:
        account = await seeds.account()
        made = [
            await seeds.conversation(account, last_message_at=clock() + timedelta(seconds=number // 5))
            for number in range(15)
        ]
        items = await api.walk("/v1/conversations", 2)
        assert [item["id"] for item in items] == [str(one) for one in reversed(made)]

    async def test_a_row_that_comes_meanwhile_moves_nothing(self, api) -> None:
        await add_products(api, 4)
        _, page = await api.get(f"{PRODUCTS}?limit=2")
        await api.post(PRODUCTS, {"sku": "NEW", "name": "New", "unit": "pz"})
        _, rest = await api.get(f"{PRODUCTS}?limit=10&cursor={page['next_cursor']}")
        assert [item["sku"] for item in rest["data"]] == ["S-0001", "S-0000"]

    async def test_deliveries_of_one_event_to_many_endpoints(self, api, seeds) -> None:
        """They tie in the event, which is what the list is ordered by."""
        endpoints = [(await api.post("/v1/webhook-endpoints", ENDPOINT))[1]["id"] for _ in range(3)]
        for _ in range(3):
            await seeds.event()
        items = await api.walk("/v1/webhook-deliveries", 2)
        assert len({item["id"] for item in items}) == 9
        assert [item["event_id"] for item in items] == sorted(
            (item["event_id"] for item in items), reverse=True
        )
        assert {item["endpoint_id"] for item in items} == set(endpoints)


class TestCursors:
    async def test_a_tampered_cursor_is_422(self, api) -> None:
        await add_products(api, 3)
        cursor = (await api.get(f"{PRODUCTS}?limit=1"))[1]["next_cursor"]
        raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        for position in (0, 5, 30, 70, len(raw) - 1):
            changed = raw.copy()
            changed[position] ^= 1
            text = base64.urlsafe_b64encode(changed).rstrip(b"=").decode()
            status, problem = await api.get(f"{PRODUCTS}?cursor={text}")
            assert (status, problem["code"]) == (422, "invalid_cursor")

    @pytest.mark.parametrize("cursor", ["", "x", "%00", "=", "2026-01-01", "é", "A" * 999, "A" * 1001, "-1"])
    async def test_what_is_no_cursor_is_422(self, api, cursor) -> None:
        status, _ = await api.get(f"{PRODUCTS}?cursor={cursor}")
        assert status == 422

    async def test_a_cursor_of_another_list_or_tenant_is_422(self, api, other) -> None:
        await add_products(api, 3)
        cursor = (await api.get(f"{PRODUCTS}?limit=1"))[1]["next_cursor"]
        assert (await api.get(f"/v1/orders?cursor={cursor}"))[0] == 422
        assert (await other.get(f"{PRODUCTS}?cursor={cursor}"))[0] == 422
        assert (await api.get(f"{PRODUCTS}?cursor={cursor}"))[0] == 200


class TestFilters:
    @pytest.mark.parametrize("operation", LISTS, ids=by_name)
    @pytest.mark.parametrize("query", ["colour=red", "limit=1&limit=2"])
    async def test_unknown_and_repeated_parameters_are_422(self, api, seeds, operation, query) -> None:
        """A filter that is ignored would show everything."""
        assert (await api.get(f"{await conversation_path(operation, seeds)}?{query}"))[0] == 422

    async def test_conversations(self, api, seeds) -> None:
        unread = await seeds.conversation(name="Bodega Sol", unread=2)
        archived = await seeds.conversation(name="Café Luna", status="ARCHIVED")
        _, shown = await api.get(f"/v1/conversations/{unread}")

        async def ids(query: str):
            _, page = await api.get(f"/v1/conversations?{query}")
            return {item["id"] for item in page["data"]}

        both = {str(unread), str(archived)}
        assert both == await ids("channel=SMS")
        assert set() == await ids("channel=EMAIL")
        assert {str(archived)} == await ids("status=ARCHIVED")
        assert {str(unread)} == await ids("unread=true")
        assert {str(archived)} == await ids("unread=false")
        assert {str(unread)} == await ids(f"customer_id={shown['customer_id']}")
        assert {str(archived)} == await ids("q=" + quote("café LUNA".lower()))
        assert {str(unread)} == await ids("q=" + quote(shown["contact_address"][-6:]))
        assert set() == await ids("q=%25")  # no pattern, a sign

    async def test_events_and_deliveries_by_time_type_endpoint_and_status(self, api, seeds, clock) -> None:
        _, endpoint = await api.post("/v1/webhook-endpoints", {**ENDPOINT, "event_types": ["*"]})
        early, late = await seeds.event("order.created"), await seeds.event("order.updated", minutes=10)
        between = quote((clock() + timedelta(minutes=5)).isoformat())

        async def ids(path: str, field: str):
            _, page = await api.get(path)
            return [item[field] for item in page["data"]]

        first, second = f"evt_{early.hex}", f"evt_{late.hex}"
        for path, field in (("/v1/events", "id"), ("/v1/webhook-deliveries", "event_id")):
            assert [second, first] == await ids(path, field)
            assert [second] == await ids(f"{path}?since={between}", field)
            assert [first] == await ids(f"{path}?until={between}", field)
            assert [first] == await ids(f"{path}?event_type=order.created", field)
        assert (
            len(await ids(f"/v1/webhook-deliveries?endpoint_id={endpoint['id']}&status=PENDING", "id")) == 2
        )
        assert await ids("/v1/webhook-deliveries?status=SUCCESS", "id") == []

    @pytest.mark.parametrize("path", ["/v1/events", "/v1/webhook-deliveries"])
    async def test_since_is_inclusive_and_until_exclusive(self, api, seeds, clock, path) -> None:
        await api.post("/v1/webhook-endpoints", {**ENDPOINT, "event_types": ["*"]})
        await seeds.event()
        edge, later = (quote((clock() + timedelta(microseconds=step)).isoformat()) for step in (0, 1))

        async def count(query: str) -> int:
            return len((await api.get(f"{path}?{query}"))[1]["data"])

        assert (await count(f"since={edge}"), await count(f"since={later}")) == (1, 0)
        assert (await count(f"until={edge}"), await count(f"until={later}")) == (0, 1)

    @pytest.mark.parametrize("path", ["/v1/events", "/v1/webhook-deliveries"])
    @pytest.mark.parametrize(
        ("since", "until", "found"),
        [
            ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", 1),
            ("9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", 0),
        ],
    )
    async def test_the_ends_of_time_are_times(self, api, seeds, path, since, until, found) -> None:
        await api.post("/v1/webhook-endpoints", ENDPOINT)
        await seeds.event()
        status, page = await api.get(f"{path}?since={since}&until={until}")
        assert (status, len(page["data"])) == (200, found)

    async def test_every_combination_of_a_deliverys_filters(self, api, seeds, admin) -> None:
        """The lists are several statements; none may forget a filter."""
        made = [
            (await api.post("/v1/webhook-endpoints", {**ENDPOINT, "event_types": ["*"]}))[1]["id"]
            for _ in range(2)
        ]
        for event_type in ("order.created", "order.updated"):
            for _ in DeliveryStatus:
                await seeds.event(event_type)
        await admin.execute(
            "update webhook_deliveries d set status = s.status, due_at = case when s.status in ('PENDING', 'RETRYING')"
            " then due_at end from (select id, ($1::text[])[1 + (row_number() over (partition by d.endpoint_id order by"
            " event_id) - 1) % 5] as status from webhook_deliveries d) s where s.id = d.id",
            list(DeliveryStatus),
        )
        rows = await api.walk("/v1/webhook-deliveries", 3)
        assert len(rows) == 20

        choices = ((None, *made), (None, *DeliveryStatus), (None, "order.created"))
        for chosen in itertools.product(*choices):
            wanted = dict(zip(("endpoint_id", "status", "event_type"), chosen, strict=True))
            given = {name: value for name, value in wanted.items() if value}
            found = await api.walk(f"/v1/webhook-deliveries?{urlencode(given)}", 3)
            assert found == [row for row in rows if given.items() <= row.items()], given

    async def test_every_combination_of_an_events_filters(self, api, seeds) -> None:
        conversations = [await seeds.conversation() for _ in range(2)]
        for minutes, conversation in itertools.product((0, 10), (*conversations, None)):
            for event_type in ("order.created", "order.updated"):
                await seeds.event(event_type, minutes=minutes, conversation_id=conversation)
        rows = await api.walk("/v1/events", 3)
        assert len(rows) == 12
        assert sorted(row["sequence"] or 0 for row in rows) == [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4]

        between = rows[5]["timestamp"]
        choices = ((None, *map(str, conversations)), (None, "order.created"), (None, "since", "until"))
        for chosen, kind, edge in itertools.product(*choices):
            wanted = {"conversation_id": chosen, "event_type": kind}
            given = {name: value for name, value in wanted.items() if value}
            limits = {edge: between} if edge else {}
            found = await api.walk(f"/v1/events?{urlencode(given | limits)}", 3)
            kept = [
                row
                for row in rows
                if chosen in (None, row["conversation_id"]) and kind in (None, row["type"])
            ]
            if edge:
                kept = [row for row in kept if (row["timestamp"] >= between) == (edge == "since")]
            assert found == kept, (given, edge)

    async def test_an_event_whose_payload_is_over_says_so(self, api, seeds, admin) -> None:
        gone, kept = await seeds.event(), await seeds.event()
        await admin.execute("update webhook_events set body = null where id = $1", gone)

        _, page = await api.get("/v1/events")
        read = [(await api.get(f"/v1/events/{event['id']}"))[1] for event in page["data"]]

        assert read == page["data"]
        assert [(event["payload_expired"], event["data"] is None) for event in read] == [
            (False, False),
            (True, True),
        ]
        assert read[0]["id"] == f"evt_{kept.hex}"

    async def test_an_offset_whose_plus_was_not_escaped_is_understood(self, api, seeds) -> None:
        await seeds.event()
        status, page = await api.get("/v1/events?since=2026-01-01T00:00:00+00:00")
        assert (status, len(page["data"])) == (200, 1)

    @pytest.mark.parametrize(
        "moment", ["yesterday", "0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00"]
    )
    async def test_a_time_that_is_none_is_422(self, api, moment) -> None:
        assert (await api.get(f"/v1/events?since={moment}"))[0] == 422

    async def test_orders_products_and_customers(self, api, seeds) -> None:
        conversation = await seeds.conversation(name="Bodega Sol")
        order = await seeds.order(conversation)
        await seeds.order(status="CONFIRMED")
        await add_products(api, 2)
        await api.patch(f"{PRODUCTS}/{(await api.get(PRODUCTS))[1]['data'][0]['id']}", {"active": False})

        async def count(path: str) -> int:
            return len((await api.get(path))[1]["data"])

        assert (await api.get("/v1/orders?status=PENDING"))[1]["data"][0]["id"] == str(order)
        assert await count("/v1/orders?status=CONFIRMED") == 1
        assert await count(f"/v1/orders?conversation_id={conversation}") == 1
        assert await count("/v1/orders?until=2020-01-01T00:00:00Z") == 0
        await seeds.order(
            None, "REVIEW", requires_review=True, channel="EMAIL", delivery_date=date(2026, 7, 10)
        )
        for query in ("requires_review=true", "channel=EMAIL", "delivery_date=2026-07-10"):
            assert await count(f"/v1/orders?{query}") == 1
        assert await count("/v1/orders?requires_review=false&channel=SMS") == 2
        assert await count("/v1/orders?delivery_date=2026-07-11") == 0
        assert await count(f"{PRODUCTS}?active=false") == 1
        assert await count(f"{PRODUCTS}?q=s-0000") == 1
        assert await count("/v1/customers?q=bodega") == 1
        assert await count("/v1/customers?q=%2B1212555") == 1
        assert await count("/v1/customers?status=AT_RISK") == 0
        assert await count("/v1/channel-accounts?provider=twilio&channel=SMS") == 1
