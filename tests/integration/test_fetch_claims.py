"""Which files and posts a worker gets: fair over tenants, several workers at once, by shard. Both claims keep the same
rules.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from channels.base import Attachment, ChannelAccount, DeferredPost
from db import lanes
from db.lanes import ClaimTerms, Shard
from db.tenant import Connection
from handlers.inbound import accept_deferred, accept_messages, deferred_item
from handlers.runtime import Runtime
from tests.factories import accepted_item, inbound, make_account, make_distributor, posted
from tests.fakes import FakeClock

LEASE = timedelta(seconds=30)


async def receive_files(runtime: Runtime, account: ChannelAccount, count: int) -> None:
    files = tuple(Attachment(f"https://x.example/{number}", "image/png") for number in range(count))
    await accept_messages(runtime, [accepted_item(runtime, account, inbound(attachments=files))])


async def receive_hints(runtime: Runtime, account: ChannelAccount, count: int) -> None:
    items = [
        deferred_item(runtime, posted(runtime, account), DeferredPost(f"hint-{number}"))
        for number in range(count)
    ]
    await accept_deferred(runtime, items)


@dataclass(frozen=True)
class Kind:
    receive: Callable[[Runtime, ChannelAccount, int], Awaitable[None]]
    claim: Callable[..., Awaitable[Sequence[Any]]]
    id: str


KINDS = [
    Kind(receive_files, lanes.claim_media, "attachment_id"),
    Kind(receive_hints, lanes.claim_deferred, "event_id"),
]


@pytest.fixture(params=KINDS, ids=["files", "posts"])
def kind(request) -> Kind:
    found: Kind = request.param
    return found


async def make_tenants(runtime: Runtime, kind: Kind, *counts: int) -> list[UUID]:
    """Tenants with so many things to fetch each."""
    tenants = []
    for count in counts:
        account = await make_account(runtime, await make_distributor(runtime))
        await kind.receive(runtime, account, count)
        tenants.append(account.distributor_id)
    return tenants


async def claim_on(
    connection: Connection,
    runtime: Runtime,
    kind: Kind,
    batch: int,
    share: int = 10,
    shard: Shard | None = None,
) -> Sequence[Any]:
    terms = ClaimTerms(batch, share, LEASE, shard or Shard())
    return await kind.claim(connection, terms, runtime.clock(), runtime.new_id())


async def claim(runtime: Runtime, kind: Kind, batch: int, **more: Any) -> Sequence[Any]:
    async with runtime.database.worker_statements() as connection:
        return await claim_on(connection, runtime, kind, batch, **more)


async def test_a_burst_of_one_tenant_waits_for_itself_only(runtime: Runtime, kind: Kind):
    many, few, one = await make_tenants(runtime, kind, 20, 2, 1)

    first = Counter(claimed.distributor_id for claimed in await claim(runtime, kind, 5))
    rest = Counter(claimed.distributor_id for claimed in await claim(runtime, kind, 50, share=50))

    assert first == {many: 2, few: 2, one: 1}
    assert rest == {many: 18}


async def test_a_tenant_has_no_more_than_its_share_under_way(runtime: Runtime, kind: Kind, clock: FakeClock):
    (tenant,) = await make_tenants(runtime, kind, 10)

    claims = [len(await claim(runtime, kind, 10, share=4)) for _ in range(2)]
    clock.advance(LEASE.total_seconds())
    again = await claim(runtime, kind, 10, share=4)

    assert claims == [4, 0]
    assert [claimed.distributor_id for claimed in again] == [tenant] * 4


async def test_two_workers_at_once_get_different_ones(runtime: Runtime, kind: Kind):
    await make_tenants(runtime, kind, 6)
    async with runtime.database.worker() as first, runtime.database.worker() as second:
        one = await claim_on(first, runtime, kind, 3, share=3)
        two = await claim_on(second, runtime, kind, 3, share=3)

    ids = [getattr(claimed, kind.id) for claimed in (*one, *two)]
    assert len(set(ids)) == len(ids) == 6
    assert {claimed.lease_token for claimed in one}.isdisjoint(claimed.lease_token for claimed in two)


async def test_shards_divide_the_tenants(runtime: Runtime, kind: Kind):
    tenants = await make_tenants(runtime, kind, *[1] * 6)

    claimed = [
        {found.distributor_id for found in await claim(runtime, kind, 10, shard=Shard(index, 3))}
        for index in range(3)
    ]

    assert set().union(*claimed) == set(tenants)
    assert sum(map(len, claimed)) == len(tenants)


async def test_nothing_is_claimed_before_its_time(runtime: Runtime, kind: Kind, clock: FakeClock):
    await make_tenants(runtime, kind, 1)
    clock.advance(-1)

    assert await claim(runtime, kind, 10) == []
