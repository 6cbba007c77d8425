"""Deliveries that an integrator fetches and acknowledges, instead of being posted to."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("pulls")


@dataclass(frozen=True, slots=True)
class LeasedDelivery:
    """A delivery that was given out; ``sequence`` is the event's place in its conversation, if it has one."""

    id: UUID
    event_id: UUID
    attempt_count: int
    event_type: str
    sequence: int | None
    body: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LeasedBatch:
    """What names a batch when it is acknowledged: its token, and the events between which it lies."""

    token: UUID
    first_event_id: UUID
    last_event_id: UUID


async def is_any_waiting(connection: Connection, endpoint_id: UUID, now: datetime) -> bool:
    """Whether some delivery is held by nobody; what there is to give is decided under the lock."""
    waiting: bool = await connection.fetchval(_SQL["is_any_waiting"], endpoint_id, now)
    return waiting


async def lock_state(connection: Connection, endpoint_id: UUID) -> None:
    """Keeps everybody else from changing deliveries of the endpoint until the transaction ends."""
    await connection.execute(_SQL["lock_state"], endpoint_id)


async def lease_waiting(
    connection: Connection,
    endpoint_id: UUID,
    *,
    now: datetime,
    lease: timedelta,
    token: UUID,
    attempt_ids: Sequence[UUID],
) -> list[LeasedDelivery]:
    """The oldest deliveries that wait to be pulled, one for each of ``attempt_ids`` at most, under ``token``.

    The caller has locked the endpoint's state.
    """
    rows = await connection.fetch(
        _SQL["lease_waiting"], endpoint_id, now, now + lease, token, len(attempt_ids), list(attempt_ids)
    )
    return [LeasedDelivery(**row) for row in rows]


async def find_batch(connection: Connection, endpoint_id: UUID, batch: LeasedBatch) -> list[UUID]:
    """The events of what is held under the batch's token, whose endpoint's state the caller has locked."""
    arguments = (endpoint_id, batch.first_event_id, batch.last_event_id, batch.token)
    return [row["event_id"] for row in await connection.fetch(_SQL["find_batch"], *arguments)]


async def find_deliveries(
    connection: Connection, endpoint_id: UUID, delivery_ids: Sequence[UUID]
) -> list[UUID]:
    """The events of those deliveries that were given out and wait to be acknowledged, likewise."""
    rows = await connection.fetch(_SQL["find_deliveries"], endpoint_id, list(delivery_ids))
    return [row["event_id"] for row in rows]


async def acknowledge(
    connection: Connection, endpoint_id: UUID, now: datetime, event_ids: Sequence[UUID]
) -> None:
    """Ends the deliveries of these events, found under the same lock, and their latest attempts."""
    await connection.execute(_SQL["acknowledge"], endpoint_id, now, list(event_ids))
