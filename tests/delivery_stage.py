"""Claims deliveries as a worker does: find, then claim."""

from collections.abc import Sequence
from datetime import datetime

from db.delivery_lane import ClaimedDeliveryRow, claim_deliveries, find_endpoints
from db.lanes import ClaimTerms
from db.tenant import Connection
from gateway.delivery_claims import AHEAD, BEGINNING, DeliveryClaims
from gateway.worker import POLL_SECONDS
from handlers.runtime import NewId, Runtime


async def claim(runtime: Runtime, terms: ClaimTerms) -> Sequence[ClaimedDeliveryRow]:
    """What a worker that begins now gets."""
    return await DeliveryClaims(runtime, POLL_SECONDS).claim(terms)


async def claim_on(
    connection: Connection, terms: ClaimTerms, now: datetime, new_id: NewId
) -> list[ClaimedDeliveryRow]:
    """The same on a connection of the test's own."""
    found = await find_endpoints(connection, terms, BEGINNING, now, 1_000)
    able = [endpoint.key for endpoint in found if endpoint.able]
    ids = [new_id() for _ in range(terms.batch)]
    return await claim_deliveries(
        connection, terms, able, [terms.batch] * len(able), now, token=new_id(), attempt_ids=ids, ahead=AHEAD
    )
