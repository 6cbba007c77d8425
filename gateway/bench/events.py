"""Events of a size, stored as the product stores them."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

from db.events import record_events
from handlers.runtime import Runtime
from handlers.webhooks.event_types import EventType
from handlers.webhooks.events import iso_utc, public_event_id

BODY_BYTES = 1_000
_AT_ONCE = 500  # events in one statement
_FILL = "Twelve crates of sparkling water and a pallet of flour, please. "


def make_event(runtime: Runtime, distributor_id: UUID, now: datetime) -> dict[str, Any]:
    """A row for ``record_events`` whose body is about BODY_BYTES as JSON."""
    event_id = runtime.new_id()
    data = {"message_id": str(event_id), "channel": "SMS", "text": _FILL * (BODY_BYTES // len(_FILL) - 4)}
    body = {
        "type": EventType.MESSAGE_RECEIVED,
        "timestamp": iso_utc(now),
        "distributor_id": str(distributor_id),
        "data": data,
    }
    return {
        "id": str(event_id),
        "distributor_id": str(distributor_id),
        "type": EventType.MESSAGE_RECEIVED,
        "conversation_id": None,
        "occurred_at": iso_utc(now),
        "due_at": iso_utc(now),
        "body": body,
    }


async def store_events(runtime: Runtime, distributor_id: UUID, number: int) -> int:
    """Stores so many events of a tenant; the number of deliveries."""
    now, made = runtime.clock(), 0
    told = (make_event(runtime, distributor_id, now) for _ in range(number))
    for rows in _in_batches(told):
        async with runtime.database.tenant(distributor_id) as connection:
            made += await record_events(connection, rows)
    return made


def public_id(row: dict[str, Any]) -> str:
    """What the receiver sees of an event."""
    return public_event_id(UUID(row["id"]))


def _in_batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    waiting = iter(rows)
    while batch := list(islice(waiting, _AT_ONCE)):
        yield batch
