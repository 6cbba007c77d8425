"""Files go with their messages: a day after nobody has them any more, by tenant, in batches."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from channels.errors import StoreUnavailable
from handlers import media_upkeep
from handlers.media_store import StoredFile, store_key
from handlers.media_upkeep import delete_unused_files
from handlers.runtime import Runtime
from tests.factories import make_distributor
from tests.fakes import FakeClock
from tests.media_stage import MemoryStore


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock)


def key(tenant: UUID, number: int) -> str:
    return store_key(tenant, bytes([number]) * 32)


async def keep(runtime: Runtime, tenant: UUID, number: int, *, count: int = 1) -> None:
    """Messages' rows that have the file."""
    async with runtime.database.tenant(tenant) as connection:
        for _ in range(count):
            await connection.execute(
                "insert into attachments (distributor_id, id, message_id, position, url, content_type, state, store_key,"
                " created_at) values ($1, $2, $3, 1, 'x', 'image/png', 'STORED', $4, $5)",
                tenant,
                runtime.new_id(),
                runtime.new_id(),
                key(tenant, number),
                runtime.clock(),
            )


async def test_what_no_message_has_any_more_goes_after_a_day(
    runtime: Runtime, clock: FakeClock, store: MemoryStore
):
    tenant = await make_distributor(runtime)
    for number in (1, 2):
        await store.put(key(tenant, number), b"a file")
    await keep(runtime, tenant, 1, count=2)

    clock.advance(timedelta(days=1).total_seconds())
    assert await delete_unused_files(runtime, store) == 0
    clock.advance(1)
    assert await delete_unused_files(runtime, store) == 1

    assert list(store.files) == [key(tenant, 1)]


async def test_what_was_put_again_is_new(runtime: Runtime, clock: FakeClock, store: MemoryStore):
    """Its row comes a moment later."""
    tenant = await make_distributor(runtime)
    await store.put(key(tenant, 1), b"a file")
    clock.advance(timedelta(days=9).total_seconds())
    await store.put(key(tenant, 1), b"a file")

    assert await delete_unused_files(runtime, store) == 0


async def test_what_is_put_again_while_the_unused_are_looked_for_stays(runtime: Runtime, clock: FakeClock):
    """Its row comes after the look at rows, and before the deletion."""
    tenant = await make_distributor(runtime)

    class Busy(MemoryStore):
        async def list_files(self, *asked: Any) -> Sequence[StoredFile]:
            listed = await super().list_files(*asked)
            if listed:
                await self.put(key(tenant, 1), b"a file")
            return listed

    store = Busy(clock)
    await store.put(key(tenant, 1), b"a file")
    clock.advance(timedelta(days=2).total_seconds())

    assert await delete_unused_files(runtime, store) == 0
    assert list(store.files) == [key(tenant, 1)]


async def test_one_tenants_row_keeps_no_other_tenants_file(
    runtime: Runtime, clock: FakeClock, store: MemoryStore
):
    one, other = await make_distributor(runtime), await make_distributor(runtime, "Otra")
    for tenant in (one, other):
        await store.put(key(tenant, 1), b"a file")
    await keep(runtime, one, 1)
    clock.advance(timedelta(days=2).total_seconds())

    assert await delete_unused_files(runtime, store) == 1
    assert list(store.files) == [key(one, 1)]


async def test_many_files_go_in_batches(
    runtime: Runtime, clock: FakeClock, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(media_upkeep, "_BATCH", 2)
    tenant = await make_distributor(runtime)
    for number in range(7):
        await store.put(key(tenant, number), b"a file")
    await keep(runtime, tenant, 3)
    clock.advance(timedelta(days=2).total_seconds())

    assert await delete_unused_files(runtime, store) == 6
    assert list(store.files) == [key(tenant, 3)]


async def test_files_of_tenants_that_are_not_here_are_left(
    runtime: Runtime, clock: FakeClock, store: MemoryStore
):
    """Two installations may share a bucket by mistake."""
    await store.put(key(UUID(int=9), 1), b"a file")
    clock.advance(timedelta(days=2).total_seconds())

    assert await delete_unused_files(runtime, store) == 0
    assert len(store.files) == 1


async def test_a_store_that_is_away_is_told(runtime: Runtime, store: MemoryStore):
    await make_distributor(runtime)
    store.failing = StoreUnavailable()

    with pytest.raises(StoreUnavailable):
        await delete_unused_files(runtime, store)
