"""A tenant's webhook endpoints: made, changed, tested, disabled; secrets and custom headers stay sealed."""

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, NewType
from uuid import UUID

from channels.errors import InvalidInput, NotFound, UrlNotAllowed, WrongState
from db import delivery_log, endpoints
from db.endpoints import headers_context, secrets_context
from db.rows import EndpointRecord
from db.tenant import Connection
from handlers.runtime import Runtime
from handlers.webhooks.event_types import EventType
from handlers.webhooks.headers import validate_custom_headers
from handlers.webhooks.outbox import new_event_row, tell
from handlers.webhooks.signing import EndpointSecret, dump_secrets, load_secrets, new_secret, rotate
from handlers.webhooks.subscriptions import compile_filter, validate_event_types

SECRET_OVERLAP = timedelta(hours=24)  # for which a rotated secret still signs
MANUAL = "manual"  # the reason of an endpoint that its tenant disabled

CheckedUrl = NewType("CheckedUrl", str)
UrlCheck = Callable[[str], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class EndpointDraft:
    """What a tenant says of a new endpoint."""

    name: str
    url: CheckedUrl
    event_types: Sequence[str]
    filter: Mapping[str, Any] | None
    headers: Mapping[str, str] = field(repr=False)
    ordering: str


@dataclass(frozen=True, slots=True)
class EndpointWithSecret:
    """An endpoint and its new secret, for the one answer that shows it."""

    record: EndpointRecord
    secret: str = field(repr=False)


async def check_endpoint_url(check_url: UrlCheck, url: str) -> CheckedUrl:
    """The URL, checked by the guarded client; waits for name servers, so never inside a transaction.

    Raises InvalidInput with the code `url_not_allowed`.
    """
    try:
        await check_url(url)
    except UrlNotAllowed as error:
        raise InvalidInput(str(error), field="url", code=error.code) from None
    return CheckedUrl(url)


async def create_endpoint(runtime: Runtime, distributor_id: UUID, draft: EndpointDraft) -> EndpointWithSecret:
    """Stores an endpoint, enabled; raises InvalidInput for event types, filter or headers."""
    endpoint_id, now = runtime.new_id(), runtime.clock()
    secret = new_secret(secrets.token_bytes)
    record = EndpointRecord(
        id=endpoint_id,
        name=draft.name,
        description="",
        transport="push",
        url=draft.url,
        event_types=validate_event_types(draft.event_types),
        filter=draft.filter,
        payload="full",
        headers_sealed=_seal_headers(runtime, distributor_id, endpoint_id, draft.headers),
        secrets_sealed=_seal_secrets(runtime, distributor_id, endpoint_id, [EndpointSecret(secret)]),
        auth_sealed=None,
        signing="hmac",
        ordering=draft.ordering,
        rate_limit_per_second=None,
        max_in_flight=10,
        verification="none",
        enabled=True,
        disabled_reason=None,
        disabled_at=None,
        created_at=now,
        updated_at=now,
    )
    filter_path = _filter_path(draft.filter)
    async with runtime.database.tenant(distributor_id) as connection:
        await endpoints.insert_endpoint(connection, record, filter_path)
    return EndpointWithSecret(record, secret)


async def patch_endpoint(
    runtime: Runtime, distributor_id: UUID, endpoint_id: UUID, changes: Mapping[str, Any]
) -> EndpointRecord:
    """The endpoint with ``changes`` (fields of EndpointDraft, the URL a checked one).

    Raises NotFound, and InvalidInput for event types, filter or headers.
    """
    stored = _as_stored(runtime, distributor_id, endpoint_id, changes)
    async with runtime.database.tenant(distributor_id) as connection:
        record = await _lock(connection, endpoint_id)
        return await _store(runtime, connection, replace(record, **stored))


async def delete_endpoint(runtime: Runtime, distributor_id: UUID, endpoint_id: UUID) -> None:
    """Ends an endpoint and cancels what waits for it. Raises NotFound."""
    now = runtime.clock()
    async with runtime.database.tenant(distributor_id) as connection:
        if not await endpoints.delete_endpoint(connection, endpoint_id, now):
            raise NotFound
        await endpoints.cancel_waiting(connection, endpoint_id, now)


async def enable_endpoint(runtime: Runtime, distributor_id: UUID, endpoint_id: UUID) -> EndpointRecord:
    """The endpoint, which gets events from now on; nothing is made up for. Raises NotFound.

    An event that was being stored while the endpoint was disabled may have left a delivery: it is cancelled.
    """
    async with runtime.database.tenant(distributor_id) as connection:
        record = await _lock(connection, endpoint_id)
        if record.enabled:
            return record
        await endpoints.cancel_waiting(connection, endpoint_id, runtime.clock())
        return await _store(
            runtime, connection, replace(record, enabled=True, disabled_reason=None, disabled_at=None)
        )


async def disable_endpoint(runtime: Runtime, distributor_id: UUID, endpoint_id: UUID) -> EndpointRecord:
    """The endpoint, which gets nothing any more; what waits is cancelled. Raises NotFound."""
    async with runtime.database.tenant(distributor_id) as connection:
        record = await _lock(connection, endpoint_id)
        if not record.enabled:
            return record
        return await disable(runtime, connection, distributor_id, record, MANUAL)


async def disable(
    runtime: Runtime, connection: Connection, distributor_id: UUID, endpoint: EndpointRecord, reason: str
) -> EndpointRecord:
    """Disables a locked and enabled endpoint: what waits for it is cancelled, the others are told."""
    off = replace(endpoint, enabled=False, disabled_reason=reason, disabled_at=runtime.clock())
    disabled = await _store(runtime, connection, off)
    await endpoints.cancel_waiting(connection, endpoint.id, disabled.updated_at)
    data = {"endpoint_id": endpoint.id, "name": endpoint.name, "reason": reason}
    await tell(connection, runtime, distributor_id, EventType.ENDPOINT_DISABLED, data)
    return disabled


async def rotate_secret(runtime: Runtime, distributor_id: UUID, endpoint_id: UUID) -> EndpointWithSecret:
    """A new secret; the one before still signs for 24 hours. Raises NotFound."""
    secret = new_secret(secrets.token_bytes)
    async with runtime.database.tenant(distributor_id) as connection:
        record = await _lock(connection, endpoint_id)
        context = secrets_context(distributor_id, endpoint_id)
        older = load_secrets(runtime.sealer.open_json(record.secrets_sealed, context))
        newer = rotate(older, runtime.clock(), SECRET_OVERLAP, secret)
        sealed = _seal_secrets(runtime, distributor_id, endpoint_id, newer)
        changed = await _store(runtime, connection, replace(record, secrets_sealed=sealed))
    return EndpointWithSecret(changed, secret)


async def send_test(runtime: Runtime, distributor_id: UUID, endpoint_id: UUID) -> UUID:
    """The id of the delivery of a new test event. Raises NotFound, and WrongState for a disabled endpoint."""
    async with runtime.database.tenant(distributor_id) as connection:
        record = await _lock(connection, endpoint_id)
        if not record.enabled:
            raise WrongState("The endpoint is disabled; enable it first.")
        data = {"endpoint_id": endpoint_id}
        test = new_event_row(runtime, distributor_id, EventType.ENDPOINT_TEST, data)
        return await endpoints.record_test_event(connection, endpoint_id, test, runtime.clock())


async def redeliver(runtime: Runtime, distributor_id: UUID, delivery_id: UUID) -> None:
    """Lets a delivery wait again, due now, with the whole retry schedule before it.

    Raises NotFound, and WrongState while an attempt runs or where the endpoint is disabled or deleted.
    """
    now = runtime.clock()
    async with runtime.database.tenant(distributor_id) as connection:
        delivery = await delivery_log.lock_delivery(connection, delivery_id)
        if delivery is None:
            raise NotFound
        if delivery.endpoint_deleted or not delivery.endpoint_enabled:
            raise WrongState("The endpoint is disabled or deleted.")
        if delivery.lease_until is not None and delivery.lease_until > now:
            raise WrongState("An attempt is under way; ask again when it is over.")
        await delivery_log.redeliver(connection, delivery, now)


def header_names(runtime: Runtime, distributor_id: UUID, record: EndpointRecord) -> tuple[str, ...]:
    """The names of an endpoint's custom headers; their values are never shown."""
    if record.headers_sealed is None:
        return ()
    return tuple(runtime.sealer.open_json(record.headers_sealed, headers_context(distributor_id, record.id)))


async def _lock(connection: Connection, endpoint_id: UUID) -> EndpointRecord:
    record = await endpoints.lock_endpoint(connection, endpoint_id)
    if record is None:
        raise NotFound
    return record


async def _store(runtime: Runtime, connection: Connection, record: EndpointRecord) -> EndpointRecord:
    changed = replace(record, updated_at=runtime.clock())
    await endpoints.update_endpoint(connection, changed, _filter_path(changed.filter))
    return changed


def _as_stored(
    runtime: Runtime, distributor_id: UUID, endpoint_id: UUID, changes: Mapping[str, Any]
) -> dict[str, Any]:
    stored = {name: value for name, value in changes.items() if name != "headers"}
    if "headers" in changes:
        stored["headers_sealed"] = _seal_headers(runtime, distributor_id, endpoint_id, changes["headers"])
    if "event_types" in changes:
        stored["event_types"] = validate_event_types(changes["event_types"])
    _filter_path(changes.get("filter"))
    return stored


def _filter_path(filter_: Mapping[str, Any] | None) -> str | None:
    return None if filter_ is None else compile_filter(filter_)


def _seal_headers(
    runtime: Runtime, distributor_id: UUID, endpoint_id: UUID, headers: Mapping[str, str]
) -> bytes | None:
    valid = validate_custom_headers(headers)
    return runtime.sealer.seal_json(valid, headers_context(distributor_id, endpoint_id)) if valid else None


def _seal_secrets(
    runtime: Runtime, distributor_id: UUID, endpoint_id: UUID, signing: Sequence[EndpointSecret]
) -> bytes:
    return runtime.sealer.seal_json(dump_secrets(signing), secrets_context(distributor_id, endpoint_id))
