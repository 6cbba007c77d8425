"""Client certificates at endpoints (mTLS): shown with every post, checked when saved, never given back."""

import json
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from channels.egress import EgressClient
from channels.errors import ChallengeFailed
from db import endpoints as rows_of
from db.delivery_lane import EndpointKey, claim_deliveries
from db.lanes import ClaimTerms
from handlers.deliveries import deliver, settle
from handlers.webhooks.challenge import ask_owner
from handlers.webhooks.delivery_tools import delivery_tools
from tests.fakes import FakeClock
from tests.integration.api.hooks import Hook
from tests.integration.api.seeds import ENDPOINT
from tests.integration.egress_stage import Names, client, self_signed, tls_contexts

ENDPOINTS = "/v1/webhook-endpoints"
DELIVERIES = "/v1/webhook-deliveries"
TERMS = ClaimTerms(batch=10, share=10, lease=timedelta(seconds=40))
HOST = "hook.example.com"
OURS, OUR_KEY = self_signed("waystation.example.com")
OTHERS, OTHER_KEY = self_signed("other.example.com")
MTLS = {"type": "mtls", "certificate": OURS, "key": OUR_KEY}


@pytest.fixture
def clock() -> FakeClock:
    """Certificates are of the machine's time."""
    return FakeClock(datetime.now(UTC))


@pytest.fixture
async def strict(tmp_path) -> AsyncIterator[tuple[Hook, EgressClient]]:
    """A receiver that takes a post with our certificate only, and a client that trusts it."""
    tls, trusting = tls_contexts(HOST, tmp_path)
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(cadata=OURS)
    app = web.Application()
    hook = Hook(TestServer(app, scheme="https", host="127.0.0.1"))
    app.router.add_post("/hook", hook.handle)
    await hook.server.start_server(ssl=tls)
    async with client(resolver=Names(hook_example_com=[["127.0.0.1"]]), trust=trusting) as egress:
        yield hook, egress
    await hook.server.close()


@pytest.fixture
def make(api, admin, strict) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Endpoints at the receiver. No test asks the network for a name, so the URL is put in place afterwards."""

    async def make(**fields: Any) -> Any:
        status, made = await api.post(ENDPOINTS, {**ENDPOINT, **fields})
        assert status == 201, made
        url = f"https://{HOST}:{strict[0].server.port}/hook"
        await admin.execute("update webhook_endpoints set url = $1 where id = $2", url, made["id"])
        return made

    return make


async def work(runtime, api, egress: EgressClient, endpoint: Any) -> None:
    key = EndpointKey(api.distributor_id, endpoint["id"])
    async with runtime.database.queue_statements() as connection:
        claimed = await claim_deliveries(
            connection,
            TERMS,
            [key],
            [TERMS.batch],
            runtime.clock(),
            token=uuid4(),
            attempt_ids=[runtime.new_id()] * 10,
            ahead=0.0,
        )
    await settle(runtime, [await deliver(runtime, delivery_tools(runtime, egress), row) for row in claimed])


async def attempts(api, endpoint) -> list[tuple[str, str | None]]:
    _, page = await api.get(f"{DELIVERIES}?endpoint_id={endpoint['id']}")
    return [
        (attempt["outcome"], attempt["error_class"])
        for delivery in page["data"]
        for attempt in delivery["attempts"]
    ]


async def test_a_post_shows_the_certificate_and_leaves_authorization_to_the_tenant(
    runtime, api, seeds, make, strict
) -> None:
    hook, egress = strict
    made = await make(auth=MTLS, headers={"Authorization": "Bearer own"})
    assert made["auth_type"] == "mtls"
    await seeds.event()
    await work(runtime, api, egress, made)
    assert [post.headers["authorization"] for post in hook.posts] == ["Bearer own"]
    assert await attempts(api, made) == [("success", None)]


@pytest.mark.parametrize(
    "auth", [None, {**MTLS, "certificate": OTHERS, "key": OTHER_KEY}], ids=["none", "another"]
)
async def test_a_receiver_that_asks_for_it_takes_no_other(runtime, api, seeds, make, strict, auth) -> None:
    hook, egress = strict
    made = await make(auth=auth)
    await seeds.event()
    await work(runtime, api, egress, made)
    assert hook.posts == []
    ((outcome, error_class),) = await attempts(api, made)
    assert outcome == "failure"
    assert error_class in {"tls", "reset"}  # TLS 1.3 refuses a client after its handshake


async def test_a_challenge_shows_it_too(runtime, api, make, strict) -> None:
    hook, egress = strict
    made = await make(auth=MTLS)
    async with runtime.database.tenant(api.distributor_id) as connection:
        record = await rows_of.read_endpoint(connection, made["id"])
    assert record is not None
    with pytest.raises(ChallengeFailed, match="does not repeat"):
        await ask_owner(runtime, egress, api.distributor_id, record, "x" * 43)
    assert len(hook.posts) == 1


PAST = self_signed("old.example.com", starts=-2, ends=-1)
FUTURE = self_signed("new.example.com", starts=1, ends=2)


@pytest.mark.parametrize(
    ("certificate", "key"),
    [
        ("garbage", OUR_KEY),
        (OURS, "garbage"),
        (OURS, OTHER_KEY),
        (OUR_KEY, OURS[:40]),
        PAST,
        FUTURE,
        ("", OUR_KEY),
        (OURS, ""),
        (OURS * 100, OUR_KEY),
    ],
    ids=["text", "key-text", "of-another", "swapped", "over", "not-yet", "empty", "no-key", "long"],
)
async def test_what_cannot_be_shown_is_422_and_never_repeated(api, certificate, key) -> None:
    auth = {"type": "mtls", "certificate": certificate, "key": key}
    _, made = await api.post(ENDPOINTS, ENDPOINT)
    for answer in (
        await api.post(ENDPOINTS, {**ENDPOINT, "auth": auth}),
        await api.patch(f"{ENDPOINTS}/{made['id']}", {"auth": auth}),
    ):
        status, problem = answer
        assert (status, problem["code"]) == (422, "invalid_field")
        assert problem["errors"][0]["field"].startswith("auth.")
        assert "BEGIN" not in json.dumps(problem)
        assert "garbage" not in json.dumps(problem)


async def test_the_key_is_in_no_answer(api) -> None:
    _, made = await api.post(ENDPOINTS, {**ENDPOINT, "auth": MTLS})
    _, read = await api.get(f"{ENDPOINTS}/{made['id']}")
    shown = json.dumps([made, read])
    assert "BEGIN" not in shown
    assert OUR_KEY.splitlines()[1] not in shown
