"""Where the demo plays: a throw-away folder with its own PostgreSQL, a provider, an integrator, processes."""

import asyncio
import base64
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from db.embedded import embedded_postgres
from gateway.dev.children import Child, Surroundings
from gateway.dev.choices import Break
from gateway.dev.demo_folders import DATABASE, sweep, throw_away_folder
from gateway.dev.demo_sandbox import DemoProvider
from gateway.dev.management import ProviderLogin
from gateway.dev.receiver import serve_receiver
from gateway.dev.sandbox import running_sandbox
from gateway.dev.stand_ins.app import StandIns, running_stand_ins, stand_in_urls
from gateway.ports import LOOPBACK, free_port
from handlers.runtime import new_uuid7, utc_now

# Waits of webhook deliveries: three tries, so far apart that their timestamps (whole seconds) must differ.
RETRY_SCHEDULE = "0,1.5,1.5"
_DEBOUNCE_SECONDS = "1"
_CALL_SECONDS = 15.0


@dataclass(slots=True)
class Stage:
    """Everything of one run. What is opened on the way is closed with ``stack``."""

    folder: Path
    stack: AsyncExitStack
    session: aiohttp.ClientSession
    broken: Break | None
    login: ProviderLogin
    master_key: str = field(repr=False)
    gateway_port: int
    provider: DemoProvider
    sandbox_url: str
    stand_ins: StandIns
    stand_ins_url: str
    receiver_url: str
    admin_dsn: str = field(default="", repr=False)
    reader: Any = None
    children: dict[str, Child] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set, repr=False)

    @property
    def gateway_url(self) -> str:
        return f"http://{LOOPBACK}:{self.gateway_port}"

    @property
    def surroundings(self) -> Surroundings:
        """The environment that an operator would give to `serve`, `work`, `migrate` and `tenants create`."""
        urls = stand_in_urls(self.stand_ins_url, twilio=self.sandbox_url)
        settings = {
            "DATABASE_URL": self.admin_dsn,
            "MASTER_KEYS": self.master_key,
            "HOST": LOOPBACK,
            "PORT": str(self.gateway_port),
            "PUBLIC_URL": self.gateway_url,
            "TWILIO_API_URL": urls.twilio,
            "SENDGRID_API_URL": urls.sendgrid,
            "META_GRAPH_URL": urls.meta_graph,
            "EGRESS_ALLOW": "127.0.0.0/8",
            "DEBOUNCE_SECONDS": _DEBOUNCE_SECONDS,
            "RETRY_SCHEDULE": RETRY_SCHEDULE,
            "LOG_FORMAT": "console",
        }
        return Surroundings(self.folder, {f"WAYSTATION_{name}": value for name, value in settings.items()})

    async def open_database(self) -> None:
        """Starts PostgreSQL in the folder, and opens a connection that sees all tenants and can only read."""
        server = await self.stack.enter_async_context(embedded_postgres(self.folder / DATABASE))
        self.admin_dsn = server.dsn
        self.secrets.add(server.dsn.partition("@")[0].rpartition(":")[2])
        read_only = {"default_transaction_read_only": "on", "application_name": "waystation_demo_reader"}
        self.reader = await asyncpg.connect(server.dsn, timeout=10, server_settings=read_only)
        self.stack.push_async_callback(self.reader.close)

    async def start_child(self, name: str, *arguments: str) -> Child:
        """Starts a command; it is stopped at the end at the latest."""
        child = await Child.start(name, arguments, self.surroundings)
        self.children[name] = child
        self.stack.push_async_callback(child.stop)
        return child

    def logs(self) -> Mapping[str, list[str]]:
        """The last lines of every child process, without the run's secrets."""
        return {
            name: [self.redacted(line) for line in child.last_lines()]
            for name, child in self.children.items()
        }

    def redacted(self, text: str) -> str:
        """The text with every secret of this run replaced."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, "[secret]")
        return text


@asynccontextmanager
async def open_stage(broken: Break | None = None) -> AsyncIterator[Stage]:
    """The stage with its provider and integrator; at the end all is stopped and the folder removed."""
    await asyncio.to_thread(sweep)
    with throw_away_folder() as folder:
        async with AsyncExitStack() as stack:
            yield await _set_up(folder, stack, broken)


async def _set_up(folder: Path, stack: AsyncExitStack, broken: Break | None) -> Stage:
    login = ProviderLogin("AC" + secrets.token_hex(16), secrets.token_hex(16))
    known = ProviderLogin(login.account_sid, secrets.token_hex(16)) if broken is Break.TOKEN else login
    provider = DemoProvider(known)
    stand_ins = StandIns(new_uuid7, utc_now)
    master_key = base64.b64encode(os.urandom(32)).decode()
    timeout = aiohttp.ClientTimeout(total=_CALL_SECONDS)
    return Stage(
        folder=folder,
        stack=stack,
        session=await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout)),
        broken=broken,
        login=login,
        master_key=master_key,
        gateway_port=free_port(),
        provider=provider,
        sandbox_url=await stack.enter_async_context(running_sandbox(provider.app)),
        stand_ins=stand_ins,
        stand_ins_url=await stack.enter_async_context(running_stand_ins(stand_ins)),
        receiver_url=await _open_receiver(stack, broken),
        secrets={login.auth_token, known.auth_token, master_key},
    )


async def _open_receiver(stack: AsyncExitStack, broken: Break | None) -> str:
    """The integrator's receiver; where it is to be down, an address at which nobody listens."""
    if broken is Break.RECEIVER:
        return f"http://{LOOPBACK}:{free_port()}"
    url, _ = await stack.enter_async_context(serve_receiver())
    return url
