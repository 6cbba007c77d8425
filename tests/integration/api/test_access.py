"""Who may see what: generated from the operations, so that no later route escapes."""

import json
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPMethod
from typing import Any
from uuid import uuid4

import pytest

from gateway.api.operations import Operation
from gateway.api.routes import OPERATIONS
from gateway.api.schemas import PageQuery
from gateway.keys import DENIALS
from handlers.tenants import hash_key
from handlers.webhooks.events import public_event_id
from tests.integration.api.conftest import Api
from tests.integration.api.seeds import ACCOUNT, ENDPOINT, PRODUCT, Seeds
from tests.pull_endpoints import make_pull_endpoint


@pytest.fixture
def admin_dsn(shared_dsn: str) -> str:
    """One database for all: each test has tenants of its own, and no tenant sees another's rows."""
    return shared_dsn


VALID_BODIES: Mapping[str, dict[str, Any]] = {
    "acknowledge_deliveries": {"delivery_ids": [str(uuid4())]},
    "add_contact": {"channel": "SMS", "address": "+525512345678"},
    "create_account": ACCOUNT,
    "create_api_key": {"name": "second"},
    "create_category": {"name": "Bebidas", "position": 1},
    "create_customer": {
        "business_name": "Lupita",
        "contacts": [{"channel": "EMAIL", "address": "l@lupita.mx"}],
    },
    "create_endpoint": ENDPOINT,
    "create_label": {"name": "Bar", "color": "#1d4ed8"},
    "create_message": {"text": "hola"},
    "create_product": PRODUCT,
    "create_template": {"name": "bye", "language": "es", "body": "Adiós {{name}}"},
    "enable_endpoint": {"replay": "missing"},
    "import_products": {"products": []},
    "replay_events": {"since": "2026-01-01T00:00:00Z", "only": "all"},
    "rotate_endpoint_secret": {"overlap_seconds": 0},
    "test_endpoint": {},
    "update_account": {"settings": {}},
    "update_category": {"name": "new"},
    "update_contact": {"opted_out": True},
    "update_conversation": {"status": "ARCHIVED"},
    "update_customer": {"business_name": "new"},
    "update_endpoint": {"name": "new"},
    "update_label": {"name": "new"},
    "update_order": {"lines": [{"sku": "AGUA-600", "quantity": 1}]},
    "update_product": {"name": "new"},
    "update_template": {"body": "new"},
    "update_tenant": {"name": "new"},
}
WITH_ID = [operation for operation in OPERATIONS if operation.id_names]
COMMON = "/v1/event-types"  # the same for every tenant
PULLED = ("/pull", "/ack")  # of endpoints that are not posted to
PARTS = {"contact_id": "contacts", "label_id": "labels"}  # a second id, and the collection it is of


def by_name(operation: Operation) -> str:
    return operation.name


def path_of(operation: Operation, ids: Mapping[str, str] | str) -> str:
    """The path with these ids, or with one text in the place of all."""
    path = operation.path.replace("{type}", "order.created")
    for name in operation.id_names:
        identity = ids if isinstance(ids, str) else ids[PARTS.get(name) or collection_of(operation)]
        path = path.replace(f"{{{name}}}", identity)
    return path


async def ids_of(api: Api, seeds: Seeds) -> dict[str, str]:
    """A real id of the tenant for every collection that has ids."""
    _, account = await api.post("/v1/channel-accounts", ACCOUNT)
    _, product = await api.post("/v1/products", PRODUCT)
    _, endpoint = await api.post("/v1/webhook-endpoints", ENDPOINT)
    _, delivery = await api.post(f"/v1/webhook-endpoints/{endpoint['id']}/test")
    _, replay = await api.post(
        f"/v1/webhook-endpoints/{endpoint['id']}/replay", VALID_BODIES["replay_events"]
    )
    _, key = await api.post("/v1/api-keys", {"name": "second"})
    conversation = await seeds.conversation()
    _, customers = await api.get("/v1/customers")
    _, label = await api.post("/v1/labels", {"name": "Restaurant"})
    _, category = await api.post("/v1/product-categories", {"name": "Aguas"})
    _, template = await api.post("/v1/message-templates", {"name": "hello", "language": "es", "body": "Hola"})
    await api.call("PUT", f"/v1/customers/{customers['data'][0]['id']}/labels/{label['id']}")
    return {
        "channel-accounts": account["id"],
        "products": product["id"],
        "webhook-endpoints": endpoint["id"],
        "pull-endpoints": str(await make_pull_endpoint(seeds.runtime, api.distributor_id)),
        "webhook-deliveries": delivery["id"],
        "events": delivery["event_id"],
        "replays": replay["replay_id"],
        "api-keys": key["id"],
        "conversations": str(conversation),
        "messages": str(await seeds.message(conversation)),
        "orders": str(await seeds.order(conversation)),
        "customers": customers["data"][0]["id"],
        "contacts": customers["data"][0]["contacts"][0]["id"],
        "labels": label["id"],
        "product-categories": category["id"],
        "message-templates": template["id"],
    }


def collection_of(operation: Operation) -> str:
    if operation.path.endswith(PULLED):
        return "pull-endpoints"
    return operation.path.split("/")[2]


async def snapshot(admin) -> str:
    """Everything that is stored of tenants, but what a request may count."""
    names = await admin.fetch(
        "select table_name as name from information_schema.columns"
        " where table_schema = 'public' and column_name = 'distributor_id' order by 1"
    )
    rows = [
        await admin.fetch(f"select to_jsonb(t) as row from {name['name']} t order by 1") for name in names
    ]
    return json.dumps([[row["row"] for row in table] for table in rows])


class TestOtherTenants:
    async def test_an_id_of_another_tenant_is_404_and_changes_nothing(self, api, other, seeds, admin) -> None:
        """Every operation with an id."""
        ids = await ids_of(api, seeds)
        before = await snapshot(admin)
        answers = {}
        for operation in WITH_ID:
            path = path_of(operation, ids)
            body = VALID_BODIES[operation.name] if operation.body else None
            answers[operation.name] = await other.call(operation.method, path, json=body)

        assert {name: status for name, (status, _) in answers.items()} == dict.fromkeys(
            map(by_name, WITH_ID), 404
        )
        assert {answer["code"] for _, answer in answers.values()} == {"not_found"}
        assert before == await snapshot(admin)

    async def test_the_owner_is_let_in_by_the_same_ids(self, api, seeds) -> None:
        """Else the test above would prove nothing."""
        ids = await ids_of(api, seeds)
        for operation in WITH_ID:
            if operation.method is HTTPMethod.GET:
                status, _ = await api.get(path_of(operation, ids))
                assert (operation.name, status) == (operation.name, 200)

    async def test_lists_hold_nothing_of_another_tenant(self, api, other, seeds) -> None:
        await ids_of(api, seeds)
        for operation in OPERATIONS:
            if issubclass(operation.query, PageQuery) and not operation.id_names and operation.path != COMMON:
                status, page = await other.get(path_of(operation, ""))
                own = 1 if operation.path == "/v1/api-keys" else 0
                assert (operation.path, status, len(page["data"])) == (operation.path, 200, own)

    async def test_figures_count_nothing_of_another_tenant(self, api, other, seeds) -> None:
        """What is no list: the same before and after the first tenant does something."""
        figures = [
            operation
            for operation in OPERATIONS
            if operation.method is HTTPMethod.GET
            and not operation.path_names
            and not issubclass(operation.query, PageQuery)
        ]
        before = [await other.get(path_of(operation, "")) for operation in figures]
        await ids_of(api, seeds)

        assert [status for status, _ in before] == [200] * len(figures)
        assert before == [await other.get(path_of(operation, "")) for operation in figures]
        changed = [
            operation.name for operation in figures if (await api.get(operation.path))[1] not in before
        ]
        assert {"read_dashboard", "read_health", "read_ai_queue"} <= set(changed)

    @pytest.mark.parametrize("operation", WITH_ID, ids=by_name)
    async def test_an_unknown_and_a_malformed_id_answer_the_same(self, api, operation) -> None:
        unknown = public_event_id(uuid4()) if "event_id" in operation.id_names else str(uuid4())
        body = VALID_BODIES[operation.name] if operation.body else None
        answers = []
        for identity in (unknown, "no-id", "00000000000000000000000000000000", "%00", "'; drop table orders"):
            status, answer = await api.call(operation.method, path_of(operation, identity), json=body)
            assert status == 404
            del answer["request_id"]
            answers.append(answer)

        assert answers == [answers[0]] * len(answers)


class TestKeys:
    @pytest.mark.parametrize("operation", OPERATIONS, ids=by_name)
    async def test_every_operation_needs_a_key(self, http, operation) -> None:
        """Also with an id that is malformed and a body that is not valid: nothing is told to strangers."""
        async with http.request(operation.method, path_of(operation, "x"), data=b"{") as response:
            answer = await response.json(content_type="application/problem+json")
            assert (response.status, answer["code"]) == (401, "unauthorized")
            assert response.headers["WWW-Authenticate"] == "Bearer"

    @pytest.mark.parametrize(
        "header",
        ["", "Bearer", "Bearer ", "Bearer wst_", "Basic d3N0Xw==", "Bearer wst_" + "A" * 43, "wst_x"],
    )
    async def test_a_wrong_header_is_401(self, http, header) -> None:
        async with http.get("/v1/tenant", headers={"Authorization": header}) as response:
            assert response.status == 401

    async def test_a_revoked_key_is_refused_at_once_and_written_down(self, api, runtime) -> None:
        _, key = await api.post("/v1/api-keys", {"name": "second"})
        second = replace(api, api_key=key["api_key"])
        assert (await second.get("/v1/tenant"))[0] == 200

        assert (await api.delete(f"/v1/api-keys/{key['id']}"))[0] == 204
        assert (await second.get("/v1/tenant"))[0] == 401
        await api.http.server.app[DENIALS].flush()
        async with runtime.database.tenant(api.distributor_id) as connection:
            log = await connection.fetch("select type, subject_id::text, detail from security_audit_log")
        assert [tuple(row) for row in log] == [("key.refused", key["id"], "revoked")]
        _, page = await api.get("/v1/api-keys")
        assert [shown["revoked_at"] is not None for shown in page["data"]] == [True, False]

    async def test_the_key_in_use_cannot_be_revoked(self, api) -> None:
        _, page = await api.get("/v1/api-keys")
        status, problem = await api.delete(f"/v1/api-keys/{page['data'][0]['id']}")
        assert (status, problem["code"]) == (409, "wrong_state")

    async def test_only_the_hash_of_a_key_is_stored(self, api, admin) -> None:
        rows = await admin.fetch(
            "select key_hash, prefix from api_keys where distributor_id = $1", api.distributor_id
        )
        assert [row["key_hash"] for row in rows] == [hash_key(api.api_key)]
        assert api.api_key.startswith(rows[0]["prefix"])
        assert len(rows[0]["prefix"]) == 12


async def test_secrets_are_in_no_answer(api, seeds, http) -> None:
    """Credentials, header values and stored secrets; the endpoint's secret on create and rotate only."""
    ids = await ids_of(api, seeds)
    _, rotated = await api.post(f"/v1/webhook-endpoints/{ids['webhook-endpoints']}/rotate-secret")
    hidden = ["tok-secret-0123456789abcdef", "header-secret-value", rotated["secret"], api.api_key, "sealed"]
    for operation in OPERATIONS:
        if operation.method is not HTTPMethod.GET:
            continue
        async with http.get(path_of(operation, ids), headers=api.headers()) as response:
            text = await response.text()
            assert response.status == 200
            assert not [secret for secret in hidden if secret in text], operation.name
