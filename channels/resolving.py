"""Name lookups in threads of their own: a slow name server of one tenant must not hold up the process's other
work.
"""

import asyncio
import functools
import socket
from concurrent.futures import ThreadPoolExecutor

from aiohttp.abc import AbstractResolver, ResolveResult

THREADS = 32  # the loop's own executor has a handful, and a lookup that hangs keeps its thread for seconds


class PoolResolver(AbstractResolver):
    """The system's resolver (hosts file, search list and all) over a pool of its own; raises OSError."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="egress-dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
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
