"""What of a webhook endpoint is sealed: its signing secrets, custom headers and credentials, each bound to its row."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from db.endpoints import auth_context, headers_context, secrets_context
from db.rows import EndpointRecord
from handlers.runtime import Runtime
from handlers.webhooks.endpoint_auth import AuthType
from handlers.webhooks.headers import validate_custom_headers
from handlers.webhooks.public_keys import public_keys_of
from handlers.webhooks.signing import EndpointSecret, dump_secrets, load_secrets


def sealed_secrets(
    runtime: Runtime, distributor_id: UUID, endpoint_id: UUID, secrets: Sequence[EndpointSecret]
) -> dict[str, Any]:
    """The columns that hold secrets: sealed, and what of them anybody may know."""
    context = secrets_context(distributor_id, endpoint_id)
    return {
        "secrets_sealed": runtime.sealer.seal_json(dump_secrets(secrets), context),
        "public_keys": public_keys_of(secrets),
    }


def open_secrets(
    runtime: Runtime, distributor_id: UUID, record: EndpointRecord
) -> tuple[EndpointSecret, ...]:
    """An endpoint's secrets, new first."""
    context = secrets_context(distributor_id, record.id)
    return load_secrets(runtime.sealer.open_json(record.secrets_sealed, context))


def seal_headers(
    runtime: Runtime, distributor_id: UUID, endpoint_id: UUID, headers: Mapping[str, str]
) -> bytes | None:
    """None for no headers; raises InvalidInput."""
    valid = validate_custom_headers(headers)
    return runtime.sealer.seal_json(valid, headers_context(distributor_id, endpoint_id)) if valid else None


def open_headers(runtime: Runtime, distributor_id: UUID, record: EndpointRecord) -> dict[str, str]:
    """An endpoint's custom headers."""
    if record.headers_sealed is None:
        return {}
    context = headers_context(distributor_id, record.id)
    headers: dict[str, str] = runtime.sealer.open_json(record.headers_sealed, context)
    return headers


def header_names(runtime: Runtime, distributor_id: UUID, record: EndpointRecord) -> tuple[str, ...]:
    """The names of an endpoint's custom headers; their values are never shown."""
    return tuple(open_headers(runtime, distributor_id, record))


def seal_auth(
    runtime: Runtime, distributor_id: UUID, endpoint_id: UUID, auth: Mapping[str, Any] | None
) -> bytes | None:
    """Credentials that are valid already; None for none."""
    if auth is None:
        return None
    return runtime.sealer.seal_json(auth, auth_context(distributor_id, endpoint_id))


def auth_type(runtime: Runtime, distributor_id: UUID, record: EndpointRecord) -> AuthType | None:
    """How we authenticate at an endpoint; the credentials are never shown."""
    if record.auth_sealed is None:
        return None
    context = auth_context(distributor_id, record.id)
    return AuthType(runtime.sealer.open_json(record.auth_sealed, context)["type"])
