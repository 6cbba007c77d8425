"""Whose request it is: ``Authorization: Bearer wst_…``, looked up by its hash before a tenant is known."""

from aiohttp import hdrs, web

from db.rows import KeyOwner
from gateway.api.problems import unauthorized
from gateway.keys import DENIALS, RUNTIME
from gateway.metrics import DENIED
from handlers.denials import Denial, DenialType
from handlers.tenants import find_key_owner

_SCHEME = "bearer"


async def authenticate(request: web.Request) -> KeyOwner:
    """The tenant and key of a request; asks the database each time, so that a revoked key ends at once.

    Raises ApiError 401.
    """
    owner = await find_key_owner(request.app[RUNTIME], _bearer_token(request))
    if owner is None:
        DENIED.labels(type="key.unknown").inc()
        raise unauthorized()
    if owner.revoked:
        denial = Denial(owner.distributor_id, DenialType.KEY, owner.id, "revoked")
        request.app[DENIALS].note(denial)
        raise unauthorized()
    return owner


def _bearer_token(request: web.Request) -> str:
    headers = request.headers.getall(hdrs.AUTHORIZATION, [])
    if len(headers) != 1:
        raise unauthorized()
    scheme, _, token = headers[0].partition(" ")
    if scheme.lower() != _SCHEME:
        raise unauthorized()
    return token.strip()
