"""The providers' sides of sends: stand-ins on loopback, and adapters that give up on them soon."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp

from channels.base import ChannelAdapter
from channels.registry import build_adapters
from gateway.dev.stand_ins.app import StandIns, running_stand_ins, stand_in_urls
from gateway.dev.stand_ins.base import FaultKind
from handlers.runtime import new_uuid7, utc_now
from tests.conformance.kit import ChannelKit, ProviderSide, SendFault

_SOON = aiohttp.ClientTimeout(total=0.25)
_FAULTS: Mapping[SendFault, FaultKind] = {
    SendFault.THROTTLED: FaultKind.THROTTLED,
    SendFault.SERVER_ERROR: FaultKind.SERVER_ERROR,
    SendFault.HANG: FaultKind.HANG,
}


class ImpatientSession:
    """A client session whose every request waits shortly, whatever time-out the adapter wants."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def request(self, method: str, url: Any, **more: Any) -> Any:
        return self._session.request(method, url, **{**more, "timeout": _SOON})


@asynccontextmanager
async def impatient_session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield cast(aiohttp.ClientSession, ImpatientSession(session))


@asynccontextmanager
async def stand_in_side(kit: ChannelKit) -> AsyncIterator[ProviderSide]:
    """The provider's stand-in of the product."""
    stand_ins = StandIns(new_uuid7, utc_now)
    async with running_stand_ins(stand_ins) as base_url, impatient_session() as session:
        adapters: Mapping[str, ChannelAdapter] = build_adapters(stand_in_urls(base_url, base_url), session)
        state = stand_ins[kit.provider]
        yield ProviderSide(
            adapters, lambda fault: state.faults.append(_FAULTS[fault]), lambda: len(state.taken)
        )
        for adapter in adapters.values():
            await adapter.aclose()
