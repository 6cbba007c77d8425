"""The log of webhook deliveries and their attempts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from db.named_sql import load_statements
from db.rows import AttemptRecord, DeliveryRecord, EndpointAttemptRecord
from db.tenant import Connection

_SQL = load_statements("delivery_log")
_SUCCESS = "SUCCESS"
# What a UUIDv7 can tell, and a day less.
_EARLIEST, _LATEST = datetime(1970, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)


async def list_deliveries(
    connection: Connection,
    before: tuple[UUID, UUID],
    *,
    endpoint_id: UUID | None,
    status: str | None,
    event_type: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
) -> Sequence[DeliveryRecord]:
    """By event, the newest first; ``before`` is (event, delivery), ``until`` is exclusive."""
    first, last = max(since or _EARLIEST, _EARLIEST), min(until or _LATEST, _LATEST)
    page = (*before, first, last, event_type, limit)
    if status is not None and status != _SUCCESS:
        rows = await connection.fetch(_SQL["list_unhappy_deliveries"], *page, status, endpoint_id)
    elif endpoint_id is not None:
        rows = await connection.fetch(_SQL["list_deliveries_of_endpoint"], *page, endpoint_id, status)
    else:
        rows = await connection.fetch(_SQL["list_deliveries"], *page, status)
    return [DeliveryRecord(**row) for row in rows]


async def read_delivery(connection: Connection, delivery_id: UUID) -> DeliveryRecord | None:
    row = await connection.fetchrow(_SQL["read_delivery"], delivery_id)
    return DeliveryRecord(**row) if row else None


async def list_attempts(
    connection: Connection,
    deliveries: Sequence[DeliveryRecord],
    *,
    most: int,
    excerpt: int,
    with_evidence: bool,
) -> Sequence[AttemptRecord]:
    """The newest ``most`` attempts of each of these deliveries, by number; ``excerpt`` characters of each answer."""
    endpoints = [delivery.endpoint_id for delivery in deliveries]
    events = [delivery.event_id for delivery in deliveries]
    rows = await connection.fetch(_SQL["list_attempts"], endpoints, events, excerpt, most, with_evidence)
    return [AttemptRecord(**row) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFilter:
    """What is asked of attempts. ``since`` (inclusive) and ``until`` are times of events; ``statuses`` are HTTP's."""

    outcome: str | None = None
    error_class: str | None = None
    statuses: range | None = None
    event_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class AttemptPosition(NamedTuple):
    """A place in an endpoint's list of attempts."""

    event_id: UUID
    number: int


async def list_attempts_of_endpoint(
    connection: Connection,
    endpoint_id: UUID,
    after: AttemptPosition,
    wanted: AttemptFilter,
    *,
    excerpt: int,
    looks: int,
    limit: int,
) -> tuple[Sequence[EndpointAttemptRecord], AttemptPosition | None]:
    """An endpoint's attempts after a place in the list, by event, the newest first; at most ``looks`` are looked at.

    The second is where to go on when so many were, and there may be more.
    """
    first, last = max(wanted.since or _EARLIEST, _EARLIEST), min(wanted.until or _LATEST, _LATEST)
    filters = (wanted.outcome, wanted.error_class, wanted.statuses, wanted.event_type)
    low, high = (wanted.statuses.start, wanted.statuses.stop) if wanted.statuses else (None, None)
    rows = await connection.fetch(
        _SQL["list_attempts_of_endpoint"],
        endpoint_id,
        *after,
        first,
        looks if any(filters) else limit,
        limit,
        wanted.outcome,
        wanted.error_class,
        low,
        high,
        wanted.event_type,
        excerpt,
        last,
    )
    found = [EndpointAttemptRecord(endpoint_id=endpoint_id, **row) for row in rows if row["delivery_id"]]
    places = [AttemptPosition(row["event_id"], row["number"]) for row in rows if row["delivery_id"] is None]
    return found, places[0] if places else None
