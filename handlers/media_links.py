"""Links to stored files: whoever holds one sees its file, for a quarter of an hour.

A token is base64url of ``version (1) | tenant (16) | attachment (16) | end in Unix seconds (5) | MAC (16)``, lengths in
bytes; nothing is stored for it.
"""

import base64
import hmac
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from db import media
from db.sealing import Sealer
from handlers.media_store import MediaStore
from handlers.runtime import Runtime
from handlers.sniffing import SHOWN_INLINE

LINK_LASTS = timedelta(minutes=15)
_VERSION = b"\x01"
_ID_BYTES = 16
_END_BYTES = 5
_MAC_BYTES = 16
_SIGNED_BYTES = 1 + 2 * _ID_BYTES + _END_BYTES
_TOKEN = re.compile(r"[A-Za-z0-9_-]{72}")  # 54 bytes: no padding, and one form only
_PURPOSE = "media link"


@dataclass(frozen=True, slots=True)
class LinkedFile:
    """What a link leads to; ``kind`` is what the file is by its bytes."""

    pieces: AsyncGenerator[bytes]
    kind: str
    size_bytes: int
    filename: str | None

    @property
    def shown_inline(self) -> bool:
        return self.kind in SHOWN_INLINE


def make_link(runtime: Runtime, tenant: UUID, attachment_id: UUID) -> str:
    """The address of a stored file, good for ``LINK_LASTS``."""
    return f"{runtime.public_url}/v1/media/{make_token(runtime.sealer, tenant, attachment_id, runtime.clock() + LINK_LASTS)}"


def make_token(sealer: Sealer, tenant: UUID, attachment_id: UUID, ends_at: datetime) -> str:
    """Made with the first master key."""
    end = int(ends_at.timestamp()).to_bytes(_END_BYTES, "big")
    signed = _VERSION + tenant.bytes + attachment_id.bytes + end
    mac, *_ = _macs(sealer, signed)
    return base64.urlsafe_b64encode(signed + mac).decode("ascii")


def read_token(sealer: Sealer, token: str, now: datetime) -> tuple[UUID, UUID] | None:
    """Tenant and attachment of a token that one of the master keys made and that has not ended; else None."""
    if not _TOKEN.fullmatch(token):
        return None
    raw = base64.urlsafe_b64decode(token)
    signed, told = raw[:_SIGNED_BYTES], raw[_SIGNED_BYTES:]
    if not signed.startswith(_VERSION) or not any(
        hmac.compare_digest(told, mac) for mac in _macs(sealer, signed)
    ):
        return None
    end = int.from_bytes(signed[-_END_BYTES:], "big")
    ids = signed[1:-_END_BYTES]
    if end <= now.timestamp():
        return None
    return UUID(bytes=ids[:_ID_BYTES]), UUID(bytes=ids[_ID_BYTES:])


def _macs(sealer: Sealer, signed: bytes) -> list[bytes]:
    return [mac[:_MAC_BYTES] for mac in sealer.macs(signed, _PURPOSE)]


async def open_link(runtime: Runtime, store: MediaStore, token: str) -> LinkedFile | None:
    """The file that a token leads to; None for a token that is wrong or over, and for a file that is gone. Reading its
    pieces raises NotThere or StoreUnavailable at the first one.
    """
    named = read_token(runtime.sealer, token, runtime.clock())
    if named is None:
        return None
    tenant, attachment_id = named
    async with runtime.database.tenant(tenant) as connection:
        row = await media.read_stored(connection, attachment_id)
    if row is None:
        return None
    return LinkedFile(store.read(row.store_key), row.sniffed_type, row.size_bytes, row.filename)
