"""An endpoint is enabled again, and its tenant is told what it missed meanwhile."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from channels.errors import NotFound
from db import endpoints, webhook_replays
from db.rows import EndpointRecord
from db.tenant import Connection
from db.webhook_replays import Count
from handlers.endpoints import enable_endpoint
from handlers.runtime import Runtime
from handlers.webhooks.replay import ReplayRequest, Selection, begin_replay, count_replay

_NOTHING = Count(matched=0, skipped=0, counted_all=True)


@dataclass(frozen=True, slots=True)
class Enabled:
    """An enabled endpoint and what it missed ``since`` (None: it was not disabled); ``replay_id`` where that is sent."""

    record: EndpointRecord
    since: datetime | None = None
    missed: Count = _NOTHING
    replay_id: UUID | None = None


async def enable_and_count(
    runtime: Runtime, connection: Connection, distributor_id: UUID, endpoint_id: UUID, *, replays: bool
) -> Enabled:
    """Enables an endpoint and counts the events that match it and were never tried since it was disabled; with
    ``replays`` they are sent.

    ``runtime`` must join ``connection``, so that all of it is one transaction. Raises NotFound.
    """
    before = await endpoints.lock_endpoint(connection, endpoint_id)
    if before is None:
        raise NotFound
    record = await enable_endpoint(runtime, distributor_id, endpoint_id)
    if before.enabled or before.disabled_at is None:
        return Enabled(record)
    # What waited then was cancelled untried: it happened before, and was missed all the same.
    oldest = await webhook_replays.find_first_cancelled(connection, endpoint_id, before.disabled_at)
    since = min(before.disabled_at, oldest or before.disabled_at)
    request = ReplayRequest(only=Selection.MISSING, since=since)
    if not replays:
        return Enabled(record, since, await count_replay(runtime, connection, record, request))
    started = await begin_replay(runtime, connection, record, request)
    return Enabled(record, since, started.count, started.replay_id)
