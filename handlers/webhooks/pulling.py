"""Pulling: an integrator who cannot take posts is given its events in batches, and acknowledges them.

What is not acknowledged in time is given again, so that nothing is lost; what was acknowledged never is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import orjson

from channels.errors import NotFound, WrongState
from db import endpoints, pulls
from db.pulls import LeasedBatch, LeasedDelivery
from db.rows import EndpointRecord
from db.tenant import Connection
from handlers.endpoint_rules import PayloadForm, Transport
from handlers.endpoint_seals import open_secrets
from handlers.runtime import Runtime
from handlers.webhooks.events import public_event_id, thin_body
from handlers.webhooks.signing import SigningKey, active_keys, signature_headers, signing_key


@dataclass(frozen=True, slots=True)
class PulledDelivery:
    """A delivery as it is given out. ``headers`` sign ``body``, byte for byte, as those of a post would."""

    id: UUID
    event_id: UUID
    event_type: str
    sequence: int | None
    attempt: int
    body: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class PulledBatch:
    """Deliveries, oldest first, and what acknowledges them; None for none."""

    deliveries: Sequence[PulledDelivery]
    lease: LeasedBatch | None


async def pull(
    runtime: Runtime, distributor_id: UUID, endpoint_id: UUID, *, limit: int, lease: timedelta
) -> PulledBatch:
    """Gives out the oldest deliveries that nobody holds, for ``lease``.

    Raises NotFound, and WrongState for an endpoint that is disabled, or that we post to.
    """
    token, now = runtime.new_id(), runtime.clock()
    async with runtime.database.tenant(distributor_id) as connection:
        endpoint = await _find(connection, endpoint_id)
        if not endpoint.enabled:
            raise WrongState("The endpoint is disabled; enable it first.")
        if not await pulls.is_any_waiting(connection, endpoint_id, now):  # as for most that look again
            return PulledBatch((), None)
        await pulls.lock_state(connection, endpoint_id)
        rows = await pulls.lease_waiting(
            connection,
            endpoint_id,
            now=now,
            lease=lease,
            token=token,
            attempt_ids=[runtime.new_id() for _ in range(limit)],
        )
        given = _given(runtime, distributor_id, endpoint, rows) if rows else []
    if not given:
        return PulledBatch((), None)
    return PulledBatch(given, LeasedBatch(token, given[0].event_id, given[-1].event_id))


async def acknowledge(
    runtime: Runtime, distributor_id: UUID, endpoint_id: UUID, what: LeasedBatch | Sequence[UUID]
) -> int:
    """Ends a batch, or single deliveries; how many this call ended: none that was ended, cancelled or given to
    another since. Raises NotFound, and WrongState for an endpoint that we post to.
    """
    async with runtime.database.tenant(distributor_id) as connection:
        await _find(connection, endpoint_id)
        await pulls.lock_state(connection, endpoint_id)
        if isinstance(what, LeasedBatch):
            event_ids = await pulls.find_batch(connection, endpoint_id, what)
        else:
            event_ids = await pulls.find_deliveries(connection, endpoint_id, what)
        await pulls.acknowledge(connection, endpoint_id, runtime.clock(), event_ids)
    return len(event_ids)


async def _find(connection: Connection, endpoint_id: UUID) -> EndpointRecord:
    endpoint = await endpoints.read_endpoint(connection, endpoint_id)
    if endpoint is None:
        raise NotFound
    if endpoint.transport != Transport.PULL:
        raise WrongState("We post to this endpoint; only one with the transport pull is fetched from.")
    return endpoint


def _given(
    runtime: Runtime, distributor_id: UUID, endpoint: EndpointRecord, rows: Sequence[LeasedDelivery]
) -> list[PulledDelivery]:
    """Raises SealBroken, which undoes the leases, where the secrets cannot be opened: nothing is given unsigned."""
    now = runtime.clock()
    keys = active_keys(map(signing_key, open_secrets(runtime, distributor_id, endpoint)), now)
    thin = endpoint.payload == PayloadForm.THIN
    return [
        _signed(row, _thinned(row.body) if thin else row.body, keys, int(now.timestamp())) for row in rows
    ]


def _thinned(body: str) -> str:
    return orjson.dumps(thin_body(orjson.loads(body))).decode()


def _signed(row: LeasedDelivery, body: str, keys: Sequence[SigningKey], timestamp: int) -> PulledDelivery:
    headers = signature_headers(public_event_id(row.event_id), timestamp, body.encode(), keys)
    return PulledDelivery(
        row.id, row.event_id, row.event_type, row.sequence, row.attempt_count, body, headers
    )
