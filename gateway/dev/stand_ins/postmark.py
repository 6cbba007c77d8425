"""A stand-in of Postmark's API: ``POST /email``, and the searches of what was sent and received.

Source: Postmark docs, "Email API", "Messages API", "API error codes". ``state.held["inbound"]`` are the mails that it
received (as its hook would post them), the newest first; ``state.held["inactive"]`` the addresses that it sends no more to.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from aiohttp import web

from gateway.dev.stand_ins.base import Handler, StandInState, TakenRequest, with_faults

FIELDS = frozenset(
    {"From", "To", "Cc", "Bcc", "Subject", "Tag", "HtmlBody", "TextBody", "ReplyTo", "Headers", "TrackOpens"}
    | {"TrackLinks", "Attachments", "Metadata", "MessageStream"}
)
PAGE_LIMIT = 500
SEARCH_END = 10_000
METADATA_NAME, METADATA_VALUE, METADATA_COUNT = 20, 80, 10
ZONE = timezone(timedelta(hours=-5))  # searches are in New York's time

Check = Callable[[Mapping[str, Any]], bool]


def routes(state: StandInState) -> list[web.RouteDef]:
    """The routes of the API under ``/postmark``."""

    async def send(request: web.Request) -> web.Response:
        return _send(state, request, await _document(request))

    async def sent(request: web.Request) -> web.Response:
        return _sent(state, request)

    async def received(request: web.Request) -> web.Response:
        return _received(state, request)

    async def details(request: web.Request) -> web.Response:
        return _details(state, request.match_info["id"])

    def route(path: str, handler: Handler) -> web.RouteDef:
        return web.get(f"/postmark{path}", _with_token(state, handler))

    return [
        web.post("/postmark/email", with_faults(state, _with_token(state, send))),
        route("/messages/outbound", sent),
        route("/messages/inbound", received),
        route("/messages/inbound/{id}/details", details),
    ]


def _with_token(state: StandInState, handler: Handler) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        token = request.headers.get("X-Postmark-Server-Token", "")
        if not token or (state.keys and token not in state.keys):
            return _error(401, 10, "No Account or Server API tokens were supplied in the HTTP headers.")
        return await handler(request)

    return handle


async def _document(request: web.Request) -> Any:
    try:
        return await request.json()
    except ValueError:
        return None


def _send(state: StandInState, request: web.Request, document: Any) -> web.Response:
    if not isinstance(document, dict):
        return _error(422, 402, "Received invalid JSON input.")
    if not document.keys() <= FIELDS:
        return _error(422, 403, "The JSON has fields that are not known.")
    wrong = next((name for name, is_right in _CHECKS if not is_right(document)), None)
    if wrong:
        return _error(422, 300, f"Invalid '{wrong}' value.")
    if document["To"] in state.held.get("inactive", ()):
        return _error(422, 406, "You tried to send to a recipient that has been marked as inactive.")
    taken = state.take(request, str(state.new_id()), document)
    return web.json_response(
        {
            "To": document["To"],
            "SubmittedAt": taken.at.isoformat(),
            "MessageID": taken.id,
            "ErrorCode": 0,
            "Message": "OK",
        }
    )


def _sent(state: StandInState, request: web.Request) -> web.Response:
    window = _window(request)
    if window is None:
        return _error(422, 701, "Count and offset are required.")
    matching = [one for one in reversed(state.taken) if _is_asked_for(one, request)]
    first, count = window
    return web.json_response(
        {"TotalCount": len(matching), "Messages": [_listed(one) for one in matching[first : first + count]]}
    )


def _received(state: StandInState, request: web.Request) -> web.Response:
    window = _window(request)
    if window is None:
        return _error(422, 701, "Count and offset are required.")
    since = _since(request)
    mails = [mail for mail in state.held.get("inbound", ()) if since is None or mail["at"] >= since]
    first, count = window
    listed = [_without_content(mail["post"]) for mail in mails[first : first + count]]
    return web.json_response({"TotalCount": len(mails), "InboundMessages": listed})


def _details(state: StandInState, identifier: str) -> web.Response:
    for mail in state.held.get("inbound", ()):
        if mail["post"]["MessageID"] == identifier:
            return web.json_response({**mail["post"], "Status": mail["post"].get("Status", "Processed")})
    return _error(404, 701, "This message was not found.")


def _without_content(post: Mapping[str, Any]) -> dict[str, Any]:
    left_out = {"TextBody", "HtmlBody", "StrippedTextReply", "Headers", "RawEmail"}
    return {"Status": "Processed"} | {name: value for name, value in post.items() if name not in left_out}


def _listed(taken: TakenRequest) -> dict[str, Any]:
    document = taken.document
    return {
        "MessageID": taken.id,
        "MessageStream": document.get("MessageStream", "outbound"),
        "To": [{"Email": document["To"], "Name": None}],
        "Recipients": [document["To"]],
        "ReceivedAt": taken.at.isoformat(),
        "From": document["From"],
        "Subject": document.get("Subject", ""),
        "Attachments": [one["Name"] for one in document.get("Attachments", ())],
        "Status": "Sent",
        "Metadata": document.get("Metadata", {}),
    }


def _is_asked_for(taken: TakenRequest, request: web.Request) -> bool:
    since = _since(request)
    asked = {
        name.removeprefix("metadata_"): value
        for name, value in request.query.items()
        if name.startswith("metadata_")
    }
    metadata = taken.document.get("Metadata", {})
    return (since is None or taken.at >= since) and asked.items() <= metadata.items()


def _window(request: web.Request) -> tuple[int, int] | None:
    try:
        first, count = int(request.query["offset"]), int(request.query["count"])
    except (KeyError, ValueError):
        return None
    fits = first >= 0 and 0 < count <= PAGE_LIMIT and first + count <= SEARCH_END
    return (first, count) if fits else None


def _since(request: web.Request) -> datetime | None:
    text = request.query.get("fromdate")
    return datetime.fromisoformat(text).replace(tzinfo=ZONE) if text else None


def _is_address(document: Mapping[str, Any], name: str) -> bool:
    value = document.get(name)
    return isinstance(value, str) and "@" in value and value.isprintable()


def _has_text(document: Mapping[str, Any]) -> bool:
    return any(isinstance(document.get(name), str) and document[name] for name in ("TextBody", "HtmlBody"))


def _are_headers(document: Mapping[str, Any]) -> bool:
    return all(
        one.keys() == {"Name", "Value"}
        and all(isinstance(text, str) and text.isprintable() for text in one.values())
        for one in document.get("Headers", ())
    )


def _is_metadata(document: Mapping[str, Any]) -> bool:
    metadata = document.get("Metadata", {})
    return len(metadata) <= METADATA_COUNT and all(
        len(name) <= METADATA_NAME and isinstance(value, str) and len(value) <= METADATA_VALUE
        for name, value in metadata.items()
    )


def _are_files(document: Mapping[str, Any]) -> bool:
    return all(
        one.keys() <= {"Name", "Content", "ContentType", "ContentID"}
        and one.get("Name")
        and one.get("ContentType")
        and _is_base64(one.get("Content"))
        for one in document.get("Attachments", ())
    )


def _is_base64(value: Any) -> bool:
    try:
        return bool(base64.b64decode(value, validate=True))
    except (TypeError, ValueError, binascii.Error):
        return False


_CHECKS: tuple[tuple[str, Check], ...] = (
    ("From", lambda document: _is_address(document, "From")),
    ("To", lambda document: _is_address(document, "To")),
    ("ReplyTo", lambda document: "ReplyTo" not in document or _is_address(document, "ReplyTo")),
    ("Subject", lambda document: isinstance(document.get("Subject", ""), str)),
    ("TextBody", _has_text),
    ("Headers", _are_headers),
    ("Metadata", _is_metadata),
    ("Attachments", _are_files),
)


def _error(status: int, code: int, text: str) -> web.Response:
    return web.json_response({"ErrorCode": code, "Message": text}, status=status)
