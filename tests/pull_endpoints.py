"""Endpoints that are pulled from, as the API makes them, for tests below it."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from db.endpoints import insert_endpoint
from db.rows import EndpointRecord
from handlers.endpoint_seals import sealed_secrets
from handlers.runtime import Runtime
from handlers.webhooks.signing import EndpointSecret, new_secret

SECRET = new_secret(bytes)


async def make_pull_endpoint(runtime: Runtime, distributor_id: UUID, **columns: Any) -> UUID:
    """An endpoint for every event, with SECRET; ``columns`` overwrite the defaults."""
    endpoint_id, now = runtime.new_id(), runtime.clock()
    defaults: Mapping[str, Any] = {
        "name": "pulled",
        "description": "",
        "transport": "pull",
        "url": None,
        "event_types": ["*"],
        "filter": None,
        "payload": "full",
        "headers_sealed": None,
        **sealed_secrets(runtime, distributor_id, endpoint_id, [EndpointSecret(SECRET)]),
        "auth_sealed": None,
        "signing": "hmac",
        "ordering": "none",
        "rate_limit_per_second": None,
        "max_in_flight": 10,
        "verification": "none",
        "enabled": True,
        "disabled_reason": None,
        "disabled_at": None,
    }
    record = EndpointRecord(id=endpoint_id, created_at=now, updated_at=now, **{**defaults, **columns})
    async with runtime.database.tenant(distributor_id) as connection:
        await insert_endpoint(connection, record, None)
    return endpoint_id
