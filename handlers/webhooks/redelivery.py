"""A person asks for another try of one delivery."""

from uuid import UUID

from channels.errors import NotFound, WrongState
from db import redelivery
from handlers.runtime import Runtime


async def redeliver(runtime: Runtime, distributor_id: UUID, delivery_id: UUID) -> None:
    """Lets a delivery wait again, due now, with the whole retry schedule before it; attempts are numbered on.

    It takes the place of a retry that is due later: one delivery is never twice on its way. Raises NotFound, and
    WrongState while an attempt runs, where the endpoint is disabled or deleted, or the payload is gone.
    """
    async with runtime.database.tenant(distributor_id) as connection:
        delivery = await redelivery.lock_delivery(connection, delivery_id)
        if delivery is None:
            raise NotFound
        now = runtime.clock()
        if not delivery.endpoint_takes:
            raise WrongState("The endpoint is disabled or deleted; enable a disabled one first.")
        if delivery.lease_until is not None and delivery.lease_until > now:
            raise WrongState("An attempt is under way; ask again when it is over.")
        if not delivery.has_payload:
            raise WrongState("The event's payload is no longer kept.")
        await redelivery.send_again(connection, delivery, now)
