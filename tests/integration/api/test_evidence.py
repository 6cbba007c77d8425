"""What the API tells of attempts: all of one, little of many, by filter and page, and in figures; to its tenant alone."""

import json
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import web

from channels.egress import EgressClient
from channels.exchanges import ExchangeTrace
from db.lanes import ClaimTerms
from gateway.api import endpoint_health
from handlers.deliveries import deliver, settle
from handlers.webhooks.delivery_tools import delivery_tools
from handlers.webhooks.evidence import build_evidence
from tests.delivery_stage import claim
from tests.integration.api.seeds import ENDPOINT

ENDPOINTS = "/v1/webhook-endpoints"
DELIVERIES = "/v1/webhook-deliveries"
TRACE = ExchangeTrace("93.184.216.34", False, "TLSv1.3", 1.2, 2.0, 3.5, 40.0, 45.0)
TERMS = ClaimTerms(batch=10, share=10, lease=timedelta(seconds=30))
SUCCESS = {"outcome": "success", "status_code": 200, "error_class": None, "response_excerpt": "ok"}


@pytest.fixture
async def endpoint(api) -> dict[str, Any]:
    _, made = await api.post(ENDPOINTS, ENDPOINT)
    return dict(made)


def evidence_of_an_answer(**changed: Any) -> str:
    given: dict[str, Any] = {
        "url": "https://erp.example.com/hook?key=s3cr3t",
        "request_headers": {"X-Token": "header-secret-value", "webhook-id": "evt_1"},
        "key_ids": ["1a2b3c4d"],
        "trace": TRACE,
        "status": 500,
        "response_headers": {"Server": "erp", "Set-Cookie": "a=s3cr3t"},
        "excerpt_truncated": True,
    }
    return json.dumps(build_evidence(**{**given, **changed}))


async def attempts_of(api, endpoint, filters: str = "") -> list[tuple[str, int]]:
    found = await api.walk(f"{ENDPOINTS}/{endpoint['id']}/attempts?{filters}", 2)
    return [(item["event_id"], item["number"]) for item in found]


class TestDelivery:
    async def test_one_is_told_with_all_evidence_and_no_secret(self, api, seeds, clock, endpoint) -> None:
        event_id = await seeds.event()
        later = clock() + timedelta(seconds=30)
        await seeds.attempt(
            endpoint["id"],
            event_id,
            evidence=evidence_of_an_answer(),
            probe=True,
            trigger="replay",
            next_attempt_at=later,
        )
        _, page = await api.get(DELIVERIES)
        _, delivery = await api.get(f"{DELIVERIES}/{page['data'][0]['id']}")

        (attempt,) = delivery["attempts"]
        assert attempt.items() >= {
            "url": "https://erp.example.com/hook?redacted",
            "request_headers": {"x-token": "redacted", "webhook-id": "evt_1"},
            "response_headers": {"server": "erp", "set-cookie": "redacted"},
            "response_excerpt": "no",
            "response_excerpt_truncated": True,
            "address": "93.184.216.34",
            "tls_version": "TLSv1.3",
            "connection_reused": False,
            "timings": {"dns_ms": 1.2, "connect_ms": 2.0, "tls_ms": 3.5, "first_byte_ms": 40.0, "total_ms": 45.0},
            "key_ids": ["1a2b3c4d"],
            "trigger": "replay",
            "probe": True,
            "next_attempt_at": "2026-07-06T15:00:30Z",
        }.items()  # fmt: skip
        assert "evidence" not in page["data"][0]["attempts"][0]
        assert "address" not in page["data"][0]["attempts"][0]

    async def test_one_without_evidence_says_that_nothing_is_known(self, api, seeds, endpoint) -> None:
        await seeds.attempt(endpoint["id"], await seeds.event(), response_excerpt=None)
        _, page = await api.get(DELIVERIES)
        _, delivery = await api.get(f"{DELIVERIES}/{page['data'][0]['id']}")

        (attempt,) = delivery["attempts"]
        unknown = ("url", "request_headers", "response_headers", "address", "tls_version", "response_excerpt")
        assert [attempt[name] for name in unknown] == [None] * len(unknown)
        assert (attempt["key_ids"], set(attempt["timings"].values())) == ([], {None})

    async def test_a_list_tells_the_newest_attempts_and_the_beginning_of_their_answers(
        self, api, seeds, endpoint
    ) -> None:
        event_id = await seeds.event()
        for number in range(1, 25):
            await seeds.attempt(endpoint["id"], event_id, number, response_excerpt="x" * 300)
        _, page = await api.get(DELIVERIES)
        _, delivery = await api.get(f"{DELIVERIES}/{page['data'][0]['id']}")

        listed = page["data"][0]["attempts"]
        assert [attempt["number"] for attempt in listed] == list(range(5, 25))
        assert (listed[0]["response_excerpt"], listed[0]["response_excerpt_truncated"]) == ("x" * 256, True)
        assert [attempt["number"] for attempt in delivery["attempts"]] == list(range(1, 25))
        assert delivery["attempts"][0]["response_excerpt"] == "x" * 300
        assert delivery["attempts"][0]["response_excerpt_truncated"] is False

    @pytest.mark.parametrize(
        ("due_at", "transport", "waiting_for"),
        [("infinity", "push", "order"), ("infinity", "pull", "pull"), ("2026-07-06 15:00Z", "push", None)],
    )
    async def test_what_has_no_next_attempt_says_what_it_waits_for(
        self, api, seeds, admin, endpoint, due_at, transport, waiting_for
    ) -> None:
        await seeds.event()
        await admin.execute(f"update webhook_deliveries set due_at = '{due_at}', sequence = 3")
        await admin.execute(
            "update webhook_endpoints set transport = $1, url = case $1 when 'push' then url end", transport
        )
        _, page = await api.get(DELIVERIES)

        (delivery,) = page["data"]
        assert (delivery["waiting_for"], delivery["next_attempt_at"] is None) == (
            waiting_for,
            bool(waiting_for),
        )
        assert (delivery["sequence"], delivery["trigger"], delivery["replay_id"]) == (3, "event", None)


async def echo(request: web.Request) -> web.Response:
    """A receiver that tells what it got, as debugging servers do."""
    told = json.dumps(dict(request.headers)) + "." * 5_000
    return web.Response(
        status=422, text=told, headers={"X-Got": request.headers["X-Token"], "Set-Cookie": "a=b"}
    )


async def test_a_post_that_was_made_is_told_and_what_it_carried_is_not(
    api, seeds, admin, runtime, aiohttp_server, endpoint
) -> None:
    app = web.Application()
    app.router.add_post("/hook", echo)
    server = await aiohttp_server(app)
    await admin.execute(
        "update webhook_endpoints set url = $1", f"http://127.0.0.1:{server.port}/hook?k=s3cr3t"
    )
    await seeds.event()
    egress = EgressClient((ip_network("127.0.0.0/8"),))
    (claimed,) = await claim(runtime, TERMS)
    await settle(runtime, [await deliver(runtime, delivery_tools(runtime, egress), claimed)])
    await egress.aclose()
    _, page = await api.get(DELIVERIES)
    _, delivery = await api.get(f"{DELIVERIES}/{page['data'][0]['id']}")

    (attempt,) = delivery["attempts"]
    assert attempt["url"] == f"http://127.0.0.1:{server.port}/hook?redacted"
    assert (attempt["address"], attempt["status_code"], attempt["error_class"]) == (
        "127.0.0.1",
        422,
        "status",
    )
    assert (attempt["request_headers"]["x-token"], attempt["response_headers"]["x-got"]) == (
        "redacted",
        "redacted",
    )
    assert attempt["request_headers"]["webhook-id"] == delivery["event_id"]
    assert attempt["next_attempt_at"] == delivery["next_attempt_at"] is not None
    assert attempt["response_excerpt_truncated"] is True
    assert attempt["timings"]["total_ms"] >= attempt["timings"]["first_byte_ms"] > 0
    assert len(attempt["key_ids"]) == 1
    for secret in ("header-secret-value", "s3cr3t", "v1,"):
        assert secret not in json.dumps(delivery)


class TestAttempts:
    @pytest.fixture
    async def log(self, seeds, endpoint) -> dict[str, tuple[str, int]]:
        """Attempts by name, the oldest event first."""
        old, order, odd = [
            await seeds.event(),
            await seeds.event("order.updated"),
            await seeds.event(minutes=60),
        ]
        await seeds.attempt(endpoint["id"], old, 1, status_code=None, error_class="dns")
        await seeds.attempt(endpoint["id"], old, 2, status_code=404)
        await seeds.attempt(endpoint["id"], order, 1, status_code=503)
        await seeds.attempt(endpoint["id"], order, 2, **SUCCESS)
        await seeds.attempt(endpoint["id"], odd, 1, **SUCCESS)
        places = {
            "dns": (old, 1),
            "404": (old, 2),
            "503": (order, 1),
            "retried": (order, 2),
            "later": (odd, 1),
        }
        return {name: (f"evt_{event.hex}", number) for name, (event, number) in places.items()}

    @pytest.mark.parametrize(
        ("filters", "found"),
        [
            ("", "later retried 503 404 dns"),
            ("outcome=success", "later retried"),
            ("outcome=failure", "503 404 dns"),
            ("error_class=dns", "dns"),
            ("error_class=tls", ""),
            ("status_code=4xx", "404"),
            ("status_code=503", "503"),
            ("status_code=504", ""),
            ("status_code=2xx&event_type=order.created", "later"),
            ("event_type=order.updated", "retried 503"),
            ("since=2026-07-06T15:30:00Z", "later"),
            ("until=2026-07-06T15:30:00Z", "retried 503 404 dns"),
            ("since=2027-01-01T00:00:00Z", ""),
        ],
    )
    @pytest.mark.parametrize("looks", [10_000, 2])
    async def test_filters_over_all_pages_however_few_each_looks_at(
        self, api, endpoint, log, monkeypatch, looks, filters, found
    ) -> None:
        monkeypatch.setattr(endpoint_health, "_LOOKS", looks)

        assert await attempts_of(api, endpoint, filters) == [log[name] for name in found.split()]

    async def test_the_shape(self, api, endpoint, log) -> None:
        _, page = await api.get(f"{ENDPOINTS}/{endpoint['id']}/attempts?limit=1")
        _, deliveries = await api.get(f"{DELIVERIES}?limit=1")

        (attempt,) = page["data"]
        assert attempt == {
            **deliveries["data"][0]["attempts"][0],
            "delivery_id": deliveries["data"][0]["id"],
            "event_id": log["later"][0],
            "event_type": "order.created",
        }

    @pytest.mark.parametrize(
        "filters",
        [
            "outcome=maybe",
            "error_class=odd",
            "status_code=6xx",
            "status_code=4x",
            "status_code=4040",
            "since=never",
        ],
    )
    async def test_a_filter_that_can_match_nothing_is_422(self, api, endpoint, filters) -> None:
        assert (await api.get(f"{ENDPOINTS}/{endpoint['id']}/attempts?{filters}"))[0] == 422

    @pytest.mark.parametrize(
        "text",
        [
            "' or '1'='1",
            "order.created'; update webhook_delivery_attempts set outcome = 'success'; --",
            "x') union select * from webhook_endpoints --",
            "$11 or true",
            "%",
            "\\",
        ],
    )
    async def test_a_hostile_filter_is_a_text_that_no_event_has(
        self, api, other, seeds, admin, endpoint, log, text
    ) -> None:
        for name in ("event_type", "outcome", "error_class", "status_code", "since", "cursor"):
            path = f"{ENDPOINTS}/{endpoint['id']}/attempts"
            status, answer = await api.call("GET", path, params={name: text})
            assert (status, answer.get("data")) == ((200, []) if name == "event_type" else (422, None))
        assert (await api.call("GET", f"{ENDPOINTS}/{endpoint['id']}/stats", params={"since": text}))[
            0
        ] == 422
        assert (await api.call("GET", DELIVERIES, params={"event_type": text}))[1]["data"] == []
        assert (
            await admin.fetchval("select count(*) from webhook_delivery_attempts where outcome = 'success'")
            == 2
        )


class TestStats:
    async def test_success_latency_errors_and_state(self, api, seeds, admin, clock, endpoint) -> None:
        for number in range(1, 9):
            event_id = await seeds.event()
            trace = ExchangeTrace(first_byte_ms=number * 10.0)
            await seeds.attempt(
                endpoint["id"],
                event_id,
                **SUCCESS,
                evidence=evidence_of_an_answer(trace=trace),
            )
            await admin.execute(
                "update webhook_delivery_attempts set duration_ms = $1 where event_id = $2",
                number * 100,
                event_id,
            )
        event_id = await seeds.event()
        await seeds.attempt(
            endpoint["id"], event_id, 1, status_code=None, error_class="timeout", duration_ms=15_000
        )
        await seeds.attempt(endpoint["id"], event_id, 2, duration_ms=900)
        await seeds.attempt(
            endpoint["id"], event_id, 3, outcome="unknown", status_code=None, error_class=None
        )
        long_ago = clock() - timedelta(hours=25)
        await seeds.attempt(endpoint["id"], event_id, 4, started_at=long_ago)
        await admin.execute(
            "update webhook_endpoint_state set breaker = 'OPEN', breaker_until = $1, consecutive_failures = 12,"
            " failed_attempts = 13, failing_since = $1, learned_rate = 2.5, concurrency = 3, in_flight = 1",
            clock(),
        )
        await admin.execute("update webhook_deliveries set due_at = 'infinity' where event_id = $1", event_id)
        status, stats = await api.get(f"{ENDPOINTS}/{endpoint['id']}/stats")

        assert status == 200
        assert stats.items() >= {
            "since": "2026-07-05T15:00:00Z",
            "attempts": 10,
            "successes": 8,
            "success_rate": 0.8,
            "unfinished": 1,
            "is_sample": False,
            "errors": {"timeout": 1, "status": 1},
            "total_ms": {"p50": 500, "p95": 900, "p99": 900},
            "first_byte_ms": {"p50": 40, "p95": 80, "p99": 80},
            "waiting": {"due": 8, "later": 0, "order": 1, "pull": 0},
        }.items()  # fmt: skip
        assert stats["state"].items() >= {
            "breaker": "OPEN",
            "breaker_until": "2026-07-06T15:00:00Z",
            "consecutive_failures": 12,
            "failed_attempts": 13,
            "failing_since": "2026-07-06T15:00:00Z",
            "learned_rate": 2.5,
            "concurrency": 3,
            "in_flight": 1,
            "last_success_at": None,
        }.items()  # fmt: skip

    async def test_since_says_from_when_on(self, api, seeds, clock, endpoint) -> None:
        event_id = await seeds.event()
        await seeds.attempt(endpoint["id"], event_id, 1)
        clock.advance(3 * 86_400)  # a late retry of the same event
        await seeds.attempt(endpoint["id"], event_id, 2, **SUCCESS)

        async def successes_since(moment: str) -> tuple[int, int]:
            _, stats = await api.get(f"{ENDPOINTS}/{endpoint['id']}/stats?since={moment}")
            return stats["successes"], stats["attempts"]

        assert await successes_since("2026-07-09T00:00:00Z") == (1, 1)
        assert await successes_since("2026-07-06T00:00:00Z") == (1, 2)

    async def test_more_than_the_bound_is_a_sample_of_the_newest(
        self, api, seeds, endpoint, monkeypatch
    ) -> None:
        await seeds.attempt(endpoint["id"], await seeds.event())
        await seeds.attempt(endpoint["id"], await seeds.event(), **SUCCESS)
        monkeypatch.setattr(endpoint_health, "_SAMPLE", 1)
        _, stats = await api.get(f"{ENDPOINTS}/{endpoint['id']}/stats")

        assert (stats["is_sample"], stats["attempts"], stats["success_rate"]) == (True, 1, 1)

    async def test_waiting_is_counted_up_to_a_bound(self, api, seeds, admin, endpoint, monkeypatch) -> None:
        for _ in range(4):
            await seeds.event()
        await admin.execute(
            "update webhook_deliveries set status = 'RETRYING', due_at = due_at + interval '1 hour'"
            " where event_id <> (select event_id from webhook_deliveries order by event_id limit 1)"
        )
        monkeypatch.setattr(endpoint_health, "_MOST_COUNTED", 2)
        _, stats = await api.get(f"{ENDPOINTS}/{endpoint['id']}/stats")

        assert stats["waiting"] == {"due": 1, "later": 2, "order": 0, "pull": 0}

    async def test_without_attempts_there_is_no_rate(self, api, endpoint) -> None:
        _, stats = await api.get(f"{ENDPOINTS}/{endpoint['id']}/stats")

        assert (stats["attempts"], stats["success_rate"], stats["total_ms"], stats["errors"]) == (
            0,
            None,
            None,
            {},
        )

    @pytest.mark.parametrize("since", ["2026-07-06T15:00:01Z", "2026-06-06T14:59:59Z"])
    async def test_the_future_and_what_is_not_kept_are_422(self, api, endpoint, since) -> None:
        assert (await api.get(f"{ENDPOINTS}/{endpoint['id']}/stats?since={since}"))[0] == 422


async def test_another_tenant_finds_nothing_of_an_endpoint(api, other, seeds, endpoint) -> None:
    event_id = await seeds.event()
    await seeds.attempt(endpoint["id"], event_id, evidence=evidence_of_an_answer())
    _, page = await api.get(DELIVERIES)
    _, theirs = await other.post(ENDPOINTS, ENDPOINT)

    for path in (
        f"{ENDPOINTS}/{endpoint['id']}/attempts",
        f"{ENDPOINTS}/{endpoint['id']}/stats",
        f"{DELIVERIES}/{page['data'][0]['id']}",
    ):
        assert (await api.get(path))[0] == 200
        assert (await other.get(path))[0] == 404
    assert (await other.get(f"{DELIVERIES}?endpoint_id={endpoint['id']}"))[1]["data"] == []
    assert (await other.get(f"{ENDPOINTS}/{theirs['id']}/attempts"))[1]["data"] == []


async def test_a_cursor_is_of_one_endpoint(api, seeds, endpoint) -> None:
    for _ in range(2):
        await seeds.attempt(endpoint["id"], await seeds.event())
    _, page = await api.get(f"{ENDPOINTS}/{endpoint['id']}/attempts?limit=1")
    _, second = await api.post(ENDPOINTS, ENDPOINT)

    path = f"{ENDPOINTS}/{second['id']}/attempts?cursor={page['next_cursor']}"
    assert (await api.get(path))[0] == 422
