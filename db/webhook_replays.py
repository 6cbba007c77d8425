"""Replays of past events to an endpoint: what they cover, how far they got, and their deliveries.

Whoever puts deliveries of a replay on their way, or cancels it with its endpoint, has locked the endpoint first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("webhook_replays")


@dataclass(frozen=True, slots=True)
class ReplayRecord:
    """A replay; ``request`` is what was asked for, as JSON."""

    id: UUID
    endpoint_id: UUID
    selection: str
    request: Mapping[str, Any]
    status: str
    end_reason: str | None
    matched: int
    counted_all: bool
    replayed: int
    skipped: int
    rate_per_second: Decimal
    last_event_id: UUID | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class DueReplay:
    """A replay with a batch to do."""

    distributor_id: UUID
    endpoint_id: UUID
    id: UUID


@dataclass(frozen=True, slots=True)
class Scope:
    """Which events are looked at: ids between ``first_id`` and ``last_id``, both exclusive; ``until`` is exclusive, too.

    ``named``, where it is given, is all that is looked at. Deliveries that changed since ``asked_at`` are left alone.
    """

    endpoint_id: UUID
    selection: str
    replay_id: UUID
    asked_at: datetime
    first_id: UUID
    last_id: UUID | None
    since: datetime | None
    until: datetime
    event_types: Sequence[str] | None
    named: Sequence[UUID] | None

    @property
    def arguments(self) -> tuple[object, ...]:
        return (
            self.endpoint_id,
            self.selection,
            self.replay_id,
            self.asked_at,
            self.first_id,
            self.last_id,
            self.since,
            self.until,
            self.event_types,
            self.named,
        )


@dataclass(frozen=True, slots=True)
class Count:
    """How many events a replay would send, how many it cannot; at least so many unless ``counted_all``."""

    matched: int
    skipped: int
    counted_all: bool


@dataclass(frozen=True, slots=True)
class Candidates:
    """A page of events to be sent, the oldest first; ``ended`` where none is left behind ``last_event_id``."""

    event_ids: Sequence[UUID]
    skipped: int
    last_event_id: UUID | None
    ended: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """What a batch came to, and when the next one is due (None: never)."""

    status: str
    replayed: int
    skipped: int
    last_event_id: UUID | None
    due_at: datetime | None


async def count_candidates(connection: Connection, scope: Scope, most: int) -> Count:
    """Looks at ``most`` events at most."""
    return Count(**await _row(connection, _SQL["count_candidates"], *scope.arguments, most))


async def insert_replay(
    connection: Connection,
    scope: Scope,
    request: Mapping[str, Any],
    count: Count,
    now: datetime,
) -> None:
    """Stores a replay whose first batch is due now."""
    await connection.execute(
        _SQL["insert_replay"],
        scope.replay_id,
        scope.endpoint_id,
        scope.selection,
        request,
        count.matched,
        count.counted_all,
        now,
    )


async def read_replay(connection: Connection, replay_id: UUID) -> ReplayRecord | None:
    row = await connection.fetchrow(_SQL["read_replay"], replay_id)
    return ReplayRecord(**row) if row else None


async def list_replays(
    connection: Connection, endpoint_id: UUID, before: UUID, limit: int
) -> list[ReplayRecord]:
    """An endpoint's, newest first."""
    rows = await connection.fetch(_SQL["list_replays"], endpoint_id, before, limit)
    return [ReplayRecord(**row) for row in rows]


async def list_due(connection: Connection, now: datetime, limit: int) -> list[DueReplay]:
    """Of all tenants, the longest due first; in the worker's role."""
    return [DueReplay(**row) for row in await connection.fetch(_SQL["list_due"], now, limit)]


async def lock_due(connection: Connection, replay_id: UUID, now: datetime) -> ReplayRecord | None:
    """The replay, locked, if it still has a batch that is due."""
    row = await connection.fetchrow(_SQL["lock_due"], replay_id, now)
    return ReplayRecord(**row) if row else None


async def is_past_horizon(connection: Connection, replay_id: UUID, oldest: datetime) -> bool:
    """Whether every event that was being stored when it was asked for can be seen; taken for granted of a replay from
    before ``oldest``. Not for the transaction in which it is asked for.
    """
    await connection.execute(_SQL["mark_horizon"], replay_id)
    past: bool = await connection.fetchval(_SQL["is_past_horizon"], replay_id, oldest)
    return past


async def read_room(connection: Connection, endpoint_id: UUID, most: int) -> tuple[int, Decimal | None]:
    """How many deliveries wait for their first try (counted up to about ``most``), and the endpoint's learned rate."""
    row = await _row(connection, _SQL["read_room"], endpoint_id, most)
    return row["waiting"], row["learned_rate"]


async def read_page(connection: Connection, scope: Scope, most: int, limit: int) -> Candidates:
    """Looks at ``most`` events at most, and takes up to ``limit``."""
    return Candidates(**await _row(connection, _SQL["read_page"], *scope.arguments, most, limit))


async def send_again(
    connection: Connection, endpoint_id: UUID, event_ids: Sequence[UUID], replay_id: UUID, now: datetime
) -> tuple[int, Sequence[UUID]]:
    """Puts events on their way; how many, and the conversations of which the next is to be let go."""
    row = await _row(connection, _SQL["send_again"], endpoint_id, list(event_ids), replay_id, now)
    return row["sent"], row["keys"]


async def release_heads(
    connection: Connection, endpoint_id: UUID, keys: Sequence[UUID], now: datetime
) -> None:
    """Lets the next delivery of each conversation go, where none is on its way."""
    await connection.execute(_SQL["release_heads"], endpoint_id, list(keys), now)


async def record_progress(connection: Connection, replay_id: UUID, progress: Progress, now: datetime) -> None:
    await connection.execute(
        _SQL["record_progress"],
        replay_id,
        progress.status,
        progress.replayed,
        progress.skipped,
        progress.last_event_id,
        progress.due_at,
        now,
    )


async def cancel_replay(connection: Connection, replay_id: UUID, reason: str, now: datetime) -> bool:
    """Whether there was anything left to cancel."""
    return await connection.fetchval(_SQL["cancel_replay"], replay_id, reason, now) is not None


async def cancel_replays_to(connection: Connection, endpoint_id: UUID, reason: str, now: datetime) -> None:
    """Cancels what is left of all replays to an endpoint."""
    await connection.execute(_SQL["cancel_replays_to"], endpoint_id, reason, now)


async def find_first_cancelled(connection: Connection, endpoint_id: UUID, since: datetime) -> datetime | None:
    """When the oldest event happened that was cancelled untried since then."""
    moment: datetime | None = await connection.fetchval(_SQL["find_first_cancelled"], endpoint_id, since)
    return moment


async def _row(connection: Connection, statement: str, *arguments: object) -> Mapping[str, Any]:
    row = await connection.fetchrow(statement, *arguments)
    assert row is not None
    return dict(row)
