"""The delivery lane on a real database: claim writes the attempt, settle finishes it."""

import itertools
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from channels.base import Channel, ChannelAccount
from channels.egress import EgressResponse
from channels.errors import DeliveryFault, FaultClass
from channels.exchanges import ExchangeTrace
from db.accounts import find_account
from db.delivery_lane import ClaimedDeliveryRow
from db.endpoints import secrets_context
from db.lanes import ClaimTerms
from handlers.deliveries import deliver, settle
from handlers.endpoints import disable_endpoint, enable_endpoint, patch_endpoint
from handlers.inbound import accept_messages
from handlers.runtime import Runtime
from handlers.webhooks.delivery_tools import delivery_tools
from handlers.webhooks.redelivery import redeliver
from handlers.webhooks.signing import EndpointSecret, dump_secrets, new_secret
from tests.delivery_stage import claim
from tests.factories import accepted_item, inbound, make_account, make_distributor, make_endpoint
from tests.fakes import FakeClock

TERMS = ClaimTerms(batch=10, share=10, lease=timedelta(seconds=30))


class FakeEgress:
    """Answers with statuses from a script, 204 when it is over; remembers what was posted."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.posts: list[tuple[str, dict[str, str], bytes]] = []

    async def post(
        self,
        url: str,
        headers: Any,
        body: bytes,
        *,
        party: str,
        timeouts: Any = None,
        certificate: Any = None,
    ) -> EgressResponse:
        self.posts.append((url, dict(headers), body))
        answer = self.script.pop(0) if self.script else 204
        if isinstance(answer, Exception):
            raise answer
        status, more = answer if isinstance(answer, tuple) else (answer, {})
        return EgressResponse(status, more, b"thanks", False, ExchangeTrace("203.0.113.9"))


class Outbox:
    """A tenant with one endpoint and one waiting event."""

    def __init__(self, runtime: Runtime, tenant: Any) -> None:
        self.runtime = runtime
        self.tenant = tenant

    async def claim(self) -> Sequence[ClaimedDeliveryRow]:
        return await claim(self.runtime, TERMS)

    async def work(self, egress: FakeEgress) -> int:
        finished = [
            await deliver(self.runtime, delivery_tools(self.runtime, egress), row)
            for row in await self.claim()
        ]
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

    await settle(
        outbox.runtime, [await deliver(outbox.runtime, delivery_tools(outbox.runtime, FakeEgress(500)), slow)]
    )

    attempts = await outbox.rows("select outcome from webhook_delivery_attempts order by number")
    assert [attempt["outcome"] for attempt in attempts] == ["failure", "success"]
    assert (await outbox.delivery())["status"] == "SUCCESS"


async def test_a_worker_that_comes_back_late_does_not_move_what_another_is_at(
    outbox: Outbox, clock: FakeClock
):
    (slow,) = await outbox.claim()
    clock.advance(31)
    (running,) = await outbox.claim()

    await settle(
        outbox.runtime, [await deliver(outbox.runtime, delivery_tools(outbox.runtime, FakeEgress(500)), slow)]
    )
    row = await outbox.delivery()
    assert (row["status"], row["lease_token"]) == ("PENDING", running.lease_token)

    await settle(
        outbox.runtime, [await deliver(outbox.runtime, delivery_tools(outbox.runtime, FakeEgress()), running)]
    )
    assert (await outbox.delivery())["status"] == "SUCCESS"


async def test_a_redelivery_has_the_whole_schedule_each_time(outbox: Outbox, clock: FakeClock):
    delivery = await outbox.delivery()
    for number in range(1, 6):
        egress = FakeEgress(*[500] * 10)
        for _ in range(5):
            await outbox.work(egress)
            clock.advance(60)
        assert (len(egress.posts), (await outbox.delivery())["status"]) == (3, "EXHAUSTED"), number
        await redeliver(outbox.runtime, outbox.tenant, delivery["id"])


async def test_a_delivery_that_ends_its_workers_is_given_up_and_not_posted(outbox: Outbox, clock: FakeClock):
    for _ in range(9):
        await outbox.claim()
        clock.advance(31)
    egress = FakeEgress()
    await outbox.work(egress)

    attempts = await outbox.rows("select error_class from webhook_delivery_attempts order by number")
    assert (egress.posts, (await outbox.delivery())["status"]) == ([], "EXHAUSTED")
    assert [attempt["error_class"] for attempt in attempts] == [None] * 9 + ["interrupted"]

    await redeliver(outbox.runtime, outbox.tenant, (await outbox.delivery())["id"])
    await outbox.work(egress)
    assert (len(egress.posts), (await outbox.delivery())["status"]) == (1, "SUCCESS")


async def test_only_interruptions_in_a_row_count_against_a_delivery(outbox: Outbox, clock: FakeClock):
    egress = FakeEgress(500, 500, 204)
    for _ in range(3):
        for _ in range(8):
            await outbox.claim()
            clock.advance(31)
        await outbox.work(egress)
        clock.advance(60)

    assert (await outbox.delivery())["status"] == "SUCCESS"


async def test_gone_disables_the_endpoint_and_cancels_what_waits(outbox: Outbox, runtime: Runtime):
    account = await make_account(runtime, outbox.tenant, address="+15550003333")
    claimed = await outbox.claim()
    await accept_messages(runtime, [accepted_item(runtime, account, inbound(key="SM2"))])

    await settle(
        runtime, [await deliver(runtime, delivery_tools(runtime, FakeEgress(410)), row) for row in claimed]
    )

    (endpoint,) = await outbox.rows("select enabled, disabled_reason from webhook_endpoints")
    statuses = await outbox.rows("select status from webhook_deliveries order by event_id")
    assert endpoint == {"enabled": False, "disabled_reason": "gone"}
    assert [row["status"] for row in statuses] == ["EXHAUSTED", "CANCELLED"]
    assert await outbox.rows("select 1 from webhook_events where type = 'endpoint.disabled'") != []


async def test_all_that_met_gone_at_once_are_exhausted_and_it_is_told_once(outbox: Outbox, runtime: Runtime):
    account = await make_account(runtime, outbox.tenant, address="+15550003333")
    await accept_messages(runtime, [accepted_item(runtime, account, inbound(key="SM2"))])
    claimed = await outbox.claim()

    await settle(
        runtime, [await deliver(runtime, delivery_tools(runtime, FakeEgress(410)), row) for row in claimed]
    )

    assert len(claimed) == 2
    assert await outbox.rows("select distinct status from webhook_deliveries") == [{"status": "EXHAUSTED"}]
    assert len(await outbox.rows("select 1 from webhook_events where type = 'endpoint.disabled'")) == 1


async def test_an_answer_of_an_old_url_disables_nothing(outbox: Outbox, clock: FakeClock):
    (slow,) = await outbox.claim()
    (endpoint,) = await outbox.rows("select id from webhook_endpoints")
    await patch_endpoint(outbox.runtime, outbox.tenant, endpoint["id"], {"url": "https://new.example.test/"})
    await settle(
        outbox.runtime, [await deliver(outbox.runtime, delivery_tools(outbox.runtime, FakeEgress(410)), slow)]
    )
    clock.advance(60)
    egress = FakeEgress()
    await outbox.work(egress)

    assert await outbox.rows("select enabled from webhook_endpoints") == [{"enabled": True}]
    assert [url for url, _, _ in egress.posts] == ["https://new.example.test/"]
    assert (await outbox.delivery())["status"] == "SUCCESS"


async def test_an_answer_from_before_it_was_enabled_again_disables_nothing(outbox: Outbox, clock: FakeClock):
    (slow,) = await outbox.claim()
    answered = await deliver(outbox.runtime, delivery_tools(outbox.runtime, FakeEgress(410)), slow)
    (endpoint,) = await outbox.rows("select id from webhook_endpoints")
    clock.advance(1)
    for change in (disable_endpoint, enable_endpoint):
        await change(outbox.runtime, outbox.tenant, endpoint["id"])

    await settle(outbox.runtime, [answered])

    assert await outbox.rows("select enabled from webhook_endpoints") == [{"enabled": True}]
    assert (await outbox.delivery())["status"] == "CANCELLED"


class Killed(BaseException):
    """The process is gone, and with it what it had not committed."""


def kill_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The n-th time before or after a statement, from now on."""
    steps, execute = itertools.count(1), asyncpg.Connection.execute

    async def count(connection: Any) -> None:
        if next(steps) == step:
            await execute(connection, "rollback")
            raise Killed

    def counted(method: Any) -> Any:
        async def call(self: Any, *arguments: Any, **options: Any) -> Any:
            await count(self)
            answer = await method(self, *arguments, **options)
            await count(self)
            return answer

        return call

    for name in ("execute", "fetch", "fetchrow", "fetchval"):
        monkeypatch.setattr(asyncpg.Connection, name, counted(getattr(asyncpg.Connection, name)))


@pytest.mark.parametrize("answer", [410, (200, {"webhook-delivery": "disable"})], ids=str)
async def test_a_wish_for_no_more_outlives_a_worker_killed_at_any_step(
    runtime: Runtime, clock: FakeClock, answer: Any
):
    for step in range(1, 100):
        outbox = await open_outbox(runtime)
        finished = [
            await deliver(runtime, delivery_tools(runtime, FakeEgress(answer)), row)
            for row in await outbox.claim()
        ]
        killed = False
        with pytest.MonkeyPatch.context() as patches:
            kill_at(step, patches)
            try:
                await settle(runtime, finished)
            except Killed:
                killed = True
        clock.advance(31)
        await outbox.work(FakeEgress(answer))

        (endpoint,) = await outbox.rows("select enabled, disabled_reason from webhook_endpoints")
        assert endpoint["disabled_reason"] == ("gone" if answer == 410 else "receiver_asked"), step
        assert (await outbox.delivery())["status"] == ("EXHAUSTED" if answer == 410 else "SUCCESS"), step
        told = await outbox.rows("select 1 from webhook_events where type = 'endpoint.disabled'")
        assert len(told) == 1, step
        if not killed:
            break

    assert step > 10, "there must be many steps to be killed at"


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
