"""What a turn reads and leaves behind."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("turns")


@dataclass(frozen=True, slots=True)
class TurnRow:
    """A conversation under this worker's lease, with its contact and the tenant's settings."""

    conversation_id: UUID
    channel_account_id: UUID
    customer_id: UUID | None
    contact_id: UUID
    channel: str
    language: str | None
    handoff: str
    generation: int
    cap_at: datetime | None
    lease_token: UUID
    address: str
    opted_out_at: datetime | None
    tenant: str
    time_zone: str
    locale: str
    currency: str
    auto_reply: str
    ai_confidence_threshold: Decimal
    catalogue_version: int


@dataclass(frozen=True, slots=True)
class TurnLock:
    """A conversation as it is under its lock."""

    generation: int
    lease_token: UUID | None
    handoff: str


@dataclass(frozen=True, slots=True)
class BurstMessage:
    """An inbound message that awaits its turn; ``cart`` is what was ordered in the channel's own catalogue."""

    id: UUID
    type: str
    text: str
    created_at: datetime
    cart: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """An active product."""

    id: UUID
    sku: str
    name: str
    unit: str
    unit_price: Decimal | None
    brand: str | None
    aliases: list[str]
    pack_size: int | None
    max_quantity: Decimal | None


@dataclass(frozen=True, slots=True)
class ResponseRow:
    """The record of one engine's answer (or failure) for a burst."""

    id: UUID
    message_id: UUID
    conversation_id: UUID
    status: str
    engine: str
    engine_version: str
    model: str | None
    intent: str | None
    language: str | None
    confidence: Decimal | None
    extracted_data: dict[str, Any]
    error_class: str | None
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_micro_usd: int
    request_id: str | None
    processing_ms: int
    created_at: datetime


async def find_turn(connection: Connection, conversation_id: UUID, lease_token: UUID) -> TurnRow | None:
    """The turn's context, or None when the lease is another worker's by now."""
    row = await connection.fetchrow(_SQL["find_turn"], conversation_id, lease_token)
    return TurnRow(**row) if row else None


async def list_burst(connection: Connection, conversation_id: UUID, limit: int) -> list[BurstMessage]:
    """The messages that await their turn, oldest first."""
    return [BurstMessage(**row) for row in await connection.fetch(_SQL["list_burst"], conversation_id, limit)]


async def lock_turn(connection: Connection, conversation_id: UUID) -> TurnLock:
    """Locks the conversation for this transaction; what may have changed since the turn began."""
    row = await connection.fetchrow(_SQL["lock_turn"], conversation_id)
    assert row is not None, "a conversation under lease is never deleted"
    return TurnLock(**row)


async def find_handoff_reason(connection: Connection, conversation_id: UUID) -> str | None:
    """Why the conversation last asked for a person, as its turn noted it."""
    reason: str | None = await connection.fetchval(_SQL["find_handoff_reason"], conversation_id)
    return reason


async def count_replies(
    connection: Connection,
    conversation_id: UUID,
    *,
    since: datetime,
    text: str,
    latest: int,
    equal_since: datetime,
) -> tuple[int, int]:
    """How many answers of turns the conversation's contact had since then, and how many of the ``latest`` messages to
    them since ``equal_since`` (the earlier time) are such answers with this text.
    """
    arguments = (conversation_id, since, text, latest, equal_since)
    row = await connection.fetchrow(_SQL["count_replies"], *arguments)
    assert row is not None, "it counts"
    return row["recent"], row["repeated"]


async def finish_turn(
    connection: Connection,
    conversation_id: UUID,
    message_ids: Sequence[UUID],
    *,
    language: str | None,
    handoff: str | None,
    now: datetime,
) -> None:
    """Ends the turn: its messages are processed and nothing is due, unless more of the burst waits."""
    await connection.execute(_SQL["mark_processed"], list(message_ids), now)
    await connection.execute(_SQL["finish_turn"], conversation_id, language, handoff)
    await connection.execute(_SQL["continue_turn"], conversation_id, now)


async def release_turn(
    connection: Connection,
    conversation_id: UUID,
    lease_token: UUID,
    *,
    not_before: datetime,
    counts: bool,
) -> None:
    """Gives the lease back; the turn is due again when its burst is quiet, not before ``not_before``. Whether the
    attempt ``counts``: one that a newer message overtook was none.
    """
    await connection.execute(_SQL["release_turn"], conversation_id, lease_token, not_before, not counts)


async def lock_contact(connection: Connection, conversation_id: UUID) -> None:
    """Locks the conversation's contact, for what changes its consent; before ``lock_turn``."""
    await connection.execute(_SQL["lock_contact"], conversation_id)


async def save_response(connection: Connection, row: ResponseRow) -> None:
    """Keeps the one current response of a message; what retries consumed adds up."""
    await connection.execute(
        _SQL["save_response"],
        row.id,
        row.message_id,
        row.conversation_id,
        row.status,
        row.engine,
        row.engine_version,
        row.model,
        row.intent,
        row.language,
        row.confidence,
        row.extracted_data,
        row.error_class,
        row.input_tokens,
        row.cached_tokens,
        row.output_tokens,
        row.cost_micro_usd,
        row.request_id,
        row.processing_ms,
        row.created_at,
    )


async def add_bill(connection: Connection, row: ResponseRow) -> None:
    """Keeps what the call behind ``row`` cost, and nothing of what it said: its result is not used."""
    await connection.execute(
        _SQL["add_bill"],
        row.id,
        row.message_id,
        row.conversation_id,
        row.engine,
        row.engine_version,
        row.model,
        {"message_ids": row.extracted_data["message_ids"]},
        row.input_tokens,
        row.cached_tokens,
        row.output_tokens,
        row.cost_micro_usd,
        row.request_id,
        row.processing_ms,
        row.created_at,
    )


async def set_opted_out(
    connection: Connection, conversation_id: UUID, said_at: datetime, reason: str
) -> tuple[str, str | None] | None:
    """Records that the conversation's contact wants no messages and for which ``reason``; address and name, or None if it
    was known or taken back by a word later than ``said_at``.
    """
    row = await connection.fetchrow(_SQL["set_opted_out"], conversation_id, said_at, reason)
    return (row["address"], row["display_name"]) if row else None


async def list_catalogue(connection: Connection) -> list[CatalogueRow]:
    """The tenant's active products."""
    return [CatalogueRow(**row) for row in await connection.fetch(_SQL["list_catalogue"])]
