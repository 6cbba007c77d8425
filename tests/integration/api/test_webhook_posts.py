"""What endpoints that were made over the API get: signatures that others verify, over retries and rotations, and our
credentials with them.
"""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import svix.webhooks
from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from channels.egress import EgressClient
from db.delivery_lane import EndpointKey, claim_deliveries
from db.endpoints import auth_context
from db.lanes import ClaimTerms
from handlers.deliveries import deliver, settle
from handlers.webhooks.delivery_tools import delivery_tools
from tests.fakes import FakeClock
from tests.integration.api.hooks import Hook, Posted, answers, open_hook, verifies_v1a
from tests.integration.api.seeds import ENDPOINT
from tests.integration.egress_stage import LOOPBACK

ENDPOINTS = "/v1/webhook-endpoints"
DELIVERIES = "/v1/webhook-deliveries"
TERMS = ClaimTerms(batch=10, share=10, lease=timedelta(seconds=40))
OAUTH = {"type": "oauth2", "client_id": "waystation", "client_secret": "hidden-client-secret"}
BASIC = {"type": "basic", "username": "erp", "password": "hidden-password"}
BEARER = {"type": "bearer", "token": "hidden-token"}


@pytest.fixture
def egress_allow():
    return LOOPBACK


@pytest.fixture
def clock() -> FakeClock:
    """The public libraries compare with the machine's clock."""
    return FakeClock(datetime.now(UTC))


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    hook = await open_hook()
    yield hook
    await hook.server.close()


@pytest.fixture
async def work(runtime, api):
    """Delivers to an endpoint what is due for it, with the tools of one worker; how often."""
    egress = EgressClient(LOOPBACK)
    tools = delivery_tools(runtime, egress)

    async def work(endpoint) -> int:
        key = EndpointKey(api.distributor_id, endpoint["id"])
        ids = [runtime.new_id() for _ in range(TERMS.batch)]
        async with runtime.database.queue_statements() as connection:
            claimed = await claim_deliveries(
                connection,
                TERMS,
                [key],
                [TERMS.batch],
                runtime.clock(),
                token=uuid4(),
                attempt_ids=ids,
                ahead=0.0,
            )
        await settle(runtime, [await deliver(runtime, tools, row) for row in claimed])
        return len(claimed)

    yield work
    await egress.aclose()


async def make(api, hook: Hook, **fields):
    status, made = await api.post(ENDPOINTS, {**ENDPOINT, "url": hook.url(), **fields})
    assert status == 201, made
    return made


async def attempts(api, endpoint):
    _, page = await api.get(f"{DELIVERIES}?endpoint_id={endpoint['id']}")
    return [
        (attempt["outcome"], attempt["status_code"], attempt["error_class"])
        for delivery in page["data"]
        for attempt in delivery["attempts"]
    ]


def by_standardwebhooks(secret: str, post: Posted) -> bool:
    try:
        Webhook(secret).verify(post.body, post.headers)
    except WebhookVerificationError:
        return False
    return True


def by_svix(secret: str, post: Posted) -> bool:
    try:
        svix.webhooks.Webhook(secret).verify(post.body, post.headers)
    except svix.webhooks.WebhookVerificationError:
        return False
    return True


class TestSignatures:
    async def test_others_verify_retries_and_rotations(self, api, hook, seeds, work, clock) -> None:
        made = await make(api, hook, signing="both", name="almacén 🥑")
        hook.script = [500, 500]
        await seeds.event()
        path = f"{ENDPOINTS}/{made['id']}"
        await work(made)
        clock.advance(10)
        _, rotated = await api.post(f"{path}/rotate-secret", {"overlap_seconds": 60})
        await work(made)
        clock.advance(61)
        await work(made)

        before, during, after = hook.posts
        assert len({post.headers["webhook-id"] for post in hook.posts}) == 1
        assert len({post.headers["webhook-timestamp"] for post in hook.posts}) == 3
        assert len({post.body for post in hook.posts}) == 1
        for verifies in (by_standardwebhooks, by_svix):
            told = [[verifies(one["secret"], post) for post in hook.posts] for one in (made, rotated)]
            assert told == [[True, True, False], [False, True, True]]
        pairs = [
            [verifies_v1a(one["public_key"], post.headers, post.body) for post in hook.posts]
            for one in (made, rotated)
        ]
        assert pairs == [[True, True, False], [False, True, True]]
        versions = [
            [entry.partition(",")[0] for entry in post.headers["webhook-signature"].split(" ")]
            for post in (before, during, after)
        ]
        assert versions == [["v1", "v1a"], ["v1", "v1a"] * 2, ["v1", "v1a"]]
        newest = during.headers["webhook-signature"].split(" ")[0]
        assert by_svix(
            rotated["secret"], Posted({**during.headers, "webhook-signature": newest}, during.body)
        )

    async def test_the_bytes_that_are_posted_are_those_that_are_signed(self, api, hook, work) -> None:
        made = await make(api, hook, signing="both")
        await api.post(f"{ENDPOINTS}/{made['id']}/test")
        await work(made)
        (post,) = hook.posts
        assert json.loads(post.body)["data"]["endpoint_id"] == made["id"]
        assert by_standardwebhooks(made["secret"], post)
        assert not by_standardwebhooks(made["secret"], Posted(post.headers, post.body + b" "))
        assert not verifies_v1a(made["public_key"], post.headers, post.body + b" ")

    async def test_text_of_any_script_verifies(self, api, hook, work, seeds, admin) -> None:
        made = await make(api, hook, signing="both")
        await seeds.event()
        words = {"text": "ñandú 🥑 عصير \u2028", "n": 1.5}
        await admin.execute("update webhook_events set body = body || $1::jsonb", json.dumps({"data": words}))
        await work(made)
        (post,) = hook.posts
        assert json.loads(post.body)["data"] == words
        assert by_standardwebhooks(made["secret"], post)
        assert by_svix(made["secret"], post)
        assert verifies_v1a(made["public_key"], post.headers, post.body)

    async def test_a_key_pair_that_is_added_signs_from_the_next_post_on(self, api, hook, work, seeds) -> None:
        made = await make(api, hook)
        path = f"{ENDPOINTS}/{made['id']}"
        for signing in ("hmac", "both", "ed25519"):
            await api.patch(path, {"signing": signing})
            await seeds.event()
            await work(made)
        signed = [post.headers["webhook-signature"] for post in hook.posts]
        assert ["v1," in entries for entries in signed] == [True, True, False]
        assert ["v1a," in entries for entries in signed] == [False, True, True]


async def give_tokens(request: web.Request) -> web.StreamResponse:
    token = {"access_token": f"token-{uuid4().hex}", "token_type": "bearer", "expires_in": 600}
    return web.json_response(token)


class TestCredentials:
    @pytest.fixture
    async def tokens(self) -> AsyncIterator[Hook]:
        """A server that gives tokens."""
        tokens = await open_hook()
        tokens.script = [give_tokens] * 10
        yield tokens
        await tokens.server.close()

    @pytest.mark.parametrize(
        ("auth", "value"),
        [(BEARER, "Bearer hidden-token"), (BASIC, "Basic ZXJwOmhpZGRlbi1wYXNzd29yZA==")],
    )
    async def test_fixed_ones_go_with_every_post_until_they_are_changed(
        self, api, hook, work, seeds, auth, value
    ) -> None:
        made = await make(api, hook, auth=auth)
        assert made["auth_type"] == auth["type"]
        for change in ({}, {"auth": {"type": "bearer", "token": "new"}}, {"auth": None}):
            _, changed = await api.patch(f"{ENDPOINTS}/{made['id']}", change)
            await seeds.event()
            await work(made)
        assert changed["auth_type"] is None
        sent = [post.headers.get("authorization") for post in hook.posts]
        assert sent == [value, "Bearer new", None]

    async def test_a_token_is_fetched_once_and_replaced_where_it_is_refused(
        self, api, hook, tokens, work, seeds, clock
    ) -> None:
        made = await make(api, hook, auth={**OAUTH, "token_url": tokens.url("/token"), "scope": "hooks"})
        hook.script = [204, 401]
        for _ in range(3):
            await seeds.event()
            await work(made)
        clock.advance(10)
        await work(made)  # the one that was refused
        sent = [post.headers["authorization"] for post in hook.posts]
        assert sent[0] == sent[1] != sent[2] == sent[3]
        assert len(tokens.posts) == 2
        assert sorted(await attempts(api, made), key=str) == [
            ("failure", 401, "status"),
            *[("success", 204, None)] * 3,
        ]

    async def test_without_a_token_nothing_is_posted_and_the_attempt_says_why(
        self, api, hook, tokens, work, seeds, clock
    ) -> None:
        made = await make(api, hook, auth={**OAUTH, "token_url": tokens.url("/token")})
        tokens.script = [answers({"error": "invalid_client"}, 401), give_tokens]
        await seeds.event()
        await work(made)
        assert hook.posts == []
        assert await attempts(api, made) == [("failure", None, "authorisation")]
        clock.advance(10)
        await work(made)
        assert len(hook.posts) == 1

    async def test_a_token_server_is_held_to_the_rules_of_urls(self, api, hook) -> None:
        for url in ("https://10.0.0.1/token", "ftp://x.test/", "https://user@x.test/"):
            body = {**ENDPOINT, "url": hook.url(), "auth": {**OAUTH, "token_url": url}}
            status, problem = await api.post(ENDPOINTS, body)
            assert (status, problem["code"]) == (422, "url_not_allowed")
            assert problem["errors"][0]["field"] == "auth.token_url"
        made = await make(api, hook)
        patch = {"auth": {**OAUTH, "token_url": "https://10.0.0.1/token"}}
        status, problem = await api.patch(f"{ENDPOINTS}/{made['id']}", patch)
        assert (status, problem["errors"][0]["field"]) == (422, "auth.token_url")

    @pytest.mark.parametrize(
        "auth",
        [
            {"type": "bearer"},
            {"type": "bearer", "token": ""},
            {"type": "bearer", "token": "a b"},
            {"type": "bearer", "token": "a\r\nX: y"},
            {"type": "bearer", "token": "ñ"},
            {"type": "bearer", "token": "x" * 4_097},
            {"type": "bearer", "token": "t", "more": 1},
            {"type": "basic", "username": "a:b", "password": "p"},
            {"type": "basic", "username": "a", "password": "p\n"},
            {"type": "basic", "username": "a"},
            {"type": "oauth2", "token_url": "https://x.test/", "client_id": "a"},
            {**OAUTH, "token_url": "https://93.184.215.14/", "scope": 'a "b"'},
            {**OAUTH, "token_url": "https://93.184.215.14/", "scope": ""},
            {"token": "t"},
            {},
            [],
        ],
    )
    async def test_what_cannot_be_used_is_422_and_never_repeated(self, api, hook, auth) -> None:
        status, problem = await api.post(ENDPOINTS, {**ENDPOINT, "url": hook.url(), "auth": auth})
        assert (status, problem["code"]) == (422, "invalid_field")
        assert problem["errors"][0]["field"].startswith("auth")
        assert "hidden" not in json.dumps(problem)

    async def test_a_custom_header_and_credentials_do_not_both_set_authorization(self, api, hook) -> None:
        own = {"headers": {"authorization": "Bearer mine"}}
        for auth in (BEARER, BASIC, {**OAUTH, "token_url": hook.url()}):
            status, problem = await api.post(ENDPOINTS, {**ENDPOINT, "url": hook.url(), "auth": auth, **own})
            assert (status, problem["errors"][0]["field"]) == (422, "headers")
        by_header = await make(api, hook, **own)
        assert (await api.patch(f"{ENDPOINTS}/{by_header['id']}", {"auth": BEARER}))[0] == 422
        assert (await api.patch(f"{ENDPOINTS}/{by_header['id']}", {"auth": BEARER, "headers": {}}))[0] == 200
        assert (await api.patch(f"{ENDPOINTS}/{by_header['id']}", own))[0] == 422
        assert (await api.patch(f"{ENDPOINTS}/{by_header['id']}", {**own, "auth": None}))[0] == 200

    async def test_they_are_sealed_for_their_row_and_in_no_answer(
        self, api, hook, tokens, admin, runtime
    ) -> None:
        auth = {**OAUTH, "token_url": tokens.url("/token")}
        made = await make(api, hook, auth=auth)
        sealed = await admin.fetchval("select auth_sealed from webhook_endpoints")
        context = auth_context(api.distributor_id, made["id"])
        assert runtime.sealer.open_json(sealed, context) == auth
        assert b"hidden" not in sealed
        _, read = await api.get(f"{ENDPOINTS}/{made['id']}")
        _, page = await api.get(ENDPOINTS)
        _, patched = await api.patch(f"{ENDPOINTS}/{made['id']}", {"auth": auth})
        shown = json.dumps([made, read, page, patched])
        assert "hidden" not in shown
        assert tokens.url("/token") not in shown
        assert read["auth_type"] == "oauth2"
