"""Basic authorisation (RFC 7617) of a hook: for providers that sign nothing but call a URL with a name and a password."""

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence

from channels.base import InboundRequest
from channels.errors import VerificationFailed

Login = Mapping[str, str]  # ``username`` and ``password``
_HEADER_LIMIT = 4096


def basic_authorisation(login: Login) -> str:
    """The value of the Authorization header for a login."""
    return f"Basic {basic_credentials(login)}"


def basic_credentials(login: Login) -> str:
    """The form in which a login travels: what may be shown as little as the password."""
    return base64.b64encode(_pair(login)).decode("ascii")


def verify_basic_auth(request: InboundRequest, logins: Sequence[Login]) -> None:
    """Raises VerificationFailed, with a constant text, unless the request carries one of the logins."""
    given = _given(request.headers.get("Authorization", ""))
    matches = [hmac.compare_digest(_pair(login), given) for login in logins]
    if not any(matches):
        raise VerificationFailed


def _given(header: str) -> bytes:
    scheme, _, encoded = header[:_HEADER_LIMIT].partition(" ")
    if scheme.lower() != "basic":
        raise VerificationFailed
    try:
        return base64.b64decode(encoded.strip().encode("utf-8", "replace"), validate=True)
    except binascii.Error:
        raise VerificationFailed from None


def _pair(login: Login) -> bytes:
    return f"{login['username']}:{login['password']}".encode()
