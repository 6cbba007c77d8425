"""Name lookups, a few at a time for each party, so that one tenant's slow name servers hold up nobody else."""

import asyncio
import functools
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from aiohttp.abc import AbstractResolver, ResolveResult

from channels.errors import LookupsBusy

# A lookup that hangs keeps its thread for as long as the system's resolver likes, whoever still waits for it.
THREADS = 128
PARTY_LOOKUPS = 8
KEPT_SECONDS = 10.0
MOST_KEPT = 10_000

Addresses = list[ResolveResult]
_Name = tuple[str, str]  # party and host: what one party knows and waits for is no other's


class PoolResolver(AbstractResolver):
    """The system's resolver (hosts file, search list and all) over a pool of its own; raises OSError."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="egress-dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> Addresses:
        lookup = functools.partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._pool, lookup)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=answered_family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for answered_family, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class Lookups:
    """Looks names up for parties: at most PARTY_LOOKUPS of one at a time, answers kept for KEPT_SECONDS."""

    def __init__(self, resolver: AbstractResolver, monotonic: Callable[[], float]) -> None:
        self._resolver = resolver
        self._monotonic = monotonic
        self._under_way: dict[_Name, asyncio.Task[Addresses]] = {}
        self._ended = asyncio.Condition()
        self._kept: dict[_Name, tuple[float, Addresses]] = {}

    async def find(self, party: str, host: str, patience: float) -> Addresses:
        """The host's addresses, not judged.

        Raises OSError, TimeoutError after ``patience`` seconds of looking up, and LookupsBusy where the lookup
        could not even begin for as long: that is no fault of the name's owner.
        """
        name = (party, host)
        until, addresses = self._kept.get(name, (0.0, []))
        if self._monotonic() < until:
            return addresses
        lookup = await self._begin(name, patience)
        async with asyncio.timeout(patience):
            return await asyncio.shield(lookup)

    async def close(self) -> None:
        for lookup in self._under_way.values():
            lookup.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        await self._resolver.close()

    async def _begin(self, name: _Name, patience: float) -> "asyncio.Task[Addresses]":
        try:
            async with asyncio.timeout(patience), self._ended:
                await self._ended.wait_for(lambda: name in self._under_way or self._has_room(name[0]))
                if name not in self._under_way:
                    self._under_way[name] = asyncio.create_task(self._look_up(name), name="egress-lookup")
                return self._under_way[name]
        except TimeoutError:
            raise LookupsBusy from None

    def _has_room(self, party: str) -> bool:
        of_party = sum(running == party for running, _ in self._under_way)
        return of_party < PARTY_LOOKUPS and len(self._under_way) < THREADS

    async def _look_up(self, name: _Name) -> Addresses:
        try:
            found = await self._resolver.resolve(name[1], 0, socket.AF_UNSPEC)
            self._keep(name, found)
            return found
        finally:
            async with self._ended:
                del self._under_way[name]
                self._ended.notify_all()

    def _keep(self, name: _Name, found: Addresses) -> None:
        if len(self._kept) >= MOST_KEPT:
            self._kept.clear()
        self._kept[name] = (self._monotonic() + KEPT_SECONDS, found)
