"""``Idempotency-Key``: a POST that was answered with success is not done again, its answer is repeated.

The key's row, what the operation changes and the stored answer commit in one transaction, so a crash leaves
all of them or none. A parallel request with the same key is answered 409 ``idempotency_in_progress`` at once,
with ``Retry-After``: one that waited would keep a connection from other tenants. A request that failed changed
nothing and keeps nothing: the same key may be tried again, also with another body.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from aiohttp import web

from db import idempotency
from db.rows import StoredAnswer
from db.tenant import Connection
from gateway.api.operations import Call
from gateway.api.problems import ApiError, invalid

HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotency-Replayed"
KEPT = timedelta(hours=24)
_SWEPT_KEYS = 20  # per new key: expired ones go faster than new ones come
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Result:
    """What is answered: a status and the body's bytes."""

    status: int
    body: bytes = field(repr=False)
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class RequestIdentity:
    """What a repetition is known by."""

    route: str
    key: str
    request_hash: bytes


def read_identity(request: web.Request, call: Call[Any, Any], raw: bytes) -> RequestIdentity | None:
    """The request's identity; None without the header. Raises ApiError 422 for a malformed key."""
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise invalid("header", HEADER, "A key is 1 to 255 printable ASCII characters without blanks.")
    content = request.query_string.encode() + b"\0" + raw
    return RequestIdentity(f"POST {call.operation.path} {call.id}", key, hashlib.sha256(content).digest())


async def run_once(
    call: Call[Any, Any],
    identity: RequestIdentity,
    execute: Callable[[Call[Any, Any]], Awaitable[Result]],
) -> Result:
    """The stored answer, else that of ``execute``; raises ApiError 409 or 422, and what ``execute`` does."""
    async with call.transaction() as connection:
        stored = await _find(call, connection, identity)
    if stored is not None:
        return stored
    prepared = await call.prepare()
    async with call.transaction() as connection:
        if not await _claim(call, connection, identity):
            return await _answer_of_other(call, connection, identity)
        result = await execute(prepared.joined(connection))
        # Last, for it locks rows that their own requests may be about to claim anew.
        await idempotency.forget_expired(connection, _oldest(call), _SWEPT_KEYS)
        sealed = call.runtime.sealer.seal(result.body, _context(call, identity))
        await idempotency.store_answer(
            connection, identity.route, identity.key, status=result.status, sealed=sealed
        )
    return result


async def _claim(call: Call[Any, Any], connection: Connection, identity: RequestIdentity) -> bool:
    return await idempotency.claim_key(
        connection,
        identity.route,
        identity.key,
        request_hash=identity.request_hash,
        now=call.runtime.clock(),
        oldest=_oldest(call),
    )


async def _answer_of_other(call: Call[Any, Any], connection: Connection, identity: RequestIdentity) -> Result:
    stored = await _find(call, connection, identity)
    if stored is None:
        raise _in_progress()
    return stored


async def _find(call: Call[Any, Any], connection: Connection, identity: RequestIdentity) -> Result | None:
    row = await idempotency.read_answer(connection, identity.route, identity.key, _oldest(call))
    if row is None:
        return None
    if row.request_hash != identity.request_hash:
        detail = "This key was used with another body; take a new key for a new request."
        raise invalid("header", HEADER, detail, "idempotency_key_reused")
    return _opened(call, identity, row)


def _opened(call: Call[Any, Any], identity: RequestIdentity, row: StoredAnswer) -> Result:
    if row.response_status is None or row.response_sealed is None:
        raise _in_progress()
    body = call.runtime.sealer.open(row.response_sealed, _context(call, identity))
    return Result(row.response_status, body, replayed=True)


def _oldest(call: Call[Any, Any]) -> datetime:
    return call.runtime.clock() - KEPT


def _context(call: Call[Any, Any], identity: RequestIdentity) -> str:
    return f"idempotency_keys:{call.distributor_id}:{identity.route}:{identity.key}"


def _in_progress() -> ApiError:
    return ApiError(
        HTTPStatus.CONFLICT,
        "idempotency_in_progress",
        "A request with this key is being worked on; ask again in a moment.",
        headers={"Retry-After": "1"},
    )
