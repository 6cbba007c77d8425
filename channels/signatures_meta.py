"""Meta's signature of its webhooks, made and checked (docs: "Webhooks from Meta", validating payloads):
HMAC-SHA256 of the raw bytes of the body under the app's secret, in lower-case hex.
"""

import hmac
from collections.abc import Sequence

from channels.base import InboundRequest
from channels.errors import VerificationFailed

META_SIGNATURE = "X-Hub-Signature-256"


def meta_signature(secret: str, body: bytes) -> str:
    """The value of X-Hub-Signature-256 that Meta would send with this body."""
    return "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()


def verify_meta(request: InboundRequest, secrets: Sequence[str]) -> None:
    """Raises VerificationFailed, with a constant text, unless one of the secrets signed the body. The whole header is
    compared, so that only the form that Meta writes passes.
    """
    given = request.headers.get(META_SIGNATURE, "").encode("utf-8", "replace")
    matches = [
        hmac.compare_digest(meta_signature(secret, request.body).encode(), given) for secret in secrets
    ]
    if not any(matches):
        raise VerificationFailed
