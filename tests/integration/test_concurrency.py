"""What two gateways, two workers and a person do at the same moment."""

import asyncio
import contextlib
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from channels.base import Channel, ChannelAccount, MessageStatus, StatusUpdate
from channels.errors import OptedOut, OutcomeUnknown
from db import accept, sends, turns
from db.errors import DatabaseUnavailable, SchemaOutdated
from db.lanes import ClaimTerms, Shard, claim_sends, claim_turns
from db.migrate import find_runtime_dsn, migrate
from db.tenant import Database, open_database
from handlers.ai.types import Extraction, Intent
from handlers.deliveries import deliver, settle
from handlers.endpoints import disable_endpoint
from handlers.inbound import accept_messages, accept_statuses, status_item
from handlers.outbound import send_message
from handlers.outbound_outcome import SendResult
from handlers.runtime import Runtime
from handlers.send_rates import SEND_PACE
from handlers.statuses import settle_statuses
from handlers.turns import MAX_ATTEMPTS, TurnResult
from handlers.webhooks.delivery_tools import delivery_tools
from tests.delivery_stage import claim, claim_on
from tests.factories import accepted_item, inbound, make_account, make_distributor, make_endpoint, posted
from tests.fakes import FakeAdapter, FakeClock, FakeEngine
from tests.integration.test_deliveries import FakeEgress, open_outbox
from tests.integration.test_outbound import Desk, open_desk
from tests.integration.test_turns import Shop, add, extraction, shop
from tests.servers import MASTER_KEY

__all__ = ["shop"]  # a fixture


@pytest.fixture
async def desk(runtime: Runtime) -> Desk:
    return await open_desk(runtime)


async def account_of(desk: Desk) -> ChannelAccount:
    (row,) = await desk.rows("select id, address from channel_accounts")
    return ChannelAccount(row["id"], desk.tenant, Channel.WHATSAPP, "twilio", row["address"], {})


async def status(desk: Desk, word: MessageStatus, message_id: UUID | None = None) -> dict[str, Any]:
    told = StatusUpdate("SM1", word, message_id=message_id, provider_status=word.lower())
    return status_item(desk.runtime, posted(desk.runtime, await account_of(desk)), told)


async def blocked_by(admin_dsn: str) -> None:
    """Returns once some statement waits for a lock."""
    admin = await asyncpg.connect(admin_dsn)
    async with asyncio.timeout(10):
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        while not await admin.fetchval(waiting):  # noqa: ASYNC110 - a lock of another session has no event here
            await asyncio.sleep(0.01)
    await admin.close()


async def test_a_message_is_told_as_sent_once_though_two_gateways_hear_of_it(desk: Desk, admin_dsn: str):
    message_id = await desk.queue()
    await desk.claim()
    async with desk.runtime.database.worker() as first:
        await settle_statuses(first, [await status(desk, MessageStatus.SENT, message_id)])
        second = asyncio.create_task(
            accept_statuses(desk.runtime, [await status(desk, MessageStatus.DELIVERED, message_id)])
        )
        await blocked_by(admin_dsn)
    await second

    events = await desk.rows(
        "select type, body -> 'data' ->> 'previous' as previous from webhook_events where type like 'message.s%' order by id"
    )
    assert [event["type"] for event in events] == [
        "message.sent",
        "message.status_changed",
        "message.status_changed",
    ]
    assert [event["previous"] for event in events if event["previous"]] == ["QUEUED", "SENT"]


async def test_a_status_that_came_before_its_receipt_waits_for_it(desk: Desk):
    await desk.queue()
    (claimed,) = await desk.claim()

    (early,) = await accept_statuses(desk.runtime, [await status(desk, MessageStatus.DELIVERED)])
    await send_message(desk.runtime, {"twilio": desk.provider}, claimed)  # type: ignore[dict-item]
    (again,) = await accept_statuses(desk.runtime, [await status(desk, MessageStatus.DELIVERED)])

    assert (early.message_id, early.duplicate) == (None, False)
    assert again.duplicate
    assert (await desk.outbound())["status"] == "DELIVERED"


async def test_a_callback_settles_a_send_and_nothing_is_sent_again(desk: Desk, clock: FakeClock):
    """The provider took it, we never heard, and its callback comes before our next try."""
    message_id = await desk.queue()
    desk.provider.script = [OutcomeUnknown()]
    await desk.send()
    await accept_statuses(desk.runtime, [await status(desk, MessageStatus.DELIVERED, message_id)])
    clock.advance(3600)

    assert await desk.send() == []
    assert len(desk.provider.sent) == 1
    assert (await desk.outbound())["provider_message_id"] == "SM1"


async def test_asking_the_provider_does_not_use_up_the_lease_of_the_send(desk: Desk, clock: FakeClock):
    await desk.queue()
    desk.provider.script = [OutcomeUnknown()]
    await desk.send()
    desk.provider.sent.clear()  # it was never taken
    clock.advance(3)
    (claimed,) = await desk.claim()

    class Slow(FakeAdapter):
        async def find_sent(self, *_: Any) -> None:
            clock.advance(15)

        async def send(self, account: ChannelAccount, message: Any) -> Any:
            clock.advance(9)
            assert await desk.claim() == [], "another worker took a message that is being sent"
            return await super().send(account, message)

    assert await send_message(desk.runtime, {"twilio": Slow()}, claimed) is SendResult.SENT  # type: ignore[dict-item]


async def test_a_send_whose_lease_was_taken_over_does_not_leave(desk: Desk, clock: FakeClock):
    await desk.queue()
    (slow,) = await desk.claim()
    clock.advance(21)
    (taken_over,) = await desk.claim()

    assert await send_message(desk.runtime, {"twilio": desk.provider}, slow) is SendResult.LOST  # type: ignore[dict-item]
    async with desk.runtime.database.tenant(desk.tenant) as connection:
        lost = await sends.start_send(
            connection,
            slow.message_id,
            slow.lease_token,
            rank=2,
            now=clock(),
            lease_until=clock(),
            parts=1,
            interval=timedelta(seconds=1),
            latest=clock(),
        )
    assert not lost.started
    assert await send_message(desk.runtime, {"twilio": desk.provider}, taken_over) is SendResult.SENT  # type: ignore[dict-item]
    assert len(desk.provider.sent) == 1


async def test_a_send_waits_for_a_stop_that_is_being_stored(desk: Desk, admin_dsn: str):
    await desk.queue()
    async with desk.runtime.database.tenant(desk.tenant) as stopping:
        await stopping.execute("update customer_contacts set opted_out_at = now()")
        sending = asyncio.create_task(desk.send())
        await blocked_by(admin_dsn)

    assert await sending == [SendResult.FAILED]
    assert desk.provider.sent == []


async def test_a_refusal_and_a_send_do_not_wait_for_each_other(desk: Desk, clock: FakeClock, admin_dsn: str):
    """Both lock the contact before its message."""
    message_id = await desk.queue()
    (claimed,) = await desk.claim()
    update = StatusUpdate("SM1", MessageStatus.FAILED, message_id, "failed", "21610", opted_out=True)
    item = status_item(desk.runtime, posted(desk.runtime, await account_of(desk)), update)
    async with desk.runtime.database.tenant(desk.tenant) as sending:
        await sends.find_send(sending, message_id, claimed.lease_token)
        refusing = asyncio.create_task(accept_statuses(desk.runtime, [item]))
        await blocked_by(admin_dsn)
        started = await sends.start_send(
            sending,
            message_id,
            claimed.lease_token,
            rank=2,
            now=clock(),
            lease_until=clock(),
            parts=1,
            interval=timedelta(seconds=1),
            latest=clock(),
        )

    assert started.started
    assert [answer.applied for answer in await refusing] == [True]


async def test_a_refused_send_locks_the_contact_before_the_message(desk: Desk, admin_dsn: str):
    """As a status about the same message does, which may come at the same moment."""
    await desk.queue()
    held = contextlib.AsyncExitStack()

    class Refusing(FakeAdapter):
        async def send(self, *_: Any) -> Any:
            self.other = await held.enter_async_context(desk.runtime.database.tenant(desk.tenant))
            await self.other.execute("update customer_contacts set display_name = 'Ana'")
            raise OptedOut("Stopped.", provider_code="21610")

    desk.provider = refusing = Refusing()
    async with held:
        sending = asyncio.create_task(desk.send())
        await blocked_by(admin_dsn)
        await refusing.other.execute("select from messages where direction = 'OUTBOUND' for update nowait")

    assert await sending == [SendResult.FAILED]


async def test_a_send_that_always_breaks_is_given_up(desk: Desk, clock: FakeClock):
    class Broken(FakeAdapter):
        async def send(self, *_: Any) -> Any:
            raise KeyError("a bug of ours")

    await desk.queue()
    results: list[SendResult] = []
    for _ in range(20):
        for claimed in await desk.claim():
            with contextlib.suppress(KeyError):
                results.append(await send_message(desk.runtime, {"twilio": Broken()}, claimed))  # type: ignore[dict-item]
        clock.advance(3600)

    assert results == [SendResult.FAILED]
    assert (await desk.outbound())["error_code"] == "attempts_exhausted"


async def test_credentials_that_cannot_be_opened_fail_the_message(desk: Desk):
    await desk.queue()
    await desk.rows("update channel_accounts set credentials_sealed = 'x' returning 1")

    assert await desk.send() == [SendResult.FAILED]
    assert (await desk.outbound())["error_code"] == "bad_credentials"


async def test_a_delivery_whose_secrets_cannot_be_opened_ends(runtime: Runtime, clock: FakeClock):
    outbox = await open_outbox(runtime)
    await outbox.rows("update webhook_endpoints set secrets_sealed = 'x' returning 1")
    for _ in range(10):
        await outbox.work(FakeEgress())
        clock.advance(3600)

    assert (await outbox.delivery())["status"] == "EXHAUSTED"
    attempts = await outbox.rows("select distinct error_class from webhook_delivery_attempts")
    assert [attempt["error_class"] for attempt in attempts] == ["configuration"]


async def test_a_late_settlement_moves_no_delivery_that_was_decided_meanwhile(
    runtime: Runtime, clock: FakeClock
):
    outbox = await open_outbox(runtime)
    (slow,) = await outbox.claim()
    (endpoint,) = await outbox.rows("select id from webhook_endpoints")
    await disable_endpoint(runtime, outbox.tenant, endpoint["id"])

    await settle(runtime, [await deliver(runtime, delivery_tools(runtime, FakeEgress(500)), slow)])

    assert (await outbox.delivery())["status"] == "CANCELLED"


async def test_an_event_stored_while_its_endpoint_was_being_disabled_is_cancelled(
    runtime: Runtime, clock: FakeClock
):
    tenant = await make_distributor(runtime)
    account = await make_account(runtime, tenant)
    endpoint = await make_endpoint(runtime, tenant, ["message.received"])
    async with runtime.database.worker() as connection:
        await accept.accept_messages(connection, [accepted_item(runtime, account, inbound())])
        await disable_endpoint(runtime, tenant, endpoint)
    claimed = await claim(runtime, ClaimTerms(10, 10, timedelta(seconds=30)))
    async with runtime.database.tenant(tenant) as connection:
        statuses = await connection.fetch("select status from webhook_deliveries")

    assert claimed == []
    assert [row["status"] for row in statuses] == ["CANCELLED"]


async def test_a_customer_who_keeps_writing_is_answered_after_the_cap(shop: Shop, clock: FakeClock):
    await shop.write("2 cajas de coca 600")

    async def interrupted(_: Any) -> Extraction:
        await shop.write("y otra cosa")
        return extraction(Intent.BUY, add("COCA-600", 2))

    results = []
    for _ in range(MAX_ATTEMPTS + 3):
        clock.advance(4)
        if await shop.rows("select 1 from conversations where turn_due_at <= $1", clock()):
            results.append(await shop.turn(FakeEngine(interrupted)))

    assert TurnResult.FAILED not in results
    assert TurnResult.SUPERSEDED in results
    assert TurnResult.DONE in results
    assert (await shop.rows("select handoff from conversations"))[0]["handoff"] == "BOT"


async def test_a_wish_for_silence_and_a_message_do_not_wait_for_each_other(
    shop: Shop, clock: FakeClock, admin_dsn: str
):
    await shop.write("hola")
    (conversation,) = await shop.rows("select id from conversations")

    async def opt_out() -> None:
        async with shop.runtime.database.tenant(shop.tenant) as connection:
            await turns.lock_contact(connection, conversation["id"])
            writing = asyncio.create_task(shop.write("otra cosa"))
            await blocked_by(admin_dsn)
            await turns.lock_turn(connection, conversation["id"])
            await turns.set_opted_out(connection, conversation["id"], clock(), "keyword")
        await writing

    await opt_out()
    assert len(await shop.rows("select 1 from messages")) == 2


async def test_one_number_on_two_channels_in_one_flush_is_one_customer(runtime: Runtime):
    tenant = await make_distributor(runtime)
    whatsapp, sms = await make_account(runtime, tenant), await make_account(runtime, tenant, Channel.SMS)

    await accept_messages(
        runtime,
        [
            accepted_item(runtime, whatsapp, inbound(key="SM1")),
            accepted_item(runtime, sms, inbound(key="SM2", channel=Channel.SMS)),
        ],
    )

    async with runtime.database.tenant(tenant) as connection:
        assert await connection.fetchval("select count(*) from customers") == 1
        assert (
            await connection.fetchval("select count(*) from webhook_events where type = 'customer.created'")
            == 1
        )


async def test_consent_follows_the_order_of_the_words_and_is_told_when_it_changes(
    shop: Shop, clock: FakeClock
):
    late = accepted_item(shop.runtime, shop.account, inbound("STOP", key="SM-late"))
    clock.advance(60)
    await shop.write("start")
    await accept_messages(shop.runtime, [late])
    assert (await shop.rows("select opted_out_at from customer_contacts"))[0]["opted_out_at"] is None
    clock.advance(60)
    await shop.write("STOP", "STOP", "stop")

    assert (await shop.rows("select opted_out_at from customer_contacts"))[0]["opted_out_at"] is not None
    assert (await shop.events()).count("customer.opted_out") == 1


async def test_a_word_that_waits_for_another_is_told_by_what_it_changes(
    shop: Shop, clock: FakeClock, admin_dsn: str
):
    """START comes while a provider's word about the same address is being stored."""
    await shop.write("hola")
    async with shop.runtime.database.tenant(shop.tenant) as connection:
        await connection.execute(
            "update customer_contacts set opted_out_at = $1, consent_changed_at = $1", clock()
        )
        clock.advance(60)
        starting = asyncio.create_task(shop.write("start"))
        await blocked_by(admin_dsn)
    await starting

    assert (await shop.rows("select opted_out_at from customer_contacts"))[0]["opted_out_at"] is None
    assert (await shop.events()).count("customer.opted_in") == 1


async def test_a_tenants_backlog_waits_for_itself_only(runtime: Runtime, clock: FakeClock):
    """One has sixty due turns and all the workers; the other's only message is the next to be claimed."""
    heavy, light = await make_distributor(runtime), await make_distributor(runtime)
    busy, quiet = await make_account(runtime, heavy), await make_account(runtime, light)
    for number in range(60):
        message = inbound(key=f"SM{number}", sender=f"+1555{number:07}")
        await accept_messages(runtime, [accepted_item(runtime, busy, message)])
    clock.advance(5)

    async def claim(room: int) -> list[UUID]:
        async with runtime.database.worker_statements() as connection:
            terms = ClaimTerms(room, 4, timedelta(seconds=600))
            return [
                turn.distributor_id
                for turn in await claim_turns(connection, terms, clock(), runtime.new_id())
            ]

    assert await claim(3) == [heavy] * 3
    await accept_messages(runtime, [accepted_item(runtime, quiet, inbound())])
    clock.advance(5)

    assert await claim(1) == [light]
    assert await claim(10) == [heavy], "what is under lease counts against the share"


async def test_shards_share_out_all_tenants_and_none_twice(runtime: Runtime, clock: FakeClock):
    tenants = [await make_distributor(runtime) for _ in range(12)]
    for tenant in tenants:
        account = await make_account(runtime, tenant)
        await make_endpoint(runtime, tenant, ["message.received"])
        await accept_messages(runtime, [accepted_item(runtime, account, inbound())])
    clock.advance(5)
    seen: list[UUID] = []
    for index in range(3):
        terms = ClaimTerms(100, 100, timedelta(seconds=30), Shard(index, 3))
        async with runtime.database.worker_statements() as connection:
            seen += [
                turn.distributor_id
                for turn in await claim_turns(connection, terms, clock(), runtime.new_id())
            ]
            seen += [row.distributor_id for row in await claim_on(connection, terms, clock(), runtime.new_id)]
            assert await claim_sends(connection, terms, clock(), runtime.new_id(), SEND_PACE) == []

    assert sorted(seen) == sorted([*tenants, *tenants])


async def test_a_duplicate_writes_ahead_so_that_a_standby_has_it(runtime: Runtime, admin_dsn: str):
    tenant = await make_distributor(runtime)
    account = await make_account(runtime, tenant)
    await accept_messages(runtime, [accepted_item(runtime, account, inbound())])
    admin = await asyncpg.connect(admin_dsn)
    before = await admin.fetchval("select pg_current_wal_insert_lsn()")

    (answer,) = await accept_messages(runtime, [accepted_item(runtime, account, inbound())])

    written = await admin.fetchval("select pg_current_wal_insert_lsn() - $1::pg_lsn", before)
    await admin.close()
    assert answer.duplicate
    assert written > 0


async def test_a_newer_schema_than_the_program_is_refused(admin_dsn: str):
    admin = await asyncpg.connect(admin_dsn)
    await admin.execute("insert into schema_migrations (version, name, checksum) values (9999, 'later', 'x')")
    await admin.close()

    with pytest.raises(SchemaOutdated, match="newer than this program"):
        await find_runtime_dsn(admin_dsn, [MASTER_KEY])
    with pytest.raises(SchemaOutdated, match="newer than this program"):
        await migrate(admin_dsn, [MASTER_KEY])


async def _store(database: Database, statement: str) -> None:
    async with database.worker() as connection:
        await connection.execute(statement)
        await connection.execute(
            "select pg_sleep(1)" if "timeout" in statement else "update messages set text = text"
        )


@pytest.mark.parametrize(
    "statement",
    [
        "set local default_transaction_read_only = on; set transaction read only",
        "set local statement_timeout = '1ms'",
    ],
)
async def test_a_server_that_answers_and_cannot_store_is_away(runtime_dsn: str, statement: str):
    database: Database = await open_database(runtime_dsn, app=1, worker=1)
    try:
        with pytest.raises(DatabaseUnavailable):
            await _store(database, statement)
        async with database.worker() as connection:
            assert await connection.fetchval("select 1") == 1
    finally:
        await database.close()


async def test_a_value_that_cannot_be_stored_is_not_taken_for_an_absent_server(database: Database):
    async with database.worker_statements() as connection:
        with pytest.raises(asyncpg.DataError):
            await connection.fetchval("select $1::int", "not a number")
    with pytest.raises(asyncpg.DataError):
        async with database.worker_statements() as connection:
            await connection.fetchval("select $1::int", "not a number")
