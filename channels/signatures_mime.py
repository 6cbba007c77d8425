"""The signature of whoever posts mails to us: ``X-Waystation-Signature: t=<unix seconds>,v1=<hex>[,v1=<hex>…]``.

``v1`` is HMAC-SHA256 over ``<t>.`` and the raw body. Several may be there while the poster changes its secret.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from channels.base import InboundRequest
from channels.errors import VerificationFailed

MIME_SIGNATURE = "X-Waystation-Signature"
TOLERANCE = timedelta(minutes=5)
_TIME = re.compile(r"[0-9]{1,12}", re.ASCII)
_LENGTH_LIMIT, _MOST_SIGNATURES = 1024, 8


def mime_signature(secret: str, body: bytes, at: datetime) -> str:
    """The header's value for a body posted at ``at``."""
    seconds = str(int(at.timestamp()))
    return f"t={seconds},v1={_mac(secret, seconds, body)}"


def verify_mime(request: InboundRequest, secrets: Sequence[str], now: datetime) -> None:
    """Raises VerificationFailed unless one of the secrets signed the body at a time near ``now``."""
    seconds, given = _fields(request.headers.get(MIME_SIGNATURE, ""))
    if not seconds or abs(now.timestamp() - int(seconds)) > TOLERANCE.total_seconds():
        raise VerificationFailed
    expected = [_mac(secret, seconds, request.body).encode() for secret in secrets]
    if not any(hmac.compare_digest(one, other) for one in expected for other in given):
        raise VerificationFailed


def _fields(header: str) -> tuple[str, list[bytes]]:
    """The one time and the signatures; empty where the header is of another form."""
    if len(header) > _LENGTH_LIMIT:
        return "", []
    pairs = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    given = [value.encode("utf-8", "replace") for name, _, value in pairs if name == "v1"]
    if len(times) != 1 or not _TIME.fullmatch(times[0]) or len(given) > _MOST_SIGNATURES:
        return "", []
    return times[0], given


def _mac(secret: str, seconds: str, body: bytes) -> str:
    signer = hmac.new(secret.encode(), f"{seconds}.".encode(), hashlib.sha256)
    signer.update(body)  # the body may be large: it is not copied behind the time
    return signer.hexdigest()
