"""Payloads of events and evidence of attempts go earlier than their rows: the database says when, this says how.

Batches, each a transaction of its own, from the newest that are past their time to older ones. Every part may run twice, and
several at once; what one run could not do, the next one does.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final
from uuid import UUID

from db import upkeep
from db.rows import LAST_ID
from db.tenant import Connection
from db.upkeep import ExpiryBatch
from handlers.runtime import Runtime
from handlers.upkeep import each_tenant

_BATCH: Final = 500
_Position = tuple[UUID, int]
_Step = Callable[[Connection, _Position], Awaitable[ExpiryBatch]]


async def expire_payloads(runtime: Runtime) -> int:
    """Empties what has come to its end since the last run, and gives back of how many events and attempts."""
    return await _expire(runtime, thorough=False)


async def expire_late_payloads(runtime: Runtime) -> int:
    """The same, also behind what was emptied before: what was still on its way then."""
    return await _expire(runtime, thorough=True)


async def _expire(runtime: Runtime, *, thorough: bool) -> int:
    expired = 0
    async for tenant in each_tenant(runtime):
        expired += await _walk(runtime, partial(_expire_events, tenant), thorough=thorough)
        async with runtime.database.worker_statements() as connection:
            endpoints = await upkeep.list_endpoints(connection, tenant)
        for endpoint in endpoints:
            step = partial(_expire_attempts, tenant, endpoint)
            expired += await _walk(runtime, step, thorough=thorough)
    return expired


async def _walk(runtime: Runtime, step: _Step, *, thorough: bool) -> int:
    """Until there is no more, or, unless it is to be thorough, until a batch that was emptied before."""
    expired, position = 0, (LAST_ID, 0)
    while True:
        async with runtime.database.worker_statements() as connection:
            batch = await step(connection, position)
        expired += batch.expired
        if batch.looked < _BATCH or batch.last_id is None or not (batch.held or thorough):
            return expired
        position = batch.last_id, batch.last_number


async def _expire_events(tenant: UUID, connection: Connection, position: _Position) -> ExpiryBatch:
    return await upkeep.expire_payloads(connection, tenant, position[0], _BATCH)


async def _expire_attempts(
    tenant: UUID, endpoint: UUID, connection: Connection, position: _Position
) -> ExpiryBatch:
    return await upkeep.expire_evidence(connection, tenant, endpoint, position, _BATCH)
