"""Webhook deliveries as work: which endpoints have any, what each gives, and what becomes of it (ADR 14)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from db.lanes import ClaimTerms
from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("delivery_lane")


class EndpointKey(NamedTuple):
    """An endpoint of a tenant."""

    distributor_id: UUID
    endpoint_id: UUID


@dataclass(frozen=True, slots=True)
class FoundEndpoint:
    """An endpoint that deliveries wait for. ``able``: it may take some now; else it may from ``ready_at`` on, or when
    posts end that are under way (``busy``). ``walked``: it was met on the walk through first tries.
    """

    distributor_id: UUID
    endpoint_id: UUID
    walked: bool
    able: bool
    ready_at: datetime | None
    busy: bool

    @property
    def key(self) -> EndpointKey:
        return EndpointKey(self.distributor_id, self.endpoint_id)


@dataclass(frozen=True, slots=True)
class ClaimedDeliveryRow:
    """A delivery whose attempt is written and not yet posted; secrets, headers and credentials are sealed.

    ``interruptions`` counts the attempts in a row before this one that ended with their workers. ``probes`` is the number
    of failed probes before this one, None where the endpoint's breaker is closed. ``body`` is None once its time is over.
    """

    distributor_id: UUID
    endpoint_id: UUID
    event_id: UUID
    attempt_id: UUID
    number: int
    trigger: str
    occurred_at: datetime
    interruptions: int
    schedule_position: int
    lease_token: UUID
    ordering_key: UUID | None
    probes: int | None
    body: str | None = field(repr=False)
    payload: str
    url: str = field(repr=False)
    secrets_sealed: bytes = field(repr=False)
    headers_sealed: bytes | None = field(repr=False)
    auth_sealed: bytes | None = field(repr=False)

    @property
    def endpoint(self) -> EndpointKey:
        return EndpointKey(self.distributor_id, self.endpoint_id)


@dataclass(frozen=True, slots=True)
class EndpointProgress:
    """How an endpoint does after a settlement. ``breaker`` says what it did: closes, opens, stays open, or nothing;
    ``give_back_from`` since when what failed is to go again, if that is still to be done.
    """

    distributor_id: UUID
    endpoint_id: UUID
    breaker: str
    give_back_from: datetime | None
    failing_since: datetime | None
    failed_attempts: int
    warned_percent: int


@dataclass(frozen=True, slots=True)
class FailureRow:
    """A row of failures that its tenant is to be warned of."""

    failing_since: datetime
    failed_attempts: int
    consecutive_failures: int


async def find_endpoints(
    connection: Connection, terms: ClaimTerms, after: EndpointKey, now: datetime, limit: int
) -> list[FoundEndpoint]:
    """Endpoints with something due, in the order of their keys: up to ``limit`` with first tries, from those after
    ``after`` on, and up to ``limit`` with retries.
    """
    shard = terms.shard
    rows = await connection.fetch(
        _SQL["find_endpoints"], now, limit, *after, terms.share, shard.index, shard.count
    )
    return sorted((FoundEndpoint(**row) for row in rows), key=lambda endpoint: endpoint.key)


async def claim_deliveries(
    connection: Connection,
    terms: ClaimTerms,
    endpoints: Sequence[EndpointKey],
    rooms: Sequence[int],
    now: datetime,
    *,
    token: UUID,
    attempt_ids: Sequence[UUID],
    ahead: float,
) -> list[ClaimedDeliveryRow]:
    """Leases deliveries of these endpoints and writes an attempt for each. ``rooms`` says, beside each endpoint, how many
    its tenant may be given. ``attempt_ids`` must hold at least
    ``terms.batch`` ids; ``ahead`` is how many seconds a paced endpoint may be before its rate.
    """
    rows = await connection.fetch(
        _SQL["claim_deliveries"],
        now,
        now + terms.lease,
        token,
        terms.batch,
        terms.share,
        list(attempt_ids),
        [endpoint.distributor_id for endpoint in endpoints],
        [endpoint.endpoint_id for endpoint in endpoints],
        list(rooms),
        ahead,
    )
    return [ClaimedDeliveryRow(**row) for row in rows]


async def settle_deliveries(
    connection: Connection,
    results: Sequence[Mapping[str, Any]],
    facts: Sequence[Mapping[str, Any]],
    policy: Mapping[str, Any],
) -> list[EndpointProgress]:
    """Finishes attempts, schedules or ends their deliveries and folds ``facts``, one per endpoint, into the endpoints'
    states: one statement, all of it or nothing.
    """
    rows = await connection.fetch(_SQL["settle_deliveries"], list(results), list(facts), dict(policy))
    return [EndpointProgress(**row) for row in rows]


async def settle_delivery(
    connection: Connection,
    delivery: ClaimedDeliveryRow,
    *,
    status: str,
    due_at: datetime | None,
    schedule_position: int,
    now: datetime,
) -> None:
    """Moves one claimed delivery on, in its tenant's transaction, unless its lease was taken over meanwhile."""
    await connection.execute(
        _SQL["settle_delivery"],
        delivery.endpoint_id,
        delivery.event_id,
        delivery.lease_token,
        status,
        due_at,
        schedule_position,
        now,
    )


async def give_back_attempts(
    connection: Connection, endpoint: EndpointKey, since: datetime, now: datetime
) -> None:
    """What failed from ``since`` on, in an outage that is over, goes again at once and at no cost."""
    await connection.execute(_SQL["give_back_attempts"], *endpoint, since, now)


async def warn_endpoint(
    connection: Connection, endpoint_id: UUID, percent: int, now: datetime
) -> FailureRow | None:
    """The row of failures, if the warning at ``percent`` is still to be given: nobody gives it again."""
    row = await connection.fetchrow(_SQL["warn_endpoint"], endpoint_id, percent, now)
    return FailureRow(**row) if row else None
