"""POST /in/…: raw body under a cap, account, signature, parse, durable, and only then the provider's
answer.
"""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from uuid import UUID

import structlog
from aiohttp import web

from channels.base import (
    ChannelAccount,
    ChannelAdapter,
    ConsentUpdate,
    DeferredPost,
    Ignored,
    InboundItem,
    InboundMessage,
    InboundRequest,
    StatusUpdate,
)
from channels.errors import MalformedPayload, VerificationFailed
from db.errors import DatabaseUnavailable
from gateway import keys
from gateway.acceptor import Acceptor
from gateway.api.problems import ApiError
from gateway.batching import QueueFullError
from gateway.bodies import read_body, watch_reads
from gateway.metrics import INBOUND, UNMATCHED
from handlers.denials import Denial, DenialType
from handlers.inbound import Posted, consent_item, deferred_item, message_item, status_item

DURABLE_WITHIN = 10.0  # seconds; Twilio waits for 15
_log = structlog.get_logger("waystation.inbound")


def add_inbound_routes(app: web.Application) -> None:
    """The routes that providers post to; GET too, since Twilio may be configured for it."""
    watch_reads(app)
    for path in ("/in/{provider}/{account}", "/in/{provider}/{account}/status"):
        app.router.add_route("POST", path, receive)
        app.router.add_route("GET", path, receive)


async def receive(request: web.Request) -> web.Response:
    """One post of a provider. 2xx only once what it says is durable; refusals are constant texts."""
    provider = request.match_info["provider"]
    try:
        response = await _receive(request, provider)
    except (DatabaseUnavailable, QueueFullError, TimeoutError) as error:
        _log.warning("not accepted", provider=provider, error=type(error).__name__)
        response = _unavailable()
    except ApiError as error:  # of reading the body; a provider gets words of its own
        response = _REFUSED_BODIES.get(error.status, _unavailable)()
    INBOUND.labels(provider=provider if response.status != 404 else "unknown", status=response.status).inc()  # noqa: PLR2004 - a path that names no account must not make labels
    return response


async def _receive(request: web.Request, provider: str) -> web.Response:
    account = await _find_account(request, provider)
    if account is None:
        return _plain(404, "Unknown account.")
    adapter = request.app[keys.ADAPTERS][provider]
    body = await read_body(request, adapter.body_cap)
    posted = Posted(account, _as_posted(request, body), request.app[keys.RUNTIME].clock())
    try:
        adapter.verify(account, posted.request)
        items = adapter.parse(account, posted.request)
    except VerificationFailed:
        _log.warning("signature refused", provider=provider, account=str(account.id))
        denial = Denial(account.distributor_id, DenialType.SIGNATURE, account.id, request.path)
        request.app[keys.DENIALS].note(denial)
        return _plain(adapter.refusal_status, "Forbidden.")
    except MalformedPayload as error:
        _log.warning("malformed", provider=provider, account=str(account.id), reason=str(error))
        return _malformed()
    async with asyncio.timeout(DURABLE_WITHIN):
        await asyncio.gather(*(_accept(request, posted, item) for item in items))
    return _acknowledged(adapter)


async def _find_account(request: web.Request, provider: str) -> ChannelAccount | None:
    adapters: Mapping[str, ChannelAdapter] = request.app[keys.ADAPTERS]
    try:
        account_id = UUID(request.match_info["account"])
    except ValueError:
        return None
    account = await request.app[keys.ACCOUNTS].find(account_id) if provider in adapters else None
    return account if account and account.provider == provider else None


def _as_posted(request: web.Request, body: bytes) -> InboundRequest:
    """The request under the configured public URL: what a client says of host and scheme proves nothing."""
    public_url = request.app[keys.RUNTIME].public_url
    return InboundRequest(request.method, public_url + _origin_form(request.raw_path), request.headers, body)


def _origin_form(raw_path: str) -> str:
    """The path and query as they came; an absolute-form request line (RFC 9112 §3.2.2) loses its
    authority.
    """
    if raw_path.startswith("/"):
        return raw_path
    return "/" + raw_path.partition("://")[2].partition("/")[2]


async def _accept(request: web.Request, posted: Posted, item: InboundItem) -> None:
    runtime, acceptor = request.app[keys.RUNTIME], request.app[keys.ACCEPTOR]
    match item:
        case InboundMessage():
            quiet = request.app[keys.SETTINGS].quiet_seconds(item.channel)
            await _accept_message(acceptor, message_item(runtime, posted, item, quiet))
        case StatusUpdate():
            await _accept_status(acceptor, posted.account, item, status_item(runtime, posted, item))
        case Ignored():
            _log.info("ignored", account=str(posted.account.id), reason=item.reason)
        case ConsentUpdate():
            await acceptor.accept_consent(consent_item(runtime, posted, item))
        case DeferredPost():
            await acceptor.accept_deferred(deferred_item(runtime, posted, item))


async def _accept_message(acceptor: Acceptor, item: dict[str, object]) -> None:
    accepted = await acceptor.accept_message(item)
    _log.info("accepted", message=str(accepted.message_id), duplicate=accepted.duplicate)


async def _accept_status(
    acceptor: Acceptor, account: ChannelAccount, update: StatusUpdate, item: dict[str, object]
) -> None:
    """Stores a status. One of no message that we know is acknowledged too: the provider cannot mend it, and those of
    our own messages carry our id, so that they find their message even before its receipt does.
    """
    accepted = await acceptor.accept_status(item)
    if accepted.message_id is None:
        UNMATCHED.labels(provider=account.provider).inc()
        _log.warning(
            "status of no known message",
            account=str(account.id),
            provider_message=update.provider_message_id,
            status=update.status,
        )


def _acknowledged(adapter: ChannelAdapter) -> web.Response:
    answer = adapter.acknowledge()
    return web.Response(status=answer.status, body=answer.body, content_type=answer.content_type)


def _plain(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=text, headers=headers)


def _malformed() -> web.Response:
    return _plain(400, "Malformed.")


def _too_large() -> web.Response:
    return _plain(413, "Too large.")


def _unavailable() -> web.Response:
    return _plain(503, "Not available, try again.", {"Retry-After": "5"})


_REFUSED_BODIES = {HTTPStatus.BAD_REQUEST: _malformed, HTTPStatus.REQUEST_ENTITY_TOO_LARGE: _too_large}
