"""Signatures of outgoing webhooks by Standard Webhooks (spec 1.0.0, "Signature scheme", symmetric ``v1``).

Signed are the bytes ``{id}.{timestamp}.{body}`` with HMAC-SHA256 under the decoded secret. While a secret is
rotated, each one in force signs, the new first, so that a receiver with either accepts.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from channels.errors import InvalidInput

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"
SECRET_PREFIX = "whsec_"  # noqa: S105 - the public prefix of every secret, not a secret
SECRET_BYTES = 32
MIN_SECRET_BYTES = 24  # the specification's bounds
MAX_SECRET_BYTES = 64
MAX_SECRETS = 10  # each lengthens the signature header of every delivery


@dataclass(frozen=True, slots=True)
class EndpointSecret:
    """A secret of an endpoint (``whsec_…``); it signs until ``expires_at``, the current one without end."""

    value: str = field(repr=False)
    expires_at: datetime | None = None


def new_secret(random_bytes: Callable[[int], bytes]) -> str:
    """A fresh secret: ``whsec_`` and base64 of 32 bytes of ``random_bytes``, which must be fit for keys."""
    return SECRET_PREFIX + base64.b64encode(random_bytes(SECRET_BYTES)).decode("ascii")


def sign(event_id: str, timestamp: int, body: bytes, secrets: Sequence[str]) -> str:
    """The ``webhook-signature`` of ``body``: one ``v1,`` entry per secret, in their order.

    ``timestamp`` is the attempt's, in whole Unix seconds. Raises InvalidInput for an id that is empty or
    holds a dot or a space, for no secret and for one that is not base64 of 24 to 64 bytes.
    """
    if not event_id or "." in event_id or " " in event_id:  # a dot would make the signed bytes ambiguous
        raise InvalidInput("An event's id must hold neither a dot nor a space.", field="event_id")
    if not secrets:
        raise InvalidInput("There is no secret to sign with.", field="secret")
    signed = b".".join((event_id.encode(), b"%d" % timestamp, body))
    return " ".join(_signature(decode_secret(secret), signed) for secret in secrets)


def _signature(key: bytes, signed: bytes) -> str:
    mac = hmac.new(key, signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(mac).decode("ascii")


def signature_headers(event_id: str, timestamp: int, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """The three headers of an attempt; takes and raises what ``sign`` does."""
    return {
        ID_HEADER: event_id,
        TIMESTAMP_HEADER: str(timestamp),
        SIGNATURE_HEADER: sign(event_id, timestamp, body, secrets),
    }


def decode_secret(secret: str) -> bytes:
    """The HMAC key in a secret; raises InvalidInput, which never repeats it, unless it is ``whsec_`` and
    canonical base64 of 24 to 64 bytes.
    """
    encoded = secret.removeprefix(SECRET_PREFIX)
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    canonical = secret.startswith(SECRET_PREFIX) and base64.b64encode(key).decode("ascii") == encoded
    if not canonical or not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise InvalidInput("A secret is whsec_ and base64 of 24 to 64 bytes.", field="secret") from None
    return key


def active_secrets(secrets: Iterable[EndpointSecret], now: datetime) -> tuple[str, ...]:
    """The values that sign at ``now``, in their order (new first)."""
    return tuple(secret.value for secret in secrets if secret.expires_at is None or secret.expires_at > now)


def rotate(
    secrets: Sequence[EndpointSecret], now: datetime, overlap: timedelta, new: str
) -> tuple[EndpointSecret, ...]:
    """The secrets after ``new`` took over, new first; the others sign until ``now`` + ``overlap`` or their
    own earlier end.

    So a second rotation does not cut the first one's overlap short. What no longer signs is dropped, and the
    oldest beyond MAX_SECRETS. Raises InvalidInput for a malformed ``new``.
    """
    decode_secret(new)
    end = now + overlap
    older = (EndpointSecret(old.value, min(old.expires_at or end, end)) for old in secrets)
    still_signing = [old for old in older if old.expires_at is not None and old.expires_at > now]
    return (EndpointSecret(new), *still_signing)[:MAX_SECRETS]


def dump_secrets(secrets: Iterable[EndpointSecret]) -> list[dict[str, str | None]]:
    """The form in which secrets are sealed: a JSON list of ``value`` and ``expires_at`` (ISO 8601)."""
    return [
        {"value": secret.value, "expires_at": secret.expires_at.isoformat() if secret.expires_at else None}
        for secret in secrets
    ]


def load_secrets(opened: Sequence[Mapping[str, Any]]) -> tuple[EndpointSecret, ...]:
    """What ``dump_secrets`` gave, after opening the seal."""
    return tuple(
        EndpointSecret(
            item["value"], datetime.fromisoformat(item["expires_at"]) if item["expires_at"] else None
        )
        for item in opened
    )
