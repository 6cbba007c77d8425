"""What one-off commands do: migrate, create a tenant, extract orders from files."""

from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from channels.errors import InvalidInput
from db.migrate import migrate
from gateway.services import HOME, build_configured_engine, open_database_access, open_services
from gateway.settings import Settings
from gateway.time_zones import named_by_region
from handlers.ai.files import extract_file
from handlers.tenants import create_tenant


async def migrate_database(settings: Settings, *, dry_run: bool, home: Path = HOME) -> list[str]:
    """Applies what is missing and names it; raises DatabaseError."""
    async with open_database_access(settings, home) as access:
        applied = await migrate(access.admin_dsn, access.master_keys, dry_run=dry_run)
    return [f"{migration.version:04d}_{migration.name}" for migration in applied]


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
