"""Another try of one delivery, as its tenant asks for it."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("redelivery")


@dataclass(frozen=True, slots=True)
class LockedDelivery:
    """What decides on another try; locked with its endpoint and the endpoint's state until the transaction ends."""

    endpoint_id: UUID
    event_id: UUID
    ordering_key: UUID | None
    lease_until: datetime | None
    has_payload: bool
    endpoint_takes: bool
    transport: str


async def lock_delivery(connection: Connection, delivery_id: UUID) -> LockedDelivery | None:
    """The delivery, which nobody can claim or settle until the transaction ends; None if there is none."""
    endpoint_id = await connection.fetchval(_SQL["find_endpoint"], delivery_id)
    endpoint = await connection.fetchrow(_SQL["lock_endpoint"], endpoint_id)
    await connection.execute(_SQL["lock_state"], endpoint_id)
    row = await connection.fetchrow(_SQL["lock_delivery"], delivery_id)
    if row is None or endpoint is None:
        return None
    return LockedDelivery(**row, endpoint_takes=endpoint["takes"], transport=endpoint["transport"])


async def send_again(connection: Connection, delivery: LockedDelivery, now: datetime) -> None:
    """Makes it wait again, due now, with the whole schedule before it; in its place where order is asked for.

    A lease that it still has is taken away: its worker is gone.
    """
    place = (delivery.endpoint_id, delivery.event_id)
    waits = delivery.transport == "pull" or delivery.ordering_key is not None
    if delivery.lease_until is not None:
        await connection.execute(_SQL["drop_lease"], delivery.endpoint_id, now)
    await connection.execute(_SQL["redeliver"], *place, waits, now)
    if delivery.transport == "push" and delivery.ordering_key is not None:
        await connection.execute(_SQL["release_heads"], delivery.endpoint_id, delivery.ordering_key, now)
