"""Words about a message that come before anybody knows its id: they wait, and end as if they had come afterwards."""

import asyncio
import itertools
from typing import Any

import pytest

from channels.base import MessageStatus, StatusUpdate
from db import statuses
from db.inbound_events import find_event
from handlers.inbound import accept_statuses, status_item
from handlers.outbound_outcome import SendResult
from handlers.runtime import Runtime
from handlers.statuses import apply_parked, settle_statuses
from handlers.upkeep import settle_parked
from tests.factories import make_outbound, posted
from tests.fakes import FakeClock
from tests.integration.test_concurrency import account_of, blocked_by
from tests.integration.test_outbound import Desk, open_desk

WORDS = (MessageStatus.SENT, MessageStatus.DELIVERED, MessageStatus.READ)
KEPT = "status, status_rank, error_code, sent_at, delivered_at, read_at, failed_at, send_due_at, provider_message_id"


@pytest.fixture
async def desk(runtime: Runtime) -> Desk:
    return await open_desk(runtime)


async def tell(desk: Desk, word: MessageStatus, provider_id: str = "SM1", **fields: Any) -> Any:
    update = StatusUpdate(provider_id, word, provider_status=word.lower(), **fields)
    item = status_item(desk.runtime, posted(desk.runtime, await account_of(desk)), update)
    (answer,) = await accept_statuses(desk.runtime, [item])
    return answer


async def parked(desk: Desk) -> int:
    (row,) = await desk.rows("select count(*) as waiting from inbound_events where parked_key is not null")
    return int(row["waiting"])


@pytest.mark.parametrize("early", [3, 2, 1, 0])
@pytest.mark.parametrize("order", list(itertools.permutations(WORDS)), ids="-".join)
async def test_words_before_the_receipt_end_as_words_after_it(
    desk: Desk, order: tuple[MessageStatus, ...], early: int
):
    await desk.queue()
    for word in order[:early]:
        assert (await tell(desk, word)).message_id is None
    assert await parked(desk) == early

    assert await desk.send() == [SendResult.SENT]
    for word in order[early:]:
        await tell(desk, word)

    now = desk.runtime.clock()
    (message,) = await desk.rows(f"select {KEPT} from messages where direction = 'OUTBOUND'")
    assert tuple(message.values()) == ("READ", 6, None, now, now, now, None, None, "SM1")
    told = await desk.rows("select status, provider_status from message_status_events order by 1, 2")
    assert [tuple(row.values()) for row in told] == [
        ("DELIVERED", "delivered"), ("READ", "read"), ("SENT", "queued"), ("SENT", "sent"),
    ]  # fmt: skip
    assert (await desk.events()).count("message.sent") == 1
    assert await parked(desk) == 0


async def test_what_waits_is_no_post_and_its_post_is_stored_once(desk: Desk):
    account = await account_of(desk)
    post = posted(desk.runtime, account)
    items = [status_item(desk.runtime, post, StatusUpdate(f"SM{n}", MessageStatus.SENT)) for n in range(3)]

    await accept_statuses(desk.runtime, items)

    rows = await desk.rows(
        "select parked_key, parked_item is null as is_post, body from inbound_events where kind = 'status'"
    )
    assert sorted((str(row["parked_key"]), row["is_post"], row["body"]) for row in rows) == [
        ("None", True, b"Body=x"), ("SM0", False, b""), ("SM1", False, b""), ("SM2", False, b""),
    ]  # fmt: skip
    (slip,) = await desk.rows("select id from inbound_events where parked_key = 'SM0'")
    async with desk.runtime.database.worker_statements() as connection:
        assert await find_event(connection, slip["id"], None) is None


async def test_a_word_that_waits_twice_is_told_once(desk: Desk):
    await desk.queue()
    await tell(desk, MessageStatus.DELIVERED)
    await tell(desk, MessageStatus.DELIVERED)

    await desk.send()

    assert (await desk.events()).count("message.status_changed") == 1
    assert (await tell(desk, MessageStatus.DELIVERED)).duplicate


async def test_a_stop_that_came_too_early_is_learnt_with_its_message(desk: Desk):
    await desk.queue()
    await tell(desk, MessageStatus.FAILED, error_code="21610", opted_out=True)
    (contact,) = await desk.rows("select opted_out_at from customer_contacts")
    assert contact["opted_out_at"] is None

    await desk.send()

    (contact,) = await desk.rows("select opted_out_at, opt_out_reason from customer_contacts")
    assert tuple(contact.values()) == (desk.runtime.clock(), "provider")
    assert (await desk.outbound())["status"] == "FAILED"


async def test_a_word_is_parked_while_the_receipt_is_stored_and_none_is_lost(desk: Desk, admin_dsn: str):
    """The receipt's worker looks for words while a gateway parks one: it waits for the gateway."""
    account = await account_of(desk)
    item = status_item(
        desk.runtime, posted(desk.runtime, account), StatusUpdate("SM7", MessageStatus.DELIVERED)
    )
    async with desk.runtime.database.worker() as gateway:
        await settle_statuses(gateway, [item])
        await make_outbound(desk.runtime, account, provider_id="SM7")
        worker = asyncio.create_task(apply_parked(desk.runtime, desk.tenant, account.id, "SM7"))
        await blocked_by(admin_dsn)

    assert await worker == 1
    assert (await desk.outbound())["status"] == "DELIVERED"


async def test_a_word_that_waited_for_the_receipts_worker_finds_the_message(desk: Desk, admin_dsn: str):
    account = await account_of(desk)
    key = statuses.ParkedKey(desk.tenant, account.id, "SM7")
    async with desk.runtime.database.worker() as worker:
        await statuses.take_parked(worker, key)
        gateway = asyncio.create_task(tell(desk, MessageStatus.DELIVERED, "SM7"))
        await blocked_by(admin_dsn)
        (message_id,) = await make_outbound(desk.runtime, account, provider_id="SM7")

    assert (await gateway).message_id == message_id
    assert await parked(desk) == 0


async def test_upkeep_applies_what_a_worker_left_behind(desk: Desk):
    await tell(desk, MessageStatus.DELIVERED, "SM7")
    await make_outbound(desk.runtime, await account_of(desk), provider_id="SM7")

    assert await settle_parked(desk.runtime) == 1

    assert (await desk.outbound())["status"] == "DELIVERED"


async def test_upkeep_gives_up_after_a_day(desk: Desk, clock: FakeClock):
    await tell(desk, MessageStatus.DELIVERED, "SM7")
    clock.advance(24 * 3600)
    await tell(desk, MessageStatus.SENT, "SM8")

    assert await settle_parked(desk.runtime) == 0
    clock.advance(1)
    assert await settle_parked(desk.runtime) == 1

    assert await parked(desk) == 1
    await make_outbound(desk.runtime, await account_of(desk), provider_id="SM7")
    assert await apply_parked(desk.runtime, desk.tenant, (await account_of(desk)).id, "SM7") == 0


async def test_a_word_that_names_an_id_of_ours_is_of_that_message_or_of_none(desk: Desk):
    answer = await tell(desk, MessageStatus.DELIVERED, "SM7", message_id=desk.runtime.new_id())

    assert answer.message_id is None
    assert await parked(desk) == 0


async def test_another_account_never_takes_what_waits(desk: Desk, runtime: Runtime):
    await tell(desk, MessageStatus.DELIVERED, "SM7")

    assert await apply_parked(runtime, desk.tenant, runtime.new_id(), "SM7") == 0
    assert await apply_parked(runtime, runtime.new_id(), (await account_of(desk)).id, "SM7") == 0
    assert await parked(desk) == 1


async def test_what_waits_for_a_message_that_is_gone_holds_up_nobody(desk: Desk, clock: FakeClock):
    """A part's id outlives its message, which retention deletes."""
    account = await account_of(desk)
    for provider_id in ("SM1", "SM2"):
        await tell(desk, MessageStatus.SENT, provider_id)
    await desk.rows(
        "insert into external_message_mappings (distributor_id, channel_account_id, provider_key, message_id, created_at)"
        " values ($1, $2, 'sent:SM1', $3, now()) returning 1",
        desk.tenant,
        account.id,
        desk.runtime.new_id(),
    )
    assert await apply_parked(desk.runtime, desk.tenant, account.id, "SM1") == 1
    await tell(desk, MessageStatus.DELIVERED, "SM1")
    clock.advance(25 * 3600)

    assert await settle_parked(desk.runtime) == 2
    assert await parked(desk) == 0
