"""The store of files in a folder: for one machine, or for several that share the folder."""

import asyncio
import os
import re
import tempfile
from collections.abc import AsyncGenerator, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from uuid import UUID

from channels.errors import NotThere, StoreUnavailable
from handlers.media_store import StoredFile

PIECE = 64 * 1024
_FAN_OUT = 2  # hex digits: 256 folders a tenant
# Behind the digest stands what a process that was killed left of an unfinished file; it is listed, to be deleted.
_KEY = re.compile(r"([0-9a-f-]{36})/([0-9a-f]{64}(?:\.\w{1,32})?)")


class FolderStore:
    """A ``MediaStore`` under ``folder``, which is made with the first file; nobody but its owner may look in."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, key: str, content: bytes) -> None:
        try:
            await asyncio.to_thread(_write, self._path(key), content)
        except OSError as error:
            raise StoreUnavailable(f"The folder of files: {error.strerror}.") from None

    async def read(self, key: str) -> AsyncGenerator[bytes]:
        path = self._path(key)
        try:
            file = await asyncio.to_thread(path.open, "rb")
        except FileNotFoundError:
            raise NotThere from None
        except OSError as error:
            raise StoreUnavailable(f"The folder of files: {error.strerror}.") from None
        with file:
            while piece := await asyncio.to_thread(file.read, PIECE):
                yield piece

    async def delete_older(self, key: str, put_before: datetime) -> bool:
        try:
            return await asyncio.to_thread(_unlink_older, self._path(key), put_before)
        except OSError as error:
            raise StoreUnavailable(f"The folder of files: {error.strerror}.") from None

    async def list_files(self, tenant: UUID, after: str, limit: int) -> Sequence[StoredFile]:
        try:
            return await asyncio.to_thread(lambda: list(islice(self._files(tenant, after), limit)))
        except OSError as error:
            raise StoreUnavailable(f"The folder of files: {error.strerror}.") from None

    async def aclose(self) -> None:
        """Holds nothing open."""

    def _path(self, key: str) -> Path:
        match = _KEY.fullmatch(key)
        if match is None:
            raise ValueError("no key of a file")
        tenant, name = match.groups()
        return self._folder / tenant / name[:_FAN_OUT] / name

    def _files(self, tenant: UUID, after: str) -> Iterator[StoredFile]:
        last = after.rpartition("/")[2]
        for folder in _sorted_names(self._folder / str(tenant)):
            if folder < last[:_FAN_OUT]:
                continue
            inside = self._folder / str(tenant) / folder
            for name in _sorted_names(inside):
                key = f"{tenant}/{name}"
                if name > last and _KEY.fullmatch(key):
                    yield StoredFile(key, _put_at(inside / name))


def _put_at(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _unlink_older(path: Path, put_before: datetime) -> bool:
    try:
        old = _put_at(path) < put_before
    except FileNotFoundError:
        return False
    if old:
        path.unlink(missing_ok=True)
    return old


def _sorted_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _write(path: Path, content: bytes) -> None:
    """Appears whole or not at all, and is on the disk when this returns."""
    root = path.parents[2]
    root.parent.mkdir(parents=True, exist_ok=True)
    for folder in (root, path.parents[1], path.parent):  # parents made on the way would have another mode
        folder.mkdir(mode=0o700, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)  # readable by its owner only
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink()
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """So that the file's name survives a power cut, too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
