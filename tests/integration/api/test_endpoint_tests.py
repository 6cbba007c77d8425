"""``…/test`` over HTTP: what is sent, whatever the endpoint subscribes to, and how a test cannot be taken for an order."""

import json

import pytest

from handlers.webhooks.event_types import EventType
from handlers.webhooks.events import EVENT_MODELS, thin_body
from handlers.webhooks.examples import example_body
from tests.integration.api.seeds import ENDPOINT

ENDPOINTS = "/v1/webhook-endpoints"


@pytest.fixture
async def path(api) -> str:
    _, made = await api.post(ENDPOINTS, {**ENDPOINT, "event_types": ["message.*"]})
    return f"{ENDPOINTS}/{made['id']}"


async def body_of(api, delivery):
    status, event = await api.get(f"/v1/events/{delivery['event_id']}")
    assert status == 200
    return event


async def test_a_test_is_sent_whatever_the_endpoint_subscribes_to(api, path) -> None:
    status, delivery = await api.post(f"{path}/test")
    body = await body_of(api, delivery)

    assert (status, delivery["event_type"], delivery["status"]) == (202, "endpoint.test", "PENDING")
    assert delivery["endpoint_id"] == body["data"]["endpoint_id"] == path.rpartition("/")[2]
    assert body["data"]["example"] is None


@pytest.mark.parametrize("event_type", EVENT_MODELS)
async def test_it_can_hold_an_example_of_every_type_and_stays_a_test(
    api, path, event_type: EventType
) -> None:
    status, delivery = await api.post(f"{path}/test", {"event_type": event_type})
    body = await body_of(api, delivery)

    assert (status, delivery["event_type"], body["type"]) == (202, "endpoint.test", "endpoint.test")
    assert body["distributor_id"] == str(api.distributor_id)
    assert body["data"]["example"] == example_body(event_type)


@pytest.mark.parametrize(
    "body", [{"event_type": "order.*"}, {"event_type": "x"}, {"event_type": 1}, {"x": 1}]
)
async def test_a_type_that_is_none_is_422(api, path, body) -> None:
    assert (await api.post(f"{path}/test", body))[0] == 422
    assert (await api.get("/v1/webhook-deliveries"))[1]["data"] == []


async def test_a_test_of_an_endpoint_that_is_pulled_waits_to_be_fetched(api) -> None:
    _, made = await api.post(ENDPOINTS, {"name": "p", "transport": "pull", "event_types": ["order.*"]})
    path = f"{ENDPOINTS}/{made['id']}"
    await api.post(f"{path}/test")
    for ordering in ("conversation", "none"):  # which lets nothing go that is to be fetched
        assert (await api.patch(path, {"ordering": ordering}))[0] == 200

    _, answer = await api.get(f"{path}/pull")
    assert [item["type"] for item in answer["data"]] == ["endpoint.test"]


async def test_a_thin_endpoint_is_shown_a_thin_example(api) -> None:
    thin = {"name": "p", "transport": "pull", "payload": "thin", "event_types": ["order.*"]}
    _, made = await api.post(ENDPOINTS, thin)
    await api.post(f"{ENDPOINTS}/{made['id']}/test", {"event_type": "message.received"})

    _, answer = await api.get(f"{ENDPOINTS}/{made['id']}/pull")
    data = json.loads(answer["data"][0]["body"])["data"]
    assert data.keys() == {"endpoint_id", "example"}
    assert data["example"] == thin_body(example_body(EventType.MESSAGE_RECEIVED))
