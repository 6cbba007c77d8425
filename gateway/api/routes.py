"""All operations of the API, and how they come onto an application."""

from importlib import resources

import orjson
from aiohttp import web

from gateway.api import (
    accounts,
    ai,
    api_keys,
    categories,
    conversations,
    customers,
    deliveries,
    endpoint_health,
    endpoints,
    event_types,
    events,
    labels,
    media,
    message_search,
    messages,
    orders,
    products,
    pulls,
    reports,
    review,
    security_events,
    templates,
    tenant,
    tenant_health,
    traces,
    usage,
    webhook_keys,
    webhook_replays,
)
from gateway.api.openapi import build_document
from gateway.api.operations import JSON
from gateway.api.routing import make_handler
from gateway.bodies import watch_reads
from gateway.keys import ARRIVALS
from gateway.middleware import Handler

OPERATIONS = (
    *tenant.OPERATIONS,
    *accounts.OPERATIONS,
    *conversations.OPERATIONS,
    *messages.OPERATIONS,
    *message_search.OPERATIONS,
    *templates.OPERATIONS,
    *customers.OPERATIONS,
    *labels.OPERATIONS,
    *orders.OPERATIONS,
    *review.OPERATIONS,
    *products.OPERATIONS,
    *categories.OPERATIONS,
    *ai.OPERATIONS,
    *reports.OPERATIONS,
    *usage.OPERATIONS,
    *tenant_health.OPERATIONS,
    *endpoints.OPERATIONS,
    *endpoint_health.OPERATIONS,
    *pulls.OPERATIONS,
    *deliveries.OPERATIONS,
    *events.OPERATIONS,
    *event_types.OPERATIONS,
    *traces.OPERATIONS,
    *webhook_replays.OPERATIONS,
    *api_keys.OPERATIONS,
    *security_events.OPERATIONS,
)
# The page has no inline code and nothing from elsewhere, and may ask nobody but us.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)
_PAGE_FILES = (
    ("/docs", "page.html", "text/html"),
    ("/docs/page.css", "page.css", "text/css"),
    ("/docs/page.js", "page.js", "text/javascript"),
)


def add_api_routes(app: web.Application) -> None:
    """Adds `/v1/…`, the keys of webhooks, `/openapi.json` and `/docs`.

    The application must have `gateway.middleware.MIDDLEWARES`, and RUNTIME, ADAPTERS, EGRESS, ACCOUNTS,
    ARRIVALS, MEDIA_STORE and NOTIFIER of `gateway.keys` before its first request.
    """
    watch_reads(app)
    app.on_shutdown.append(_let_go)
    for operation in OPERATIONS:
        app.router.add_route(operation.method, operation.path, make_handler(operation))
    app.router.add_route("GET", media.PATH, media.serve_file)
    app.router.add_route("GET", webhook_keys.PATH, webhook_keys.serve_keys)
    document = orjson.dumps(build_document(OPERATIONS))
    app.router.add_route("GET", "/openapi.json", _fixed(document, JSON))
    folder = resources.files("gateway.api").joinpath("docs")
    for path, file, content_type in _PAGE_FILES:
        app.router.add_route("GET", path, _fixed(folder.joinpath(file).read_bytes(), content_type))


async def _let_go(app: web.Application) -> None:
    await app[ARRIVALS].stop()


def _fixed(content: bytes, content_type: str) -> Handler:
    """A handler that always answers the same."""

    async def handle(_request: web.Request) -> web.StreamResponse:
        charset = None if content_type == JSON else "utf-8"
        headers = {
            "Content-Security-Policy": _PAGE_POLICY,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-cache",
        }
        return web.Response(body=content, content_type=content_type, charset=charset, headers=headers)

    return handle
