"""All stand-ins but Twilio's on one port: each provider's API under its name, ``/{provider}/…``."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from aiohttp import web

from channels.provider_urls import ProviderUrls
from gateway.dev.stand_ins import mailgun, postmark, resend, sendgrid, ses, whatsapp_cloud
from gateway.dev.stand_ins.base import StandInState, back_door

Routes = Callable[[StandInState], Sequence[web.RouteDef]]
# A provider's module is named here by its function ``routes``.
STAND_INS: dict[str, Routes] = {
    "mailgun": mailgun.routes,
    "postmark": postmark.routes,
    "resend": resend.routes,
    "sendgrid": sendgrid.routes,
    "ses": ses.routes,
    "whatsapp_cloud": whatsapp_cloud.routes,
}


class StandIns:
    """The stand-ins of one application, by provider."""

    def __init__(self, new_id: Callable[[], UUID], clock: Callable[[], datetime]) -> None:
        self.states = {name: StandInState(name, new_id, clock) for name in STAND_INS}

    def __getitem__(self, provider: str) -> StandInState:
        return self.states[provider]

    def build_app(self) -> web.Application:
        """The application that serves them all."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        for name, state in self.states.items():
            app.add_routes([*STAND_INS[name](state), *back_door(state)])
        app.on_shutdown.append(self._release)
        return app

    async def _release(self, _app: web.Application) -> None:
        for state in self.states.values():
            state.stopped.set()


def stand_in_urls(base_url: str, twilio: str) -> ProviderUrls:
    """The settings that lead every provider's requests to the stand-ins at ``base_url``."""
    return ProviderUrls(
        twilio=twilio,
        meta_graph=f"{base_url}/whatsapp_cloud",
        sendgrid=f"{base_url}/sendgrid",
        mailgun=f"{base_url}/mailgun",
        postmark=f"{base_url}/postmark",
        resend=f"{base_url}/resend",
        ses=f"{base_url}/ses",
    )


@asynccontextmanager
async def running_stand_ins(
    stand_ins: StandIns, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[str]:
    """Serves them on a port of their own (0: any free one) and gives their base URL."""
    runner = web.AppRunner(stand_ins.build_app(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
