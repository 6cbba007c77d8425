"""Tenants and their API keys: creation, settings, revocation."""

import base64
import hashlib
import re
import secrets
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from channels.errors import InvalidInput, NotFound, WrongState
from db import api_keys, distributors
from db.rows import ApiKey, KeyOwner, Tenant
from db.tenant import Connection
from handlers.ai.types import Language
from handlers.runtime import Runtime

KEY_PREFIX = "wst_"
KEY_FORM = re.compile(rf"{KEY_PREFIX}[A-Za-z0-9_-]{{43}}")
_KEY_BYTES = 32
_SHOWN_CHARACTERS = 12  # of a key in lists: enough to tell keys apart, far too few to guess the rest
_FIRST_KEY_NAME = "first key"
_CURRENCY = re.compile(r"[A-Z]{3}")


@dataclass(frozen=True, slots=True)
class TenantCreated:
    """A new tenant and its first API key, which is stored nowhere."""

    distributor_id: UUID
    api_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyCreated:
    """A new API key, which is stored nowhere, and its row."""

    row: ApiKey
    api_key: str = field(repr=False)


async def create_tenant(
    runtime: Runtime, name: str, *, time_zone: str = "UTC", locale: str = "es", currency: str = "USD"
) -> TenantCreated:
    """A distributor with default settings and a first API key; raises InvalidInput."""
    if not name.strip():
        raise InvalidInput("A tenant needs a name.", field="name")
    check_time_zone(time_zone)
    if locale not in set(Language):
        raise InvalidInput(f"The locale must be one of {', '.join(Language)}.", field="locale")
    if not _CURRENCY.fullmatch(currency):
        raise InvalidInput(
            "The currency must be the three capital letters of ISO 4217, such as MXN.", field="currency"
        )
    distributor_id = runtime.new_id()
    async with runtime.database.tenant(distributor_id) as connection:
        await distributors.insert_distributor(
            connection,
            distributor_id,
            name=name.strip(),
            time_zone=time_zone,
            locale=locale,
            currency=currency,
            now=runtime.clock(),
        )
        created = await _insert_key(runtime, connection, _FIRST_KEY_NAME)
    return TenantCreated(distributor_id, created.api_key)


async def patch_tenant(runtime: Runtime, distributor_id: UUID, changes: Mapping[str, Any]) -> Tenant:
    """The tenant with ``changes`` (fields of ``Tenant``); raises InvalidInput for an unknown time zone."""
    if "time_zone" in changes:
        check_time_zone(changes["time_zone"])
    async with runtime.database.tenant(distributor_id) as connection:
        tenant = await distributors.lock_tenant(connection)
        changed = replace(tenant, **changes, updated_at=runtime.clock())
        await distributors.update_tenant(connection, changed)
    return changed


def check_time_zone(name: str) -> None:
    """Raises InvalidInput unless ``name`` is in the time zone database, such as ``America/Mexico_City``."""
    try:
        zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; not a key; a folder of the database
        raise InvalidInput("There is no such time zone.", field="time_zone") from None


async def create_api_key(runtime: Runtime, distributor_id: UUID, name: str) -> KeyCreated:
    async with runtime.database.tenant(distributor_id) as connection:
        return await _insert_key(runtime, connection, name)


async def revoke_api_key(runtime: Runtime, owner: KeyOwner, key_id: UUID) -> None:
    """Ends a key of ``owner``'s tenant at once. Raises NotFound, and WrongState for the key in use."""
    if key_id == owner.id:
        raise WrongState("This request was made with that key; revoke it with another one.")
    async with runtime.database.tenant(owner.distributor_id) as connection:
        if not await api_keys.revoke_key(connection, key_id, runtime.clock()):
            raise NotFound


async def find_key_owner(runtime: Runtime, api_key: str) -> KeyOwner | None:
    """Whose key it is; None for a malformed or unknown one."""
    if not KEY_FORM.fullmatch(api_key):
        return None
    async with runtime.database.worker_statements() as connection:
        return await api_keys.find_key_owner(connection, hash_key(api_key))


def hash_key(api_key: str) -> bytes:
    """SHA-256: the key is random, so that nothing slower is needed."""
    return hashlib.sha256(api_key.encode()).digest()


async def _insert_key(runtime: Runtime, connection: Connection, name: str) -> KeyCreated:
    # Not the runtime's randomness, which only spreads retries: a key must be fit for keys.
    api_key = KEY_PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)).rstrip(b"=").decode()
    row = await api_keys.insert_key(
        connection,
        runtime.new_id(),
        name=name,
        prefix=api_key[:_SHOWN_CHARACTERS],
        key_hash=hash_key(api_key),
        now=runtime.clock(),
    )
    return KeyCreated(row, api_key)
