"""From operations to routes: who asks, what is asked, whether it was asked before, the answer."""

from http import HTTPMethod
from typing import Any

from aiohttp import web

from gateway.api.auth import authenticate
from gateway.api.operations import JSON, Call, Operation
from gateway.api.replays import REPLAYED_HEADER, Result, read_identity, run_once
from gateway.api.requests import check_content_type, read_call
from gateway.bodies import read_body
from gateway.keys import NOTIFIER
from gateway.middleware import Handler


def make_handler(operation: Operation) -> Handler:
    """The aiohttp handler of an operation."""

    async def handle(request: web.Request) -> web.StreamResponse:
        owner = await authenticate(request)
        check_content_type(operation, request)
        raw = await read_body(request, operation.body_cap)
        call = await read_call(operation, request, owner, raw)
        identity = read_identity(request, call, raw) if operation.method is HTTPMethod.POST else None
        if identity is None:
            result = await _execute(await call.prepare())
        else:
            result = await run_once(call, identity, _execute)
        if operation.method is not HTTPMethod.GET:
            request.app[NOTIFIER].poke()  # something may be due now: a message, a delivery
        return _response(result)

    return handle


async def _execute(call: Call[Any, Any]) -> Result:
    answer = await call.operation.handle(call)
    body = b"" if answer is None else answer.model_dump_json().encode()
    return Result(call.operation.status, body)


def _response(result: Result) -> web.Response:
    headers = {REPLAYED_HEADER: "true"} if result.replayed else None
    if not result.body:
        return web.Response(status=result.status, headers=headers)
    return web.Response(status=result.status, body=result.body, content_type=JSON, headers=headers)
