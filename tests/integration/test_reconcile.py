"""What a provider received and never brought is asked for: stored once, in its order, by one process at a time."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest

from channels.abilities import Downloads, HeldPost
from channels.base import (
    ChannelAccount,
    ConsentChange,
    ConsentUpdate,
    DeferredPost,
    Ignored,
    InboundItem,
    InboundRequest,
    MessageStatus,
    StatusUpdate,
    SuppressionReason,
)
from channels.errors import BadCredentials, NotFound, ProviderUnavailable, WrongState
from handlers.deferred import DeferredTools
from handlers.inbound import accept_messages
from handlers.reconcile import IN_FLIGHT, MARK, OVERLAP, Reconciled, reconcile_account, reconcile_due
from handlers.runtime import Runtime
from tests.factories import accepted_item, inbound, make_account, make_distributor
from tests.fakes import FakeAdapter, FakeClock
from tests.servers import execute

DAY = timedelta(days=1)


class Holding(FakeAdapter):
    """A provider that tells what it received: ``held`` are items, and errors where it fails."""

    def __init__(self, *held: InboundItem | Exception) -> None:
        super().__init__()
        self.held = list(held)
        self.asked: list[tuple[UUID, datetime]] = []
        self.paused = asyncio.Event()
        self.paused.set()

    async def list_held(
        self, account: ChannelAccount, since: datetime, downloads: Downloads
    ) -> AsyncIterator[HeldPost]:
        self.asked.append((account.id, since))
        await self.paused.wait()
        for item in self.held:
            if isinstance(item, Exception):
                raise item
            body = urlencode({"item": repr(item)}).encode()
            yield HeldPost(InboundRequest("POST", "", {"Content-Type": "text/plain"}, body), (item,))


class NoDownloads:
    def from_provider(self, party: str) -> Any:
        return party

    def from_anywhere(self, party: str) -> Any:
        return party


def tools(adapter: Any) -> DeferredTools:
    return DeferredTools({"twilio": adapter}, NoDownloads(), lambda _: 4.0)


async def due(runtime: Runtime, adapter: Any, told: list[Any] | None = None) -> int:
    """What the clock does; ``told`` hears of each account."""
    heard = [] if told is None else told
    return await reconcile_due(runtime, tools(adapter), lambda account, ended: heard.append((account, ended)))


class Tenant:
    def __init__(self, runtime: Runtime, account: ChannelAccount) -> None:
        self.runtime = runtime
        self.account = account

    async def ask(self, adapter: Any, span: timedelta = DAY, **more: Any) -> Reconciled:
        account = self.account
        return await reconcile_account(
            self.runtime, tools(adapter), account.distributor_id, account.id, span, **more
        )

    async def rows(self, query: str) -> list[Any]:
        async with self.runtime.database.tenant(self.account.distributor_id) as connection:
            return [tuple(row) for row in await connection.fetch(query)]

    async def until(self) -> datetime | None:
        ((until, lease),) = await self.rows(
            f"select reconciled_until, reconcile_lease_until from channel_accounts where id = '{self.account.id}'"
        )
        assert lease is None
        return until  # type: ignore[no-any-return]


async def born(admin_dsn: str, when: str) -> None:
    """Every account is from then."""
    await execute(admin_dsn, f"update channel_accounts set created_at = '{when}'")


@pytest.fixture
async def tenant(runtime: Runtime, admin_dsn: str) -> Tenant:
    account = await make_account(runtime, await make_distributor(runtime))
    await born(admin_dsn, "2020-01-01")
    return Tenant(runtime, account)


def held(key: str, clock: FakeClock, minutes: float, text: str = "2 cajas", **fields: Any) -> InboundItem:
    return inbound(text, key, sent_at=clock() - timedelta(minutes=minutes), **fields)


async def test_what_is_not_here_is_stored_and_what_is_here_is_not_doubled(
    tenant: Tenant, runtime: Runtime, clock: FakeClock
):
    await accept_messages(runtime, [accepted_item(runtime, tenant.account, inbound("first", "SM1"))])
    holding = Holding(held("SM1", clock, 30), held("SM2", clock, 20), held("SM3", clock, 10))

    assert await tenant.ask(holding) == Reconciled(seen=3, new=2, duplicate=1)
    assert await tenant.ask(holding) == Reconciled(seen=3, new=0, duplicate=3)

    assert holding.asked[0] == (tenant.account.id, clock() - DAY)
    assert await tenant.rows("select provider_message_id from messages order by id") == [
        ("SM1",),
        ("SM2",),
        ("SM3",),
    ]
    kept = await tenant.rows(
        "select provider_key, method, target, headers, body from inbound_events order by id"
    )
    assert [row[0] for row in kept] == ["SM1", "SM2", "SM3"]
    assert kept[1][1:3] == ("POST", f"/in/twilio/{tenant.account.id}")
    assert kept[1][3] == {"Content-Type": "text/plain", MARK: clock().isoformat()}
    assert b"SM2" in kept[1][4]


async def test_the_customer_wrote_when_the_provider_says(tenant: Tenant, clock: FakeClock):
    """The 24 hours to answer in are counted from then, and a turn follows at once."""
    sent_at = clock() - timedelta(hours=20)
    await tenant.ask(Holding(held("SM1", clock, 20 * 60)))

    ((last_inbound_at, turn_due_at),) = await tenant.rows(
        "select last_inbound_at, turn_due_at from conversations"
    )
    assert last_inbound_at == sent_at
    assert turn_due_at == sent_at + timedelta(seconds=4)
    assert await tenant.rows("select created_at from messages") == [(sent_at,)]


async def test_a_provider_s_clock_that_is_ahead_puts_nothing_into_the_future(
    tenant: Tenant, clock: FakeClock
):
    await tenant.ask(Holding(held("SM1", clock, -5), inbound("undated", "SM2")))

    assert await tenant.rows("select created_at from messages") == [(clock(),), (clock(),)]


async def test_a_stop_that_was_lost_is_heard_unless_a_later_word_takes_it_back(
    tenant: Tenant, runtime: Runtime, clock: FakeClock
):
    await tenant.ask(Holding(held("SM1", clock, 60, "STOP")))
    assert await tenant.rows("select opted_out_at is null from customer_contacts") == [(False,)]
    await accept_messages(runtime, [accepted_item(runtime, tenant.account, inbound("START", "SM2"))])
    await tenant.ask(Holding(held("SM3", clock, 30, "STOP")))

    assert await tenant.rows("select opted_out_at is null from customer_contacts") == [(True,)]


async def test_what_another_account_of_the_tenant_has_is_not_stored_again(
    tenant: Tenant, runtime: Runtime, clock: FakeClock
):
    """Two numbers of one messaging service: its hook brings all to one of them."""
    sister = await make_account(runtime, tenant.account.distributor_id, address="+15550003333")
    await accept_messages(runtime, [accepted_item(runtime, sister, inbound("hola", "SM1"))])

    assert await tenant.ask(Holding(held("SM1", clock, 10))) == Reconciled(seen=1, new=0, duplicate=1)


async def test_everything_that_a_hook_may_bring_can_be_asked_for(
    tenant: Tenant, runtime: Runtime, clock: FakeClock
):
    items: list[InboundItem] = [
        held("SM1", clock, 10),
        StatusUpdate("SM9", MessageStatus.SENT),
        ConsentUpdate("unsub-1", "+15550001111", ConsentChange.OUT, SuppressionReason.UNSUBSCRIBE),
        DeferredPost("mail-1"),
        Ignored("of no use"),
    ]

    first = await tenant.ask(Holding(*items))
    second = await tenant.ask(Holding(*items))

    assert first.seen == second.seen == 5
    assert first.new >= 3
    assert second.new <= first.new - 3
    kinds = await tenant.rows("select distinct kind from inbound_events order by 1")
    assert {"consent", "deferred", "message"} <= {kind for (kind,) in kinds}


async def test_more_than_a_batch_is_told_as_it_goes(tenant: Tenant, clock: FakeClock):
    told: list[int] = []
    holding = Holding(*(held(f"SM{number}", clock, 60, str(number)) for number in range(230)))

    done = await tenant.ask(holding, on_progress=lambda now: told.append(now.seen))

    assert done == Reconciled(seen=230, new=230, duplicate=0)
    assert told == [100, 200, 230]
    texts = await tenant.rows("select text from messages order by id")
    assert texts == [(str(number),) for number in range(230)]


async def test_who_cannot_be_asked_is_said(tenant: Tenant, runtime: Runtime):
    with pytest.raises(WrongState):
        await tenant.ask(FakeAdapter())
    with pytest.raises(NotFound):
        await reconcile_account(runtime, tools(Holding()), tenant.account.distributor_id, UUID(int=7), DAY)
    with pytest.raises(ProviderUnavailable):
        await tenant.ask(Holding(ProviderUnavailable()))

    assert await tenant.until() is None


@pytest.mark.parametrize(("hours", "counts"), [(24, True), (1, False)])
async def test_an_asking_with_a_hole_before_it_closes_nothing(
    tenant: Tenant, clock: FakeClock, hours: int, counts: bool
):
    """Nobody has asked before; the clock's first asking would go back a day."""
    await tenant.ask(Holding(), timedelta(hours=hours))

    assert await tenant.until() == (clock() - IN_FLIGHT if counts else None)


# by the clock


async def test_the_clock_asks_for_what_came_since_the_last_time(
    tenant: Tenant, runtime: Runtime, clock: FakeClock
):
    holding = Holding(held("SM1", clock, 60))
    first = clock()

    assert await due(runtime, holding) == 1
    assert await due(runtime, holding) == 0
    clock.advance(15 * 60)
    assert await due(runtime, holding) == 0

    assert [since for _, since in holding.asked] == [first - DAY, first - IN_FLIGHT - OVERLAP]
    assert await tenant.until() == clock() - IN_FLIGHT


async def test_what_may_still_be_on_its_way_is_left_for_its_own_post(
    tenant: Tenant, runtime: Runtime, clock: FakeClock
):
    holding = Holding(held("SM1", clock, 1))

    assert await due(runtime, holding) == 0
    clock.advance(15 * 60)
    assert await due(runtime, holding) == 1


async def test_what_bears_no_date_is_not_left_for_ever(tenant: Tenant, runtime: Runtime):
    assert await due(runtime, Holding(inbound("2 cajas", "SM1"))) == 1


async def test_nothing_is_asked_for_of_the_time_before_the_account(
    tenant: Tenant, runtime: Runtime, clock: FakeClock, admin_dsn: str
):
    since = clock() - timedelta(hours=3)
    await born(admin_dsn, since.isoformat())
    holding = Holding()
    await due(runtime, holding)
    await born(admin_dsn, "2020-01-01")
    clock.advance(30 * 24 * 3600)
    await due(runtime, holding)

    assert [asked for _, asked in holding.asked] == [since, clock() - timedelta(days=7)]


@pytest.mark.parametrize("error", [ProviderUnavailable(), BadCredentials()])
async def test_one_account_s_trouble_is_no_other_s(
    tenant: Tenant, runtime: Runtime, clock: FakeClock, admin_dsn: str, error: Exception
):
    other = Tenant(runtime, await make_account(runtime, await make_distributor(runtime)))
    await born(admin_dsn, "2020-01-01")

    class Partly(Holding):
        async def list_held(self, account: ChannelAccount, *rest: Any) -> AsyncIterator[HeldPost]:
            self.held = [error] if account.id == tenant.account.id else [held("SM1", clock, 10)]
            async for post in super().list_held(account, *rest):
                yield post

    told: list[Any] = []
    assert await due(runtime, Partly(), told) == 1

    assert {account: type(ended) for account, ended in told} == {
        tenant.account.id: type(error),
        other.account.id: Reconciled,
    }
    assert await tenant.until() is None  # asked for again the next time
    assert await other.until() is not None


async def test_one_process_asks_for_an_account_at_a_time(tenant: Tenant, runtime: Runtime, clock: FakeClock):
    holding = Holding(held("SM1", clock, 10))
    holding.paused.clear()
    first = asyncio.create_task(due(runtime, holding))
    while not holding.asked:  # noqa: ASYNC110 - the provider has no event for it
        await asyncio.sleep(0.01)

    assert await due(runtime, holding) == 0
    assert len(holding.asked) == 1
    clock.advance(601)  # whoever asked is dead by then
    holding.paused.set()
    assert await due(runtime, holding) + await first == 1
    assert len(holding.asked) == 2


async def test_deleted_accounts_and_other_providers_are_not_asked_for(tenant: Tenant, runtime: Runtime):
    await tenant.rows("update channel_accounts set deleted_at = now() returning 1")

    assert await due(runtime, Holding()) == 0
    assert await due(runtime, FakeAdapter()) == 0
    with pytest.raises(NotFound):
        await tenant.ask(Holding())
