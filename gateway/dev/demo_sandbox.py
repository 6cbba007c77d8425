"""The demo's provider: the sandbox; its status callbacks can be held back, its look-ups are counted."""

from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

from gateway.dev.management import ProviderLogin
from gateway.dev.sandbox import CALLER, STATE, build_sandbox
from gateway.dev.sandbox_calls import Caller
from gateway.dev.sandbox_state import SandboxMessage
from handlers.runtime import new_uuid7, utc_now

_PAUSE_SECONDS = 0.1  # between two statuses of a message


class _HoldingCaller(Caller):
    """Makes the sandbox's calls; holds back those about statuses while told to."""

    holding = False

    def hold(self) -> None:
        self.holding = True
        self._held: list[SandboxMessage] = []

    def release(self) -> None:
        self.holding = False
        for message in self._held:
            super().follow(message)

    def follow(self, message: SandboxMessage) -> None:
        if self.holding:
            self._held.append(message)
        else:
            super().follow(message)


class DemoProvider:
    """A sandbox application and the handles that the demo has on it beside its HTTP interface."""

    def __init__(self, login: ProviderLogin) -> None:
        self.lookups = 0
        accounts = {login.account_sid: login.auth_token}
        self.app = build_sandbox(accounts, new_id=new_uuid7, clock=utc_now, pause=_PAUSE_SECONDS)
        self.app.cleanup_ctx.append(self._own_caller)
        self.app.on_response_prepare.append(self._count_lookup)

    def hold_callbacks(self) -> None:
        """From now on nobody is told of statuses: whoever wants to know must ask."""
        self._caller.hold()

    def release_callbacks(self) -> None:
        """Makes the callbacks that were held back."""
        self._caller.release()

    async def _own_caller(self, app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            self._caller = app[CALLER] = _HoldingCaller(app[STATE], session, _PAUSE_SECONDS)
            yield
            for task in app[STATE].tasks:
                task.cancel()

    async def _count_lookup(self, request: web.Request, _response: web.StreamResponse) -> None:
        if request.method == "GET" and request.path.endswith("/Messages.json"):
            self.lookups += 1
