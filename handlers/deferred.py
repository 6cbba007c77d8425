"""Posts that only told of something: a worker asks the provider for it until it is had, and stores what it says as if it
had been posted.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from channels.abilities import Deferring
from channels.base import Channel, ChannelAccount, ChannelAdapter, InboundItem, InboundRequest
from channels.errors import (
    AttemptsExhausted,
    ContentRefused,
    DeliveryFault,
    FaultClass,
    GatewayError,
    UnknownAccount,
)
from db import media
from db.lanes import ClaimedPost
from db.media import PostRow
from handlers.accepting import accept_item
from handlers.faults import OnFault, unheard
from handlers.fetching import WAITS, DownloadSource, next_try, open_account, stored_request
from handlers.inbound import Posted
from handlers.media import FETCH_SECONDS
from handlers.runtime import Runtime


class AskResult(StrEnum):
    """How a claimed post ended."""

    STORED = "stored"
    POSTPONED = "postponed"
    GIVEN_UP = "given_up"
    LOST = "lost"  # the lease went to another worker


@dataclass(frozen=True, slots=True)
class DeferredTools:
    """What asking needs beside the runtime; ``quiet_seconds`` is how long a channel's burst must be quiet."""

    adapters: Mapping[str, ChannelAdapter]
    downloads: DownloadSource
    quiet_seconds: Callable[[Channel], float]


async def ask_for_post(
    runtime: Runtime, tools: DeferredTools, claimed: ClaimedPost, on_fault: OnFault = unheard
) -> AskResult:
    """Makes one attempt at a claimed post. What it gives is stored before the post counts as answered, and storing it
    twice stores it once: whoever is killed between the two does no harm. ``on_fault`` hears what a failed attempt failed of.
    Raises DatabaseUnavailable.
    """
    async with runtime.database.tenant(claimed.distributor_id) as connection:
        row = await media.find_post(connection, claimed.event_id, claimed.lease_token)
    if row is None:
        return AskResult.LOST
    try:
        async with asyncio.timeout(FETCH_SECONDS):
            account, request, items = await _ask(runtime, tools, claimed, row)
    except (TimeoutError, GatewayError) as error:
        fault = error if isinstance(error, GatewayError) else DeliveryFault(FaultClass.TIMEOUT)
        on_fault(fault)
        return await _settle_error(runtime, claimed, fault)
    posted = Posted(account, request, row.received_at)
    for item in items:
        await accept_item(runtime, posted, item, tools.quiet_seconds(account.channel))
    return await _settle(runtime, claimed, None)


async def _ask(
    runtime: Runtime, tools: DeferredTools, claimed: ClaimedPost, row: PostRow
) -> tuple[ChannelAccount, InboundRequest, Sequence[InboundItem]]:
    if claimed.attempts > len(WAITS) + 1:  # the last ones ended without a result
        raise AttemptsExhausted
    if row.account_deleted_at is not None:
        raise UnknownAccount("The channel account was deleted.")
    adapter = tools.adapters.get(row.provider)
    if not isinstance(adapter, Deferring):
        raise ContentRefused(f"This release asks no provider named {row.provider}.")
    account = open_account(runtime, claimed.distributor_id, row)
    request = stored_request(runtime, row.method, row.target, row.headers, row.body)
    downloads = tools.downloads.from_provider(str(claimed.distributor_id))
    fetched, items = await adapter.fetch_deferred(account, request, downloads)
    return account, fetched, items


async def _settle_error(runtime: Runtime, claimed: ClaimedPost, error: GatewayError) -> AskResult:
    due_at = next_try(error, claimed.attempts, runtime.clock())
    if due_at is None:
        return await _settle(runtime, claimed, error.code)
    async with runtime.database.tenant(claimed.distributor_id) as connection:
        await media.postpone_post(
            connection, claimed.event_id, claimed.lease_token, due_at=due_at, error_class=error.code
        )
    return AskResult.POSTPONED


async def _settle(runtime: Runtime, claimed: ClaimedPost, error_class: str | None) -> AskResult:
    async with runtime.database.tenant(claimed.distributor_id) as connection:
        settled = await media.settle_post(connection, claimed.event_id, claimed.lease_token, error_class)
    if not settled:
        return AskResult.LOST
    return AskResult.GIVEN_UP if error_class else AskResult.STORED
