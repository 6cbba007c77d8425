"""Posts of a provider over real HTTP: durable before 2xx, constant refusals, one message however often it comes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from structlog.testing import capture_logs
from yarl import URL

from channels.base import Channel, ChannelAccount
from channels.registry import build_adapters
from channels.signatures import twilio_signature
from channels.twilio import TwilioAdapter
from db.lanes import ClaimTerms, claim_sends, claim_turns
from db.tenant import Database, open_database
from db.wake import listening
from gateway import keys
from handlers.ai.rules import RulesEngine
from handlers.catalogues import CatalogueCache
from handlers.outbound import send_message
from handlers.runtime import Runtime
from handlers.send_rates import SEND_PACE
from handlers.turns import TurnTools, run_turn
from tests.conftest import PUBLIC_URL
from tests.factories import (
    CUSTOMER_NUMBER,
    OUR_NUMBER,
    TWILIO_CREDENTIALS,
    make_account,
    make_distributor,
    make_product,
)
from tests.fakes import FakeAdapter, FakeClock
from tests.gateways import serving
from tests.integration.test_turns import TERMS

TOKEN = TWILIO_CREDENTIALS["auth_token"]


class Gateway:
    """A gateway that listens, and one tenant's WhatsApp account behind it."""

    def __init__(self, client: TestClient[Any, Any], runtime: Runtime, account: ChannelAccount) -> None:
        self.client = client
        self.runtime = runtime
        self.account = account
        self.path = f"/in/twilio/{account.id}"

    def form(self, **fields: str) -> dict[str, str]:
        return {
            "MessageSid": "SM" + "0" * 32, "AccountSid": TWILIO_CREDENTIALS["account_sid"], "From": f"whatsapp:{CUSTOMER_NUMBER}",
            "To": f"whatsapp:{OUR_NUMBER}", "Body": "2 cajas de coca 600", "NumMedia": "0", **fields,
        }  # fmt: skip

    async def post(
        self,
        form: dict[str, str],
        *,
        token: str = TOKEN,
        path: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, str]:
        path = path or self.path
        signed = {
            "X-Twilio-Signature": twilio_signature(token, PUBLIC_URL + path, form.items()),
            **(headers or {}),
        }
        async with self.client.post(path, data=form, headers=signed) as answer:
            return answer.status, await answer.text()

    async def metric(self, name: str, labels: str) -> float:
        async with self.client.get("/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{{labels}}}"))

    async def count(self, table: str, where: str = "true") -> int:
        async with self.runtime.database.tenant(self.account.distributor_id) as connection:
            number: int = await connection.fetchval(f"select count(*) from {table} where {where}")
            return number


@pytest.fixture
async def gateway(runtime: Runtime, tmp_path: Path) -> AsyncIterator[Gateway]:
    tenant = await make_distributor(runtime)
    account = await make_account(runtime, tenant)
    async with serving(runtime, tmp_path) as client:
        yield Gateway(client, runtime, account)


async def test_a_signed_post_is_stored_and_answered_with_empty_twiml(gateway: Gateway):
    status, body = await gateway.post(gateway.form())

    assert (status, body) == (200, '<?xml version="1.0" encoding="UTF-8"?><Response></Response>')
    assert await gateway.count("messages") == 1
    assert await gateway.count("inbound_events", "kind = 'message' and length(body) > 0") == 1


async def test_two_hundred_parallel_duplicates_are_one_message_one_turn_and_one_reply(
    gateway: Gateway, clock: FakeClock
):
    await make_product(
        gateway.runtime, gateway.account.distributor_id, "COCA-600", "Coca-Cola 600 ml", aliases=["coca 600"]
    )

    answers = await asyncio.gather(*(gateway.post(gateway.form()) for _ in range(200)))

    assert {status for status, _ in answers} == {200}
    assert await gateway.count("messages") == 1
    clock.advance(5)
    database = gateway.runtime.database
    async with database.worker_statements() as connection:
        turns = await claim_turns(connection, TERMS, clock(), gateway.runtime.new_id())
    assert len(turns) == 1
    await run_turn(gateway.runtime, TurnTools(RulesEngine(), CatalogueCache()), turns[0])
    provider = FakeAdapter()
    async with database.worker_statements() as connection:
        terms: ClaimTerms = TERMS
        for send in await claim_sends(connection, terms, clock(), gateway.runtime.new_id(), SEND_PACE):
            await send_message(gateway.runtime, {"twilio": provider}, send)  # type: ignore[dict-item]
    assert len(provider.sent) == 1
    assert await gateway.count("ai_responses") == 1


@pytest.mark.parametrize(
    ("change", "status", "text"),
    [
        ({"token": "tok_wrong"}, 403, "Forbidden."),
        ({"path": "/in/twilio/00000000-0000-0000-0000-000000000000"}, 404, "Unknown account."),
        ({"path": "/in/twilio/nonsense"}, 404, "Unknown account."),
        ({"path": "/in/carrier-pigeon/00000000-0000-0000-0000-000000000000"}, 404, "Unknown account."),
    ],
    ids=["wrong-token", "unknown-account", "no-uuid", "unknown-provider"],
)
async def test_refusals_are_constant_and_store_nothing(
    gateway: Gateway, change: dict[str, Any], status: int, text: str
):
    with capture_logs() as logs:
        answer = await gateway.post(gateway.form(Body="a secret order"), **change)

    assert answer == (status, text)
    assert await gateway.count("messages") == 0
    assert "a secret order" not in str(logs)
    assert TOKEN not in str(logs)


async def test_a_repeated_post_is_one_message_and_its_token_is_on_record(gateway: Gateway):
    """Twilio repeats a post whose answer was lost, with the same token: only the message's id is what counts."""
    token = {"I-Twilio-Idempotency-Token": "1a2b"}
    for headers in (token, token, {"I-Twilio-Idempotency-Token": "another"}):
        status, _ = await gateway.post(gateway.form(), headers=headers)
        assert status == 200

    assert await gateway.count("messages") == 1
    assert await gateway.count("inbound_events") == 1
    assert await gateway.count("inbound_events", "headers->>'I-Twilio-Idempotency-Token' = '1a2b'") == 1


async def test_a_missing_signature_is_forbidden(gateway: Gateway):
    async with gateway.client.post(gateway.path, data=gateway.form()) as answer:
        assert (answer.status, await answer.text()) == (403, "Forbidden.")


async def test_forged_posts_are_written_down_for_their_tenant(gateway: Gateway):
    for _ in range(3):
        await gateway.post(gateway.form(), token="tok_wrong")
    await gateway.client.app[keys.DENIALS].flush()

    assert await gateway.count("security_audit_log", "type = 'signature.refused'") == 1
    assert await gateway.count("security_audit_log", "occurrences = 3 and detail like '/in/twilio/%'") == 1


async def test_a_signed_but_malformed_post_is_400(gateway: Gateway):
    form = gateway.form()
    del form["MessageSid"]

    assert await gateway.post(form) == (400, "Malformed.")


async def test_a_body_over_the_cap_is_413(gateway: Gateway):
    assert (await gateway.post(gateway.form(Body="x" * TwilioAdapter().body_cap)))[0] == 413

    async def endless():
        for _ in range(100):
            yield b"x" * 8192

    async with gateway.client.post(gateway.path, data=endless()) as answer:
        assert answer.status == 413


async def test_another_tenants_token_does_not_open_this_account(gateway: Gateway):
    other = replace(gateway.account, credentials={**TWILIO_CREDENTIALS, "auth_token": "tok_other"})

    assert (await gateway.post(gateway.form(), token=other.credentials["auth_token"]))[0] == 403


async def test_a_deleted_account_is_unknown(gateway: Gateway, runtime: Runtime):
    async with runtime.database.tenant(gateway.account.distributor_id) as connection:
        await connection.execute("update channel_accounts set deleted_at = now()")

    assert (await gateway.post(gateway.form()))[0] == 404


async def test_while_the_database_is_away_the_gateway_lives_and_is_not_ready(
    gateway: Gateway, runtime_dsn: str, tmp_path: Path
):
    away: Database = await open_database(runtime_dsn)
    await away.close()

    async with serving(replace(gateway.runtime, database=away), tmp_path) as lost:
        async with lost.get("/ready") as answer:
            assert answer.status == 503
        async with lost.get("/live") as answer:
            assert answer.status == 200


async def test_a_status_callback_moves_the_message_up(gateway: Gateway, runtime: Runtime):
    await gateway.post(gateway.form())
    message_id = runtime.new_id()
    async with runtime.database.tenant(gateway.account.distributor_id) as connection:
        await connection.execute(
            "insert into messages (distributor_id, id, conversation_id, channel_account_id, channel, direction, type, status,"
            " status_rank, text, ai_processed, ai_skip_reason, created_at, updated_at)"
            " select distributor_id, $1, id, channel_account_id, channel, 'OUTBOUND', 'TEXT', 'SENT', 3, 'ok', true, 'outbound', now(), now()"
            " from conversations",
            message_id,
        )
    form = {
        "MessageSid": "SM" + "9" * 32,
        "AccountSid": TWILIO_CREDENTIALS["account_sid"],
        "MessageStatus": "read",
    }

    answer = await gateway.post(form, path=f"{gateway.path}/status?message={message_id}")

    assert answer[0] == 200
    assert await gateway.count("messages", "status = 'READ'") == 1


@pytest.mark.parametrize("query", ["", "?message=0191d6a0-0000-7000-8000-00000000abcd"])
async def test_a_status_of_a_message_that_nobody_knows_is_logged_and_counted(gateway: Gateway, query: str):
    form = {
        "MessageSid": "SM" + "9" * 32,
        "AccountSid": TWILIO_CREDENTIALS["account_sid"],
        "MessageStatus": "sent",
    }
    before = await gateway.metric("waystation_unmatched_statuses_total", 'provider="twilio"')

    with capture_logs() as logs:
        assert (await gateway.post(form, path=f"{gateway.path}/status{query}"))[0] == 200

    (line,) = [line for line in logs if line["event"] == "status of no known message"]
    assert line["provider_message"] == form["MessageSid"]
    assert await gateway.metric("waystation_unmatched_statuses_total", 'provider="twilio"') == before + 1


async def test_a_message_posted_to_the_status_hook_is_not_lost(gateway: Gateway):
    assert (await gateway.post(gateway.form(), path=f"{gateway.path}/status"))[0] == 200
    assert await gateway.count("messages", "text = '2 cajas de coca 600'") == 1


async def test_what_was_stored_wakes_the_workers(gateway: Gateway, runtime_dsn: str):
    status = {
        "MessageSid": "SM" + "9" * 32,
        "AccountSid": TWILIO_CREDENTIALS["account_sid"],
        "MessageStatus": "sent",
    }
    heard = asyncio.Event()
    async with listening(runtime_dsn, heard.set), asyncio.timeout(10):
        await heard.wait()  # the one at the start
        for form, path in ((gateway.form(), gateway.path), (status, f"{gateway.path}/status")):
            heard.clear()
            await gateway.post(form, path=path)
            await heard.wait()


async def test_headers_that_let_somebody_in_are_not_stored(gateway: Gateway):
    form = gateway.form()
    private = {"Authorization": "Basic c2VjcmV0", "COOKIE": "session=secret", "proxy-authorization": "secret"}
    signature = twilio_signature(TOKEN, PUBLIC_URL + gateway.path, form.items())

    async with gateway.client.post(
        gateway.path, data=form, headers={"X-Twilio-Signature": signature, **private}
    ) as answer:
        assert answer.status == 200

    async with gateway.runtime.database.tenant(gateway.account.distributor_id) as connection:
        kept = await connection.fetchval("select headers from inbound_events")
    names = {name.casefold() for name in kept}
    assert "x-twilio-signature" in names
    assert not names & {"authorization", "cookie", "proxy-authorization"}
    assert "secret" not in str(kept)


async def test_a_post_over_get_is_verified_too(gateway: Gateway):
    path = f"{gateway.path}?MessageSid=SM{'2' * 32}&AccountSid={TWILIO_CREDENTIALS['account_sid']}&From=whatsapp:%2B15550001111&To=whatsapp:%2B15550002222&Body=hola"
    signature = twilio_signature(TOKEN, PUBLIC_URL + path)
    async with gateway.client.get(
        URL(path, encoded=True), headers={"X-Twilio-Signature": signature}
    ) as answer:
        assert answer.status == 200
    assert await gateway.count("messages") == 1


async def test_metrics_count_posts_by_answer(gateway: Gateway):
    await gateway.post(gateway.form())
    async with gateway.client.get("/metrics") as answer:
        text = await answer.text()

    assert 'waystation_inbound_requests_total{provider="twilio",status="200"}' in text


def test_channels_of_the_fake_match_the_real_one():
    assert FakeAdapter.channels == build_adapters()["twilio"].channels == {Channel.SMS, Channel.WHATSAPP}
