"""From a request to a call: path, query and body, each checked against what its operation declares."""

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from itertools import chain
from typing import Any
from uuid import UUID

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from channels.errors import InvalidInput, NotFound
from db.rows import KeyOwner
from gateway.api.operations import NO_ID, WORD, Call, Operation
from gateway.api.problems import ApiError, invalid, invalid_fields
from gateway.keys import ACCOUNTS, ADAPTERS, ARRIVALS, EGRESS, RUNTIME
from handlers.webhooks.events import parse_event_id

EVENT_ID = "event_id"
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_MALFORMED = "The body is not JSON, or has a number or a nesting out of range."
# What clients send of themselves when nobody told them what they post: it is read as JSON.
_UNTOLD = frozenset({"application/octet-stream", "application/x-www-form-urlencoded", "text/plain"})
MAX_JSON_DEPTH = 32  # arrays and objects in one another; the deepest filter that we take needs 22
_HOLDERS = (dict, list)
_NO_FIELDS = b"{}"


async def read_call(
    operation: Operation, request: web.Request, owner: KeyOwner, raw: bytes
) -> Call[Any, Any]:
    """The request as its operation takes it; raises NotFound, or ApiError 400 or 422."""
    identity, part_id = _path_ids(operation, request)
    return Call(
        operation=operation,
        runtime=request.app[RUNTIME],
        adapters=request.app[ADAPTERS],
        egress=request.app[EGRESS],
        accounts=request.app[ACCOUNTS],
        arrivals=request.app[ARRIVALS],
        is_gone=lambda: request.transport is None,
        owner=owner,
        id=identity,
        part_id=part_id,
        word=request.match_info.get(WORD, ""),
        query=_read_query(operation, request),
        body=await _read_body(operation, raw, request.content_type),
    )


def check_content_type(operation: Operation, request: web.Request) -> None:
    """Raises ApiError 415 where the body is said to be of a form that the operation does not take."""
    said = request.content_type
    if operation.body is None or said in operation.body_types or said in _UNTOLD or said.endswith("+json"):
        return
    taken = " or ".join(operation.body_types)
    raise ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", f"The body must be {taken}.")


def read_json(raw: bytes) -> Any:
    """A JSON value that can be stored; raises ApiError 400 or 422.

    Its depth is bounded here, before anything else looks at it.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise ApiError(HTTPStatus.BAD_REQUEST, "malformed_json", _MALFORMED) from None
    may_hold_nul = b"\\u0000" in raw
    for depth, members in enumerate(_levels(value)):
        if depth >= MAX_JSON_DEPTH and any(isinstance(member, _HOLDERS) for member in members):
            raise invalid("body", "", f"The body may be nested {MAX_JSON_DEPTH} levels deep at most.")
        if may_hold_nul and any(map(_holds_nul, members)):
            raise invalid("body", "", "Text may not hold the character NUL.")
    return value


def read_model(model: type[BaseModel], raw: bytes) -> BaseModel:
    """A JSON body as its model; raises ApiError 400 or 422."""
    try:
        return model.model_validate(read_json(raw))
    except ValidationError as error:
        raise invalid_fields("body", error) from None


def _path_ids(operation: Operation, request: web.Request) -> tuple[UUID, UUID]:
    ids = [_path_id(name, request.match_info[name]) for name in operation.id_names]
    first, second, *_ = (*ids, NO_ID, NO_ID)
    return first, second


def _path_id(name: str, text: str) -> UUID:
    if name == EVENT_ID:
        return _event_id(text)
    if not _UUID.fullmatch(text):
        raise NotFound
    return UUID(text)


def _event_id(text: str) -> UUID:
    try:
        return parse_event_id(text)
    except InvalidInput:
        raise NotFound from None


def _read_query(operation: Operation, request: web.Request) -> BaseModel:
    values: Mapping[str, str] = dict(request.query)
    if len(values) < len(request.query):
        raise invalid("query", "", "A query parameter may be given only once.")
    if any("\0" in value for value in values.values()):
        raise invalid("query", "", "Text may not hold the character NUL.")
    try:
        return operation.query.model_validate(values)
    except ValidationError as error:
        raise invalid_fields("query", error) from None


async def _read_body(operation: Operation, raw: bytes, content_type: str) -> Any:
    if operation.read_body is not None:
        # May be long; a thread keeps the loop free for others.
        return await asyncio.to_thread(operation.read_body, raw, content_type)
    if operation.body is None:
        return None
    return read_model(operation.body, raw if raw or operation.body_required else _NO_FIELDS)


def _levels(value: Any) -> Iterator[list[Any]]:
    """The value, its members, their members and so on: without recursion, whose depth a sender would choose."""
    level = [value]
    while level:
        yield level
        holders = (member for member in level if isinstance(member, _HOLDERS))
        level = list(chain.from_iterable(map(_members, holders)))


def _members(holder: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return holder.values() if isinstance(holder, dict) else holder


def _holds_nul(value: Any) -> bool:
    """In a text itself, or in the names of an object's members."""
    names = (value,) if isinstance(value, str) else value if isinstance(value, dict) else ()
    return any("\0" in name for name in names)
