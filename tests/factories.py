"""Rows and values that tests begin from."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from channels.base import Channel, ChannelAccount, InboundMessage, InboundRequest, MessageType
from db.accounts import seal_context
from handlers.inbound import Posted, message_item
from handlers.runtime import Runtime
from handlers.webhooks.signing import EndpointSecret, SigningKey, signing_key

TWILIO_CREDENTIALS: Mapping[str, Any] = {"account_sid": "AC" + "1" * 32, "auth_token": "tok_12345"}
OUR_NUMBER = "+15550002222"
CUSTOMER_NUMBER = "+15550001111"


async def make_distributor(runtime: Runtime, name: str = "Bebidas del Valle", **settings: Any) -> UUID:
    """A tenant; ``settings`` are columns of distributors."""
    distributor_id = runtime.new_id()
    async with runtime.database.tenant(distributor_id) as connection:
        await connection.execute(
            "insert into distributors (id, name, created_at, updated_at) values ($1, $2, $3, $3)",
            distributor_id,
            name,
            runtime.clock(),
        )
        for column, value in settings.items():
            await connection.execute(f"update distributors set {column} = $1", value)
    return distributor_id


async def make_account(
    runtime: Runtime, distributor_id: UUID, channel: Channel = Channel.WHATSAPP, address: str = OUR_NUMBER
) -> ChannelAccount:
    """A Twilio account of a tenant."""
    account_id = runtime.new_id()
    sealed = runtime.sealer.seal_json(dict(TWILIO_CREDENTIALS), seal_context(distributor_id, account_id))
    async with runtime.database.tenant(distributor_id) as connection:
        await connection.execute(
            "insert into channel_accounts (distributor_id, id, channel, provider, address, credentials_sealed,"
            " created_at, updated_at) values ($1, $2, $3, 'twilio', $4, $5, $6, $6)",
            distributor_id,
            account_id,
            channel,
            address,
            sealed,
            runtime.clock(),
        )
    return ChannelAccount(account_id, distributor_id, channel, "twilio", address, TWILIO_CREDENTIALS)


async def make_product(runtime: Runtime, distributor_id: UUID, sku: str, name: str, **columns: Any) -> UUID:
    """A product; ``columns`` overwrite the defaults."""
    row = {"unit": "caja", "unit_price": Decimal(10), **columns}
    names = ", ".join(row)
    places = ", ".join(f"${position}" for position in range(6, 6 + len(row)))
    product_id = runtime.new_id()
    async with runtime.database.tenant(distributor_id) as connection:
        await connection.execute(
            f"insert into products (distributor_id, id, sku, name, created_at, updated_at, {names})"
            f" values ($1, $2, $3, $4, $5, $5, {places})",
            distributor_id,
            product_id,
            sku,
            name,
            runtime.clock(),
            *row.values(),
        )
    return product_id


def signing_keys(*secrets: str) -> tuple[SigningKey, ...]:
    """Secrets (`whsec_…`, `whsk_…`) that sign without end."""
    return tuple(signing_key(EndpointSecret(secret)) for secret in secrets)


async def make_endpoint(
    runtime: Runtime,
    distributor_id: UUID,
    event_types: list[str],
    url: str = "https://erp.example.test/hook",
    **columns: Any,
) -> UUID:
    """A webhook endpoint with a sealed secret."""
    endpoint_id = runtime.new_id()
    async with runtime.database.tenant(distributor_id) as connection:
        await connection.execute(
            "with endpoint as (insert into webhook_endpoints (distributor_id, id, name, url, event_types,"
            " secrets_sealed, created_at, updated_at) values ($1, $2, 'erp', $3, $4, $5, $6, $6) returning *)"
            " insert into webhook_endpoint_state (distributor_id, endpoint_id, updated_at)"
            " select distributor_id, id, created_at from endpoint",
            distributor_id,
            endpoint_id,
            url,
            event_types,
            b"",
            runtime.clock(),
        )
        for column, value in columns.items():
            await connection.execute(
                f"update webhook_endpoints set {column} = $1 where id = $2", value, endpoint_id
            )
    return endpoint_id


def inbound(text: str = "2 cajas de coca 600", key: str = "SM" + "0" * 32, **fields: Any) -> InboundMessage:
    """A customer's WhatsApp message."""
    values: dict[str, Any] = {
        "provider_key": key,
        "sender": CUSTOMER_NUMBER,
        "recipient": OUR_NUMBER,
        "channel": Channel.WHATSAPP,
        "type": MessageType.TEXT,
        "text": text,
        **fields,
    }
    return InboundMessage(**values)


def posted(runtime: Runtime, account: ChannelAccount) -> Posted:
    """A verified post that came now."""
    request = InboundRequest("POST", f"{runtime.public_url}/in/twilio/{account.id}", {}, b"Body=x")
    return Posted(account, request, runtime.clock())


def accepted_item(
    runtime: Runtime, account: ChannelAccount, message: InboundMessage, quiet: float = 4.0
) -> dict[str, Any]:
    """A message as the accept statement takes it."""
    return message_item(runtime, posted(runtime, account), message, quiet)


async def make_outbound(
    runtime: Runtime,
    account: ChannelAccount,
    count: int = 1,
    *,
    parts: int = 1,
    provider_id: str | None = None,
    conversation_id: UUID | None = None,
) -> list[UUID]:
    """Messages of ours that are being sent, in each conversation of the account or in that one; ``provider_id``: the provider's id of
    each, once a receipt told it.
    """
    ids = [runtime.new_id() for _ in range(count)]
    async with runtime.database.tenant(account.distributor_id) as connection:
        await connection.execute(
            "insert into messages (distributor_id, id, conversation_id, channel_account_id, channel, direction, type, status,"
            " status_rank, text, provider_message_id, parts, ai_processed, ai_skip_reason, created_at, updated_at)"
            " select c.distributor_id, i.id, c.id, channel_account_id, channel, 'OUTBOUND', 'TEXT', 'SENDING', 2, 'x', $3, $4,"
            " true, 'outbound', $2, $2 from conversations c cross join unnest($1::uuid[]) as i(id)"
            " where c.channel_account_id = $5 and c.id = coalesce($6, c.id)",
            ids,
            runtime.clock(),
            provider_id,
            parts,
            account.id,
            conversation_id,
        )
    return ids


async def fetch_rows(
    runtime: Runtime, distributor_id: UUID, query: str, *arguments: Any
) -> list[dict[str, Any]]:
    """What a tenant sees."""
    async with runtime.database.tenant(distributor_id) as connection:
        return [dict(row) for row in await connection.fetch(query, *arguments)]
