"""Name lookups: each party's own line, what is kept, and threads that hang."""

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from aiohttp.abc import AbstractResolver

from channels.errors import LookupsBusy
from channels.resolving import KEPT_SECONDS, PARTY_LOOKUPS, THREADS, Lookups, PoolResolver

AT_ONCE = 0.05
SOON = 5.0


class Names(AbstractResolver):
    """Answers a name when it is told to."""

    def __init__(self):
        self.asked = []
        self.waiting = {}
        self.changed = asyncio.Condition()

    async def resolve(self, host, port=0, family=socket.AF_INET):
        self.waiting[host] = asyncio.get_running_loop().create_future()
        async with self.changed:
            self.asked.append(host)
            self.changed.notify_all()
        return await self.waiting[host]

    async def were_asked(self, count):
        async with asyncio.timeout(SOON), self.changed:
            await self.changed.wait_for(lambda: len(self.asked) >= count)

    async def close(self):
        self.asked.clear()

    def answer(self, host, answer="192.0.32.7"):
        if isinstance(answer, Exception):
            self.waiting[host].set_exception(answer)
        else:
            self.waiting[host].set_result([{"host": answer}])


@pytest.fixture
def names():
    return Names()


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
async def lookups(names, now):
    lookups = Lookups(names, lambda: now[0])
    yield lookups
    await lookups.close()


def begin(lookups, party, host):
    return asyncio.create_task(lookups.find(party, host, SOON))


async def test_one_lookup_serves_all_who_wait_for_it(lookups, names):
    tasks = [begin(lookups, "a", "one") for _ in range(3)]
    await names.were_asked(1)
    names.answer("one")

    assert [found[0]["host"] for found in await asyncio.gather(*tasks)] == ["192.0.32.7"] * 3
    assert names.asked == ["one"]


async def test_an_answer_is_kept_for_a_while_and_a_failure_is_not(lookups, names, now):
    lost = begin(lookups, "a", "one")
    await names.were_asked(1)
    names.answer("one", OSError("no such name"))
    with pytest.raises(OSError, match="no such name"):
        await lost
    begun = begin(lookups, "a", "one")
    await names.were_asked(2)
    names.answer("one")
    found = await begun
    now[0] = KEPT_SECONDS - 1
    assert await lookups.find("a", "one", AT_ONCE) == found
    now[0] = KEPT_SECONDS
    begin(lookups, "a", "one")

    await names.were_asked(3)


async def test_nothing_that_a_party_asks_for_is_anothers(lookups, names):
    first = begin(lookups, "a", "one")
    await names.were_asked(1)
    names.answer("one")
    await first
    begin(lookups, "b", "one")

    await names.were_asked(2)


async def test_a_party_waits_for_its_own_lookups_until_one_really_ends(lookups, names):
    hosts = [f"slow{number}" for number in range(PARTY_LOOKUPS)]
    for host in hosts:
        with pytest.raises(TimeoutError):
            await lookups.find("a", host, AT_ONCE / 10)
    with pytest.raises(LookupsBusy):
        await lookups.find("a", "next", AT_ONCE)
    assert names.asked == hosts, "who gave up waiting has not freed the thread"

    waiting = begin(lookups, "a", "next")
    other = begin(lookups, "b", "other")
    await names.were_asked(PARTY_LOOKUPS + 1)
    names.answer("slow3")
    await names.were_asked(PARTY_LOOKUPS + 2)
    names.answer("next")
    names.answer("other")

    assert await waiting == await other


async def test_where_all_threads_hang_nobody_is_charged(lookups, names):
    hanging = [
        begin(lookups, str(party), f"slow{number}")
        for party in range(THREADS // PARTY_LOOKUPS)
        for number in range(PARTY_LOOKUPS)
    ]
    await names.were_asked(THREADS)

    with pytest.raises(LookupsBusy):
        await lookups.find("healthy", "one", AT_ONCE)
    for lookup in hanging:
        lookup.cancel()


async def test_the_loops_own_threads_are_not_used():
    busy = threading.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    blocked = loop.run_in_executor(None, busy.wait)
    resolver = PoolResolver()

    try:
        async with asyncio.timeout(SOON):
            found = await resolver.resolve("127.0.0.1", 443)
    finally:
        busy.set()
        await blocked
        await resolver.close()

    assert [(one["host"], one["port"]) for one in found] == [("127.0.0.1", 443)]
