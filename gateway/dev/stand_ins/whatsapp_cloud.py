"""Meta's Cloud API under ``/whatsapp_cloud/v25.0``: messages, typing, media; a wrong request gets Meta's own refusal.

Source: Meta docs, "Cloud API" (messages, media), "Typing indicators" and "WhatsApp error codes".
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web

from channels.addresses import USER_ID
from gateway.dev.stand_ins.base import StandInState, with_faults

NUMBER = re.compile(r"\+?[1-9][0-9]{4,14}", re.ASCII)
LONGEST_TEXT, LONGEST_CAPTION, LONGEST_DATA = 4096, 1024, 512
MOST_BUTTONS, LONGEST_BUTTON, LONGEST_BUTTON_ID = 3, 20, 256
FIELDS = frozenset(
    {"messaging_product", "recipient_type", "to", "recipient", "type", "context", "biz_opaque_callback_data"}
)
MEDIA_FIELDS: Mapping[str, frozenset[str]] = {
    "image": frozenset({"id", "link", "caption"}),
    "video": frozenset({"id", "link", "caption"}),
    "audio": frozenset({"id", "link"}),
    "document": frozenset({"id", "link", "caption", "filename"}),
}
UNEXPECTED, MISSING, INVALID, BAD_TOKEN, NO_SUCH_OBJECT = 100, 131008, 131009, 190, 33
Json = Mapping[str, Any]


class _RefusedError(Exception):
    def __init__(self, code: int, details: str) -> None:
        super().__init__(details)
        self.code, self.details = code, details


def routes(state: StandInState) -> list[web.RouteDef]:
    """The routes of the stand-in."""
    send = with_faults(state, _send(state))

    async def messages(request: web.Request) -> web.StreamResponse:
        if not _authorised(state, request):
            return _bad_token()
        document = await request.json()
        return _mark_read(state, request, document) if "status" in document else await send(request)

    root = "/whatsapp_cloud/{version}"
    return [
        web.post(root + "/{number}/messages", messages),
        web.post(root + "/{number}/media", _upload(state)),
        web.get(root + "/{media_id}", _media(state)),
        web.get("/whatsapp_cloud/files/{media_id}", _download(state)),
    ]


def _send(state: StandInState) -> Any:
    async def send(request: web.Request) -> web.Response:
        document = await request.json()
        try:
            _check(state, document)
        except _RefusedError as refused:
            return _refusal(refused)
        new = base64.b64encode(state.new_id().bytes).decode()
        taken = state.take(request, f"wamid.{new}", document)
        party = document.get("to", document.get("recipient"))
        known = {"wa_id": party.lstrip("+")} if "to" in document else {"user_id": party}
        accepted = {"message_status": "accepted"} if document["type"] == "template" else {}
        return web.json_response(
            {
                "messaging_product": "whatsapp",
                "contacts": [{"input": party, **known}],
                "messages": [{"id": taken.id, **accepted}],
            }
        )

    return send


def _mark_read(state: StandInState, request: web.Request, document: Json) -> web.Response:
    typing = document.get("typing_indicator", {"type": "text"})
    if document["status"] != "read" or not document.get("message_id") or typing != {"type": "text"}:
        return _refusal(_RefusedError(INVALID, "status, message_id or typing_indicator"))
    state.take(request, str(state.new_id()), document)
    return web.json_response({"success": True})


def _upload(state: StandInState) -> Any:
    async def upload(request: web.Request) -> web.Response:
        if not _authorised(state, request):
            return _bad_token()
        form = await request.post()
        file = form.get("file")
        if form.get("messaging_product") != "whatsapp" or not isinstance(file, web.FileField):
            return _refusal(_RefusedError(UNEXPECTED, "messaging_product or file is missing"))
        if form.get("type") != file.content_type:
            return _refusal(_RefusedError(UNEXPECTED, "type is not the file's"))
        media_id = str(state.new_id().int)
        state.held[media_id] = (file.file.read(), file.content_type)
        return web.json_response({"id": media_id})

    return upload


def _media(state: StandInState) -> Any:
    async def media(request: web.Request) -> web.Response:
        if not _authorised(state, request):
            return _bad_token()
        media_id = request.match_info["media_id"]
        if media_id not in state.held:
            return _refusal(_RefusedError(UNEXPECTED, "no such object"), NO_SUCH_OBJECT)
        content, mime = state.held[media_id]
        return web.json_response(
            {
                "messaging_product": "whatsapp",
                "url": str(request.url.origin() / "whatsapp_cloud" / "files" / media_id),
                "mime_type": mime,
                "sha256": hashlib.sha256(content).hexdigest(),
                "file_size": len(content),
                "id": media_id,
            }
        )

    return media


def _download(state: StandInState) -> Any:
    async def download(request: web.Request) -> web.Response:
        if not _authorised(state, request):
            return _bad_token()
        held = state.held.get(request.match_info["media_id"])
        if held is None:
            return web.Response(status=HTTPStatus.NOT_FOUND)
        return web.Response(body=held[0], headers={"Content-Type": held[1]})

    return download


def _authorised(state: StandInState, request: web.Request) -> bool:
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    return kind == "Bearer" and (token in state.keys if state.keys else bool(token))


def _check(state: StandInState, document: Json) -> None:
    kind = document.get("type")
    if document.get("messaging_product") != "whatsapp" or not isinstance(kind, str):
        raise _RefusedError(MISSING, "messaging_product or type")
    if unexpected := document.keys() - FIELDS - {kind}:
        raise _RefusedError(UNEXPECTED, f"Unexpected key {min(unexpected)}")
    _check_recipient(document)
    part = document.get(kind)
    if not isinstance(part, dict):
        raise _RefusedError(MISSING, kind)
    if kind in MEDIA_FIELDS:
        _check_media(state, kind, part)
    elif kind == "text":
        _check_length(part.get("body"), LONGEST_TEXT, "text.body")
    elif kind == "template":
        _check_template(part)
    elif kind == "interactive":
        _check_buttons(part)
    else:
        raise _RefusedError(UNEXPECTED, "type")
    _check_extras(document)


def _check_recipient(document: Json) -> None:
    to, recipient = document.get("to"), document.get("recipient")
    if to is None and recipient is None:
        raise _RefusedError(MISSING, "to")
    form, party = (NUMBER, to) if to is not None else (USER_ID, recipient)
    if not isinstance(party, str) or not form.fullmatch(party):
        raise _RefusedError(INVALID, "to or recipient")


def _check_media(state: StandInState, kind: str, part: Json) -> None:
    if unexpected := part.keys() - MEDIA_FIELDS[kind]:
        raise _RefusedError(UNEXPECTED, f"Unexpected key {min(unexpected)} on {kind}")
    if ("id" in part) == ("link" in part):
        raise _RefusedError(MISSING, "id or link")
    if "id" in part and part["id"] not in state.held:
        raise _RefusedError(INVALID, "no such media")
    if "link" in part and not str(part["link"]).startswith(("https://", "http://")):
        raise _RefusedError(INVALID, "link")
    if "caption" in part:
        _check_length(part["caption"], LONGEST_CAPTION, "caption")


def _check_buttons(part: Json) -> None:
    if part.get("type") != "button":
        raise _RefusedError(UNEXPECTED, "interactive.type")
    _check_length(part.get("body", {}).get("text"), LONGEST_CAPTION, "interactive.body.text")
    buttons = part.get("action", {}).get("buttons", [])
    if not 0 < len(buttons) <= MOST_BUTTONS or any(button.get("type") != "reply" for button in buttons):
        raise _RefusedError(INVALID, "interactive.action.buttons")
    for button in buttons:
        _check_length(button["reply"].get("id"), LONGEST_BUTTON_ID, "reply.id")
        _check_length(button["reply"].get("title"), LONGEST_BUTTON, "reply.title")
    if len({button["reply"]["title"] for button in buttons}) < len(buttons):
        raise _RefusedError(INVALID, "Duplicated title")


def _check_template(part: Json) -> None:
    if not part.get("name") or not part.get("language", {}).get("code"):
        raise _RefusedError(MISSING, "template.name or language.code")
    for component in part.get("components", []):
        for parameter in component["parameters"]:
            if parameter.get("type") != "text" or not parameter.get("text"):
                raise _RefusedError(INVALID, "template parameter")


def _check_extras(document: Json) -> None:
    if "context" in document and not document["context"].get("message_id"):
        raise _RefusedError(MISSING, "context.message_id")
    if "biz_opaque_callback_data" in document:
        _check_length(document["biz_opaque_callback_data"], LONGEST_DATA, "biz_opaque_callback_data")


def _check_length(text: Any, longest: int, name: str) -> None:
    if not isinstance(text, str) or not 0 < len(text) <= longest:
        raise _RefusedError(INVALID, name)


def _refusal(refused: _RefusedError, subcode: int | None = None) -> web.Response:
    error = {
        "message": f"(#{refused.code}) Refused",
        "type": "OAuthException",
        "code": refused.code,
        **({"error_subcode": subcode} if subcode else {}),
        "error_data": {"messaging_product": "whatsapp", "details": refused.details},
        "fbtrace_id": "AStandIn",
    }
    return web.json_response({"error": error}, status=HTTPStatus.BAD_REQUEST)


def _bad_token() -> web.Response:
    error = {
        "message": "Invalid OAuth access token - Cannot parse access token",
        "type": "OAuthException",
        "code": BAD_TOKEN,
        "fbtrace_id": "AStandIn",
    }
    return web.json_response({"error": error}, status=HTTPStatus.UNAUTHORIZED)
