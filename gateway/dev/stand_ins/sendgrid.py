"""A stand-in of SendGrid's v3 Mail Send: what it takes and answers is what SendGrid's own API description says."""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from aiohttp import web

from gateway.dev.stand_ins.base import StandInState, with_faults

_NOT_OVERRIDDEN = {
    *("x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding"),
    *("to", "from", "subject", "reply-to", "cc", "bcc"),
}
_LARGEST = 30 * 1024 * 1024
Complaint = tuple[str, str]  # what is wrong, and with which field


def routes(state: StandInState) -> Sequence[web.RouteDef]:
    """``POST /sendgrid/v3/mail/send``; a mail that was taken is answered 202 with its id in ``X-Message-Id``."""

    async def send(request: web.Request) -> web.Response:
        if not _is_authorised(state, request):
            return _refusal(HTTPStatus.UNAUTHORIZED, [("authorization required", "null")])
        body = await request.read()
        if len(body) > _LARGEST:
            return _refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, [("content too large", "null")])
        try:
            document = await request.json()
        except ValueError:
            return _refusal(HTTPStatus.BAD_REQUEST, [("Bad Request", "null")])
        complaints = list(_complaints(document))
        if complaints:
            return _refusal(HTTPStatus.BAD_REQUEST, complaints)
        identifier = base64.urlsafe_b64encode(state.new_id().bytes).decode("ascii").rstrip("=")
        state.take(request, identifier, document)
        return web.Response(status=HTTPStatus.ACCEPTED, headers={"X-Message-Id": identifier})

    return [web.post("/sendgrid/v3/mail/send", with_faults(state, send))]


def _is_authorised(state: StandInState, request: web.Request) -> bool:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return scheme == "Bearer" and bool(key) and (not state.keys or key in state.keys)


def _refusal(status: HTTPStatus, complaints: Sequence[Complaint]) -> web.Response:
    errors = [{"message": message, "field": field} for message, field in complaints]
    return web.json_response({"errors": errors}, status=status)


def _complaints(document: object) -> Iterator[Complaint]:
    if not isinstance(document, dict):
        yield "Bad Request", "null"
        return
    yield from _envelope_complaints(document)
    if not (isinstance(document.get("subject"), str) and document["subject"]):
        yield "The subject is required.", "subject"
    contents = document.get("content")
    if not isinstance(contents, list) or not contents or not all(each.get("value") for each in contents):
        yield "The content value must be a string at least one character in length.", "content.0.value"
    for name in document.get("headers", {}):
        if name.lower() in _NOT_OVERRIDDEN:
            yield f"The header {name} may not be overridden.", f"headers.{name}"
    for number, file in enumerate(document.get("attachments", ())):
        yield from _file_complaints(number, file)


def _envelope_complaints(document: Mapping[str, Any]) -> Iterator[Complaint]:
    if "@" not in str((document.get("from") or {}).get("email")):
        yield "The from email does not contain a valid address.", "from.email"
    personalizations = document.get("personalizations")
    if not isinstance(personalizations, list) or not personalizations:
        yield "The personalizations field is required.", "personalizations"
        return
    for number, each in enumerate(personalizations):
        for place, recipient in enumerate(each.get("to") or [{}]):
            if "@" not in recipient.get("email", ""):
                yield "Does not contain a valid address.", f"personalizations.{number}.to.{place}.email"
        if not all(isinstance(value, str) for value in each.get("custom_args", {}).values()):
            yield "The custom_args values must be strings.", f"personalizations.{number}.custom_args"


def _file_complaints(number: int, file: Mapping[str, Any]) -> Iterator[Complaint]:
    if not file.get("filename"):
        yield "The filename is required.", f"attachments.{number}.filename"
    try:
        content = base64.b64decode(file.get("content", ""), validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if not content:
        yield "The attachment content must be base64 encoded.", f"attachments.{number}.content"
