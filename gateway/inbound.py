"""POST /in/…: raw body under a cap, account, signature, parse, durable, and only then the provider's answer.

On a fault of ours the answer is what the provider makes the best of (``OwnFault``): 503 where it posts again, else the
post is kept on disk and answered as taken.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from uuid import UUID

import structlog
from aiohttp import web

from channels.abilities import Challenge
from channels.base import Acknowledgement, ChannelAccount, ChannelAdapter, InboundRequest, OwnFault
from channels.errors import MalformedPayload, Rejected, Temporary, VerificationFailed
from db.errors import DatabaseUnavailable
from gateway import keys
from gateway.api.problems import ApiError
from gateway.batching import QueueFullError
from gateway.bodies import LARGE_BODIES, LargeBodies, read_body, watch_reads
from gateway.intake import check
from gateway.metrics import INBOUND
from gateway.spool import SpoolFull
from handlers.denials import Denial, DenialType

DURABLE_WITHIN = 10.0  # seconds; Twilio waits for 15
# The last: what a signature is checked with could not be fetched.
_OWN_FAULTS = (DatabaseUnavailable, QueueFullError, SpoolFull, TimeoutError, Temporary)
_log = structlog.get_logger("waystation.inbound")


def add_inbound_routes(app: web.Application) -> None:
    """The routes that providers post to; GET too: some ask by it first, and Twilio may be configured for it."""
    watch_reads(app)
    app[LARGE_BODIES] = LargeBodies()
    for path in ("/in/{provider}/{account}", "/in/{provider}/{account}/status"):
        app.router.add_route("POST", path, receive)
        app.router.add_route("GET", path, receive)


async def receive(request: web.Request) -> web.Response:
    """One post of a provider. 2xx only once what it says is durable; refusals are constant texts."""
    provider = request.match_info["provider"]
    try:
        with request.app[LARGE_BODIES].held() as grow:
            response = await _receive(request, provider, grow)
    except _OWN_FAULTS as error:
        _log.warning("not accepted", provider=provider, error=type(error).__name__)
        response = _unavailable()
    except ApiError as error:  # of reading the body; a provider gets words of its own
        response = _REFUSED_BODIES.get(error.status, _unavailable)()
    INBOUND.labels(provider=provider if response.status != 404 else "unknown", status=response.status).inc()  # noqa: PLR2004 - a path that names no account must not make labels
    return response


async def _receive(request: web.Request, provider: str, grow: Callable[[int], None]) -> web.Response:
    account = await _find_account(request, provider)
    if account is None:
        return _plain(404, "Unknown account.")
    adapter = request.app[keys.ADAPTERS][provider]
    body = await read_body(request, adapter.body_cap, grow)
    posted, received_at = _as_posted(request, body), request.app[keys.RUNTIME].clock()
    try:
        if request.method == "GET" and isinstance(adapter, Challenge):
            return _answered(adapter.answer_challenge(account, posted))
        async with request.app[LARGE_BODIES].in_line(len(body)):
            await check(adapter, account, posted)
            await _take(request.app, account, posted, received_at)
    except VerificationFailed:
        _log.warning("signature refused", provider=provider, account=str(account.id))
        denial = Denial(account.distributor_id, DenialType.SIGNATURE, account.id, request.path)
        request.app[keys.DENIALS].note(denial)
        return _plain(adapter.refusal_status, "Forbidden.")
    except MalformedPayload as error:
        _log.warning("malformed", provider=provider, account=str(account.id), reason=str(error))
        return _malformed()
    return _answered(adapter.acknowledge())


async def _take(
    app: web.Application, account: ChannelAccount, posted: InboundRequest, received_at: datetime
) -> None:
    """Returns once a verified post is durable: stored or, where that fails by a fault of ours and its provider would not
    post it again, on disk.
    """
    try:
        async with asyncio.timeout(DURABLE_WITHIN):
            await app[keys.INTAKE].take(account, posted, received_at)
    except Rejected:
        raise
    except Exception as error:
        if app[keys.ADAPTERS][account.provider].own_fault is OwnFault.RETRIED:
            raise
        _log.warning("not stored", account=str(account.id), error=type(error).__name__)
        await app[keys.SPOOLING].keep(account, posted, received_at)


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


def _answered(answer: Acknowledgement) -> web.Response:
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
