"""Replays: past events sent again to one endpoint, those never tried, those tried without success, or all.

A replay is a row. Its batches are done by whoever comes (the request that asks for it does the first one, workers do the
others); deliveries and progress commit together, so it goes on after a crash where it stood. What it covers is decided
batch by batch: what had ended, or was never made, when it was asked for. So nothing is sent twice by one replay, and what
waited then or was sent again since is left alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from channels.errors import InvalidInput, NotFound, WrongState
from db import endpoints, webhook_replays
from db.rows import EndpointRecord
from db.tenant import Connection
from db.webhook_replays import Candidates, Count, DueReplay, Progress, ReplayRecord, Scope
from handlers.runtime import Runtime
from handlers.webhooks.events import iso_utc, parse_event_id, public_event_id
from handlers.webhooks.subscriptions import validate_event_types

MAX_EVENT_IDS: Final = 1_000
# Looked at to answer how many there are: a second or two of a request's time.
MOST_COUNTED: Final = 100_000
_MOST_LOOKED_AT: Final = 10_000  # by one batch: its locks are held for a moment only
# The most that a batch puts on its way, and that may wait for an endpoint's first try: a new event waits behind no more.
_BATCH: Final = 200
_KNOWN_PACE_SECONDS: Final = 2  # of what an endpoint is known to take may wait before it
_PAUSE: Final = timedelta(seconds=1)
_REPLAYS_AT_ONCE: Final = 50
_ROUNDS: Final = 10
# Events are stored within moments of what they tell of. This long before a replay's end it looks again, until nothing is
# being stored any more that it could cover; and so long after its beginning that is taken for granted.
_BEING_STORED: Final = timedelta(minutes=5)
# An event's id is made when it is stored: not before it happens but for clocks that differ, and less than a day later.
_CLOCKS_DIFFER: Final = timedelta(minutes=1)
_STORED_WITHIN: Final = timedelta(days=1)
_FIRST_ID: Final = UUID(int=0)
# What a UUIDv7 can tell of, and a day less on both sides.
_EARLIEST, _LATEST = datetime(1970, 1, 3, tzinfo=UTC), datetime(9999, 12, 29, tzinfo=UTC)
_DISABLED: Final = "The endpoint is disabled; enable it first."


class Selection(StrEnum):
    """Which events a replay sends (contract §5)."""

    MISSING = "missing"  # never tried
    FAILED = "failed"  # tried without success
    ALL = "all"


class ReplayStatus(StrEnum):
    """A replay's life."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    DONE = "DONE"
    CANCELLED = "CANCELLED"


class EndReason(StrEnum):
    """Why a replay was cancelled."""

    ASKED = "asked"
    ENDPOINT_DISABLED = "endpoint_disabled"
    ENDPOINT_DELETED = "endpoint_deleted"


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """What is asked for: ``only`` those events that happened in [since, until), are of these types and have these ids,
    where any of this is given.
    """

    only: Selection
    since: datetime | None = None
    until: datetime | None = None
    event_types: Sequence[str] | None = None
    event_ids: Sequence[UUID] | None = None


@dataclass(frozen=True, slots=True)
class StartedReplay:
    """A new replay, or (``replay_id`` None) what one would do."""

    replay_id: UUID | None
    count: Count


def validate_request(request: ReplayRequest) -> None:
    """Raises InvalidInput."""
    if request.since is None and request.event_ids is None:
        raise InvalidInput("Say since when, or which events: since or event_ids.", field="since")
    if request.since is not None and request.until is not None and request.until <= request.since:
        raise InvalidInput("It must be later than since.", field="until")
    if request.event_types is not None:
        validate_event_types(request.event_types)
    if request.event_ids is not None and not 0 < len(request.event_ids) <= MAX_EVENT_IDS:
        raise InvalidInput(f"Name 1 to {MAX_EVENT_IDS} events.", field="event_ids")


async def start_replay(
    runtime: Runtime, distributor_id: UUID, endpoint_id: UUID, request: ReplayRequest, *, dry_run: bool
) -> StartedReplay:
    """Counts what a replay covers and, unless ``dry_run``, stores it with its first batch.

    Raises InvalidInput, NotFound, and WrongState for a disabled endpoint, of which one may still ask how much it missed.
    """
    validate_request(request)
    async with runtime.database.tenant(distributor_id) as connection:
        endpoint = await endpoints.lock_endpoint(connection, endpoint_id)
        if endpoint is None:
            raise NotFound
        if dry_run:
            return StartedReplay(None, await count_replay(runtime, connection, endpoint, request))
        if not endpoint.enabled:
            raise WrongState(_DISABLED)
        return await begin_replay(runtime, connection, endpoint, request)


async def count_replay(
    runtime: Runtime, connection: Connection, endpoint: EndpointRecord, request: ReplayRequest
) -> Count:
    """How many events a replay would send to the endpoint as it is now."""
    scope = _scope(endpoint.id, request, runtime.new_id(), runtime.clock(), None)
    return await webhook_replays.count_candidates(connection, scope, MOST_COUNTED)


async def begin_replay(
    runtime: Runtime, connection: Connection, endpoint: EndpointRecord, request: ReplayRequest
) -> StartedReplay:
    """Stores a replay to a locked and enabled endpoint and does its first batch, which leaves at once."""
    now = runtime.clock()
    scope = _scope(endpoint.id, request, runtime.new_id(), now, None)
    count = await webhook_replays.count_candidates(connection, scope, MOST_COUNTED)
    await webhook_replays.insert_replay(connection, scope, _as_json(request), count, now)
    await _do_batch(runtime, connection, endpoint, scope.replay_id)
    return StartedReplay(scope.replay_id, count)


async def cancel_replay(runtime: Runtime, distributor_id: UUID, replay_id: UUID) -> ReplayRecord:
    """The replay, which sends nothing more; what it has put on its way is not called back.

    Raises NotFound, and WrongState where it has ended.
    """
    async with runtime.database.tenant(distributor_id) as connection:
        cancelled = await webhook_replays.cancel_replay(
            connection, replay_id, EndReason.ASKED, runtime.clock()
        )
        replay = await webhook_replays.read_replay(connection, replay_id)
    if replay is None:
        raise NotFound
    if not cancelled:
        raise WrongState("The replay has ended.")
    return replay


async def run_replays(runtime: Runtime) -> int:
    """Does the batches that are due, of all tenants, and gives back how many deliveries they put on their way.

    A replay whose batch fails holds up no other; the first failure is raised at the end.
    """
    sent, failures = 0, dict[UUID, Exception]()
    for _ in range(_ROUNDS):
        async with runtime.database.worker_statements() as connection:
            listed = await webhook_replays.list_due(
                connection, runtime.clock(), _REPLAYS_AT_ONCE + len(failures)
            )
        due = [replay for replay in listed if replay.id not in failures]
        if not due:
            break
        for replay in due:
            try:
                sent += await run_batch(runtime, replay)
            except Exception as error:  # noqa: BLE001 - see above
                failures[replay.id] = error
    for failure in failures.values():
        raise failure
    return sent


async def run_batch(runtime: Runtime, due: DueReplay) -> int:
    """Does one batch of a replay, unless somebody else did it meanwhile; how many deliveries it put on their way."""
    async with runtime.database.tenant(due.distributor_id) as connection:
        endpoint = await endpoints.lock_endpoint(connection, due.endpoint_id)
        if endpoint is None or not endpoint.enabled:
            reason = EndReason.ENDPOINT_DELETED if endpoint is None else EndReason.ENDPOINT_DISABLED
            await webhook_replays.cancel_replay(connection, due.id, reason, runtime.clock())
            return 0
        return await _do_batch(runtime, connection, endpoint, due.id)


async def _do_batch(
    runtime: Runtime, connection: Connection, endpoint: EndpointRecord, replay_id: UUID
) -> int:
    now = runtime.clock()
    replay = await webhook_replays.lock_due(connection, replay_id, now)
    if replay is None:
        return 0
    room, pace = await _room(connection, endpoint, replay.rate_per_second)
    if room == 0:
        progress = Progress(ReplayStatus.RUNNING, 0, 0, replay.last_event_id, now + _PAUSE)
        await webhook_replays.record_progress(connection, replay_id, progress, now)
        return 0
    # The first batch is a part of the transaction that asks for it: others may be storing events beside it.
    settled = replay.status != ReplayStatus.PENDING and await webhook_replays.is_past_horizon(
        connection, replay_id, now - _BEING_STORED
    )
    scope = _scope_of(replay)
    page = await webhook_replays.read_page(connection, scope, _MOST_LOOKED_AT, room)
    sent = await _send(connection, endpoint, page.event_ids, replay_id, now)
    progress = _progress(replay, page, sent, settled=settled, due_at=_next_due(now, sent, pace, page))
    await webhook_replays.record_progress(connection, replay_id, progress, now)
    return sent


async def _room(connection: Connection, endpoint: EndpointRecord, rate: Decimal) -> tuple[int, Decimal]:
    """How many may be put on their way now, and how many in a second: never so many that new events wait long."""
    waiting, learned = await webhook_replays.read_room(connection, endpoint.id, _BATCH)
    known = [limit for limit in (endpoint.rate_limit_per_second, learned) if limit is not None]
    most = min(_BATCH, math.ceil(_KNOWN_PACE_SECONDS * min(known))) if known else _BATCH
    # What is pulled waits for the integrator, in the order of events: nothing stands before anything.
    ahead = 0 if endpoint.transport == "pull" else waiting
    return max(most - ahead, 0), min([rate, *known])


async def _send(
    connection: Connection,
    endpoint: EndpointRecord,
    event_ids: Sequence[UUID],
    replay_id: UUID,
    now: datetime,
) -> int:
    sent, keys = await webhook_replays.send_again(connection, endpoint.id, event_ids, replay_id, now)
    if keys and endpoint.transport == "push":
        await webhook_replays.release_heads(connection, endpoint.id, keys, now)
    return sent


def _next_due(now: datetime, sent: int, pace: Decimal, page: Candidates) -> datetime:
    if page.ended:
        return now + _PAUSE
    return now + timedelta(seconds=float(sent / pace))


def _progress(
    replay: ReplayRecord, page: Candidates, sent: int, *, settled: bool, due_at: datetime
) -> Progress:
    """How far it is. While events are being stored that it may cover, it does not pass the time of which they are."""
    reached = page.last_event_id or replay.last_event_id
    if page.ended and settled:
        return Progress(ReplayStatus.DONE, sent, page.skipped, reached, None)
    if reached is not None and not settled:
        end = _read_time(replay.request["until"]) or replay.created_at
        reached = min(reached, first_id_of(end - _BEING_STORED))
    return Progress(ReplayStatus.RUNNING, sent, page.skipped, reached, due_at)


def _scope_of(replay: ReplayRecord) -> Scope:
    stored = replay.request
    ids = stored["event_ids"]
    request = ReplayRequest(
        only=Selection(replay.selection),
        since=_read_time(stored["since"]),
        until=_read_time(stored["until"]),
        event_types=stored["event_types"],
        event_ids=None if ids is None else [parse_event_id(text) for text in ids],
    )
    return _scope(replay.endpoint_id, request, replay.id, replay.created_at, replay.last_event_id)


def _scope(
    endpoint_id: UUID, request: ReplayRequest, replay_id: UUID, asked_at: datetime, reached: UUID | None
) -> Scope:
    since = None if request.since is None else _bounded(request.since)
    until = None if request.until is None else _bounded(request.until)
    first = _FIRST_ID if since is None else first_id_of(since - _CLOCKS_DIFFER)
    return Scope(
        endpoint_id=endpoint_id,
        selection=request.only,
        replay_id=replay_id,
        asked_at=asked_at,
        first_id=max(first, reached or _FIRST_ID),
        last_id=None if until is None else first_id_of(until + _STORED_WITHIN),
        since=since,
        until=until or asked_at + timedelta(microseconds=1),  # what happens later is none of its business
        event_types=request.event_types,
        named=request.event_ids,
    )


def _as_json(request: ReplayRequest) -> Mapping[str, Any]:
    ids = request.event_ids
    return {
        "since": request.since and iso_utc(request.since),
        "until": request.until and iso_utc(request.until),
        "event_types": request.event_types,
        "event_ids": None if ids is None else [public_event_id(event_id) for event_id in ids],
    }


def _read_time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _bounded(moment: datetime) -> datetime:
    return min(max(moment, _EARLIEST), _LATEST)


def first_id_of(moment: datetime) -> UUID:
    """The lowest UUIDv7 of that millisecond (RFC 9562, section 5.7)."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)
