"""The trace of an event over HTTP."""

from uuid import uuid4

from tests.integration.api.seeds import ENDPOINT


async def test_it_says_why_for_each_endpoint_or_for_one(api, seeds) -> None:
    _, takes = await api.post("/v1/webhook-endpoints", {**ENDPOINT, "event_types": ["order.*"]})
    _, other = await api.post("/v1/webhook-endpoints", {**ENDPOINT, "event_types": ["message.*"]})
    event = f"evt_{(await seeds.event()).hex}"
    status, trace = await api.get(f"/v1/events/{event}/trace")
    assert (status, trace["event_id"], trace["event_type"]) == (200, event, "order.created")
    told = [(one["endpoint_id"], one["verdict"], one["because"]) for one in trace["endpoints"]]
    assert told == [(other["id"], "not_subscribed", ["type"]), (takes["id"], "waiting", [])]

    _, one = await api.get(f"/v1/events/{event}/trace?endpoint_id={other['id']}")
    assert one["endpoints"] == trace["endpoints"][:1]
    assert {"check": "type", "passed": False, "detail": "order.created is none of message.*."} in one[
        "endpoints"
    ][0]["checks"]


async def test_what_is_unknown_is_404_and_what_is_malformed_422(api, other, seeds) -> None:
    event = f"evt_{(await seeds.event()).hex}"
    assert (await api.get(f"/v1/events/evt_{uuid4().hex}/trace"))[0] == 404
    assert (await api.get(f"/v1/events/{event}/trace?endpoint_id={uuid4()}"))[0] == 404
    assert (await other.get(f"/v1/events/{event}/trace"))[0] == 404
    assert (await api.get(f"/v1/events/{event}/trace?endpoint_id=mine"))[0] == 422
