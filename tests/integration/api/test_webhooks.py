"""Endpoints, events and deliveries."""

from datetime import timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook

from db.endpoints import headers_context, secrets_context
from handlers.webhooks.signing import load_secrets
from handlers.webhooks.subscriptions import MAX_DEPTH
from tests.integration.api.seeds import ENDPOINT

ENDPOINTS = "/v1/webhook-endpoints"
DELIVERIES = "/v1/webhook-deliveries"


@pytest.fixture
async def endpoint(api):
    status, made = await api.post(ENDPOINTS, ENDPOINT)
    assert status == 201
    return made


async def secrets_of(admin, runtime, api, endpoint) -> tuple[str, ...]:
    sealed = await admin.fetchval(
        "select secrets_sealed from webhook_endpoints where id = $1", endpoint["id"]
    )
    opened = runtime.sealer.open_json(sealed, secrets_context(api.distributor_id, endpoint["id"]))
    now = runtime.clock()
    return tuple(
        secret.value
        for secret in load_secrets(opened)
        if secret.expires_at is None or secret.expires_at > now
    )


class TestEndpoints:
    async def test_the_shape_and_the_secret_on_create_only(self, api, endpoint) -> None:
        secret = endpoint.pop("secret")
        Webhook(secret)  # of the form that other implementations take
        assert (
            endpoint.items()
            >= {
                "name": "erp",
                "url": ENDPOINT["url"],
                "event_types": ENDPOINT["event_types"],
                "filter": None,
                "header_names": ["X-Token"],
                "ordering": "none",
                "rate_limit_per_second": None,
                "enabled": True,
                "disabled_reason": None,
            }.items()
        )
        assert (await api.get(f"{ENDPOINTS}/{endpoint['id']}"))[1] == endpoint
        assert (await api.get(ENDPOINTS))[1]["data"] == [endpoint]

    async def test_headers_are_sealed_for_their_row(self, api, admin, runtime, endpoint) -> None:
        sealed = await admin.fetchval("select headers_sealed from webhook_endpoints")
        opened = runtime.sealer.open_json(sealed, headers_context(api.distributor_id, endpoint["id"]))
        assert opened == ENDPOINT["headers"]

    async def test_the_deepest_filter_is_taken(self, api) -> None:
        filter_: dict[str, Any] = {"data.channel": {"$in": ["SMS"]}}
        for _ in range(MAX_DEPTH - 1):
            filter_ = {"$and": [filter_]}
        status, made = await api.post(ENDPOINTS, {**ENDPOINT, "filter": filter_})
        assert (status, made["filter"]) == (201, filter_)
        assert (await api.post(ENDPOINTS, {**ENDPOINT, "filter": {"$and": [filter_]}}))[0] == 422

    async def test_a_patch_changes_what_it_names(self, api, endpoint) -> None:
        del endpoint["secret"]
        change = {
            "name": "erp 2",
            "url": "https://93.184.215.14/other",
            "event_types": ["*"],
            "filter": {"data.n": {"$gte": 1}},
            "ordering": "conversation",
        }
        status, changed = await api.patch(f"{ENDPOINTS}/{endpoint['id']}", {**change, "headers": {}})
        assert status == 200
        assert changed == {**endpoint, **change, "header_names": []}
        assert (await api.get(f"{ENDPOINTS}/{endpoint['id']}"))[1] == changed
        _, cleared = await api.patch(f"{ENDPOINTS}/{endpoint['id']}", {"filter": None})
        assert cleared["filter"] is None

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ({"url": "https://127.0.0.1/"}, "url_not_allowed"),
            ({"url": None}, "invalid_field"),
            ({"event_types": []}, "invalid_field"),
            ({"filter": {"$nor": []}}, "invalid_field"),
            ({"filter": {"total_amount": {"$gte": 100}}}, "invalid_field"),
            ({"headers": {"webhook-id": "x"}}, "invalid_field"),
            ({"enabled": False}, "invalid_field"),
        ],
    )
    async def test_a_wrong_patch_is_422(self, api, endpoint, body, code) -> None:
        status, problem = await api.patch(f"{ENDPOINTS}/{endpoint['id']}", body)
        assert (status, problem["code"]) == (422, code)

    async def test_filter_and_types_decide_where_events_are_stored(self, api, seeds) -> None:
        for filter_ in ({"data.n": 1}, {"data.n": 2}, {}, None):
            await api.post(ENDPOINTS, {**ENDPOINT, "filter": filter_})
        await seeds.event("order.created")
        await seeds.event("message.received")
        assert len((await api.get(DELIVERIES))[1]["data"]) == 3

    async def test_a_filter_of_before_whose_path_leads_nowhere_stays_as_it_was(
        self, api, admin, endpoint
    ) -> None:
        """It was taken once; what else is changed of the endpoint does not stumble over it."""
        path = f"{ENDPOINTS}/{endpoint['id']}"
        await admin.execute("update webhook_endpoints set filter = $1::text::jsonb", '{"total_amount": 1}')

        assert (await api.patch(path, {"name": "new"}))[0] == 200
        assert (await api.post(f"{path}/disable"))[0] == 200
        assert (await api.post(f"{path}/enable"))[1]["filter"] == {"total_amount": 1}
        status, problem = await api.patch(path, {"filter": {"total_amount": 1}})
        assert status == 422
        assert '"total_amount"' in problem["errors"][0]["message"]

    async def test_a_rotated_secret_signs_beside_the_old_one_for_24_hours(
        self, api, admin, runtime, clock, endpoint
    ) -> None:
        status, rotated = await api.post(f"{ENDPOINTS}/{endpoint['id']}/rotate-secret")
        assert status == 200
        assert rotated["secret"] != endpoint["secret"]
        both = (rotated["secret"], endpoint["secret"])
        assert both == await secrets_of(admin, runtime, api, endpoint)
        clock.advance(24 * 3600)
        assert both[:1] == await secrets_of(admin, runtime, api, endpoint)


class TestStates:
    async def test_disable_cancels_what_waits_and_is_told_to_others(self, api, seeds, endpoint) -> None:
        _, witness = await api.post(ENDPOINTS, ENDPOINT)
        await seeds.event()
        status, disabled = await api.post(f"{ENDPOINTS}/{endpoint['id']}/disable")
        assert (status, disabled["enabled"], disabled["disabled_reason"]) == (200, False, "manual")
        assert (await api.post(f"{ENDPOINTS}/{endpoint['id']}/disable"))[1] == disabled

        _, page = await api.get(f"{DELIVERIES}?endpoint_id={endpoint['id']}")
        assert [(item["status"], item["next_attempt_at"]) for item in page["data"]] == [("CANCELLED", None)]
        _, page = await api.get(f"{DELIVERIES}?endpoint_id={witness['id']}")
        assert [item["event_type"] for item in page["data"]] == ["endpoint.disabled", "order.created"]

    async def test_while_disabled_none_is_made_and_enable_makes_up_for_nothing(
        self, api, seeds, endpoint
    ) -> None:
        await api.post(f"{ENDPOINTS}/{endpoint['id']}/disable")
        await seeds.event()
        assert (await api.post(f"{ENDPOINTS}/{endpoint['id']}/test"))[0] == 409
        status, enabled = await api.post(f"{ENDPOINTS}/{endpoint['id']}/enable")
        assert (status, enabled["enabled"], enabled["disabled_reason"]) == (200, True, None)
        assert (await api.post(f"{ENDPOINTS}/{endpoint['id']}/enable"))[0] == 200
        assert (await api.get(DELIVERIES))[1]["data"] == []
        await seeds.event()
        assert len((await api.get(DELIVERIES))[1]["data"]) == 1

    async def test_what_was_left_waiting_while_disabled_is_cancelled_before_it_is_enabled(
        self, api, seeds, admin, endpoint
    ) -> None:
        await seeds.event()
        await admin.execute(
            "update webhook_endpoints set enabled = false, disabled_reason = 'manual' where id = $1",
            endpoint["id"],
        )  # as an event leaves it whose transaction ends after that of the disabling
        await api.post(f"{ENDPOINTS}/{endpoint['id']}/enable")
        await seeds.event()
        _, page = await api.get(DELIVERIES)
        assert [item["status"] for item in page["data"]] == ["PENDING", "CANCELLED"]
        await api.post(f"{ENDPOINTS}/{endpoint['id']}/enable")  # enabled already: nothing is cancelled
        assert (await api.get(DELIVERIES))[1] == page

    async def test_delete_cancels_what_waits_and_keeps_the_log(self, api, seeds, endpoint) -> None:
        await seeds.event()
        assert (await api.delete(f"{ENDPOINTS}/{endpoint['id']}"))[0] == 204
        assert (await api.get(f"{ENDPOINTS}/{endpoint['id']}"))[0] == 404
        assert (await api.post(f"{ENDPOINTS}/{endpoint['id']}/enable"))[0] == 404
        _, page = await api.get(DELIVERIES)
        assert [item["status"] for item in page["data"]] == ["CANCELLED"]
        status, problem = await api.post(f"{DELIVERIES}/{page['data'][0]['id']}/redeliver")
        assert (status, problem["code"]) == (409, "wrong_state")

    async def test_a_test_goes_to_this_endpoint_alone_whatever_it_subscribes_to(self, api) -> None:
        _, narrow = await api.post(ENDPOINTS, {**ENDPOINT, "event_types": ["ai.failed"]})
        await api.post(ENDPOINTS, {**ENDPOINT, "event_types": ["*"]})
        status, delivery = await api.post(f"{ENDPOINTS}/{narrow['id']}/test")
        assert status == 202
        assert delivery.items() >= {"endpoint_id": narrow["id"], "event_type": "endpoint.test"}.items()
        assert (delivery["status"], delivery["attempts"]) == ("PENDING", [])
        _, page = await api.get(DELIVERIES)
        assert [item["id"] for item in page["data"]] == [delivery["id"]]
        _, event = await api.get(f"/v1/events/{delivery['event_id']}")
        assert event["data"]["endpoint_id"] == narrow["id"]


class TestDeliveries:
    async def test_read_with_attempts(self, api, seeds, endpoint) -> None:
        event_id = await seeds.event()
        await seeds.attempt(endpoint["id"], event_id, 1)
        await seeds.attempt(endpoint["id"], event_id, 2)
        _, page = await api.get(DELIVERIES)
        status, delivery = await api.get(f"{DELIVERIES}/{page['data'][0]['id']}")
        assert status == 200
        for listed, read in zip(page["data"][0]["attempts"], delivery["attempts"], strict=True):
            assert listed.items() <= read.items()
        assert page["data"] == [{**delivery, "attempts": page["data"][0]["attempts"]}]
        assert delivery["event_id"] == f"evt_{event_id.hex}"
        assert [attempt["number"] for attempt in delivery["attempts"]] == [1, 2]
        assert (
            delivery["attempts"][0].items()
            >= {
                "duration_ms": 12,
                "status_code": 500,
                "error_class": "status",
                "response_excerpt": "no",
                "outcome": "failure",
            }.items()
        )

    @pytest.mark.parametrize("status", ["SUCCESS", "EXHAUSTED", "CANCELLED"])
    async def test_redeliver_starts_the_schedule_anew_under_the_same_id(
        self, api, seeds, admin, clock, endpoint, status
    ) -> None:
        await seeds.event()
        await admin.execute(
            "update webhook_deliveries set status = $1, due_at = null, schedule_position = 7, attempt_count = 7",
            status,
        )
        _, page = await api.get(DELIVERIES)
        before = page["data"][0]
        accepted, delivery = await api.post(f"{DELIVERIES}/{before['id']}/redeliver")
        assert accepted == 202
        assert (delivery["id"], delivery["status"]) == (before["id"], "PENDING")
        row = await admin.fetchrow("select due_at, schedule_position, attempt_count from webhook_deliveries")
        assert tuple(row) == (clock(), 0, 7)

    async def test_redeliver_while_an_attempt_runs_is_409(self, api, seeds, admin, clock, endpoint) -> None:
        await seeds.event()
        await admin.execute("update webhook_deliveries set lease_until = $1", clock() + timedelta(seconds=30))
        _, page = await api.get(DELIVERIES)
        assert (await api.post(f"{DELIVERIES}/{page['data'][0]['id']}/redeliver"))[0] == 409
        clock.advance(31)
        assert (await api.post(f"{DELIVERIES}/{page['data'][0]['id']}/redeliver"))[0] == 202

    async def test_redeliver_of_a_disabled_endpoint_is_409(self, api, seeds, endpoint) -> None:
        await seeds.event()
        await api.post(f"{ENDPOINTS}/{endpoint['id']}/disable")
        _, page = await api.get(f"{DELIVERIES}?status=CANCELLED")
        assert (await api.post(f"{DELIVERIES}/{page['data'][0]['id']}/redeliver"))[0] == 409


async def test_events_are_read_as_receivers_are_told(api, seeds) -> None:
    event_id = await seeds.event("order.created")
    status, event = await api.get(f"/v1/events/evt_{event_id.hex}")
    assert status == 200
    assert event.items() >= {"id": f"evt_{event_id.hex}", "type": "order.created", "data": {"n": 1}}.items()
    assert event["distributor_id"] == str(api.distributor_id)
    assert (await api.get(f"/v1/events/{event_id}"))[0] == 404
