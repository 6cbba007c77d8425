"""`waystation replay`: opens the database, runs the handler, and puts what it found into words."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

from channels.errors import NotFound
from db.embedded_cluster import has_cluster
from gateway.services import EMBEDDED, HOME, open_services
from gateway.settings import Settings
from handlers.replaying import Replay, ReplayedItem, ReplayState, ReplayTools, replay_event

_NO_DATABASE = "This folder has no database of a gateway; go to its folder, or set WAYSTATION_DATABASE_URL."
_WORDS = {
    ReplayState.SAME: "is stored as it would be now",
    ReplayState.DIFFERENT: "is stored otherwise than it would be now, and stays so",
    ReplayState.MISSING: "is not stored; without --dry-run it would be",
    ReplayState.ACCEPTED: "was not stored, and is now",
}


async def replay(
    settings: Settings, event_id: UUID, distributor_id: UUID | None, *, dry_run: bool, home: Path = HOME
) -> Replay:
    """Raises GatewayError, SettingsError or DatabaseError."""
    if settings.database_url is None and not has_cluster(home / EMBEDDED):
        raise NotFound(_NO_DATABASE)
    async with open_services(settings, home) as services:
        tools = ReplayTools(services.adapters, settings.quiet_seconds)
        return await replay_event(services.runtime, tools, event_id, distributor_id, dry_run=dry_run)


def told(replay: Replay) -> Iterator[str]:
    """Line by line, for people."""
    event, account = replay.event, replay.account
    yield f"post          {event.id} of {event.received_at:%Y-%m-%d %H:%M:%S} UTC"
    yield f"account       {account.id} ({account.provider}, {account.address}) of distributor {account.distributor_id}"
    for item in replay.items:
        yield from _item_told(item)
    if replay.ignored:
        yield f"ignored       {replay.ignored} of no use"
    if not replay.items:
        yield "Today's adapter finds nothing to store in it."


def as_json(replay: Replay, *, dry_run: bool) -> dict[str, Any]:
    """For machines; ids and states are texts."""
    return {
        "inbound_event_id": str(replay.event.id),
        "distributor_id": str(replay.account.distributor_id),
        "channel_account_id": str(replay.account.id),
        "provider": replay.account.provider,
        "received_at": replay.event.received_at.isoformat(),
        "dry_run": dry_run,
        "items": [
            {**asdict(item), "message_id": str(item.message_id) if item.message_id else None}
            for item in replay.items
        ],
        "ignored": replay.ignored,
    }


def _item_told(item: ReplayedItem) -> Iterator[str]:
    yield f"{item.state:<13} {item.kind} {item.provider_key} {_WORDS[item.state]}"
    for change in item.changes:
        yield f"  {change.field}: {change.stored!r} -> {change.now!r}"
