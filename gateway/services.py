"""The composition root: settings in, everything that runs out. The only place that builds objects."""

import random
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from channels.base import ChannelAdapter
from channels.downloads import DownloadClient, set_by_operator
from channels.egress import EgressClient
from channels.registry import build_adapters
from db.accounts import check_keys
from db.embedded import EmbeddedEvent, embedded_postgres
from db.errors import DatabaseBusy, SealBroken
from db.migrate import find_runtime_dsn, migrate
from db.sealing import Sealer
from db.tenant import Database, open_database
from db.wake import Notifier
from gateway.clock import DatabaseClock, open_clock, staying_in_step
from gateway.master_keys import own_master_key
from gateway.media_store import build_media_scanner, build_media_store
from gateway.settings import EngineName, Settings, SettingsError
from gateway.worker import Worker, WorkerTools
from handlers.ai.engine import build_engine, model_factories
from handlers.ai.model import ModelOptions
from handlers.ai.prices import UnknownModel
from handlers.ai.types import AIEngine
from handlers.catalogues import CatalogueCache
from handlers.deferred import DeferredTools
from handlers.media import MediaTools
from handlers.runtime import Runtime
from handlers.turns import TurnTools
from handlers.typing_notice import TypingTools
from handlers.upkeep import make_partitions

_log = structlog.get_logger("waystation.services")
HOME = Path(".waystation")
EMBEDDED = "postgres"  # the embedded database's folder in it
# What one process opens at most. Tenants' transactions are those of the API, of four turns and of twenty sends, and short: a
# model or a provider is never asked in one. Across tenants there are one flush of messages, one of statuses and one of
# attempts at a time, five claims, and look-ups of a moment. A worker listens on one connection more, and
# so does the HTTP side once somebody waits for events.
APP_CONNECTIONS = 8
WORKER_CONNECTIONS = 4


@dataclass(frozen=True, slots=True)
class DatabaseAccess:
    """The administrator's DSN (for `migrate`) and the keys that seal."""

    admin_dsn: str
    master_keys: tuple[bytes, ...]
    embedded: bool


@dataclass(frozen=True, slots=True)
class Services:
    """What the HTTP side and the workers share."""

    settings: Settings
    runtime: Runtime
    adapters: Mapping[str, ChannelAdapter]
    egress: EgressClient
    media: MediaTools
    notifier: Notifier
    dsn: str
    home: Path

    @property
    def deferred(self) -> DeferredTools:
        """What asking providers needs."""
        return DeferredTools(self.adapters, self.media.downloads, self.settings.quiet_seconds)

    def build_worker(self) -> Worker:
        """A worker with the configured engine; importing an engine is not free, so only workers pay for
        it.
        """
        typing = TypingTools(self.adapters)
        turns = TurnTools(build_configured_engine(self.settings), CatalogueCache(), typing=typing)
        tools = WorkerTools(self.adapters, self.egress, turns, self.media, self.deferred, self.notifier)
        return Worker(self.runtime, tools)


def build_configured_engine(settings: Settings) -> AIEngine:
    """The engine that the settings name.

    Raises SettingsError where a model is asked for without a usable key, or without a price for it.
    """
    if settings.ai_engine is EngineName.RULES:
        return build_engine(settings.ai_engine)
    options = ModelOptions(_model_key(settings), settings.openai_model, settings.openai_base_url)
    try:
        return build_engine(settings.ai_engine, model_factories(options, _new_mark, time.monotonic))
    except UnknownModel as error:
        raise SettingsError(f"WAYSTATION_OPENAI_MODEL: {error}") from None


def _model_key(settings: Settings) -> str:
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else ""
    if not key:
        raise SettingsError(f"OPENAI_API_KEY is needed with WAYSTATION_AI_ENGINE={settings.ai_engine}")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise SettingsError(
            "OPENAI_API_KEY holds characters that no key has: a line break, a space or an accent"
        )
    return key


def _new_mark() -> str:
    """A word that nobody can guess, to fence what customers write."""
    return secrets.token_hex(16)


@asynccontextmanager
async def open_database_access(
    settings: Settings, home: Path = HOME, on_event: Callable[[EmbeddedEvent], None] = lambda _: None
) -> AsyncIterator[DatabaseAccess]:
    """The configured database, or the embedded one under ``home`` for as long as the block runs.

    Raises SettingsError where a DSN comes without master keys: two machines could not open each other's
    seals. Raises SettingsError, too, for a folder's own key that is not the one.
    """
    if settings.database_url is not None:
        if not settings.master_keys:
            raise SettingsError(
                "WAYSTATION_MASTER_KEYS is needed with WAYSTATION_DATABASE_URL: base64 of 32 bytes"
            )
        yield DatabaseAccess(
            settings.database_url.get_secret_value(), settings.opened_master_keys, embedded=False
        )
        return
    async with embedded_postgres(home / EMBEDDED, on_event=on_event) as server:
        if settings.master_keys:
            yield DatabaseAccess(server.dsn, settings.opened_master_keys, embedded=True)
            return
        with own_master_key(home) as key:
            yield DatabaseAccess(server.dsn, (key,), embedded=True)


@asynccontextmanager
async def open_services(
    settings: Settings,
    home: Path = HOME,
    *,
    on_event: Callable[[EmbeddedEvent], None] = lambda _: None,
) -> AsyncIterator[Services]:
    """Everything that a process needs, closed in reverse order. With the embedded database it migrates by
    itself; with a DSN it raises SchemaOutdated for an old schema. Raises SettingsError, DatabaseError.
    """
    async with AsyncExitStack() as stack:
        access = await stack.enter_async_context(open_database_access(settings, home, on_event))
        if access.embedded:
            await migrate(access.admin_dsn, access.master_keys)
        dsn = await find_runtime_dsn(access.admin_dsn, access.master_keys)
        database = await open_database(dsn, app=APP_CONNECTIONS, worker=WORKER_CONNECTIONS)
        stack.push_async_callback(database.close)
        await _check_keys(database, access)
        clock = await open_clock(database)
        await stack.enter_async_context(staying_in_step(clock, database))
        runtime = _runtime(settings, access, database, clock)
        await _make_partitions(runtime)
        egress = EgressClient(settings.egress_allow)
        stack.push_async_callback(egress.aclose)
        adapters = build_adapters(settings.provider_urls, clock=clock, allow=settings.egress_allow)
        stack.push_async_callback(_close_adapters, adapters)
        downloads = DownloadClient(egress, set_by_operator(settings.provider_urls))
        stack.push_async_callback(downloads.aclose)
        store = build_media_store(settings, home, clock)
        stack.push_async_callback(store.aclose)
        media = MediaTools(adapters, downloads, store, build_media_scanner(settings))
        yield Services(settings, runtime, adapters, egress, media, Notifier(database), dsn, home)


async def _make_partitions(runtime: Runtime) -> None:
    """A machine that was off for a month begins with this; where somebody holds a lock, it need not be now: a worker
    does it every hour, and the accept statement where it finds none.
    """
    try:
        await make_partitions(runtime)
    except DatabaseBusy:
        _log.warning("partitions are made later", reason="somebody holds a lock")


async def _check_keys(database: Database, access: DatabaseAccess) -> None:
    """Told at start, not at the first message: with other keys nothing that was sealed can be used."""
    try:
        async with database.worker_statements() as connection:
            await check_keys(connection, Sealer(access.master_keys))
    except SealBroken:
        raise SettingsError(
            "WAYSTATION_MASTER_KEYS does not open what this database holds; add the key that sealed it to the list"
        ) from None


def _runtime(settings: Settings, access: DatabaseAccess, database: Database, clock: DatabaseClock) -> Runtime:
    return Runtime(
        database=database,
        sealer=Sealer(access.master_keys),
        clock=clock,
        new_id=clock.new_id,
        random=random.Random(),  # noqa: S311 - spreads retries, guards nothing
        webhook_schedule=settings.webhook_schedule,
        public_url=settings.base_url,
    )


async def _close_adapters(adapters: Mapping[str, ChannelAdapter]) -> None:
    for adapter in adapters.values():
        await adapter.aclose()
