"""A tenant's webhook endpoints as it manages them; deleted ones stay as rows for their deliveries' sake."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from db.named_sql import load_statements
from db.rows import EndpointRecord
from db.tenant import Connection

_SQL = load_statements("endpoints")


def secrets_context(distributor_id: UUID, endpoint_id: UUID) -> str:
    """What an endpoint's sealed secrets are bound to."""
    return f"webhook_endpoints.secrets:{distributor_id}:{endpoint_id}"


def headers_context(distributor_id: UUID, endpoint_id: UUID) -> str:
    """What an endpoint's sealed custom headers are bound to."""
    return f"webhook_endpoints.headers:{distributor_id}:{endpoint_id}"


def auth_context(distributor_id: UUID, endpoint_id: UUID) -> str:
    """What an endpoint's sealed credentials are bound to."""
    return f"webhook_endpoints.auth:{distributor_id}:{endpoint_id}"


async def list_endpoints(connection: Connection, before: UUID, limit: int) -> Sequence[EndpointRecord]:
    """Newest first."""
    return [EndpointRecord(**row) for row in await connection.fetch(_SQL["list_endpoints"], before, limit)]


async def read_endpoint(connection: Connection, endpoint_id: UUID) -> EndpointRecord | None:
    row = await connection.fetchrow(_SQL["read_endpoint"], endpoint_id)
    return EndpointRecord(**row) if row else None


async def lock_endpoint(connection: Connection, endpoint_id: UUID) -> EndpointRecord | None:
    """The endpoint, locked against other changes until the transaction ends."""
    row = await connection.fetchrow(_SQL["lock_endpoint"], endpoint_id)
    return EndpointRecord(**row) if row else None


async def insert_endpoint(connection: Connection, endpoint: EndpointRecord, filter_path: str | None) -> None:
    """Stores a new endpoint; ``filter_path`` is the filter as a JSON path predicate."""
    await connection.execute(_SQL["insert_endpoint"], *_columns(endpoint, filter_path), endpoint.created_at)


async def update_endpoint(connection: Connection, endpoint: EndpointRecord, filter_path: str | None) -> None:
    """Writes every field that may change."""
    await connection.execute(_SQL["update_endpoint"], *_columns(endpoint, filter_path), endpoint.updated_at)


def _columns(endpoint: EndpointRecord, filter_path: str | None) -> tuple[object, ...]:
    return (
        endpoint.id,
        endpoint.name,
        endpoint.description,
        endpoint.transport,
        endpoint.url,
        endpoint.event_types,
        endpoint.filter,
        filter_path,
        endpoint.payload,
        endpoint.headers_sealed,
        endpoint.secrets_sealed,
        endpoint.public_keys,
        endpoint.auth_sealed,
        endpoint.signing,
        endpoint.ordering,
        endpoint.rate_limit_per_second,
        endpoint.max_in_flight,
        endpoint.verification,
        endpoint.enabled,
        endpoint.disabled_reason,
        endpoint.disabled_at,
    )


async def delete_endpoint(connection: Connection, endpoint_id: UUID, now: datetime) -> bool:
    """Whether there was such an endpoint."""
    return await connection.fetchval(_SQL["delete_endpoint"], endpoint_id, now) is not None


async def cancel_waiting(connection: Connection, endpoint_id: UUID, now: datetime) -> None:
    """Cancels all deliveries that still wait for the endpoint, those that are pulled and those behind others too.

    Locks its state, which every claim and settlement of its deliveries needs: the last thing that a transaction does.
    """
    await connection.execute(_SQL["lock_state"], endpoint_id)
    await connection.execute(_SQL["cancel_waiting"], endpoint_id, now)


async def release_waiting(connection: Connection, endpoint_id: UUID, now: datetime) -> None:
    """Makes due what waits behind others of its conversation; locks the endpoint's state, so does it last."""
    await connection.execute(_SQL["lock_state"], endpoint_id)
    await connection.execute(_SQL["release_waiting"], endpoint_id, now)


async def reset_health(connection: Connection, endpoint_id: UUID, now: datetime) -> None:
    """The endpoint counts as healthy; what it did before is forgotten."""
    await connection.execute(_SQL["reset_health"], endpoint_id, now)


async def forget_waits(connection: Connection, endpoint_id: UUID, now: datetime, *, moved: bool) -> None:
    """What the endpoint's rate of before made it wait for and, where it has ``moved``, what its receiver of before did.
    Locks the endpoint's state, so does it last.
    """
    await connection.execute(_SQL["forget_waits"], endpoint_id, now, moved)


async def find_public_keys(connection: Connection, endpoint_id: UUID) -> Sequence[Mapping[str, Any]] | None:
    """The public keys of any tenant's endpoint; None for an unknown or deleted one. Takes a worker's connection."""
    keys: Sequence[Mapping[str, Any]] | None = await connection.fetchval(
        _SQL["find_public_keys"], endpoint_id
    )
    return keys


async def record_test_event(
    connection: Connection, endpoint_id: UUID, event: Mapping[str, Any], now: datetime
) -> UUID:
    """Stores an event (a row as for record_events) with one delivery, to this endpoint, due now; the
    delivery's id.
    """
    delivery_id = await connection.fetchval(
        _SQL["record_test_event"], endpoint_id, UUID(event["id"]), event["type"], event["body"], now
    )
    assert isinstance(delivery_id, UUID)
    return delivery_id
