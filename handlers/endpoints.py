"""A tenant's webhook endpoints: made, changed, verified, tested, disabled; what is secret about them stays sealed."""

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NewType
from uuid import UUID

from channels import client_certificates
from channels.errors import InvalidInput, NotFound, UrlNotAllowed, WrongState
from channels.exchanges import ClientCertificate
from db import endpoints, webhook_replays
from db.rows import EndpointRecord
from db.tenant import Connection
from handlers.endpoint_rules import Ordering, PayloadForm, Transport, Verification, check_endpoint
from handlers.endpoint_seals import open_secrets, seal_auth, seal_headers, sealed_secrets
from handlers.runtime import Runtime
from handlers.webhooks.event_types import EventType
from handlers.webhooks.events import thin_body
from handlers.webhooks.examples import example_body
from handlers.webhooks.outbox import new_event_row, tell
from handlers.webhooks.public_keys import key_set
from handlers.webhooks.signing import (
    EndpointSecret,
    Signing,
    new_secrets,
    rotate,
    with_signing,
)
from handlers.webhooks.subscriptions import check_filter_paths, compile_filter, validate_event_types

SECRET_OVERLAP = timedelta(hours=24)  # for which a rotated secret still signs, where nothing else is said
MANUAL = "manual"  # the reason of an endpoint that its tenant disabled
UNVERIFIED = "unverified"  # and of one whose owner has not answered the challenge yet

CheckedUrl = NewType("CheckedUrl", str)
UrlCheck = Callable[[str], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class EndpointDraft:
    """What a tenant says of a new endpoint. With ``verify`` nothing is sent before its owner answers a challenge."""

    name: str
    url: CheckedUrl | None
    event_types: Sequence[str]
    filter: Mapping[str, Any] | None
    headers: Mapping[str, str] = field(repr=False)
    auth: Mapping[str, Any] | None = field(repr=False)
    description: str
    transport: str
    payload: str
    signing: Signing
    ordering: str
    rate_limit_per_second: Decimal | None
    max_in_flight: int
    verify: bool


@dataclass(frozen=True, slots=True)
class EndpointWithSecret:
    """An endpoint and its new secret, for the one answer that shows it; None where it signs by key pair alone."""

    record: EndpointRecord
    secret: str | None = field(repr=False)


async def check_endpoint_url(check_url: UrlCheck, url: str, field_name: str = "url") -> CheckedUrl:
    """The URL, checked by the guarded client; waits for name servers, so never inside a transaction.

    Raises InvalidInput with the code `url_not_allowed`.
    """
    try:
        await check_url(url)
    except UrlNotAllowed as error:
        raise InvalidInput(str(error), field=field_name, code=error.code) from None
    return CheckedUrl(url)


def check_certificate(certificate: ClientCertificate, now: datetime) -> None:
    """Raises InvalidInput for one that cannot be shown, or not at ``now``."""
    try:
        client_certificates.check_certificate(certificate, now)
    except InvalidInput as error:
        raise InvalidInput(str(error), field="auth.certificate") from None


async def create_endpoint(runtime: Runtime, distributor_id: UUID, draft: EndpointDraft) -> EndpointWithSecret:
    """Stores an endpoint, enabled unless it is to be verified first; raises InvalidInput for a field."""
    made = [EndpointSecret(value) for value in new_secrets(draft.signing, secrets.token_bytes)]
    record = _new_record(runtime, distributor_id, draft, made)
    check_endpoint(runtime, distributor_id, record)
    if draft.verify and record.url is None:
        raise InvalidInput("An endpoint that is pulled has nobody to ask.", field="verify")
    filter_path = _new_filter_path(draft.filter)
    async with runtime.database.tenant(distributor_id) as connection:
        await endpoints.insert_endpoint(connection, record, filter_path)
    return EndpointWithSecret(record, _shown_secret(made))


def _new_record(
    runtime: Runtime, distributor_id: UUID, draft: EndpointDraft, made: Sequence[EndpointSecret]
) -> EndpointRecord:
    endpoint_id, now = runtime.new_id(), runtime.clock()
    return EndpointRecord(
        id=endpoint_id,
        name=draft.name,
        description=draft.description,
        transport=draft.transport,
        url=draft.url,
        event_types=validate_event_types(draft.event_types),
        filter=draft.filter,
        payload=draft.payload,
        headers_sealed=seal_headers(runtime, distributor_id, endpoint_id, draft.headers),
        **sealed_secrets(runtime, distributor_id, endpoint_id, made),
        auth_sealed=seal_auth(runtime, distributor_id, endpoint_id, draft.auth),
        signing=draft.signing,
        ordering=draft.ordering,
        rate_limit_per_second=draft.rate_limit_per_second,
        max_in_flight=draft.max_in_flight,
        verification=Verification.PENDING if draft.verify else Verification.NONE,
        enabled=not draft.verify,
        disabled_reason=UNVERIFIED if draft.verify else None,
        disabled_at=now if draft.verify else None,
        created_at=now,
        updated_at=now,
    )


async def patch_endpoint(
    runtime: Runtime, distributor_id: UUID, endpoint_id: UUID, changes: Mapping[str, Any]
) -> EndpointRecord:
    """The endpoint with ``changes`` (fields of EndpointDraft, the URL a checked one).

    Raises NotFound, and InvalidInput for a field.
    """
    stored = _as_stored(runtime, distributor_id, endpoint_id, changes)
    async with runtime.database.tenant(distributor_id) as connection:
        record = await _lock(connection, endpoint_id)
        changed = _changed(record, stored)
        if changed.signing != record.signing:
            changed = _with_signing(runtime, distributor_id, changed)
        check_endpoint(runtime, distributor_id, changed)
        saved = await _store(runtime, connection, changed)
        released = record.ordering != Ordering.NONE and saved.ordering == Ordering.NONE
        if (
            released and saved.transport != Transport.PULL
        ):  # what is pulled waits for nobody but its integrator
            await endpoints.release_waiting(connection, endpoint_id, saved.updated_at)
        moved = record.url != saved.url
        if moved or record.rate_limit_per_second != saved.rate_limit_per_second:
            await endpoints.forget_waits(connection, endpoint_id, saved.updated_at, moved=moved)
    return saved


async def delete_endpoint(runtime: Runtime, distributor_id: UUID, endpoint_id: UUID) -> None:
    """Ends an endpoint and cancels what waits for it. Raises NotFound."""
    now = runtime.clock()
    async with runtime.database.tenant(distributor_id) as connection:
        if not await endpoints.delete_endpoint(connection, endpoint_id, now):
            raise NotFound
        await endpoints.cancel_waiting(connection, endpoint_id, now)
        await webhook_replays.cancel_replays_to(connection, endpoint_id, "endpoint_deleted", now)


async def enable_endpoint(runtime: Runtime, distributor_id: UUID, endpoint_id: UUID) -> EndpointRecord:
    """The endpoint, which gets events from now on and counts as healthy; nothing is made up for.

    Raises NotFound, and WrongState for one whose owner has not answered the challenge.
    """
    async with runtime.database.tenant(distributor_id) as connection:
        record = await _lock(connection, endpoint_id)
        if record.enabled:
            return record
        if record.verification == Verification.PENDING:
            raise WrongState("Its owner has to answer a challenge first: verify it.")
        return await _enable(runtime, connection, record)


async def mark_verified(runtime: Runtime, distributor_id: UUID, asked: EndpointRecord) -> EndpointRecord:
    """The endpoint whose owner has answered the challenge, enabled if it waited for that.

    Raises NotFound, and WrongState where another address was ``asked`` than it has by now.
    """
    async with runtime.database.tenant(distributor_id) as connection:
        record = await _lock(connection, asked.id)
        if record.url != asked.url:
            raise WrongState("The endpoint's URL was changed meanwhile; verify it again.")
        verified = replace(record, verification=Verification.VERIFIED)
        if record.disabled_reason == UNVERIFIED:
            return await _enable(runtime, connection, verified)
        return await _store(runtime, connection, verified)


async def _enable(runtime: Runtime, connection: Connection, record: EndpointRecord) -> EndpointRecord:
    """An event that was being stored while the endpoint was disabled may have left a delivery: it is cancelled."""
    enabled = replace(record, enabled=True, disabled_reason=None, disabled_at=None)
    saved = await _store(runtime, connection, enabled)
    await endpoints.cancel_waiting(connection, saved.id, saved.updated_at)
    await endpoints.reset_health(connection, saved.id, saved.updated_at)
    return saved


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
    """Disables a locked and enabled endpoint: the others are told, what waits for it is cancelled.

    The last thing that a transaction does, since claims and settlements wait for it.
    """
    off = replace(endpoint, enabled=False, disabled_reason=reason, disabled_at=runtime.clock())
    disabled = await _store(runtime, connection, off)
    await webhook_replays.cancel_replays_to(connection, endpoint.id, "endpoint_disabled", disabled.updated_at)
    data = {"endpoint_id": endpoint.id, "name": endpoint.name, "reason": reason}
    await tell(connection, runtime, distributor_id, EventType.ENDPOINT_DISABLED, data)
    await endpoints.cancel_waiting(connection, endpoint.id, disabled.updated_at)
    return disabled


async def rotate_secret(
    runtime: Runtime,
    distributor_id: UUID,
    endpoint_id: UUID,
    overlap: timedelta = SECRET_OVERLAP,
    signing: Signing | None = None,
) -> EndpointWithSecret:
    """New secrets of each kind that it uses (or ``signing`` in its place); those before still sign for ``overlap``.

    Raises NotFound.
    """
    async with runtime.database.tenant(distributor_id) as connection:
        record = await _lock(connection, endpoint_id)
        kind = signing or Signing(record.signing)
        older = open_secrets(runtime, distributor_id, record)
        newer = rotate(older, runtime.clock(), overlap, new_secrets(kind, secrets.token_bytes))
        columns = sealed_secrets(runtime, distributor_id, endpoint_id, newer)
        changed = await _store(runtime, connection, replace(record, signing=kind, **columns))
    return EndpointWithSecret(changed, _shown_secret(newer))


async def find_public_keys(runtime: Runtime, endpoint_id: UUID) -> list[dict[str, str]]:
    """The JSON Web Keys that verify what any tenant's endpoint gets now; raises NotFound."""
    async with runtime.database.worker_statements() as connection:
        stored = await endpoints.find_public_keys(connection, endpoint_id)
    if stored is None:
        raise NotFound
    return key_set(stored, runtime.clock())


async def send_test(
    runtime: Runtime, distributor_id: UUID, endpoint_id: UUID, example_of: EventType | None = None
) -> UUID:
    """The id of the delivery of a new test event, which holds an example of a type if one is named.

    Raises NotFound, and WrongState for a disabled endpoint.
    """
    async with runtime.database.tenant(distributor_id) as connection:
        record = await _lock(connection, endpoint_id)
        if not record.enabled:
            raise WrongState("The endpoint is disabled; enable it first.")
        data = {"endpoint_id": endpoint_id, "example": _example(record, example_of)}
        test = new_event_row(runtime, distributor_id, EventType.ENDPOINT_TEST, data)
        return await endpoints.record_test_event(connection, endpoint_id, test, runtime.clock())


def _example(record: EndpointRecord, event_type: EventType | None) -> dict[str, Any] | None:
    """An invented event of the type, in the form in which the endpoint would get it."""
    if event_type is None:
        return None
    body = example_body(event_type)
    return thin_body(body) if record.payload == PayloadForm.THIN else body


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
    stored = {name: value for name, value in changes.items() if name not in {"headers", "auth"}}
    if "headers" in changes:
        stored["headers_sealed"] = seal_headers(runtime, distributor_id, endpoint_id, changes["headers"])
    if "auth" in changes:
        stored["auth_sealed"] = seal_auth(runtime, distributor_id, endpoint_id, changes["auth"])
    if "event_types" in changes:
        stored["event_types"] = validate_event_types(changes["event_types"])
    _new_filter_path(changes.get("filter"))
    return stored


def _changed(record: EndpointRecord, stored: Mapping[str, Any]) -> EndpointRecord:
    """It was the address of before that answered the challenge: another one has not."""
    changed = replace(record, **stored)
    if changed.url == record.url or record.verification != Verification.VERIFIED:
        return changed
    return replace(changed, verification=Verification.NONE)


def _with_signing(runtime: Runtime, distributor_id: UUID, record: EndpointRecord) -> EndpointRecord:
    """The endpoint with the secrets that its kind of signing asks for."""
    held = open_secrets(runtime, distributor_id, record)
    wanted = with_signing(held, Signing(record.signing), secrets.token_bytes)
    return replace(record, **sealed_secrets(runtime, distributor_id, record.id, wanted))


def _shown_secret(made: Sequence[EndpointSecret]) -> str | None:
    return next(
        (secret.value for secret in made if not secret.is_private_key and not secret.expires_at), None
    )


def _new_filter_path(filter_: Mapping[str, Any] | None) -> str | None:
    path = _filter_path(filter_)
    if filter_ is not None:
        check_filter_paths(filter_)
    return path


def _filter_path(filter_: Mapping[str, Any] | None) -> str | None:
    return None if filter_ is None else compile_filter(filter_)
