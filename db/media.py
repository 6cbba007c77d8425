"""Files of messages, and posts whose contents are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("media")


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file under this worker's lease with its account (credentials sealed) and, where it is a part of a stored post
    that is still kept, the post.
    """

    attachment_id: UUID
    url: str
    content_type: str
    channel_account_id: UUID
    channel: str
    provider: str
    account_address: str
    credentials_sealed: bytes
    account_settings: dict[str, Any]
    account_deleted_at: datetime | None
    method: str | None
    target: str | None
    headers: dict[str, str] | None
    body: bytes | None


@dataclass(frozen=True, slots=True)
class PostRow:
    """A stored post under this worker's lease, with its account (credentials sealed)."""

    event_id: UUID
    received_at: datetime
    channel_account_id: UUID
    channel: str
    provider: str
    account_address: str
    credentials_sealed: bytes
    account_settings: dict[str, Any]
    account_deleted_at: datetime | None
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class FileEnd:
    """How a fetch ended: STORED with all but ``error_class``, or for good without a file."""

    state: str
    store_key: str | None = None
    size_bytes: int | None = None
    sha256: bytes | None = None
    sniffed_type: str | None = None
    scanned_at: datetime | None = None
    error_class: str | None = None


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A file that is in the store."""

    store_key: str
    sniffed_type: str
    filename: str | None
    size_bytes: int


async def find_file(connection: Connection, attachment_id: UUID, lease_token: UUID) -> FileRow | None:
    """What is to be fetched, or None when the lease is lost."""
    row = await connection.fetchrow(_SQL["find_file"], attachment_id, lease_token)
    return FileRow(**row) if row else None


async def settle_file(
    connection: Connection, attachment_id: UUID, lease_token: UUID, end: FileEnd, now: datetime
) -> bool:
    """Ends a fetch; False when the lease is another worker's by now."""
    settled = await connection.fetchval(
        _SQL["settle_file"],
        attachment_id,
        lease_token,
        end.state,
        end.store_key,
        end.size_bytes,
        end.sha256,
        end.sniffed_type,
        end.scanned_at,
        end.error_class,
        now,
    )
    return settled is not None


async def postpone_file(
    connection: Connection,
    attachment_id: UUID,
    lease_token: UUID,
    *,
    due_at: datetime,
    error_class: str,
    now: datetime,
) -> None:
    """Puts a fetch off."""
    await connection.execute(_SQL["postpone_file"], attachment_id, lease_token, due_at, error_class, now)


async def read_stored(connection: Connection, attachment_id: UUID) -> StoredRow | None:
    """Where the store keeps a file, unless it has none."""
    row = await connection.fetchrow(_SQL["read_stored"], attachment_id)
    return StoredRow(**row) if row else None


async def list_kept_keys(connection: Connection, keys: Sequence[str]) -> set[str]:
    """Which of these keys of the store are still some message's."""
    return {row["store_key"] for row in await connection.fetch(_SQL["list_kept_keys"], list(keys))}


async def find_post(connection: Connection, event_id: UUID, lease_token: UUID) -> PostRow | None:
    """What is to be asked for, or None when the lease is lost."""
    row = await connection.fetchrow(_SQL["find_post"], event_id, lease_token)
    return PostRow(**row) if row else None


async def settle_post(
    connection: Connection, event_id: UUID, lease_token: UUID, error_class: str | None
) -> bool:
    """Nothing is asked for any more: it was had, or given up for ``error_class``. False when the lease is lost."""
    return await connection.fetchval(_SQL["settle_post"], event_id, lease_token, error_class) is not None


async def postpone_post(
    connection: Connection, event_id: UUID, lease_token: UUID, *, due_at: datetime, error_class: str
) -> None:
    """Asks again later."""
    await connection.execute(_SQL["postpone_post"], event_id, lease_token, due_at, error_class)
