"""Around every request: an id for it, and no error but as problem+json.

The routes of providers (``/in/…``) answer in their own words; here only what they did not foresee is caught.
"""

import traceback
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import structlog
from aiohttp import web

from gateway.api.problems import http_error, known_error, problem_response, unexpected
from gateway.bodies import ClientLeft
from gateway.keys import RUNTIME

REQUEST_ID_HEADER = "X-Request-Id"
REQUEST_ID = web.RequestKey("request_id", str)
PROVIDER_PATHS = "/in/"
_MAX_FRAMES = 5
_log = structlog.get_logger("gateway.http")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def name_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives the request an id, which the answer and every log line about it carry."""
    request[REQUEST_ID] = request.app[RUNTIME].new_id().hex
    response = await handler(request)
    if not response.prepared:
        response.headers[REQUEST_ID_HEADER] = request[REQUEST_ID]
    return response


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns what is raised into a problem; what nobody foresaw is logged by type and place, never by text."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if request.path.startswith(PROVIDER_PATHS):
            raise
        return problem_response(http_error(error), request[REQUEST_ID])
    except ClientLeft:
        _log.info("client left", request_id=request[REQUEST_ID], method=request.method)
        return web.Response(status=HTTPStatus.BAD_REQUEST)  # read by nobody
    except Exception as error:  # noqa: BLE001 - the last resort: logged, and answered without details
        foreseen = known_error(error)
        if foreseen is None:
            _log_unexpected(request, error)
        return problem_response(foreseen or unexpected(), request[REQUEST_ID])


def _log_unexpected(request: web.Request, error: Exception) -> None:
    # An error's text may hold a customer's words or a secret: a driver's names the values of a row.
    frames = traceback.extract_tb(error.__traceback__)[-_MAX_FRAMES:]
    _log.error(
        "unexpected error",
        request_id=request[REQUEST_ID],
        method=request.method,
        error_type=type(error).__name__,
        places=[f"{frame.name}:{frame.lineno}" for frame in frames],
    )


MIDDLEWARES = (name_request, answer_errors)
