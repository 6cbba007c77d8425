"""Customers see that an answer is being written, where the provider can show it. Best effort: a turn neither waits for it
nor fails with it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from channels.abilities import ShowsTyping
from channels.base import Channel, ChannelAdapter
from channels.errors import GatewayError
from db import sends
from db.errors import DatabaseError
from handlers.fetching import open_account
from handlers.runtime import Runtime
from handlers.turn_outcome import Burst, may_reply

SETTING = "typing_indicator"  # of an account: true where it is not set
_CHANNELS = frozenset({Channel.WHATSAPP})


@dataclass(frozen=True, slots=True)
class TypingTools:
    """What the notice needs beside the runtime. ``after`` seconds a turn is slow enough for one: after an answer that
    is quicker it would stay for its 25 seconds.
    """

    adapters: Mapping[str, ChannelAdapter] = field(default_factory=dict)
    after: float = 0.3


@asynccontextmanager
async def showing_typing(runtime: Runtime, tools: TypingTools, burst: Burst) -> AsyncIterator[None]:
    """Shows it beside the block, unless the block is done before or nobody will answer."""
    if burst.row.channel not in _CHANNELS or not may_reply(burst):
        yield
        return
    task = asyncio.create_task(_show(runtime, tools, burst), name="typing")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _show(runtime: Runtime, tools: TypingTools, burst: Burst) -> None:
    await asyncio.sleep(tools.after)
    with contextlib.suppress(GatewayError, DatabaseError):
        async with runtime.database.tenant(burst.claimed.distributor_id) as connection:
            row = await sends.find_typing_target(connection, burst.last_message_id)
        if row is None or not row.account_settings.get(SETTING, True):
            return
        adapter = tools.adapters.get(row.provider)
        if isinstance(adapter, ShowsTyping):
            account = open_account(runtime, burst.claimed.distributor_id, row)
            await adapter.show_typing(account, burst.row.address, row.provider_message_id)
