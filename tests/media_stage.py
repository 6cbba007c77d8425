"""Fakes for all that has to do with files: a store in memory, a provider that says what a script says."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from channels.abilities import Downloads, MediaContent
from channels.errors import NotThere
from handlers.deferred import DeferredTools
from handlers.media import MediaTools
from handlers.media_store import MediaScanner, MediaStore, StoredFile
from tests.fakes import START

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR a picture"


class MemoryStore:
    """A ``MediaStore``; ``failing`` is raised by every use while it is set."""

    def __init__(self, clock: Callable[[], datetime] = lambda: START) -> None:
        self.files: dict[str, tuple[bytes, datetime]] = {}
        self.clock = clock
        self.failing: Exception | None = None
        self.puts = 0

    async def put(self, key: str, content: bytes) -> None:
        self._check()
        self.puts += 1
        self.files[key] = (content, self.clock())

    async def read(self, key: str) -> AsyncGenerator[bytes]:
        self._check()
        if key not in self.files:
            raise NotThere
        content = self.files[key][0]
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]

    async def delete_older(self, key: str, put_before: datetime) -> bool:
        self._check()
        if key not in self.files or self.files[key][1] >= put_before:
            return False
        del self.files[key]
        return True

    async def list_files(self, tenant: UUID, after: str, limit: int) -> Sequence[StoredFile]:
        self._check()
        keys = sorted(key for key in self.files if key.startswith(f"{tenant}/") and key > after)
        return [StoredFile(key, self.files[key][1]) for key in keys[:limit]]

    async def aclose(self) -> None:
        self.files.clear()

    def _check(self) -> None:
        if self.failing:
            raise self.failing


class ScriptedDownloads:
    """A ``DownloadSource`` and its ``Downloads``: the next of ``script`` is raised or given, the last for ever."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.asked: list[str] = []
        self.parties: list[tuple[str, str]] = []

    def from_provider(self, party: str) -> Downloads:
        self.parties.append(("provider", party))
        return self

    def from_anywhere(self, party: str) -> Downloads:
        self.parties.append(("anywhere", party))
        return self

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> MediaContent:
        self.asked.append(url)
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, MediaContent) else MediaContent(answer, "image/png")


def media_tools(
    *script: Any,
    adapters: Mapping[str, Any] | None = None,
    store: MediaStore | None = None,
    scanner: MediaScanner | None = None,
) -> MediaTools:
    """What fetching needs; without a script nothing is there, without adapters there is one that has no say in it."""
    downloads = ScriptedDownloads(*(script or (NotThere(),)))
    known: Mapping[str, Any] = {"twilio": object()} if adapters is None else adapters
    return MediaTools(known, downloads, store or MemoryStore(), scanner)


def deferred_tools(*script: Any, adapters: Mapping[str, Any] | None = None) -> DeferredTools:
    """What asking needs; bursts are quiet after four seconds."""
    return DeferredTools(adapters or {}, ScriptedDownloads(*(script or (NotThere(),))), lambda _: 4.0)
