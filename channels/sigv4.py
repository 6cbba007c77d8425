"""AWS Signature Version 4 for a request's headers: pure, the time passed in.

Source: AWS, "Create a signed AWS API request" and, for S3, "Authenticating Requests: Using the Authorization
Header". The vectors of both are the test's table.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote, unquote, urlsplit

ALGORITHM = "AWS4-HMAC-SHA256"
S3 = "s3"
_END = "aws4_request"
_UNRESERVED = "-_.~"


@dataclass(frozen=True, slots=True)
class AwsKey:
    """An access key; ``session_token`` only where it is a temporary one."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class AwsScope:
    """Where a signature counts: a region's service, as ``us-east-1`` and ``ses``."""

    region: str
    service: str


def sign_request(
    key: AwsKey,
    scope: AwsScope,
    method: str,
    url: str,
    *,
    at: datetime,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> dict[str, str]:
    """The request's headers (``headers``, which are signed all, and Host) with the signature's.

    ``url`` is as it is sent: its path and query are percent-encoded. ``at`` is aware; AWS takes 15 minutes' difference.
    """
    parts = urlsplit(url)
    digest = hashlib.sha256(body).hexdigest()
    stamp = at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    sent = {**(headers or {}), "Host": parts.netloc, "X-Amz-Date": stamp}
    if scope.service == S3:
        sent["X-Amz-Content-Sha256"] = digest
    if key.session_token:
        sent["X-Amz-Security-Token"] = key.session_token
    signed = {name.lower(): " ".join(value.split()) for name, value in sent.items()}
    names = ";".join(sorted(signed))
    canonical = "\n".join(
        (
            method,
            _canonical_path(parts.path, scope),
            _canonical_query(parts.query),
            *(f"{name}:{signed[name]}" for name in sorted(signed)),
            "",
            names,
            digest,
        )
    )
    credential = f"{stamp[:8]}/{scope.region}/{scope.service}/{_END}"
    to_sign = "\n".join((ALGORITHM, stamp, credential, hashlib.sha256(canonical.encode()).hexdigest()))
    signature = hmac.new(_signing_key(key, scope, stamp[:8]), to_sign.encode(), hashlib.sha256).hexdigest()
    authorization = f"{ALGORITHM} Credential={key.access_key_id}/{credential}, SignedHeaders={names}, Signature={signature}"
    return {**sent, "Authorization": authorization}


def _canonical_path(path: str, scope: AwsScope) -> str:
    """S3 takes the path as it is sent; all other services encode it once more."""
    path = path or "/"
    return path if scope.service == S3 else quote(path, safe="/" + _UNRESERVED)


def _canonical_query(query: str) -> str:
    """Every name and value encoded alike, sorted by both; a name without a value has an empty one."""
    pairs = (piece.partition("=") for piece in query.split("&") if piece)
    encoded = ((_encoded(name), _encoded(value)) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in sorted(encoded))


def _encoded(text: str) -> str:
    return quote(unquote(text), safe=_UNRESERVED)


def _signing_key(key: AwsKey, scope: AwsScope, day: str) -> bytes:
    step = f"AWS4{key.secret_access_key}".encode()
    for part in (day, scope.region, scope.service, _END):
        step = hmac.digest(step, part.encode(), "sha256")
    return step
