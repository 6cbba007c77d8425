"""Posts that could not be stored, on disk: one sealed file each, until the database is back.

For providers that do not post again (``OwnFault.LOST``). A post is written and its folder synced before it is answered
as taken; its file goes only after the commit that stores it. Every step may be the last one of the process: what was
answered is replayed by whoever comes next, and the keys of the dedupe make a second replay harmless.

Layout of the folder: ``*.post`` waits, ``*.new`` is being written, ``aside/*.post`` could not be replayed and is tried
again when a process starts, ``lock`` is held by the one process that replays.
"""

import asyncio
import base64
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from multidict import CIMultiDict

from channels.base import InboundRequest
from db.errors import SealBroken
from db.sealing import Sealer
from gateway.settings import SettingsError

_WAITING, _UNFINISHED = ".post", ".new"
_ABANDONED_SECONDS = 3_600.0  # nobody writes one file for so long: its process was killed
_OWN_FOLDER, _OWN_FILE = 0o700, 0o600


class SpoolFull(Exception):
    """No more posts can be kept here; nothing was written."""


class SpoolBroken(Exception):
    """A file that is not one of ours, was changed, or was sealed by a key that is no longer listed."""


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """The most that waits, set-aside files counted too. Other processes' posts of the last round may come on top."""

    files: int = 100_000
    bytes: int = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class SpooledPost:
    """A verified post; ``proof`` tells whether the account's credentials are still those that verified it."""

    provider: str
    account_id: UUID
    request: InboundRequest
    received_at: datetime
    proof: str


class Disk:
    """The file operations of the spool, each durable when it returns; a fake may die between any two of them."""

    def write(self, path: Path, content: bytes) -> None:
        """A new file of the owner's only."""
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWN_FILE), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def move(self, path: Path, to: Path) -> None:
        """Renames within the spool; both folders are synced."""
        path.rename(to)
        for folder in {path.parent, to.parent}:
            self.sync(folder)

    def remove(self, path: Path) -> None:
        """Deletes a file; it need not be synced, for a replay of it is harmless."""
        path.unlink(missing_ok=True)

    def sync(self, folder: Path) -> None:
        """Makes names durable."""
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Spool:
    """The folder, shared by all processes of a machine; blocking work runs in threads."""

    def __init__(
        self,
        folder: Path,
        sealer: Sealer,
        new_id: Callable[[], UUID],
        limits: SpoolLimits = SpoolLimits(),
        disk: Disk | None = None,
    ) -> None:
        self._folder = folder
        self._aside = folder / "aside"
        self._sealer = sealer
        self._new_id = new_id
        self._limits = limits
        self._disk = disk or Disk()
        self._files = 0
        self._bytes = 0

    def open(self) -> None:
        """Makes the folder ready: tries that it can be written, clears what a killed process left, and gives
        set-aside posts another try, since this may be the release that can read them. Raises SettingsError.
        """
        try:
            self._aside.mkdir(mode=_OWN_FOLDER, parents=True, exist_ok=True)
            self._folder.chmod(_OWN_FOLDER)
            probe = self._folder / f"{self._new_id().hex}{_UNFINISHED}"
            self._disk.write(probe, b"")
            self._disk.remove(probe)
            self._clear_unfinished()
            for path in self._aside.glob(f"*{_WAITING}"):
                self._disk.move(path, self._folder / path.name)
            self.measure()
        except OSError as error:
            raise SettingsError(
                f"{self._folder.absolute()} must be a folder that can be written: posts wait there while the database"
                f" is away ({error.strerror}). Start in another working folder, or mount one there"
            ) from None

    async def put(self, post: SpooledPost) -> None:
        """Returns once the post is durable. Raises SpoolFull, also where the disk is."""
        name = self._new_id().hex
        sealed = self._sealer.seal(_packed(post), _context(name))
        if self._files >= self._limits.files or self._bytes + len(sealed) > self._limits.bytes:
            raise SpoolFull
        self._files += 1
        self._bytes += len(sealed)
        try:
            await asyncio.to_thread(self._write, name, sealed)
        except OSError as error:
            raise SpoolFull from error

    def waiting(self) -> Sequence[Path]:
        """What waits, the oldest first."""
        return sorted(self._folder.glob(f"*{_WAITING}"))

    def measure(self) -> tuple[int, int]:
        """Counts what is there: the number of waiting posts and of those set aside."""
        waiting, aside = self.waiting(), list(self._aside.glob(f"*{_WAITING}"))
        self._files = len(waiting) + len(aside)
        self._bytes = sum(_size(path) for path in (*waiting, *aside))
        return len(waiting), len(aside)

    def read(self, path: Path) -> SpooledPost:
        """Raises SpoolBroken, or OSError where the file cannot be read at all."""
        sealed = path.read_bytes()
        try:
            return _unpacked(self._sealer.open(sealed, _context(path.stem)))
        except (SealBroken, ValueError, KeyError, TypeError):
            raise SpoolBroken from None

    def finish(self, path: Path) -> None:
        """Its content is committed."""
        self._disk.remove(path)

    def set_aside(self, path: Path) -> None:
        """It cannot be replayed now; it stays in the folder beside, and holds up nobody."""
        self._disk.move(path, self._aside / path.name)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether this process may replay while the block runs; the lock of one that is killed is gone with it."""
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, _OWN_FILE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
        finally:
            os.close(descriptor)

    def _write(self, name: str, sealed: bytes) -> None:
        unfinished = self._folder / f"{name}{_UNFINISHED}"
        try:
            self._disk.write(unfinished, sealed)
            self._disk.move(unfinished, self._folder / f"{name}{_WAITING}")
        except OSError:
            # Of a disk that is full, half a post must not take the rest.
            with suppress(OSError):
                self._disk.remove(unfinished)
            raise

    def _clear_unfinished(self) -> None:
        """Nobody was told that these are kept. A young one may be another process's that writes right now."""
        oldest = time.time() - _ABANDONED_SECONDS
        for path in self._folder.glob(f"*{_UNFINISHED}"):
            if path.stat().st_mtime < oldest:
                self._disk.remove(path)


def credentials_proof(credentials: Mapping[str, Any]) -> str:
    """Equal for equal credentials; kept sealed."""
    return hashlib.sha256(orjson.dumps(dict(credentials), option=orjson.OPT_SORT_KEYS)).hexdigest()


def _context(name: str) -> str:
    return f"spool:{name}"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # another process has replayed it
        return 0


def _packed(post: SpooledPost) -> bytes:
    request = post.request
    # Not orjson: a header or a path may hold bytes that are no UTF-8, which only this one brings back as they were.
    return json.dumps(
        {
            "provider": post.provider,
            "account_id": str(post.account_id),
            "method": request.method,
            "url": request.url,
            "headers": [(str(name), value) for name, value in request.headers.items()],
            "body": base64.b64encode(request.body).decode("ascii"),
            "received_at": post.received_at.isoformat(),
            "proof": post.proof,
        }
    ).encode()


def _unpacked(content: bytes) -> SpooledPost:
    packed = json.loads(content)
    headers = CIMultiDict([(name, value) for name, value in packed["headers"]])
    body = base64.b64decode(packed["body"], validate=True)
    return SpooledPost(
        provider=packed["provider"],
        account_id=UUID(packed["account_id"]),
        request=InboundRequest(packed["method"], packed["url"], headers, body),
        received_at=datetime.fromisoformat(packed["received_at"]),
        proof=packed["proof"],
    )
