"""Svix's signature, as Resend uses it: HMAC-SHA256 over id, timestamp and body.

Source: Resend docs, "Verify Webhooks Requests"; Svix docs, "Verifying webhooks manually"; Standard Webhooks, which names
the same headers ``webhook-*``. Both libraries raise errors of their own for broken items of the signature header; here
an item that is not of the form is no match, and nothing but VerificationFailed is raised.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from channels.base import InboundRequest
from channels.errors import VerificationFailed

SVIX_SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{8,512}={0,2}", re.ASCII)
TOLERANCE = timedelta(minutes=5)  # either way, as Svix's own libraries have it
PREFIXES = ("svix-", "webhook-")
_VERSION = "v1"
_SECONDS = re.compile(r"[0-9]{1,11}", re.ASCII)
_ITEM_LIMIT = 16  # signatures of one post: one for each secret in force at the sender


def is_svix_secret(secret: str) -> bool:
    """Whether a text is a secret of the form ``whsec_`` and base64."""
    if not SVIX_SECRET.fullmatch(secret):
        return False
    try:
        return bool(_key(secret))
    except binascii.Error:
        return False


def svix_signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The signature that Svix would send with this post; ``secret`` is of the form that ``is_svix_secret`` checks."""
    return f"{_VERSION},{_mac(secret, message_id.encode(), str(timestamp).encode(), body)}"


def verify_svix(request: InboundRequest, secrets: Sequence[str], now: datetime) -> None:
    """Raises VerificationFailed, with a constant text, unless one of the secrets signed the request within the tolerance
    around ``now`` (aware). The signature's items are separated by blanks; any match passes.
    """
    message_id, seconds, signatures = _signed_headers(request)
    if not _SECONDS.fullmatch(seconds) or abs(now.timestamp() - int(seconds)) > TOLERANCE.total_seconds():
        raise VerificationFailed
    identifier = message_id.encode("utf-8", "replace")
    expected = [_mac(secret, identifier, seconds.encode(), request.body).encode() for secret in secrets]
    given = list(_given(signatures))
    matches = [hmac.compare_digest(one, other) for one in expected for other in given]
    if not any(matches):
        raise VerificationFailed


def _signed_headers(request: InboundRequest) -> tuple[str, str, str]:
    """Id, timestamp and signature, all three under one of the two prefixes."""
    for prefix in PREFIXES:
        found = tuple(request.headers.get(prefix + name, "") for name in ("id", "timestamp", "signature"))
        if all(found):
            return found[0], found[1], found[2]
    raise VerificationFailed


def _given(signatures: str) -> Iterator[bytes]:
    for item in signatures.split(" ")[:_ITEM_LIMIT]:
        version, _, value = item.partition(",")
        if version == _VERSION and value:
            yield value.encode("utf-8", "replace")


def _mac(secret: str, message_id: bytes, seconds: bytes, body: bytes) -> str:
    signed = b".".join((message_id, seconds, body))
    return base64.b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)).decode("ascii")


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
