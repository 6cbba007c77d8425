"""The public halves of an endpoint's Ed25519 keys, as they are stored beside the sealed secrets and shown to anybody.

Source of the form: RFC 7517 (JWK Set), RFC 8037 §2 (OKP, Ed25519).
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from handlers.webhooks.signing import EndpointSecret, shown_public_key, signing_key

StoredKey = Mapping[str, Any]


def public_keys_of(secrets: Iterable[EndpointSecret]) -> list[StoredKey]:
    """Of each key pair among the secrets, in their order: ``kid``, ``x`` and, for one that only overlaps, ``expires_at``."""
    keys = [signing_key(secret) for secret in secrets if secret.is_private_key]
    return [
        {
            "kid": key.id,
            "x": base64.urlsafe_b64encode(key.public or b"").decode("ascii").rstrip("="),
            "expires_at": key.expires_at.isoformat() if key.expires_at else None,
        }
        for key in keys
    ]


def key_set(stored: Sequence[StoredKey], now: datetime) -> list[dict[str, str]]:
    """The JSON Web Keys that verify what is sent at ``now``, new first."""
    return [
        {
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": "EdDSA",
            "use": "sig",
            "kid": key["kid"],
            "x": key["x"],
        }
        for key in stored
        if key["expires_at"] is None or datetime.fromisoformat(key["expires_at"]) > now
    ]


def current_public_key(stored: Sequence[StoredKey]) -> str | None:
    """The key of today as integrators copy it (``whpk_…``); None where no key pair signs."""
    current = (key["x"] for key in stored if key["expires_at"] is None)
    return next((shown_public_key(base64.urlsafe_b64decode(x + "==")) for x in current), None)
