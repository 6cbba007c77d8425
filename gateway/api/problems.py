"""Every error as RFC 9457 ``application/problem+json`` with a stable code; none shows a secret or a trace."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from aiohttp import web
from pydantic import ValidationError

from channels.errors import (
    GatewayError,
    InvalidInput,
    MalformedPayload,
    NotFound,
    PolicyError,
    Temporary,
    UnknownAccount,
    WrongState,
)
from db.errors import Conflict, DatabaseUnavailable
from gateway.api.schemas import FieldProblem, Problem

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:waystation:problem:"
RETRY_SECONDS = 5
_STATUSES: tuple[tuple[type[GatewayError], HTTPStatus], ...] = (
    (NotFound, HTTPStatus.NOT_FOUND),
    (UnknownAccount, HTTPStatus.NOT_FOUND),
    (WrongState, HTTPStatus.CONFLICT),
    (MalformedPayload, HTTPStatus.UNPROCESSABLE_ENTITY),
    (PolicyError, HTTPStatus.CONFLICT),
    (Temporary, HTTPStatus.SERVICE_UNAVAILABLE),
)
_HTTP_CODES: Mapping[int, str] = {
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
}


class ApiError(Exception):
    """An answer other than success: a status, a code and a sentence that may be shown."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})


def unauthorized() -> ApiError:
    return ApiError(
        HTTPStatus.UNAUTHORIZED,
        "unauthorized",
        "This needs `Authorization: Bearer <api key>` with a key that is not revoked.",
        headers={"WWW-Authenticate": "Bearer"},
    )


def too_large(cap: int) -> ApiError:
    detail = f"The body may have at most {cap} bytes."
    # The rest of the body is not read, so the connection cannot carry another request.
    return ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", detail, headers={"Connection": "close"})


def malformed_body() -> ApiError:
    detail = "The body is not what its Content-Encoding or Transfer-Encoding says."
    return ApiError(HTTPStatus.BAD_REQUEST, "malformed_body", detail, headers={"Connection": "close"})


def invalid(location: str, field: str, message: str, code: str = InvalidInput.code) -> ApiError:
    """422 for one field."""
    problem = FieldProblem(location=location, field=field, code=code, message=message)
    return ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, code, message, errors=[problem])


def invalid_fields(location: str, error: ValidationError) -> ApiError:
    """422 for what a model refuses; the refused values themselves are not repeated."""
    problems = [
        FieldProblem(
            location=location,
            field=".".join(str(part) for part in found["loc"]),
            code=found["type"],
            message=found["msg"].removeprefix("Value error, "),
        )
        for found in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    first = problems[0]
    detail = f"{first.field}: {first.message}" if first.field else first.message
    return ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, InvalidInput.code, detail, errors=problems)


def known_error(error: Exception) -> ApiError | None:
    """How an error of the floors below is answered; None for one that nobody foresaw."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, InvalidInput):
        return invalid("body", error.field, str(error), error.code)
    if isinstance(error, Conflict):
        return ApiError(HTTPStatus.CONFLICT, "already_exists", str(error))
    if isinstance(error, DatabaseUnavailable):
        return unavailable("The database cannot be reached; try again.")
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            return ApiError(status, error.code, str(error))
    return None


def http_error(error: web.HTTPException) -> ApiError:
    """The framework's own refusals: unknown path, wrong method."""
    status = HTTPStatus(error.status)
    code = _HTTP_CODES.get(status, status.phrase.lower().replace(" ", "_"))
    allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return ApiError(status, code, status.description or status.phrase, headers=allow)


def unexpected() -> ApiError:
    return ApiError(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal_error",
        "Something went wrong on our side; it is logged under the request's id.",
    )


def problem_response(error: ApiError, request_id: str | None) -> web.Response:
    problem = Problem(
        type=TYPE_PREFIX + error.code,
        title=error.status.phrase,
        status=error.status,
        detail=error.detail,
        code=error.code,
        request_id=request_id,
        errors=list(error.errors),
    )
    return web.Response(
        status=error.status,
        body=problem.model_dump_json().encode(),
        content_type=CONTENT_TYPE,
        headers=error.headers,
    )


def unavailable(detail: str) -> ApiError:
    return ApiError(
        HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail, headers={"Retry-After": str(RETRY_SECONDS)}
    )
