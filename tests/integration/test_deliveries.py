"""The delivery lane on a real database: claim writes the attempt, settle finishes it."""

from datetime import timedelta
from typing import Any

import pytest

from channels.base import Channel, ChannelAccount
from channels.egress import EgressResponse
from channels.errors import DeliveryFault, FaultClass
from db.accounts import find_account
from db.endpoints import secrets_context
from db.lanes import ClaimedDeliveryRow, ClaimTerms, claim_deliveries
from handlers.deliveries import deliver, settle
from handlers.inbound import accept_messages
from handlers.runtime import Runtime
from handlers.webhooks.signing import EndpointSecret, dump_secrets, new_secret
from tests.factories import accepted_item, inbound, make_account, make_distributor, make_endpoint
from tests.fakes import FakeClock

TERMS = ClaimTerms(batch=10, share=10, lease=timedelta(seconds=30))


class FakeEgress:
    """Answers with statuses from a script, 204 when it is over; remembers what was posted."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.posts: list[tuple[str, dict[str, str], bytes]] = []

    async def post(self, url: str, headers: Any, body: bytes, *, party: str) -> EgressResponse:
        self.posts.append((url, dict(headers), body))
        answer = self.script.pop(0) if self.script else 204
        if isinstance(answer, Exception):
            raise answer
        status, more = answer if isinstance(answer, tuple) else (answer, {})
        return EgressResponse(status, more, b"thanks", False, "203.0.113.9")


class Outbox:
    """A tenant with one endpoint and one waiting event."""

    def __init__(self, runtime: Runtime, tenant: Any) -> None:
        self.runtime = runtime
        self.tenant = tenant

    async def claim(self) -> list[ClaimedDeliveryRow]:
        ids = [self.runtime.new_id() for _ in range(TERMS.batch)]
        async with self.runtime.database.worker_statements() as connection:
            return await claim_deliveries(connection, TERMS, self.runtime.clock(), self.runtime.new_id(), ids)

    async def work(self, egress: FakeEgress) -> int:
        finished = [await deliver(self.runtime, egress, row) for row in await self.claim()]
        if finished:
            await settle(self.runtime, finished)
        return len(finished)

    async def rows(self, query: str) -> list[dict[str, Any]]:
        async with self.runtime.database.tenant(self.tenant) as connection:
            return [dict(row) for row in await connection.fetch(query)]

    async def delivery(self) -> dict[str, Any]:
        (row,) = await self.rows(
            "select d.* from webhook_deliveries d join webhook_events e on e.id = d.event_id where e.type = 'message.received'"
        )
        return row


async def open_outbox(runtime: Runtime, **columns: Any) -> Outbox:
    tenant = await make_distributor(runtime)
    account = await make_account(runtime, tenant)
    endpoint = await make_endpoint(runtime, tenant, ["message.received"], **columns)
    sealed = runtime.sealer.seal_json(
        dump_secrets([EndpointSecret(new_secret(bytes))]),
        secrets_context(tenant, endpoint),
    )
    async with runtime.database.tenant(tenant) as connection:
        await connection.execute("update webhook_endpoints set secrets_sealed = $1", sealed)
    await accept_messages(runtime, [accepted_item(runtime, account, inbound())])
    return Outbox(runtime, tenant)


@pytest.fixture
async def outbox(runtime: Runtime) -> Outbox:
    return await open_outbox(runtime)


async def test_an_attempt_is_on_record_before_the_post(outbox: Outbox):
    (claimed,) = await outbox.claim()

    (attempt,) = await outbox.rows("select * from webhook_delivery_attempts")
    assert (attempt["id"], attempt["number"], attempt["outcome"]) == (claimed.attempt_id, 1, "unknown")
    assert await outbox.claim() == []


async def test_success_ends_the_delivery(outbox: Outbox):
    egress = FakeEgress()

    assert await outbox.work(egress) == 1
    assert await outbox.work(egress) == 0

    (attempt,) = await outbox.rows("select * from webhook_delivery_attempts")
    row = await outbox.delivery()
    assert (row["status"], row["due_at"]) == ("SUCCESS", None)
    assert (attempt["outcome"], attempt["status_code"], attempt["response_excerpt"]) == (
        "success",
        204,
        "thanks",
    )


async def test_retries_keep_the_id_and_renew_the_timestamp(outbox: Outbox, clock: FakeClock):
    egress = FakeEgress(500, DeliveryFault(FaultClass.REFUSED))
    for _ in range(3):
        await outbox.work(egress)
        clock.advance(60)

    attempts = await outbox.rows("select * from webhook_delivery_attempts order by number")
    headers = [headers for _, headers, _ in egress.posts]
    assert (await outbox.delivery())["status"] == "SUCCESS"
    assert [attempt["outcome"] for attempt in attempts] == ["failure", "failure", "success"]
    assert [attempt["error_class"] for attempt in attempts] == ["status", "refused", None]
    assert len({header["webhook-id"] for header in headers}) == 1
    assert len({header["webhook-timestamp"] for header in headers}) == 3
    assert len({header["webhook-signature"] for header in headers}) == 3
    assert len({body for _, _, body in egress.posts}) == 1


async def test_the_schedule_ends_in_exhausted(outbox: Outbox, clock: FakeClock):
    egress = FakeEgress(*[500] * 10)
    for _ in range(5):
        await outbox.work(egress)
        clock.advance(60)

    assert len(egress.posts) == 3
    assert (await outbox.delivery())["status"] == "EXHAUSTED"


async def test_an_interrupted_post_stays_unknown_and_is_tried_again_under_the_same_id(
    outbox: Outbox, clock: FakeClock
):
    (lost,) = await outbox.claim()
    clock.advance(31)
    egress = FakeEgress()

    await outbox.work(egress)

    attempts = await outbox.rows("select number, outcome from webhook_delivery_attempts order by number")
    assert [tuple(attempt.values()) for attempt in attempts] == [(1, "unknown"), (2, "success")]
    assert egress.posts[0][1]["webhook-id"] == f"evt_{lost.event_id.hex}"


async def test_a_worker_that_comes_back_late_finishes_its_attempt_only(outbox: Outbox, clock: FakeClock):
    (slow,) = await outbox.claim()
    clock.advance(31)
    await outbox.work(FakeEgress())

    await settle(outbox.runtime, [await deliver(outbox.runtime, FakeEgress(500), slow)])

    attempts = await outbox.rows("select outcome from webhook_delivery_attempts order by number")
    assert [attempt["outcome"] for attempt in attempts] == ["failure", "success"]
    assert (await outbox.delivery())["status"] == "SUCCESS"


async def test_gone_disables_the_endpoint_and_cancels_what_waits(outbox: Outbox, runtime: Runtime):
    account = await make_account(runtime, outbox.tenant, address="+15550003333")
    claimed = await outbox.claim()
    await accept_messages(runtime, [accepted_item(runtime, account, inbound(key="SM2"))])

    await settle(runtime, [await deliver(runtime, FakeEgress(410), row) for row in claimed])

    (endpoint,) = await outbox.rows("select enabled, disabled_reason from webhook_endpoints")
    statuses = await outbox.rows("select status from webhook_deliveries order by event_id")
    assert endpoint == {"enabled": False, "disabled_reason": "gone"}
    assert [row["status"] for row in statuses] == ["EXHAUSTED", "CANCELLED"]
    assert await outbox.rows("select 1 from webhook_events where type = 'endpoint.disabled'") != []


async def test_ordered_endpoints_get_a_conversations_events_one_by_one(runtime: Runtime, clock: FakeClock):
    outbox = await open_outbox(runtime, ordering="conversation")
    (row,) = await outbox.rows("select channel_account_id from conversations")
    async with runtime.database.worker_statements() as connection:
        found = await find_account(connection, row["channel_account_id"])
    assert found is not None
    account = ChannelAccount(
        found.id, found.distributor_id, Channel(found.channel), found.provider, found.address, {}
    )
    await accept_messages(runtime, [accepted_item(runtime, account, inbound("y otra cosa", key="SM2"))])
    egress = FakeEgress(500)

    assert await outbox.work(egress) == 1
    assert await outbox.work(egress) == 0
    clock.advance(60)
    assert [await outbox.work(egress) for _ in range(3)] == [1, 1, 0]
    assert [body.count(b"otra cosa") for _, _, body in egress.posts] == [0, 0, 1]


async def test_one_endpoints_backlog_does_not_hide_anothers_work(runtime: Runtime):
    """Claims are shared out per endpoint: twenty of one and one of another, ten at a time, three each."""
    busy, quiet = await open_outbox(runtime), await open_outbox(runtime)
    account = await make_account(runtime, busy.tenant, address="+15550003333")
    await accept_messages(
        runtime, [accepted_item(runtime, account, inbound(key=f"SM{n}x")) for n in range(20)]
    )
    terms = ClaimTerms(batch=10, share=3, lease=timedelta(seconds=30))
    ids = [runtime.new_id() for _ in range(10)]

    async with runtime.database.worker_statements() as connection:
        claimed = await claim_deliveries(connection, terms, runtime.clock(), runtime.new_id(), ids)

    assert sorted(str(row.distributor_id) for row in claimed) == sorted(
        [str(busy.tenant)] * 3 + [str(quiet.tenant)]
    )
