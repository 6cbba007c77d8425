"""Stored posts of providers, and what they made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("inbound_events")


@dataclass(frozen=True, slots=True)
class InboundEventRow:
    """A post as it came, but for the headers that held credentials."""

    distributor_id: UUID
    channel_account_id: UUID
    id: UUID
    kind: str
    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    received_at: datetime


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key of the dedupe; ``message_id`` and what follows are None where it made no inbound message."""

    provider_key: str
    message_id: UUID | None
    type: str | None
    text: str | None
    metadata: Mapping[str, Any] | None
    reply_to_provider_id: str | None
    attachments: Sequence[Mapping[str, Any]]


async def find_event(
    connection: Connection, event_id: UUID, distributor_id: UUID | None
) -> InboundEventRow | None:
    """The post, any tenant's or the given one's; takes a worker's connection."""
    row = await connection.fetchrow(_SQL["find_event"], event_id, distributor_id)
    return InboundEventRow(**row) if row else None


async def list_known(connection: Connection, account_id: UUID, keys: Sequence[str]) -> dict[str, KnownKey]:
    """What is known of an account's keys, by key."""
    rows = await connection.fetch(_SQL["list_known"], account_id, keys)
    return {row["provider_key"]: KnownKey(**row) for row in rows}
