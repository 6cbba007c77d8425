"""Whether an endpoint's owner wants what we post: asked over real HTTP, and what becomes of the endpoint."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from aiohttp import web
from standardwebhooks import Webhook

from tests.fakes import FakeClock
from tests.integration.api.hooks import Hook, answers, open_hook, verifies_v1a
from tests.integration.api.seeds import ENDPOINT
from tests.integration.egress_stage import LOOPBACK

ENDPOINTS = "/v1/webhook-endpoints"
DELIVERIES = "/v1/webhook-deliveries"


@pytest.fixture
def egress_allow():
    return LOOPBACK


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    hook = await open_hook()
    yield hook
    await hook.server.close()


@pytest.fixture
def clock():
    """The public library compares with the machine's clock."""
    return FakeClock(datetime.now(UTC))


async def echo_text(request: web.Request) -> web.StreamResponse:
    return web.Response(text=json.loads(await request.text())["challenge"] + "\n")


async def echo_json(request: web.Request) -> web.StreamResponse:
    said = json.loads(await request.text())
    return web.json_response({"challenge": said["challenge"], "more": 1}, status=201)


async def echo_body(request: web.Request) -> web.StreamResponse:
    return web.Response(body=await request.read())


async def echo_with_another_status(request: web.Request) -> web.StreamResponse:
    return web.Response(text=json.loads(await request.text())["challenge"], status=400)


async def redirect(request: web.Request) -> web.StreamResponse:
    return web.Response(status=307, headers={"Location": str(request.url)})


async def make(api, hook: Hook, **fields):
    status, made = await api.post(ENDPOINTS, {**ENDPOINT, "url": hook.url(), **fields})
    assert status == 201, made
    return made


async def shown(api, made):
    return (await api.get(f"{ENDPOINTS}/{made['id']}"))[1]


async def count(admin, table: str):
    return await admin.fetchval(f"select count(*) from {table}")


class TestBefore:
    async def test_nothing_is_sent_to_one_that_is_to_be_verified(self, api, hook, seeds) -> None:
        made = await make(api, hook, verify=True)
        state = ("verification", "enabled", "disabled_reason")
        assert [made[name] for name in state] == ["pending", False, "unverified"]
        assert made["disabled_at"] == made["created_at"]
        await seeds.event()
        assert (await api.get(DELIVERIES))[1]["data"] == []
        assert (await api.post(f"{ENDPOINTS}/{made['id']}/test"))[0] == 409
        assert hook.posts == []

    async def test_it_cannot_be_enabled_otherwise(self, api, hook) -> None:
        made = await make(api, hook, verify=True)
        status, problem = await api.post(f"{ENDPOINTS}/{made['id']}/enable")
        assert (status, problem["code"]) == (409, "wrong_state")
        made.pop("secret")
        assert await shown(api, made) == made

    async def test_without_the_wish_nobody_is_asked(self, api, hook, seeds) -> None:
        """As tools make hooks that cannot answer (Zapier)."""
        made = await make(api, hook)
        assert (made["verification"], made["enabled"], hook.posts) == ("none", True, [])
        await seeds.event()
        assert len((await api.get(DELIVERIES))[1]["data"]) == 1


class TestAsking:
    @pytest.mark.parametrize("echo", [echo_text, echo_json, echo_body])
    async def test_who_repeats_the_challenge_is_verified_and_enabled(
        self, api, hook, seeds, admin, echo
    ) -> None:
        made = await make(api, hook, verify=True)
        hook.script = [echo]
        status, verified = await api.post(f"{ENDPOINTS}/{made['id']}/verify")
        assert status == 200
        state = ("verification", "enabled", "disabled_reason", "disabled_at")
        assert [verified[name] for name in state] == ["verified", True, None, None]
        assert await shown(api, made) == verified
        assert await count(admin, "webhook_events") == 0  # a challenge is no event
        assert await count(admin, "webhook_deliveries") == 0
        await seeds.event()
        assert len((await api.get(DELIVERIES))[1]["data"]) == 1

    async def test_the_challenge_is_signed_and_carries_what_every_post_does(self, api, hook) -> None:
        auth = {"type": "bearer", "token": "t0ken"}
        made = await make(api, hook, signing="both", auth=auth, verify=True)
        hook.script = [echo_text, echo_text]
        for _ in range(2):
            await api.post(f"{ENDPOINTS}/{made['id']}/verify")
        first, second = hook.posts
        body = json.loads(first.body)
        assert body.keys() == {"type", "challenge"}
        assert body["type"] == "endpoint.challenge"
        assert len(body["challenge"]) >= 32
        assert body["challenge"] != json.loads(second.body)["challenge"]
        Webhook(made["secret"]).verify(first.body, first.headers)
        assert verifies_v1a(made["public_key"], first.headers, first.body)
        assert first.headers["authorization"] == "Bearer t0ken"
        assert first.headers["x-token"] == "header-secret-value"
        assert first.headers["content-type"] == "application/json"
        assert first.headers["webhook-id"] != second.headers["webhook-id"]

    @pytest.mark.parametrize(
        ("script", "reason"),
        [
            (answers(b""), "does not repeat"),
            (answers(b"no"), "does not repeat"),
            (answers({"challenge": None}), "does not repeat"),
            (answers({"challenge": ""}), "does not repeat"),
            (answers(["challenge"]), "does not repeat"),
            (answers({"challenge": "ñ"}), "does not repeat"),
            (204, "does not repeat"),
            (500, "status 500"),
            (410, "status 410"),
            (echo_with_another_status, "status 400"),
            (redirect, "status 307"),
        ],
    )
    async def test_any_other_answer_is_a_problem_and_changes_nothing(self, api, hook, script, reason) -> None:
        made = await make(api, hook, verify=True)
        made.pop("secret")
        hook.script = [script]
        status, problem = await api.post(f"{ENDPOINTS}/{made['id']}/verify")
        assert (status, problem["code"]) == (409, "challenge_failed")
        assert reason in problem["detail"]
        assert await shown(api, made) == made
        assert len(hook.posts) == 1

    async def test_so_is_one_that_is_away_and_one_that_is_not_allowed(self, api, hook, admin) -> None:
        made = await make(api, hook, verify=True)
        await hook.server.close()
        _, problem = await api.post(f"{ENDPOINTS}/{made['id']}/verify")
        assert (problem["code"], "refused" in problem["detail"]) == ("challenge_failed", True)
        await admin.execute("update webhook_endpoints set url = 'https://169.254.169.254/'")
        _, problem = await api.post(f"{ENDPOINTS}/{made['id']}/verify")
        assert (problem["code"], "egress_blocked" in problem["detail"]) == ("challenge_failed", True)

    async def test_no_transaction_is_open_while_the_endpoint_is_asked(self, api, hook, admin) -> None:
        made = await make(api, hook, verify=True)
        open_ones: list[int] = []

        async def look(request: web.Request) -> web.StreamResponse:
            open_ones.append(
                await admin.fetchval(
                    "select count(*) from pg_stat_activity where state like 'idle in transaction%'"
                    " and datname = current_database()"
                )
            )
            return await echo_text(request)

        hook.script = [look]
        path = f"{ENDPOINTS}/{made['id']}/verify"
        assert (await api.post(path, headers={"Idempotency-Key": "once"}))[0] == 200
        assert open_ones == [0]
        assert (await api.post(path, headers={"Idempotency-Key": "once"}))[0] == 200
        assert len(hook.posts) == 1  # a repetition asks nobody


class TestAfter:
    async def verified(self, api, hook, **fields):
        made = await make(api, hook, **fields)
        hook.script = [echo_text]
        status, verified = await api.post(f"{ENDPOINTS}/{made['id']}/verify")
        assert (status, verified["verification"]) == (200, "verified")
        return verified

    async def test_one_that_is_enabled_already_stays_so(self, api, hook) -> None:
        assert (await self.verified(api, hook))["enabled"] is True

    async def test_one_that_its_tenant_disabled_stays_disabled(self, api, hook) -> None:
        made = await make(api, hook)
        await api.post(f"{ENDPOINTS}/{made['id']}/disable")
        hook.script = [echo_text]
        _, verified = await api.post(f"{ENDPOINTS}/{made['id']}/verify")
        state = ("verification", "enabled", "disabled_reason")
        assert [verified[name] for name in state] == ["verified", False, "manual"]
        assert (await api.post(f"{ENDPOINTS}/{made['id']}/enable"))[1]["enabled"] is True

    async def test_another_url_is_not_verified(self, api, hook) -> None:
        made = await self.verified(api, hook, verify=True)
        path = f"{ENDPOINTS}/{made['id']}"
        _, renamed = await api.patch(path, {"name": "erp 2", "url": hook.url()})
        assert renamed["verification"] == "verified"
        _, moved = await api.patch(path, {"url": hook.url("/other")})
        assert (moved["verification"], moved["enabled"]) == ("none", True)

    async def test_one_that_waits_still_does_after_another_url(self, api, hook) -> None:
        made = await make(api, hook, verify=True)
        _, moved = await api.patch(f"{ENDPOINTS}/{made['id']}", {"url": hook.url("/other")})
        assert (moved["verification"], moved["enabled"]) == ("pending", False)

    async def test_an_answer_of_the_url_before_verifies_nothing(self, api, hook) -> None:
        made = await make(api, hook, verify=True)

        async def move(request: web.Request) -> web.StreamResponse:
            await api.patch(f"{ENDPOINTS}/{made['id']}", {"url": hook.url("/other")})
            return await echo_text(request)

        hook.script = [move]
        status, problem = await api.post(f"{ENDPOINTS}/{made['id']}/verify")
        assert (status, problem["code"]) == (409, "wrong_state")
        assert (await shown(api, made))["verification"] == "pending"

    async def test_one_that_was_deleted_meanwhile_is_gone(self, api, hook) -> None:
        made = await make(api, hook, verify=True)

        async def delete(request: web.Request) -> web.StreamResponse:
            await api.delete(f"{ENDPOINTS}/{made['id']}")
            return await echo_text(request)

        hook.script = [delete]
        assert (await api.post(f"{ENDPOINTS}/{made['id']}/verify"))[0] == 404

    async def test_another_tenants_endpoint_is_not_asked(self, api, other, hook) -> None:
        made = await make(api, hook, verify=True)
        assert (await other.post(f"{ENDPOINTS}/{made['id']}/verify"))[0] == 404
        assert hook.posts == []
