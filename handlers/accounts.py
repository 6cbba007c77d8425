"""A tenant's accounts at providers: checked by the provider's adapter, their credentials sealed."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from channels.abilities import SharedHook
from channels.addresses import normalise
from channels.base import Channel, ChannelAdapter
from channels.errors import InvalidInput, MalformedPayload, NotFound
from db import accounts_admin
from db.accounts import seal_context
from db.rows import AccountRecord
from handlers.runtime import Runtime

Adapters = Mapping[str, ChannelAdapter]


async def create_account(
    runtime: Runtime,
    adapters: Adapters,
    distributor_id: UUID,
    *,
    channel: Channel,
    provider: str,
    address: str,
    credentials: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> AccountRecord:
    """Stores an account. Raises InvalidInput, and Conflict where provider, channel and address are taken."""
    account_id, now = runtime.new_id(), runtime.clock()
    adapter = _adapter_for(adapters, provider, channel)
    normal = _normal_address(channel, address)
    valid = _valid(adapter, credentials)
    account = AccountRecord(
        id=account_id,
        channel=channel,
        provider=provider,
        address=normal,
        credentials_sealed=runtime.sealer.seal_json(valid, seal_context(distributor_id, account_id)),
        settings=settings,
        created_at=now,
        updated_at=now,
        route=_route_of(adapter, valid),
    )
    async with runtime.database.tenant(distributor_id) as connection:
        await accounts_admin.insert_account(connection, account)
    return account


async def patch_account(
    runtime: Runtime,
    adapters: Adapters,
    distributor_id: UUID,
    account_id: UUID,
    changes: Mapping[str, Any],
) -> AccountRecord:
    """The account with ``changes`` (address, credentials, settings), each taken whole.

    Raises NotFound, InvalidInput, and Conflict where the new address is taken.
    """
    async with runtime.database.tenant(distributor_id) as connection:
        account = await accounts_admin.lock_account(connection, account_id)
        if account is None:
            raise NotFound
        stored = _as_stored(runtime, adapters, distributor_id, account, changes)
        changed = replace(account, **stored, updated_at=runtime.clock())
        await accounts_admin.update_account(connection, changed)
    return changed


async def delete_account(runtime: Runtime, distributor_id: UUID, account_id: UUID) -> None:
    """Ends an account: nothing is taken in or sent through it any more. Raises NotFound."""
    async with runtime.database.tenant(distributor_id) as connection:
        if not await accounts_admin.delete_account(connection, account_id, runtime.clock()):
            raise NotFound


def inbound_url(public_url: str, provider: str, account_id: UUID) -> str:
    """Where the provider posts messages to."""
    return f"{public_url}/in/{provider}/{account_id}"


def status_url(public_url: str, provider: str, account_id: UUID) -> str:
    """Where the provider posts to what became of a message."""
    return f"{inbound_url(public_url, provider, account_id)}/status"


def _as_stored(
    runtime: Runtime,
    adapters: Adapters,
    distributor_id: UUID,
    account: AccountRecord,
    changes: Mapping[str, Any],
) -> dict[str, Any]:
    channel = Channel(account.channel)
    stored = {name: value for name, value in changes.items() if name != "credentials"}
    if "address" in changes:
        stored["address"] = _normal_address(channel, changes["address"])
    if "credentials" in changes:
        adapter = _adapter_for(adapters, account.provider, channel)
        valid = _valid(adapter, changes["credentials"])
        stored["credentials_sealed"] = runtime.sealer.seal_json(
            valid, seal_context(distributor_id, account.id)
        )
        stored["route"] = _route_of(adapter, valid)
    return stored


def _adapter_for(adapters: Adapters, provider: str, channel: Channel) -> ChannelAdapter:
    adapter = adapters.get(provider)
    if adapter is None:
        raise InvalidInput(f"The providers are: {', '.join(sorted(adapters))}.", field="provider")
    if channel not in adapter.channels:
        names = ", ".join(sorted(adapter.channels))
        raise InvalidInput(f"The channels of {provider} are: {names}.", field="channel")
    return adapter


def _normal_address(channel: Channel, address: str) -> str:
    try:
        return normalise(channel, address)
    except MalformedPayload as error:
        raise InvalidInput(str(error), field="address") from None


def _valid(adapter: ChannelAdapter, credentials: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return adapter.validate_credentials(credentials)
    except ValueError as error:  # names the field, never its value: the adapter's promise
        raise InvalidInput(str(error), field="credentials") from None


def _route_of(adapter: ChannelAdapter, credentials: Mapping[str, Any]) -> str | None:
    return adapter.route_of(credentials) if isinstance(adapter, SharedHook) else None
