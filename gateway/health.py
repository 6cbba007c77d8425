"""/live: the process answers. /ready: it can store what is posted."""

from aiohttp import web

from db.errors import DatabaseUnavailable
from gateway import keys


async def live(_request: web.Request) -> web.Response:
    """200 as long as the event loop turns; no dependency is asked."""
    return web.json_response({"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    """200 if the database answers, else 503; never depends on a provider or an AI service."""
    try:
        async with request.app[keys.RUNTIME].database.worker_statements() as connection:
            await connection.fetchval("select 1")
    except DatabaseUnavailable:
        return web.json_response({"status": "unavailable", "database": "away"}, status=503)
    return web.json_response({"status": "ok", "database": "ok"})
