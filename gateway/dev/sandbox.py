"""A stand-in of Twilio's messaging API on a port of its own, for development, the demo and tests.

``build_sandbox`` serves the part of the REST API that the gateway uses, makes signed status callbacks, and
has a back door under ``/sandbox``: ``POST /sandbox/inbound`` (a customer writes), ``POST``/``DELETE
/sandbox/faults`` (the next sends go wrong), ``POST /sandbox/accounts``, ``GET /sandbox/messages`` (what was
sent and called back). It keeps everything in memory and is meant for loopback only: whoever reaches it can
make it call any URL.
"""

import base64
import binascii
import hmac
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import aiohttp
from aiohttp import web

from gateway.dev.sandbox_calls import Caller
from gateway.dev.sandbox_inbound import MalformedOrder, order_of, receive
from gateway.dev.sandbox_rules import (
    AUTHENTICATE,
    NOT_FOUND,
    OPTED_OUT,
    Ending,
    Fault,
    Refusal,
    fault_named,
    media_taken,
    refusal_of,
    text_of,
)
from gateway.dev.sandbox_state import SandboxMessage, SandboxState, listing, media_listing

STATE = web.AppKey("state", SandboxState)
CALLER = web.AppKey("caller", Caller)
PAUSE = web.AppKey("pause", float)
ACCOUNT = "/2010-04-01/Accounts/{account_sid}"
NO_FAULT = Fault(taken=True)


def build_sandbox(
    accounts: Mapping[str, str],
    *,
    new_id: Callable[[], UUID],
    clock: Callable[[], datetime],
    pause: float = 0.0,
) -> web.Application:
    """The sandbox for these accounts (AccountSid to auth token).

    ``new_id`` makes the sids, ``clock`` gives aware UTC times, ``pause`` is the time in seconds between two
    statuses of a message. The application's state is under ``STATE`` for tests in the same process.
    """
    app = web.Application()
    app[STATE] = SandboxState(dict(accounts), new_id, clock)
    app[PAUSE] = pause
    app.cleanup_ctx.append(_caller)
    app.on_shutdown.append(_release)
    app.add_routes(
        [
            web.post(f"{ACCOUNT}/Messages.json", _create),
            web.get(f"{ACCOUNT}/Messages.json", _list),
            web.get(ACCOUNT + "/Messages/{sid}.json", _read),
            web.get(ACCOUNT + "/Messages/{sid}/Media.json", _list_media),
            web.get(ACCOUNT + "/Messages/{sid}/Media/{media_sid}", _media),
            web.post("/v3/Indicators/Typing.json", _type),
            web.get("/sandbox/messages", _show),
            web.post("/sandbox/inbound", _inbound),
            web.post("/sandbox/faults", _script),
            web.delete("/sandbox/faults", _unscript),
            web.post("/sandbox/accounts", _admit),
        ]
    )
    return app


@asynccontextmanager
async def running_sandbox(app: web.Application, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serves a sandbox on a port of its own (0: any free one) and gives its base URL."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _caller(app: web.Application) -> AsyncIterator[None]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        app[CALLER] = Caller(app[STATE], session, app[PAUSE])
        yield
        for task in app[STATE].tasks:
            task.cancel()


async def _release(app: web.Application) -> None:
    app[STATE].stopped.set()


# Twilio's API


async def _create(request: web.Request) -> web.StreamResponse:
    state = request.app[STATE]
    if refusal := _authorise(request):
        return _refuse(refusal)
    form = await request.post()
    fields = {name: str(value) for name, value in form.items()}
    media = media_taken(fields, [str(url) for url in form.getall("MediaUrl", [])])
    if refusal := refusal_of(fields, media) or _opt_out(state, fields):
        return _refuse(refusal)
    fault = state.faults.popleft() if state.faults else NO_FAULT
    message = _take(request, fields, media, fault) if fault.taken or fault.outcome else None
    return await _answer(request, fault, message)


def _take(
    request: web.Request, fields: Mapping[str, str], media: tuple[str, ...], fault: Fault
) -> SandboxMessage:
    state = request.app[STATE]
    service = fields.get("MessagingServiceSid")
    message = SandboxMessage(
        account_sid=request.match_info["account_sid"],
        sid=state.new_sid("MM" if media else "SM"),
        to=fields["To"],
        sender=fields.get("From"),
        body=text_of(fields),
        created=state.clock(),
        status="accepted" if service else "queued",
        service=service,
        media=media,
        callback=fields.get("StatusCallback"),
        error_code=fault.code if fault.outcome else None,
        outcome=fault.outcome,
    )
    state.messages.append(message)
    request.app[CALLER].follow(message)
    return message


async def _answer(request: web.Request, fault: Fault, message: SandboxMessage | None) -> web.StreamResponse:
    if fault.ending is Ending.HANG:
        await request.app[STATE].stopped.wait()
    if fault.ending in {Ending.HANG, Ending.DROP}:
        return _drop(request)
    if fault.ending is Ending.GARBAGE:
        return web.Response(status=201, body=b'{"sid": "SM', content_type="application/json")
    if fault.status == NO_FAULT.status and message:
        return web.json_response(message.resource(), status=201)
    return _refuse(fault.refusal, fault.retry_after)


def _drop(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _list(request: web.Request) -> web.Response:
    if refusal := _authorise(request):
        return _refuse(refusal)
    own = (
        held for held in request.app[STATE].messages if held.account_sid == request.match_info["account_sid"]
    )
    try:
        return web.json_response(listing(own, request.path, request.query))
    except ValueError:
        return _refuse(Refusal(400, 20001, "Invalid paging or date"))


async def _read(request: web.Request) -> web.Response:
    if refusal := _authorise(request):
        return _refuse(refusal)
    message = request.app[STATE].message(request.match_info["account_sid"], request.match_info["sid"])
    return web.json_response(message.resource()) if message else _refuse(NOT_FOUND)


async def _list_media(request: web.Request) -> web.Response:
    if refusal := _authorise(request):
        return _refuse(refusal)
    state = request.app[STATE]
    message = state.message(request.match_info["account_sid"], request.match_info["sid"])
    return web.json_response(media_listing(state, message)) if message else _refuse(NOT_FOUND)


async def _type(request: web.Request) -> web.Response:
    """Messaging v3: the account is that of the authorisation, the body is JSON."""
    state = request.app[STATE]
    sid = _authorised_sid(request)
    asked = await _object(request)
    message = state.message(sid, str(asked.get("messageId"))) if sid else None
    if sid is None:
        return _refuse(AUTHENTICATE)
    if asked.get("channel") != "WHATSAPP" or not message or message.direction != "inbound":
        return _refuse(NOT_FOUND)
    state.typing.append(message.sid)
    return web.json_response({"success": True})


async def _media(request: web.Request) -> web.Response:
    if refusal := _authorise(request):
        return _refuse(refusal)
    media = request.app[STATE].media.get(request.match_info["media_sid"])
    if media is None or media.account_sid != request.match_info["account_sid"]:
        return _refuse(NOT_FOUND)
    return web.Response(body=media.content, headers={"Content-Type": media.content_type})


def _authorise(request: web.Request) -> Refusal | None:
    """Basic authorisation of the account in the path; another account's resources are not found."""
    sid = _authorised_sid(request)
    if sid is None:
        return AUTHENTICATE
    return None if sid == request.match_info["account_sid"] else NOT_FOUND


def _authorised_sid(request: web.Request) -> str | None:
    kind, _, encoded = request.headers.get("Authorization", "").partition(" ")
    try:
        sid, _, token = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    expected = request.app[STATE].accounts.get(sid, "")
    if kind.lower() != "basic" or not expected or not hmac.compare_digest(expected.encode(), token.encode()):
        return None
    return sid


def _opt_out(state: SandboxState, fields: Mapping[str, str]) -> Refusal | None:
    sender = fields.get("From") or fields.get("MessagingServiceSid", "")
    return OPTED_OUT if (fields["To"], sender) in state.opted_out else None


def _refuse(refusal: Refusal, retry_after: int | None = None) -> web.Response:
    answer = {
        "code": refusal.code or None,
        "message": refusal.message,
        "more_info": f"https://www.twilio.com/docs/errors/{refusal.code}",
        "status": refusal.status,
    }
    headers = {"Retry-After": str(retry_after)} if retry_after is not None else None
    return web.json_response(answer, status=refusal.status, headers=headers)


# the back door


async def _show(request: web.Request) -> web.Response:
    state = request.app[STATE]
    shown: list[dict[str, Any]] = [
        {**held.resource(), "media_urls": list(held.media), "callbacks": held.callbacks}
        for held in state.messages
    ]
    return web.json_response({"messages": shown, "pending": len(state.tasks)})


async def _inbound(request: web.Request) -> web.Response:
    try:
        order = order_of(await request.json(), request.app[STATE].accounts)
    except (ValueError, MalformedOrder) as error:
        return web.json_response({"error": str(error)}, status=422)
    origin = f"{request.scheme}://{request.host}"
    return web.json_response(await receive(request.app[STATE], request.app[CALLER], order, origin))


async def _script(request: web.Request) -> web.Response:
    asked = await _object(request)
    retry_after = asked.get("retry_after")
    fault = fault_named(str(asked.get("fault")), retry_after if isinstance(retry_after, int) else None)
    times = asked.get("times", 1)
    if fault is None or not isinstance(times, int):
        return web.json_response({"error": "unknown fault, or times is no number"}, status=422)
    request.app[STATE].faults.extend([fault] * times)
    return web.json_response({"waiting": len(request.app[STATE].faults)})


async def _unscript(request: web.Request) -> web.Response:
    request.app[STATE].faults.clear()
    return web.json_response({"waiting": 0})


async def _admit(request: web.Request) -> web.Response:
    asked = await _object(request)
    named = asked.get("account_sid"), asked.get("auth_token")
    if not all(isinstance(value, str) and value for value in named):
        return web.json_response({"error": "account_sid and auth_token are needed"}, status=422)
    request.app[STATE].accounts[str(named[0])] = str(named[1])
    return web.json_response({"accounts": len(request.app[STATE].accounts)})


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        asked = await request.json()
    except ValueError:
        return {}
    return asked if isinstance(asked, dict) else {}
