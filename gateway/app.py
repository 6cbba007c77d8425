"""The HTTP side as one aiohttp application, built from services that somebody else opened."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

from gateway import keys
from gateway.acceptor import Acceptor
from gateway.accounts import AccountDirectory
from gateway.api.routes import add_api_routes
from gateway.arrivals import Arrivals
from gateway.denials import DenialLog, writing_denials
from gateway.health import live, ready
from gateway.inbound import add_inbound_routes
from gateway.intake import Intake
from gateway.middleware import MIDDLEWARES
from gateway.queue_gauges import QueueGauges
from gateway.services import Services
from gateway.spool import Spool
from gateway.spooling import Spooling

# The largest body of any route, an import of products; each route has its own, smaller cap.
LARGEST_BODY = 10 * 1024 * 1024
SPOOL = "spool"  # the folder, in the services' home, of posts that could not be stored


def build_app(services: Services) -> web.Application:
    """All routes; the caller serves it. Nothing is opened here but the acceptor and the notifier's task."""
    app = web.Application(middlewares=MIDDLEWARES, client_max_size=LARGEST_BODY)
    app[keys.SETTINGS] = services.settings
    app[keys.RUNTIME] = services.runtime
    app[keys.ADAPTERS] = services.adapters
    app[keys.EGRESS] = services.egress
    app[keys.MEDIA_STORE] = services.media.store
    app[keys.NOTIFIER] = services.notifier
    app[keys.ACCEPTOR] = Acceptor(services.runtime, services.notifier)
    app[keys.ACCOUNTS] = AccountDirectory(services.runtime)
    app[keys.ARRIVALS] = Arrivals(services.dsn)
    app[keys.INTAKE] = Intake(
        services.runtime,
        services.adapters,
        app[keys.ACCOUNTS],
        app[keys.ACCEPTOR],
        services.settings.quiet_seconds,
    )
    spool = Spool(services.home / SPOOL, services.runtime.sealer, services.runtime.new_id)
    app[keys.SPOOLING] = Spooling(spool, services.adapters, app[keys.ACCOUNTS], app[keys.INTAKE])
    app[keys.DENIALS] = DenialLog(services.runtime)
    app.cleanup_ctx.append(_notifying)
    app.cleanup_ctx.append(_spooling)
    app.cleanup_ctx.append(_writing_denials)
    app.router.add_get("/live", live)
    app.router.add_get("/ready", ready)
    app.router.add_get("/metrics", QueueGauges().show)
    add_inbound_routes(app)
    add_api_routes(app)
    return app


async def _notifying(app: web.Application) -> AsyncIterator[None]:
    task = asyncio.create_task(app[keys.NOTIFIER].run(), name="notifier")
    yield
    await app[keys.ACCEPTOR].drain()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):  # that is what we asked for
        await task


async def _spooling(app: web.Application) -> AsyncIterator[None]:
    async with app[keys.SPOOLING].running():
        yield


async def _writing_denials(app: web.Application) -> AsyncIterator[None]:
    async with writing_denials(app[keys.DENIALS]):
        yield
