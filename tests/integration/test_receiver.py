"""The stand-in of an integrator, over real HTTP: what it accepts, what it keeps, how it fails."""

import base64
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from channels.egress import EgressClient
from channels.errors import FaultClass
from gateway.dev.receiver import Fault, FaultMode, Receiver, build_receiver, serve_receiver, utc_now
from handlers.webhooks.delivery import (
    ClaimedDelivery,
    DisableReason,
    Outcome,
    attempt,
)
from handlers.webhooks.headers import USER_AGENT
from handlers.webhooks.signing import new_secret, signature_headers
from tests.factories import signing_keys

SECRET, OTHER_SECRET = (new_secret(random.Random(seed).randbytes) for seed in (1, 2))
BODY = '{"type":"order.created","data":{"text":"ñ"}}'.encode()


@pytest.fixture
async def served() -> AsyncIterator[tuple[str, Receiver]]:
    async with serve_receiver([SECRET]) as served:
        yield served


@pytest.fixture
async def client(served: tuple[str, Receiver]) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(served[0]) as client:
        yield client


def _signed(body: bytes = BODY, secret: str = SECRET, event_id: str = "evt_1") -> dict[str, str]:
    return signature_headers(event_id, int(datetime.now(UTC).timestamp()), body, signing_keys(secret))


async def _post(
    client: aiohttp.ClientSession,
    path: str = "/hook",
    body: bytes = BODY,
    headers: dict[str, str] | None = None,
) -> int:
    sent = _signed(body) if headers is None else headers
    async with client.post(path, data=body, headers=sent) as response:
        return response.status


async def _received(client: aiohttp.ClientSession, **query: str) -> list[dict[str, Any]]:
    async with client.get("/received", params=query) as response:
        listed: list[dict[str, Any]] = (await response.json())["data"]
        return listed


async def test_a_genuine_webhook_is_accepted_and_kept_byte_for_byte(client):
    assert await _post(client) == 204

    (kept,) = await _received(client)
    assert base64.b64decode(kept["body_base64"]) == BODY
    assert {
        "id": "evt_1",
        "type": "order.created",
        "hook": "",
        "verified": True,
        "answer": "204",
        "json": {"type": "order.created", "data": {"text": "ñ"}},
    }.items() <= kept.items()
    assert kept["headers"]["webhook-id"] == "evt_1"


FORGERIES = [
    {"webhook-id": "evt_2"},
    {"webhook-timestamp": "1"},
    {"webhook-timestamp": "nan"},
    {"webhook-signature": "no comma"},
    {"webhook-signature": "v1,  "},
    {"webhook-signature": "v1,%%%"},
    {"webhook-signature": "v1,a,b"},
]


async def test_an_unsigned_webhook_and_one_signed_by_another_secret_are_refused(client):
    assert await _post(client, headers={}) == 403
    assert await _post(client, headers=_signed(secret=OTHER_SECRET)) == 403


@pytest.mark.parametrize("change", FORGERIES)
async def test_a_forged_webhook_is_refused_kept_and_meets_no_fault(client, change):
    await client.post("/faults", json={"times": 1, "status": 500})

    assert await _post(client, headers=_signed() | change) == 403
    assert await _post(client) == 500

    assert [(item["verified"], item["answer"]) for item in await _received(client)] == [
        (False, "403"),
        (True, "500"),
    ]


@pytest.mark.parametrize(
    ("body", "status"), [(b"", 204), (b"[1]", 204), (b"not json", 204), (b"\xff\xfe", 403)]
)
async def test_a_strange_body_is_kept_and_never_an_error(client, body, status):
    """The public library takes a body for UTF-8, and so does this receiver."""
    assert await _post(client, body=body) == status

    (kept,) = await _received(client)
    assert (base64.b64decode(kept["body_base64"]), kept["type"]) == (body, "")


async def test_without_a_secret_everything_is_refused_until_one_is_set():
    async with serve_receiver() as (url, _), aiohttp.ClientSession(url) as client:
        before = await _post(client)
        await client.post("/secret", json={"secret": SECRET})
        after = await _post(client)

    assert (before, after) == (403, 204)


async def test_any_of_several_secrets_may_have_signed_and_new_ones_replace_them(client):
    await client.post("/secret", json={"secrets": [SECRET, OTHER_SECRET]})
    both = [await _post(client, headers=_signed(secret=secret)) for secret in (SECRET, OTHER_SECRET)]
    await client.post("/secret", json={"secret": OTHER_SECRET})
    new = [await _post(client, headers=_signed(secret=secret)) for secret in (SECRET, OTHER_SECRET)]

    assert (both, new) == ([204, 204], [403, 204])


@pytest.mark.parametrize(
    "payload", [{"secret": "whsec_hushh"}, {"secret": 7}, {"secrets": "whsec_hush"}, {"x": 1}, []]
)
async def test_a_malformed_secret_is_refused_not_repeated_and_changes_nothing(client, payload):
    async with client.post("/secret", json=payload) as response:
        text = await response.text()

    assert response.status == 422
    assert "hush" not in text
    assert await _post(client) == 204


async def test_faults_are_answered_in_order_then_all_is_well(client):
    await client.post("/faults", json={"times": 2, "status": 503, "retry_after": 7})
    await client.post("/faults", json={"status": 410, "headers": {"webhook-delivery": "disable"}})

    answers = []
    for _ in range(4):
        async with client.post("/hook", data=BODY, headers=_signed()) as response:
            answers.append(
                (
                    response.status,
                    response.headers.get("Retry-After"),
                    response.headers.get("webhook-delivery"),
                )
            )

    assert answers == [(503, "7", None), (503, "7", None), (410, None, "disable"), (204, None, None)]
    assert [item["answer"] for item in await _received(client)] == ["503", "503", "410", "204"]


async def test_a_receiver_can_close_the_connection_instead_of_answering(client):
    await client.post("/faults", json={"mode": "close"})

    with pytest.raises(aiohttp.ServerDisconnectedError):
        await _post(client)
    assert [item["answer"] for item in await _received(client)] == ["close"]


async def test_a_receiver_that_hangs_gives_up_after_its_time(client):
    await client.post("/faults", json={"mode": "hang", "seconds": 0.01})

    assert await _post(client) == 503


async def test_a_hanging_receiver_can_be_stopped():
    """The fixture of a test must not wait for a scripted minute."""
    async with serve_receiver([SECRET]) as (url, receiver), aiohttp.ClientSession(url) as client:
        await client.post("/faults", json={"mode": "hang", "seconds": 600})
        with pytest.raises(TimeoutError):
            await client.post(
                "/hook", data=BODY, headers=_signed(), timeout=aiohttp.ClientTimeout(total=0.05)
            )
        assert [item.answer for item in receiver.received] == ["hang"]


async def test_scripted_faults_and_memory_can_be_dropped(client):
    await client.post("/faults", json={"times": 5})
    await client.delete("/faults")
    assert await _post(client) == 204

    await client.delete("/received")
    assert await _received(client) == []


async def test_what_came_can_be_picked_by_hook_id_and_type(client):
    await _post(client, "/hook/erp", headers=_signed(event_id="evt_1"))
    await _post(client, "/hook", b'{"type":"x.y"}', headers=_signed(b'{"type":"x.y"}', event_id="evt_2"))

    assert [item["hook"] for item in await _received(client, id="evt_1")] == ["erp"]
    assert [item["id"] for item in await _received(client, type="x.y")] == ["evt_2"]
    assert await _received(client, id="evt_1", type="x.y") == []


@pytest.mark.parametrize(
    "payload", [{"times": 0}, {"status": 99}, {"mode": "sleep"}, {"seconds": -1}, {"unknown": 1}, "503", None]
)
async def test_a_malformed_fault_is_refused(client, payload):
    async with client.post("/faults", json=payload) as response:
        assert response.status == 422
    assert await _post(client) == 204


def test_a_malformed_secret_stops_the_build():
    for secret in ("", "whsec_", "whsec_ñ", "whsec_%"):
        with pytest.raises(ValueError, match="must be whsec_"):
            build_receiver([secret])


@pytest.fixture
async def egress() -> AsyncIterator[EgressClient]:
    """The guarded client of production, allowed to reach this machine."""
    client = EgressClient((ip_network("127.0.0.0/8"),))
    yield client
    await client.aclose()


def _delivery(url: str) -> ClaimedDelivery:
    an_id = UUID(int=7)
    return ClaimedDelivery(
        distributor_id=an_id,
        event_id=an_id,
        url=url,
        body=BODY,
        keys=signing_keys(SECRET, OTHER_SECRET),
        headers={"Authorization": "Bearer x"},
    )


async def test_an_attempt_of_the_gateway_is_what_the_public_library_expects(served, egress):
    url, receiver = served

    result = await attempt(egress, _delivery(f"{url}/hook"), utc_now)

    (kept,) = receiver.received
    assert (result.outcome, result.status_code, kept.verified, kept.body) == (
        Outcome.SUCCESS,
        204,
        True,
        BODY,
    )
    assert kept.id == f"evt_{7:032x}"
    assert kept.headers["authorization"] == "Bearer x"
    assert kept.headers["user-agent"] == USER_AGENT
    assert kept.headers["content-type"] == "application/json"


ANSWERS = [
    (Fault(status=503, retry_after=9), (503, FaultClass.STATUS, "A scripted failure.", 9.0, None)),
    (Fault(status=410), (410, FaultClass.STATUS, "A scripted failure.", None, DisableReason.GONE)),
    (Fault(status=307, headers={"Location": "/hook"}), (307, FaultClass.STATUS, "", None, None)),
    (Fault(mode=FaultMode.CLOSE), (None, FaultClass.RESET, "", None, None)),
]


@pytest.mark.parametrize(("fault", "expected"), ANSWERS)
async def test_every_scripted_answer_is_judged_and_nothing_is_sent_twice(served, egress, fault, expected):
    url, receiver = served
    receiver.script(fault)

    result = await attempt(egress, _delivery(f"{url}/hook"), utc_now)

    assert result.outcome is Outcome.FAILURE
    assert expected == (
        result.status_code,
        result.error_class,
        result.excerpt,
        result.retry_after,
        result.disable_reason,
    )
    assert len(receiver.received) == 1


async def test_an_address_that_is_not_allowed_is_an_attempt_that_was_blocked(served):
    url, receiver = served
    guarded = EgressClient()
    try:
        result = await attempt(guarded, _delivery(f"{url}/hook"), utc_now)
    finally:
        await guarded.aclose()

    assert (result.error_class, len(receiver.received)) == (FaultClass.EGRESS_BLOCKED, 0)
