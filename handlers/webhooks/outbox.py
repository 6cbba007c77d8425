"""Events as rows: validated against their type's model and stored in the transaction in which they happen."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from db.events import record_events
from db.tenant import Connection
from handlers.runtime import Runtime
from handlers.webhooks.delivery import jittered_wait
from handlers.webhooks.event_types import EventType
from handlers.webhooks.events import EVENT_MODELS, Event, event_row


def new_event_row(
    runtime: Runtime,
    distributor_id: UUID,
    event_type: EventType,
    data: Mapping[str, Any],
    *,
    conversation_id: UUID | None = None,
    occurred_at: datetime | None = None,
) -> dict[str, Any]:
    """An event with a new id, ready to be stored; pydantic's ValidationError for data that is not the
    type's.
    """
    event = Event(
        id=runtime.new_id(),
        distributor_id=distributor_id,
        type=event_type,
        data=EVENT_MODELS[event_type].model_validate(data),
        occurred_at=occurred_at or runtime.clock(),
        conversation_id=conversation_id,
    )
    return event_row(event, jittered_wait(runtime.webhook_schedule, 0, runtime.random))


async def tell(
    connection: Connection,
    runtime: Runtime,
    distributor_id: UUID,
    event_type: EventType,
    data: Mapping[str, Any],
    *,
    conversation_id: UUID | None = None,
) -> None:
    """Stores one event and its deliveries in the caller's transaction."""
    row = new_event_row(runtime, distributor_id, event_type, data, conversation_id=conversation_id)
    await record_events(connection, [row])
