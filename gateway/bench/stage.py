"""Where a benchmark runs: a throw-away folder with its own PostgreSQL, a receiver, processes of the product, all gone at the
end.
"""

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
from pydantic import SecretStr

from db.connecting import connected
from db.embedded import EmbeddedPostgres, embedded_postgres
from db.migrate import migrate
from gateway.bench.cores import Cores, kept_to
from gateway.bench.show import StepFailed
from gateway.bench.sinks import Sink
from gateway.bench.statements import STATEMENTS
from gateway.dev.children import Child, Surroundings
from gateway.dev.demo_folders import DATABASE, sweep, throw_away_folder
from gateway.dev.observing import observe
from gateway.ports import LOOPBACK, free_port
from gateway.processes import notifying
from gateway.services import Services, open_services
from gateway.settings import Settings, read_settings

_START_SECONDS = 30.0
_LONGEST_DEBOUNCE = "300"  # a customer's message is no work for the worker within a benchmark
_AS_IT_IS: Mapping[str, str] = MappingProxyType({})


@dataclass(slots=True)
class Stage:
    """Everything of one run. What is opened on the way is closed with ``stack``."""

    folder: Path
    stack: AsyncExitStack
    session: aiohttp.ClientSession
    server: EmbeddedPostgres
    admin: Any
    sink: Sink
    cores: Cores
    master_key: str = field(repr=False)
    dsn: str = field(repr=False)
    gateway_port: int
    children: list[Child] = field(default_factory=list)

    @property
    def gateway_url(self) -> str:
        return f"http://{LOOPBACK}:{self.gateway_port}"

    @property
    def surroundings(self) -> Surroundings:
        """What an operator would set for `serve` and `work`."""
        settings = {
            "DATABASE_URL": self.dsn,
            "MASTER_KEYS": self.master_key,
            "HOST": LOOPBACK,
            "PORT": str(self.gateway_port),
            "PUBLIC_URL": self.gateway_url,
            "EGRESS_ALLOW": "127.0.0.0/8",
            "DEBOUNCE_SECONDS": _LONGEST_DEBOUNCE,
            "LOG_FORMAT": "console",
        }
        return Surroundings(self.folder, {f"WAYSTATION_{name}": value for name, value in settings.items()})

    @property
    def settings(self) -> Settings:
        """The same for this process."""
        names = self.surroundings.settings.items()
        return read_settings(environ=dict(names), env_file=None)

    async def start(self, name: str, *arguments: str) -> Child:
        """Starts a command of the product; it is stopped at the end at the latest."""
        child = await Child.start(name, arguments, self.surroundings)
        self.children.append(child)
        self.stack.push_async_callback(child.stop)
        return child

    async def start_gateway(self) -> Child:
        """`waystation serve`, once it answers."""
        child = await self.start("serve", "serve")

        async def is_ready() -> bool:
            try:
                async with self.session.get(f"{self.gateway_url}/ready") as response:
                    return response.ok
            except aiohttp.ClientError:
                return False

        await self.until_up(child, is_ready)
        return child

    async def until_up(self, child: Child, is_up: Callable[[], Awaitable[bool]]) -> None:
        """Until a process answers; raises NotObserved, or StepFailed where it ended."""

        async def look() -> bool:
            check_running(child)
            return await is_up()

        await observe(look, bool, f"`{child.name}` to answer", _START_SECONDS)

    async def forget_events(self) -> None:
        """No events, no deliveries, and endpoints as if new."""
        for name in ("forget_events", "fresh_states"):
            await self.admin.execute(STATEMENTS[name])

    async def settle_down(self) -> None:
        """Statistics and a checkpoint, after much was stored."""
        await self.admin.execute(STATEMENTS["settle_down"])

    async def open_services(self, dsn: str | None = None) -> Services:
        """The product's own objects in this process until the end; of another database of the server, if it is named."""
        return await self.stack.enter_async_context(self.services(dsn))

    @asynccontextmanager
    async def services(self, dsn: str | None = None) -> AsyncIterator[Services]:
        """The same while the block runs, with wake-ups for the workers."""
        settings = self.settings
        if dsn is not None:
            settings = settings.model_copy(update={"database_url": SecretStr(dsn)})
        async with open_services(settings, self.folder) as services, notifying(services):
            yield services

    async def copy_database(self, case: str) -> str:
        """The DSN of a copy of the stage's database, which nobody but the stage may be connected to."""
        own = urlsplit(self.dsn).path.removeprefix("/")
        name = f"{own}_{case}"
        await self.close_admin()
        await self._in_template(f'create database "{name}" template "{own}"')
        self.admin = await connect_admin(self.dsn)
        self.stack.push_async_callback(self._in_template, f'drop database "{name}" with (force)')
        return self.server.dsn_for(name)

    async def close_admin(self) -> None:
        """Lets go of the superuser's connection."""
        await self.admin.close()

    async def _in_template(self, statement: str) -> None:
        async with connected(self.server.dsn_for("template1")) as connection:
            await connection.execute(statement)


async def connect_admin(dsn: str) -> Any:
    """The superuser's connection, for what is asked of the database from outside."""
    return await asyncpg.connect(dsn, timeout=10, server_settings={"application_name": "waystation_bench"})


def check_running(child: Child) -> None:
    """Raises StepFailed where a process has ended by itself."""
    if child.exit_code is not None:
        raise StepFailed(f"`{child.name}` ended with {child.exit_code}: {' '.join(child.last_lines(5))}")


@asynccontextmanager
async def open_stage(cores: Cores, database_settings: Mapping[str, str] = _AS_IT_IS) -> AsyncIterator[Stage]:
    """A database with today's schema and a receiver. With ``cores`` all but a worker is kept to the others."""
    await asyncio.to_thread(sweep)
    with throw_away_folder() as folder, kept_to(cores.others):
        async with embedded_postgres(folder / DATABASE, settings=database_settings) as server:
            master_key = os.urandom(32)
            await migrate(server.dsn, [master_key])
            async with stage_on(server, server.dsn, master_key, folder, cores) as stage:
                yield stage


@asynccontextmanager
async def stage_on(
    server: EmbeddedPostgres, dsn: str, master_key: bytes, folder: Path, cores: Cores
) -> AsyncIterator[Stage]:
    """A stage on a database that is migrated with ``master_key``; its processes write their logs to ``folder``."""
    async with AsyncExitStack() as stack:
        sink_port = free_port()
        timeout, connector = aiohttp.ClientTimeout(total=30), aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout, connector=connector))
        stage = Stage(
            folder=folder,
            stack=stack,
            session=session,
            server=server,
            admin=await connect_admin(dsn),
            sink=Sink(session, f"http://{LOOPBACK}:{sink_port}"),
            cores=cores,
            master_key=base64.b64encode(master_key).decode(),
            dsn=dsn,
            gateway_port=free_port(),
        )
        stack.push_async_callback(stage.close_admin)
        sink = await stage.start("sink", "bench", "sink", "--port", str(sink_port))
        await stage.until_up(sink, stage.sink.is_up)
        yield stage
