"""Files of messages: fetched after the message is stored, looked into, and kept by their content. Whatever becomes of a
file, its message stays.
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

from channels.abilities import Downloads, MediaContent, MediaInPost, MediaSource
from channels.base import Attachment, ChannelAccount, ChannelAdapter
from channels.errors import (
    AttemptsExhausted,
    ContentRefused,
    DeliveryFault,
    FaultClass,
    GatewayError,
    MalformedPayload,
    TooLarge,
    UnknownAccount,
)
from db import media
from db.lanes import ClaimedFile
from db.media import FileEnd, FileRow
from handlers.faults import OnFault, unheard
from handlers.fetching import WAITS, DownloadSource, next_try, open_account, stored_request
from handlers.media_store import MediaScanner, MediaStore, store_key
from handlers.runtime import Runtime
from handlers.sniffing import UNKNOWN, sniff

# Bytes of one file, whatever its channel: mails may have 25 MB in most places, WhatsApp's pictures, sounds and videos
# 16 MB, SMS 5 MB. Only WhatsApp's documents may be larger (100 MB); those stay with the provider.
LARGEST_FILE = 25 * 1024 * 1024
# All files of a mail that leaves; the encoding adds a third, and most mail servers take 25 MB.
LARGEST_MAIL = 18 * 1024 * 1024
# For all that is asked of others about one file; its lease outlasts it, with room for the database.
FETCH_SECONDS = 120.0
FETCH_LEASE = timedelta(seconds=150)
PART = "part:"


class FileState(StrEnum):
    """What an attachment's row says of its file."""

    PENDING = "PENDING"
    STORED = "STORED"
    LINKED = "LINKED"
    UNAVAILABLE = "UNAVAILABLE"
    TOO_LARGE = "TOO_LARGE"
    INFECTED = "INFECTED"


class FetchResult(StrEnum):
    """How a claimed fetch ended."""

    STORED = "stored"
    POSTPONED = "postponed"
    UNAVAILABLE = "unavailable"
    TOO_LARGE = "too_large"
    INFECTED = "infected"
    LOST = "lost"  # the lease went to another worker


@dataclass(frozen=True, slots=True)
class MediaTools:
    """What fetching needs beside the runtime. Without ``scanner`` nothing is looked at, and the rows say so."""

    adapters: Mapping[str, ChannelAdapter]
    downloads: DownloadSource
    store: MediaStore
    scanner: MediaScanner | None = None


async def fetch_file(
    runtime: Runtime, tools: MediaTools, claimed: ClaimedFile, on_fault: OnFault = unheard
) -> FetchResult:
    """Makes one attempt at a claimed file. It is in the store before its row says so: whoever is killed between the two
    stores the same bytes under the same key again. ``on_fault`` hears what a failed attempt failed of.
    Raises DatabaseUnavailable.
    """
    async with runtime.database.tenant(claimed.distributor_id) as connection:
        row = await media.find_file(connection, claimed.attachment_id, claimed.lease_token)
    if row is None:
        return FetchResult.LOST
    try:
        async with asyncio.timeout(FETCH_SECONDS):
            end = await _fetch_and_keep(runtime, tools, claimed, row)
    except (TimeoutError, GatewayError) as error:
        fault = error if isinstance(error, GatewayError) else DeliveryFault(FaultClass.TIMEOUT)
        on_fault(fault)
        return await _settle_error(runtime, claimed, fault)
    return await _settle(runtime, claimed, end)


async def _fetch_and_keep(runtime: Runtime, tools: MediaTools, claimed: ClaimedFile, row: FileRow) -> FileEnd:
    if claimed.attempts > len(WAITS) + 1:  # the last ones ended without a result
        raise AttemptsExhausted
    found = await _fetch(runtime, tools, claimed, row)
    if len(found.content) > LARGEST_FILE:
        raise TooLarge
    digest, kind = await asyncio.to_thread(_look_at, found.content)
    if tools.scanner is not None and not await tools.scanner.is_clean(found.content):
        return FileEnd(FileState.INFECTED, sha256=digest, sniffed_type=kind, size_bytes=len(found.content))
    key = store_key(claimed.distributor_id, digest)
    await tools.store.put(key, found.content)
    scanned_at = runtime.clock() if tools.scanner else None
    return FileEnd(FileState.STORED, key, len(found.content), digest, kind, scanned_at)


async def _fetch(runtime: Runtime, tools: MediaTools, claimed: ClaimedFile, row: FileRow) -> MediaContent:
    if row.account_deleted_at is not None:
        raise UnknownAccount("The channel account was deleted.")
    adapter = tools.adapters.get(row.provider)
    if adapter is None:
        raise ContentRefused(f"This release has no channel named {row.provider}.")
    account = open_account(runtime, claimed.distributor_id, row)
    if row.url.startswith(PART):
        return await _read_part(runtime, adapter, account, row)
    downloads = tools.downloads.from_provider(str(claimed.distributor_id))
    if isinstance(adapter, MediaSource):
        return await adapter.fetch_media(account, row.url, downloads)
    return await downloads.get(row.url)


async def _read_part(
    runtime: Runtime, adapter: ChannelAdapter, account: ChannelAccount, row: FileRow
) -> MediaContent:
    if not isinstance(adapter, MediaInPost):
        raise ContentRefused("The channel has no files in its posts.")
    if row.method is None or row.target is None or row.headers is None or row.body is None:
        raise MalformedPayload("The post is not kept any more.")
    request = stored_request(runtime, row.method, row.target, row.headers, row.body)
    # Taking a large mail apart is work of a second, which others need not wait for.
    return await asyncio.to_thread(adapter.read_part, account, request, row.url)


def _look_at(content: bytes) -> tuple[bytes, str]:
    return hashlib.sha256(content).digest(), sniff(content)


async def _settle_error(runtime: Runtime, claimed: ClaimedFile, error: GatewayError) -> FetchResult:
    """A fault that may pass is tried again later; everything else ends the fetch."""
    now = runtime.clock()
    due_at = next_try(error, claimed.attempts, now)
    if due_at is None:
        state = FileState.TOO_LARGE if isinstance(error, TooLarge) else FileState.UNAVAILABLE
        return await _settle(runtime, claimed, FileEnd(state, error_class=error.code))
    async with runtime.database.tenant(claimed.distributor_id) as connection:
        await media.postpone_file(
            connection,
            claimed.attachment_id,
            claimed.lease_token,
            due_at=due_at,
            error_class=error.code,
            now=now,
        )
    return FetchResult.POSTPONED


async def _settle(runtime: Runtime, claimed: ClaimedFile, end: FileEnd) -> FetchResult:
    async with runtime.database.tenant(claimed.distributor_id) as connection:
        settled = await media.settle_file(
            connection, claimed.attachment_id, claimed.lease_token, end, runtime.clock()
        )
    return FetchResult(end.state.lower()) if settled else FetchResult.LOST


async def load_outbound_files(
    files: Sequence[Attachment], downloads: Downloads, largest: int = LARGEST_MAIL
) -> tuple[Attachment, ...]:
    """The files with their content, for a provider that takes bytes and no addresses (mails). Never called inside a
    transaction. ``downloads`` are those of addresses that tenants name (``from_anywhere``).

    Raises TooLarge where they are together over ``largest``, and whatever ``Downloads.get`` raises.
    """
    loaded: list[Attachment] = []
    for file in files:
        loaded.append(file if file.content is not None else await _load(file, downloads))
        largest -= len(loaded[-1].content or b"")
        if largest < 0:
            raise TooLarge
    return tuple(loaded)


async def _load(file: Attachment, downloads: Downloads) -> Attachment:
    """What the tenant says of its own file counts; a type is found for one that it did not name."""
    found = await downloads.get(file.url)
    kind = file.content_type if file.content_type not in {"", UNKNOWN} else sniff(found.content)
    return replace(file, content=found.content, content_type=kind)
