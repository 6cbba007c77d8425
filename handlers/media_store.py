"""What the handlers need of the store that keeps files, and of the scanner that looks into them."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in the store, and when it was last put there (aware)."""

    key: str
    put_at: datetime


class MediaStore(Protocol):
    """Keeps files by their content: a key is ``tenant/digest`` (see ``store_key``), so that storing one twice is
    storing it once. Every method raises StoreUnavailable where the store cannot be used now.
    """

    async def put(self, key: str, content: bytes) -> None:
        """Durable once it returns. A file that is there already counts as put now."""
        ...

    def read(self, key: str) -> AsyncGenerator[bytes]:
        """The file in pieces; raises NotThere at the first one where there is none."""
        ...

    async def delete_older(self, key: str, put_before: datetime) -> bool:
        """Deletes the file unless it was put at ``put_before`` or later, which is looked at right before; gives back
        whether it did.
        """
        ...

    async def list_files(self, tenant: UUID, after: str, limit: int) -> Sequence[StoredFile]:
        """The tenant's files behind the key ``after``, in the order of their keys."""
        ...

    async def aclose(self) -> None:
        """Lets go of what it holds open."""
        ...


class MediaScanner(Protocol):
    """Looks for malware."""

    async def is_clean(self, content: bytes) -> bool:
        """Raises ScannerUnavailable where it cannot be asked: what was not looked at is not clean."""
        ...


def store_key(tenant: UUID, digest: bytes) -> str:
    """The key of a tenant's file by its SHA-256. Tenants share no file, so that none learns what another has."""
    return f"{tenant}/{digest.hex()}"
