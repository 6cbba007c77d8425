"""What an endpoint may be told: its pace, transport, signing, secrets; what its states do to what waits for it."""

import base64
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from standardwebhooks import Webhook

from db.endpoints import secrets_context
from handlers.webhooks.signing import load_keys, shown_public_key
from tests.integration.api.seeds import ENDPOINT

ENDPOINTS = "/v1/webhook-endpoints"
PULLED = {"name": "erp", "transport": "pull", "event_types": ["order.*"]}
DAY = 24 * 3600


@pytest.fixture
async def endpoint(api):
    status, made = await api.post(ENDPOINTS, ENDPOINT)
    assert status == 201
    return made


async def make(api, **fields):
    status, made = await api.post(ENDPOINTS, {**ENDPOINT, **fields})
    assert status == 201, made
    return made


async def keys_of(admin, runtime, api, endpoint):
    """What signs now, from what is sealed."""
    sealed = await admin.fetchval(
        "select secrets_sealed from webhook_endpoints where id = $1", endpoint["id"]
    )
    opened = runtime.sealer.open_json(sealed, secrets_context(api.distributor_id, endpoint["id"]))
    return load_keys(opened)


async def key_set(api, endpoint_id) -> tuple[int, Any]:
    """As anybody asks, without a key."""
    async with api.http.get(f"/.well-known/waystation-webhook-keys/{endpoint_id}") as response:
        answer = await response.json(content_type=None)
        api.document.check("GET", response.url.path, response.status, response.content_type, answer)
        return response.status, answer


def as_jwk(public_key: str) -> str:
    raw = base64.b64decode(public_key.removeprefix("whpk_"))
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


class TestFields:
    async def test_what_is_left_out(self, endpoint) -> None:
        assert (
            endpoint.items()
            >= {
                "description": "",
                "transport": "push",
                "payload": "full",
                "auth_type": None,
                "signing": "hmac",
                "public_key": None,
                "ordering": "none",
                "rate_limit_per_second": None,
                "max_in_flight": 10,
                "verification": "none",
                "disabled_at": None,
            }.items()
        )

    @pytest.mark.parametrize(
        ("field", "value", "shown"),
        [
            ("description", " Almacén Norte\n", "Almacén Norte"),
            ("payload", "thin", "thin"),
            ("rate_limit_per_second", 2.5, 2.5),
            ("rate_limit_per_second", "0.001", 0.001),
            ("rate_limit_per_second", 10_000, 10_000),
            ("rate_limit_per_second", None, None),
            ("max_in_flight", 1, 1),
            ("max_in_flight", 10, 10),
            ("ordering", "conversation", "conversation"),
        ],
    )
    async def test_are_taken_at_the_making_and_by_a_patch(self, api, endpoint, field, value, shown) -> None:
        made = await make(api, **{field: value})
        assert made[field] == shown
        status, changed = await api.patch(f"{ENDPOINTS}/{endpoint['id']}", {field: value})
        assert (status, changed[field]) == (200, shown)
        assert (await api.get(f"{ENDPOINTS}/{endpoint['id']}"))[1] == changed

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("description", "x" * 1_001),
            ("description", None),
            ("payload", "small"),
            ("rate_limit_per_second", 0),
            ("rate_limit_per_second", -1),
            ("rate_limit_per_second", "0.0001"),
            ("rate_limit_per_second", 10_000.001),
            ("rate_limit_per_second", True),
            ("rate_limit_per_second", "NaN"),
            ("max_in_flight", 0),
            ("max_in_flight", 11),
            ("max_in_flight", None),
            ("signing", "rsa"),
            ("signing", None),
            ("transport", "smtp"),
            ("ordering", "none "),
            ("auth", {"type": "digest"}),
            ("auth", "token"),
        ],
    )
    async def test_other_values_are_422(self, api, endpoint, field, value) -> None:
        status, problem = await api.post(ENDPOINTS, {**ENDPOINT, field: value})
        assert (status, problem["code"]) == (422, "invalid_field")
        status, problem = await api.patch(f"{ENDPOINTS}/{endpoint['id']}", {field: value})
        assert (status, problem["code"]) == (422, "invalid_field")
        assert problem["errors"][0]["field"].startswith(field)

    async def test_the_rate_is_kept_exactly(self, api, admin, endpoint) -> None:
        await api.patch(f"{ENDPOINTS}/{endpoint['id']}", {"rate_limit_per_second": "0.1"})
        assert await admin.fetchval("select rate_limit_per_second from webhook_endpoints") == Decimal("0.1")


class TestPulling:
    async def test_an_endpoint_that_is_pulled_has_no_url(self, api) -> None:
        status, made = await api.post(ENDPOINTS, PULLED)
        assert (status, made["transport"], made["url"]) == (201, "pull", None)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("url", ENDPOINT["url"]),
            ("headers", {"X-Token": "x"}),
            ("auth", {"type": "bearer", "token": "t"}),
            ("rate_limit_per_second", 1),
        ],
    )
    async def test_what_belongs_to_a_post_is_422(self, api, field, value) -> None:
        status, problem = await api.post(ENDPOINTS, {**PULLED, field: value})
        assert (status, problem["errors"][0]["field"]) == (422, field)
        _, made = await api.post(ENDPOINTS, PULLED)
        status, problem = await api.patch(f"{ENDPOINTS}/{made['id']}", {field: value})
        assert (status, problem["errors"][0]["field"]) == (422, field)

    async def test_the_transport_stays(self, api, endpoint) -> None:
        status, problem = await api.patch(f"{ENDPOINTS}/{endpoint['id']}", {"transport": "pull"})
        assert (status, problem["errors"][0]["field"]) == (422, "transport")

    @pytest.mark.parametrize("url", [{}, {"url": None}])
    async def test_one_that_is_posted_to_needs_a_url(self, api, url) -> None:
        body = {name: value for name, value in ENDPOINT.items() if name != "url"} | url
        status, problem = await api.post(ENDPOINTS, body)
        assert (status, problem["errors"][0]["field"]) == (422, "url")

    async def test_its_owner_cannot_be_asked(self, api) -> None:
        status, problem = await api.post(ENDPOINTS, {**PULLED, "verify": True})
        assert (status, problem["errors"][0]["field"]) == (422, "verify")
        _, made = await api.post(ENDPOINTS, PULLED)
        assert (await api.post(f"{ENDPOINTS}/{made['id']}/verify"))[0] == 409


class TestSigning:
    @pytest.mark.parametrize(
        ("signing", "secret", "pair"), [("hmac", True, False), ("ed25519", False, True), ("both", True, True)]
    )
    async def test_each_kind_shows_what_a_receiver_verifies_with(
        self, api, admin, runtime, signing, secret, pair
    ) -> None:
        made = await make(api, signing=signing)
        assert (made["secret"] is not None, made["public_key"] is not None) == (secret, pair)
        keys = await keys_of(admin, runtime, api, made)
        assert [key.public is not None for key in keys] == [False] * secret + [True] * pair
        if secret:
            Webhook(made["secret"])
        if pair:
            assert shown_public_key(keys[-1].public) == made["public_key"]
        del made["secret"]
        assert (await api.get(f"{ENDPOINTS}/{made['id']}"))[1] == made

    async def test_a_key_pair_is_added_and_the_secret_dropped(self, api, admin, runtime, endpoint) -> None:
        path = f"{ENDPOINTS}/{endpoint['id']}"
        status, both = await api.patch(path, {"signing": "both"})
        assert (status, both["signing"]) == (200, "both")
        assert len(await keys_of(admin, runtime, api, endpoint)) == 2
        _, pair_only = await api.patch(path, {"signing": "ed25519"})
        assert pair_only["public_key"] == both["public_key"]
        assert len(await keys_of(admin, runtime, api, endpoint)) == 1

        status, problem = await api.patch(path, {"signing": "hmac"})
        assert (status, problem["errors"][0]["field"]) == (422, "signing")
        status, rotated = await api.post(f"{path}/rotate-secret", {"signing": "hmac", "overlap_seconds": 60})
        assert (status, rotated["signing"], rotated["public_key"]) == (200, "hmac", None)
        Webhook(rotated["secret"])
        assert len(await keys_of(admin, runtime, api, endpoint)) == 2  # the pair signs on for a minute

    async def test_nothing_that_signs_is_in_an_answer_but_the_secret_once(self, api, admin, runtime) -> None:
        made = await make(api, signing="both")
        sealed = await admin.fetchval("select secrets_sealed from webhook_endpoints")
        opened = runtime.sealer.open_json(sealed, secrets_context(api.distributor_id, made["id"]))
        secret, private = (item["value"] for item in opened)
        assert made["secret"] == secret
        assert private not in str(made)
        _, read = await api.get(f"{ENDPOINTS}/{made['id']}")
        _, page = await api.get(ENDPOINTS)
        assert secret not in str((read, page))
        assert private not in str((read, page))


class TestRotation:
    @pytest.mark.parametrize(
        ("body", "seconds"),
        [(None, DAY), ({}, DAY), ({"overlap_seconds": 60}, 60), ({"overlap_seconds": 7 * DAY}, 7 * DAY)],
    )
    async def test_the_old_signs_for_as_long_as_asked(
        self, api, admin, runtime, clock, body, seconds
    ) -> None:
        made = await make(api, signing="both")
        old = [key.id for key in await keys_of(admin, runtime, api, made)]
        status, rotated = await api.post(f"{ENDPOINTS}/{made['id']}/rotate-secret", body)
        assert (status, rotated["secret"] != made["secret"]) == (200, True)
        assert rotated["public_key"] != made["public_key"]

        keys = await keys_of(admin, runtime, api, made)
        assert [key.id for key in keys[2:]] == old  # the new first
        assert [key.expires_at for key in keys[:2]] == [None, None]
        assert {(key.expires_at - clock()).total_seconds() for key in keys[2:]} == {seconds}

    async def test_without_an_overlap_the_old_ends_at_once(self, api, admin, runtime, endpoint) -> None:
        await api.post(f"{ENDPOINTS}/{endpoint['id']}/rotate-secret", {"overlap_seconds": 0})
        assert len(await keys_of(admin, runtime, api, endpoint)) == 1

    @pytest.mark.parametrize(
        "body",
        [
            {"overlap_seconds": -1},
            {"overlap_seconds": 7 * DAY + 1},
            {"overlap_seconds": None},
            {"signing": "rsa"},
            {"secret": "whsec_mine"},
            [],
        ],
    )
    async def test_other_bodies_are_422(self, api, endpoint, body) -> None:
        assert (await api.post(f"{ENDPOINTS}/{endpoint['id']}/rotate-secret", body))[0] == 422


class TestPublicKeys:
    async def test_anybody_reads_those_in_force(self, api, clock) -> None:
        made = await make(api, signing="ed25519")
        status, old = await key_set(api, made["id"])
        assert status == 200
        (key,) = old["keys"]
        assert key.items() >= {"kty": "OKP", "crv": "Ed25519", "x": as_jwk(made["public_key"])}.items()

        _, rotated = await api.post(f"{ENDPOINTS}/{made['id']}/rotate-secret", {"overlap_seconds": 60})
        _, both = await key_set(api, made["id"])
        assert [shown["x"] for shown in both["keys"]] == [as_jwk(rotated["public_key"]), key["x"]]
        clock.advance(60)
        _, new = await key_set(api, made["id"])
        assert new["keys"] == both["keys"][:1]

    async def test_a_key_is_named_as_in_the_evidence(self, api, admin, runtime) -> None:
        made = await make(api, signing="ed25519")
        _, shown = await key_set(api, made["id"])
        (key,) = await keys_of(admin, runtime, api, made)
        assert [item["kid"] for item in shown["keys"]] == [key.id]

    async def test_one_that_signs_with_a_secret_has_none(self, api, endpoint) -> None:
        assert await key_set(api, endpoint["id"]) == (200, {"keys": []})

    async def test_an_unknown_a_malformed_and_a_deleted_one_are_404(self, api, endpoint) -> None:
        await api.delete(f"{ENDPOINTS}/{endpoint['id']}")
        for identity in (endpoint["id"], uuid4(), "no-id", "%00", uuid4().hex):
            status, problem = await key_set(api, identity)
            assert (status, problem["code"]) == (404, "not_found")


WAITING = """
    insert into webhook_deliveries
        (distributor_id, endpoint_id, event_id, id, status, due_at, ordering_key, created_at, updated_at)
    select distributor_id, $1, id, md5(id::text)::uuid, $2, $3, $4, occurred_at, occurred_at from webhook_events where id = $5
"""
SICK = """
    update webhook_endpoint_state set in_flight = 3, concurrency = 1, next_due_at = now(), breaker = 'OPEN', breaker_until = now(),
        failing_since = now(), consecutive_failures = 9, probes = 4, blocked_until = now(), warned_percent = 90
    where endpoint_id = $1
"""
SHOWN_STATE = (
    "in_flight, concurrency, next_due_at, breaker, breaker_until, failing_since, consecutive_failures, probes,"
    " blocked_until, warned_percent"
)
HEALTHY = (0, 10, None, "CLOSED", None, None, 0, 0, None, 0)


class TestWhatWaits:
    async def fill(self, api, seeds, admin, clock, **fields):
        """An endpoint with one delivery due, one behind it, one being retried, one at its end."""
        made = await make(api, **{"event_types": ["ai.failed"], **fields})
        for status, due_at in (
            ("PENDING", clock()),
            ("PENDING", "infinity"),
            ("RETRYING", clock()),
            ("SUCCESS", None),
        ):
            event_id = await seeds.event("order.created")
            due = await admin.fetchval("select $1::text::timestamptz", due_at and str(due_at))
            await admin.execute(WAITING, made["id"], status, due, uuid4(), event_id)
        return made

    async def statuses(self, admin, made):
        rows = await admin.fetch(
            "select status, due_at, isfinite(due_at) as finite from webhook_deliveries where endpoint_id = $1 order by event_id",
            made["id"],
        )
        return [(row["status"], row["finite"]) for row in rows]

    async def state(self, admin, made):
        return tuple(
            await admin.fetchrow(
                f"select {SHOWN_STATE} from webhook_endpoint_state where endpoint_id = $1", made["id"]
            )
        )

    @pytest.mark.parametrize("way", ["disable", "delete"])
    async def test_is_cancelled_with_the_endpoint(self, api, seeds, admin, clock, way) -> None:
        made = await self.fill(api, seeds, admin, clock, ordering="conversation")
        await admin.execute(SICK, made["id"])
        if way == "disable":
            await api.post(f"{ENDPOINTS}/{made['id']}/disable")
        else:
            await api.delete(f"{ENDPOINTS}/{made['id']}")
        assert await self.statuses(admin, made) == [("CANCELLED", None)] * 3 + [("SUCCESS", None)]
        assert (await self.state(admin, made))[:4] == (0, 1, None, "OPEN")

    async def test_goes_once_order_is_not_asked_for_any_more(self, api, seeds, admin, clock) -> None:
        made = await self.fill(api, seeds, admin, clock, ordering="conversation")
        before = await self.statuses(admin, made)
        assert before == [("PENDING", True), ("PENDING", False), ("RETRYING", True), ("SUCCESS", None)]
        await api.patch(f"{ENDPOINTS}/{made['id']}", {"name": "erp 2"})
        assert await self.statuses(admin, made) == before
        later = clock.advance(5)
        await api.patch(f"{ENDPOINTS}/{made['id']}", {"ordering": "none"})
        rows = await admin.fetch(
            "select due_at from webhook_deliveries where endpoint_id = $1 order by event_id", made["id"]
        )
        assert [row["due_at"] == later for row in rows] == [False, True, False, False]
        assert (await self.state(admin, made))[2] == later

    async def test_an_endpoint_that_is_enabled_counts_as_healthy(self, api, admin, endpoint, clock) -> None:
        await api.post(f"{ENDPOINTS}/{endpoint['id']}/disable")
        _, disabled = await api.get(f"{ENDPOINTS}/{endpoint['id']}")
        assert disabled["disabled_at"] == clock().isoformat().replace("+00:00", "Z")
        await admin.execute(SICK, endpoint["id"])
        _, enabled = await api.post(f"{ENDPOINTS}/{endpoint['id']}/enable")
        assert enabled["disabled_at"] is None
        assert await self.state(admin, endpoint) == HEALTHY

    async def test_enabling_what_is_enabled_changes_no_health(self, api, admin, endpoint) -> None:
        await admin.execute(SICK, endpoint["id"])
        before = await self.state(admin, endpoint)
        await api.post(f"{ENDPOINTS}/{endpoint['id']}/enable")
        assert await self.state(admin, endpoint) == before
