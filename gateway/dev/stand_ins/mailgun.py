"""A stand-in of Mailgun: messages out, the events of what was sent and received, and received mails as it stores them.

What it answers is what Mailgun's pages "Messages", "Events" and "Stored messages" say. A test puts received mails there by
``hold_mail``; they are listed as events and served as MIME.
"""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from aiohttp import web

from gateway.dev.stand_ins.base import StandInState, with_faults

_EVENTS = "events"  # the key of ``StandInState.held`` with all events, the oldest first
_MAILS = "mails"
_MOST = 300


def hold_mail(
    state: StandInState, raw: str, *, recipient: str, sender: str, at: datetime, kind: str = "accepted"
) -> str:
    """Lets the stand-in have received a mail, and gives its storage key; ``kind``: accepted by a route, or stored."""
    key = state.new_id().hex
    state.held.setdefault(_MAILS, {})[key] = {
        "sender": sender,
        "recipients": recipient,
        "body-mime": raw,
    }
    told: dict[str, Any] = {"event": kind, "id": key[:22], "timestamp": at.timestamp()}
    if kind == "accepted":
        told |= {"recipient": recipient, "flags": {"is-routed": True, "is-test-mode": False}}
    told["message"] = {"headers": {}, "recipients": [recipient], "size": len(raw)}
    state.held.setdefault(_EVENTS, []).append({**told, "storage": {"key": key}})
    return key


def routes(state: StandInState) -> Sequence[web.RouteDef]:
    """``POST …/messages``, ``GET …/events`` and ``GET /v3/domains/{domain}/messages/{key}`` below ``/mailgun``."""

    async def send(request: web.Request) -> web.Response:
        if not _is_authorised(state, request):
            return web.Response(status=HTTPStatus.UNAUTHORIZED, text="Forbidden")
        form = await _form(request)
        if missing := [name for name in ("from", "to", "text") if not form.get(name)]:
            return _refusal(f"{missing[0]} parameter is missing")
        if "@" not in form["to"]:
            return _refusal("'to' parameter is not a valid address. please check documentation")
        own = f"<{state.new_id().hex}@{request.match_info['domain']}>"
        identifier = form.get("h:Message-Id") or form.get("h:Message-ID") or own
        taken = state.take(request, identifier, form)
        _note_sent(state, identifier, form, taken.at)
        return web.json_response({"id": identifier, "message": "Queued. Thank you."})

    async def events(request: web.Request) -> web.Response:
        if not _is_authorised(state, request):
            return web.Response(status=HTTPStatus.UNAUTHORIZED, text="Forbidden")
        return web.json_response(_page(state, request))

    async def stored(request: web.Request) -> web.Response:
        if not _is_authorised(state, request):
            return web.Response(status=HTTPStatus.UNAUTHORIZED, text="Forbidden")
        mail = state.held.get(_MAILS, {}).get(request.match_info["key"])
        if mail is None or request.headers.get("Accept") != "message/rfc2822":
            return web.json_response({"message": "Message not found"}, status=HTTPStatus.NOT_FOUND)
        return web.json_response(mail)

    return [
        web.post("/mailgun/v3/{domain}/messages", with_faults(state, send)),
        web.get("/mailgun/v3/{domain}/events", events),
        web.get("/mailgun/v3/domains/{domain}/messages/{key}", stored),
    ]


def _is_authorised(state: StandInState, request: web.Request) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    try:
        user, _, key = base64.b64decode(given, validate=True).decode().partition(":")
    except ValueError:
        return False
    return scheme == "Basic" and user == "api" and bool(key) and (not state.keys or key in state.keys)


def _refusal(message: str) -> web.Response:
    return web.json_response({"message": message}, status=HTTPStatus.BAD_REQUEST)


async def _form(request: web.Request) -> dict[str, Any]:
    """The fields by name; files as a list of what they are."""
    form: dict[str, Any] = {}
    for name, value in (await request.post()).items():
        if isinstance(value, web.FileField):
            content = value.file.read()
            file = {"filename": value.filename, "content_type": value.content_type, "size": len(content)}
            form.setdefault(name, []).append(file)
        else:
            form[name] = value
    return form


def _note_sent(state: StandInState, identifier: str, form: Mapping[str, Any], at: datetime) -> None:
    variables = {name[2:]: value for name, value in form.items() if name.startswith("v:")}
    state.held.setdefault(_EVENTS, []).append(
        {
            "event": "accepted",
            "id": state.new_id().hex[:22],
            "timestamp": at.timestamp(),
            "recipient": form["to"],
            "flags": {"is-routed": False, "is-test-mode": False},
            "message": {"headers": {"message-id": identifier.strip("<>"), "to": form["to"]}},
            "user-variables": variables,
        }
    )


def _page(state: StandInState, request: web.Request) -> dict[str, Any]:
    """One page, the oldest events first; ``next`` names the following one, which is empty after the last."""
    asked = request.query
    begin = datetime.fromtimestamp(float(asked.get("begin", 0)), UTC).timestamp()
    kinds = asked.get("event", "").split(" OR ") if asked.get("event") else None
    listed = [
        event
        for event in state.held.get(_EVENTS, ())
        if event["timestamp"] >= begin
        and (kinds is None or event["event"] in kinds)
        and asked.get("recipient", event.get("recipient")) == event.get("recipient")
    ]
    at, limit = int(asked.get("page", 0)), min(int(asked.get("limit", 100)), _MOST)
    shown = [_with_storage_url(request, event) for event in listed[at : at + limit]]
    following = request.url.update_query(page=str(at + len(shown)))
    return {"items": shown, "paging": {"next": str(following), "first": str(request.url)}}


def _with_storage_url(request: web.Request, event: Mapping[str, Any]) -> Mapping[str, Any]:
    if "storage" not in event:
        return event
    key, domain = event["storage"]["key"], request.match_info["domain"]
    address = request.url.with_path(f"/mailgun/v3/domains/{domain}/messages/{key}").with_query(None)
    return {**event, "storage": {"key": key, "url": str(address)}}
