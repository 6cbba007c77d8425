"""A stand-in of Resend's API: ``POST /emails`` with idempotency keys, and the mails that it received.

Source: Resend docs, "Send email", "Idempotency keys", "Errors", "Receiving emails". ``state.held["inbound"]`` are the mails
that it received, the newest first: ``{"email": what the API answers, "raw": bytes or None, "files": {id: bytes}}``.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from aiohttp import web

from gateway.dev.stand_ins.base import Handler, StandInState, with_faults

FIELDS = frozenset(
    {"from", "to", "cc", "bcc", "reply_to", "subject", "html", "text", "headers", "attachments", "tags"}
    | {"template", "scheduled_at", "topic_id"}
)
FILE_FIELDS = frozenset({"content", "filename", "path", "content_type", "content_id"})
MOST_RECIPIENTS, MOST_LISTED, LONGEST_KEY = 50, 100, 256
_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}", re.ASCII)


def routes(state: StandInState) -> list[web.RouteDef]:
    """The routes of the API under ``/resend``; files are at signed addresses, which need no key."""

    async def send(request: web.Request) -> web.Response:
        return await _send(state, request)

    async def received(request: web.Request) -> web.Response:
        return _list(state, request)

    async def email(request: web.Request) -> web.Response:
        return _email(state, request)

    async def files(request: web.Request) -> web.Response:
        return _files(state, request)

    async def download(request: web.Request) -> web.Response:
        return _download(state, request)

    return [
        web.post("/resend/emails", with_faults(state, _with_key(state, send))),
        web.get("/resend/emails/receiving", _with_key(state, received)),
        web.get("/resend/emails/receiving/{id}", _with_key(state, email)),
        web.get("/resend/emails/receiving/{id}/attachments", _with_key(state, files)),
        web.get("/resend/cdn/{id}/{file}", download),
    ]


def _with_key(state: StandInState, handler: Handler) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not key:
            return _error(401, "missing_api_key")
        if state.keys and key not in state.keys:
            return _error(403, "invalid_api_key")
        return await handler(request)

    return handle


async def _send(state: StandInState, request: web.Request) -> web.Response:
    key, body = request.headers.get("Idempotency-Key"), await request.read()
    if key is not None and not 0 < len(key) <= LONGEST_KEY:
        return _error(400, "invalid_idempotency_key")
    first = state.held.setdefault("keys", {}).get(key)
    if first is not None:
        same = first["body"] == body
        return web.json_response({"id": first["id"]}) if same else _error(409, "invalid_idempotent_request")
    try:
        document = await request.json()
    except ValueError:
        return _error(422, "validation_error")
    wrong = _fault_of(document)
    if wrong:
        return _error(422, wrong)
    taken = state.take(request, str(state.new_id()), document)
    if key is not None:
        state.held["keys"][key] = {"body": body, "id": taken.id}
    return web.json_response({"id": taken.id})


def _fault_of(document: Any) -> str | None:
    if not isinstance(document, dict) or not document.keys() <= FIELDS:
        return "invalid_parameter"
    if not all(document.get(name) for name in ("from", "to", "subject")):
        return "missing_required_field"
    if not any(document.get(name) for name in ("text", "html", "template")):
        return "missing_required_field"
    recipients = document["to"] if isinstance(document["to"], list) else [document["to"]]
    if len(recipients) > MOST_RECIPIENTS or not all(map(_is_address, (document["from"], *recipients))):
        return "validation_error"
    if not all(map(_is_file, document.get("attachments", ()))):
        return "invalid_attachment"
    headers, tags = document.get("headers", {}), document.get("tags", ())
    texts = all(isinstance(value, str) and value.isprintable() for value in headers.values())
    return None if texts and all(map(_is_tag, tags)) else "validation_error"


def _is_address(value: Any) -> bool:
    return isinstance(value, str) and "@" in value and value.isprintable()


def _is_tag(tag: Any) -> bool:
    return tag.keys() == {"name", "value"} and all(_TAG.fullmatch(text) for text in tag.values())


def _is_file(file: Mapping[str, Any]) -> bool:
    if not file.keys() <= FILE_FIELDS or not file.get("filename") or ("content" in file) == ("path" in file):
        return False
    try:
        return "path" in file or bool(base64.b64decode(file["content"], validate=True))
    except (TypeError, ValueError, binascii.Error):
        return False


def _list(state: StandInState, request: web.Request) -> web.Response:
    emails = [mail["email"] for mail in state.held.get("inbound", ())]
    after = request.query.get("after")
    if after is not None:
        ids = [email["id"] for email in emails]
        if after not in ids:
            return _error(422, "validation_error")
        emails = emails[ids.index(after) + 1 :]
    limit = int(request.query.get("limit", "20"))
    if not 0 < limit <= MOST_LISTED:
        return _error(422, "validation_error")
    left_out = {"object", "html", "text", "headers"}
    listed = [
        {name: value for name, value in email.items() if name not in left_out} for email in emails[:limit]
    ]
    return web.json_response({"object": "list", "has_more": len(emails) > limit, "data": listed})


def _email(state: StandInState, request: web.Request) -> web.Response:
    mail = _mail(state, request)
    if mail is None:
        return _error(404, "not_found")
    raw = None if mail.get("raw") is None else _signed(state, request, mail["email"]["id"], "raw")
    return web.json_response({"object": "email", **mail["email"], "raw": raw})


def _files(state: StandInState, request: web.Request) -> web.Response:
    mail = _mail(state, request)
    if mail is None:
        return _error(404, "not_found")
    listed = [
        {**file, **_signed(state, request, mail["email"]["id"], file["id"])}
        for file in mail["email"].get("attachments", ())
    ]
    return web.json_response({"object": "list", "has_more": False, "data": listed})


def _download(state: StandInState, request: web.Request) -> web.Response:
    mail, file = _mail(state, request), request.match_info["file"]
    content = None if mail is None else mail.get("raw") if file == "raw" else mail["files"].get(file)
    if content is None:
        return web.Response(status=404)
    return web.Response(body=content, content_type="application/octet-stream")


def _signed(state: StandInState, request: web.Request, identifier: str, file: str) -> dict[str, str]:
    expires = state.clock() + timedelta(hours=1)
    url = f"{request.url.origin()}/resend/cdn/{identifier}/{file}?Signature=invented"
    return {"download_url": url, "expires_at": expires.isoformat()}


def _mail(state: StandInState, request: web.Request) -> Mapping[str, Any] | None:
    asked = request.match_info["id"]
    return next((mail for mail in state.held.get("inbound", ()) if mail["email"]["id"] == asked), None)


def _error(status: int, name: str) -> web.Response:
    return web.json_response(
        {"statusCode": status, "name": name, "message": name.replace("_", " ")}, status=status
    )
