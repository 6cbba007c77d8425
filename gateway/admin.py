"""What one-off commands do: migrate, rotate keys, create a tenant, extract orders from files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from channels.errors import InvalidInput
from db.embedded_cluster import has_cluster
from db.migrate import Migration, count_sealed, find_runtime_dsn, migrate, read_migrations
from db.tenant import open_database
from gateway.master_keys import KeyUse, Rotation, key_uses, rotate
from gateway.services import (
    EMBEDDED,
    HOME,
    build_configured_engine,
    open_database_access,
    open_services,
)
from gateway.settings import Settings, SettingsError
from gateway.time_zones import named_by_region
from handlers.ai.files import extract_file
from handlers.tenants import create_tenant


@dataclass(frozen=True, slots=True)
class Migrated:
    """What was applied (or would be), what became of logins, and what each master key seals."""

    applied: list[str]
    notes: list[str]
    uses: list[KeyUse]


async def migrate_database(settings: Settings, *, dry_run: bool, home: Path = HOME) -> Migrated:
    """Applies what is missing and names it; raises DatabaseError or SettingsError."""
    if dry_run and _has_no_database(settings, home):
        return Migrated(_names(read_migrations()), [], [])
    notes: list[str] = []
    async with open_database_access(settings, home) as access:
        applied = await migrate(access.admin_dsn, access.master_keys, dry_run=dry_run, on_note=notes.append)
        counts = {counted.key_id: counted.number for counted in await count_sealed(access.admin_dsn)}
    return Migrated(_names(applied), notes, key_uses(access.master_keys, counts))


async def rotate_keys(
    settings: Settings, on_progress: Callable[[int, int], None], home: Path = HOME
) -> Rotation:
    """Seals all with the first master key; raises DatabaseError or SettingsError."""
    if _has_no_database(settings, home):
        raise SettingsError(f"There is no database in {home}, and WAYSTATION_DATABASE_URL names none")
    async with open_database_access(settings, home) as access:
        dsn = await find_runtime_dsn(access.admin_dsn, access.master_keys)
        database = await open_database(dsn, app=1, worker=1)
        try:
            return await rotate(database, access.master_keys, on_progress)
        finally:
            await database.close()


def _has_no_database(settings: Settings, home: Path) -> bool:
    """Whether this folder would have to make one: a look must not."""
    return settings.database_url is None and not has_cluster(home / EMBEDDED)


def _names(migrations: Sequence[Migration]) -> list[str]:
    return [f"{migration.version:04d}_{migration.name}" for migration in migrations]


async def create_distributor(
    settings: Settings, *, name: str, time_zone: str, locale: str, currency: str, home: Path = HOME
) -> dict[str, str]:
    """A tenant and its first API key; raises InvalidInput or DatabaseError."""
    try:
        named_by_region(time_zone)
    except ValueError as error:
        raise InvalidInput(f"The time zone {error}.", field="time_zone") from None
    async with open_services(settings, home) as services:
        created = await create_tenant(
            services.runtime, name=name, time_zone=time_zone, locale=locale, currency=currency
        )
    return {"distributor_id": str(created.distributor_id), "api_key": created.api_key}


def extract_to_file(settings: Settings, catalogue: Path, messages: Path, out: Path) -> int:
    """Reads bursts, writes predictions, shows progress on a terminal; the number of bursts."""
    engine = build_configured_engine(settings)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("extracting", total=None)

        def on_progress(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        return extract_file(catalogue, messages, out, engine, on_progress)
