"""Asking providers for what they never brought: by the clock, and `waystation reconcile`."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import structlog

from channels.errors import NotFound
from db.accounts import find_account
from db.embedded_cluster import has_cluster
from gateway.schedules import Job
from gateway.services import EMBEDDED, HOME, Services, open_services
from gateway.settings import Settings
from handlers.reconcile import Progress, Reconciled, reconcile_account, reconcile_due
from handlers.runtime import Runtime

_AT: Final = "*/15 * * * *"
_NO_DATABASE = "This folder has no database of a gateway; go to its folder, or set WAYSTATION_DATABASE_URL."
_SPAN = re.compile(r"([1-9][0-9]{0,3})([mhd])", re.ASCII)
_UNITS: Mapping[str, timedelta] = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_log = structlog.get_logger("waystation.reconcile")


def read_span(text: str) -> timedelta:
    """A span like ``24h``, ``90m`` or ``3d``; raises ValueError."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ValueError("a number and m, h or d, like 24h")
    return int(found[1]) * _UNITS[found[2]]


def reconcile_schedule(services: Services) -> Mapping[str, tuple[str, Job]]:
    """The schedule that asks for every account."""
    tools = services.deferred

    async def reconcile(runtime: Runtime) -> int:
        new = await reconcile_due(runtime, tools, _told)
        services.notifier.poke()
        return new

    return {"reconcile": (_AT, reconcile)}


def _told(account_id: UUID, ended: Reconciled | Exception) -> None:
    if isinstance(ended, Reconciled):
        _log.info("reconciled", account=str(account_id), seen=ended.seen, new=ended.new)
    else:
        _log.warning("not reconciled", account=str(account_id), error=type(ended).__name__)


async def reconcile(
    settings: Settings,
    account_id: UUID,
    span: timedelta,
    distributor_id: UUID | None,
    on_progress: Progress,
    home: Path = HOME,
) -> Reconciled:
    """What the command does; raises GatewayError, SettingsError or DatabaseError."""
    if settings.database_url is None and not has_cluster(home / EMBEDDED):
        raise NotFound(_NO_DATABASE)
    async with open_services(settings, home) as services:
        async with services.runtime.database.worker_statements() as connection:
            account = await find_account(connection, account_id)
        if account is None or distributor_id not in {None, account.distributor_id}:
            raise NotFound("There is no such channel account.")
        return await reconcile_account(
            services.runtime, services.deferred, account.distributor_id, account_id, span, on_progress
        )


def as_json(done: Reconciled) -> dict[str, Any]:
    """For machines."""
    return asdict(done)


def told(done: Reconciled) -> Iterator[str]:
    """For people."""
    yield f"seen       {done.seen}"
    yield f"new        {done.new}"
    yield f"duplicate  {done.duplicate}"
