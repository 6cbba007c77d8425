"""Signatures of outgoing webhooks by Standard Webhooks (spec 1.0.0, "Signature scheme"): ``v1`` with a shared secret,
``v1a`` with a key pair.

Signed are the bytes ``{id}.{timestamp}.{body}``: with HMAC-SHA256 under the decoded secret (``whsec_…``), or with Ed25519
(``whsk_…``, whose public half ``whpk_…`` anybody may know). While secrets are rotated, each one in force signs, the new
first, so that a receiver with either accepts.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from channels.errors import InvalidInput

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"
SECRET_PREFIX = "whsec_"  # noqa: S105 - the public prefix of every secret, not a secret
PRIVATE_PREFIX = "whsk_"
PUBLIC_PREFIX = "whpk_"
SECRET_BYTES = 32
MIN_SECRET_BYTES = 24  # the specification's bounds
MAX_SECRET_BYTES = 64
SEED_BYTES = 32
MAX_SECRETS = 10  # each lengthens the signature header of every delivery
_KEY_ID_DIGITS = 8


class Signing(StrEnum):
    """Which signatures a post carries."""

    HMAC = "hmac"
    ED25519 = "ed25519"
    BOTH = "both"

    @property
    def uses_secret(self) -> bool:
        return self is not Signing.ED25519

    @property
    def uses_key_pair(self) -> bool:
        return self is not Signing.HMAC


@dataclass(frozen=True, slots=True)
class EndpointSecret:
    """A secret of an endpoint (``whsec_…`` or ``whsk_…``); it signs until ``expires_at``, the current one without end."""

    value: str = field(repr=False)
    expires_at: datetime | None = None

    @property
    def is_private_key(self) -> bool:
        return self.value.startswith(PRIVATE_PREFIX)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A decoded secret, ready to sign until ``expires_at``. ``id`` tells keys apart, and nothing of a secret.

    ``public`` is the public half of an Ed25519 key, 32 bytes; None for a shared secret.
    """

    id: str
    expires_at: datetime | None
    public: bytes | None
    sign: Callable[[bytes], str] = field(repr=False)  # bytes to an entry of the signature header


def new_secret(random_bytes: Callable[[int], bytes]) -> str:
    """A fresh secret: ``whsec_`` and base64 of 32 bytes of ``random_bytes``, which must be fit for keys."""
    return SECRET_PREFIX + _encode(random_bytes(SECRET_BYTES))


def new_private_key(random_bytes: Callable[[int], bytes]) -> str:
    """A fresh key pair: ``whsk_`` and base64 of a seed of 32 bytes and the public key."""
    seed = random_bytes(SEED_BYTES)
    return PRIVATE_PREFIX + _encode(seed + _public_half(Ed25519PrivateKey.from_private_bytes(seed)))


def new_secrets(signing: Signing, random_bytes: Callable[[int], bytes]) -> tuple[str, ...]:
    """A fresh secret of each kind that ``signing`` uses."""
    secret = (new_secret(random_bytes),) if signing.uses_secret else ()
    return (*secret, new_private_key(random_bytes)) if signing.uses_key_pair else secret


def signing_key(secret: EndpointSecret) -> SigningKey:
    """The secret, decoded; raises InvalidInput, which never repeats it, for one that is malformed."""
    if secret.is_private_key:
        private = decode_private_key(secret.value)
        public = _public_half(private)
        return SigningKey(key_id(public), secret.expires_at, public, partial(_sign_v1a, private))
    key = decode_secret(secret.value)
    return SigningKey(key_id(key), secret.expires_at, None, partial(_sign_v1, key))


def key_id(key: bytes) -> str:
    """Eight hex digits that tell keys apart: of a hash of the public key, or of the secret itself, out of whose 192 random
    bits and more nobody gets back what was hashed.
    """
    return hashlib.sha256(b"waystation webhook key id " + key).hexdigest()[:_KEY_ID_DIGITS]


def signature_headers(
    message_id: str, timestamp: int, body: bytes, keys: Sequence[SigningKey]
) -> dict[str, str]:
    """The three headers of an attempt; takes and raises what ``sign`` does."""
    return {
        ID_HEADER: message_id,
        TIMESTAMP_HEADER: str(timestamp),
        SIGNATURE_HEADER: sign(message_id, timestamp, body, keys),
    }


def sign(message_id: str, timestamp: int, body: bytes, keys: Sequence[SigningKey]) -> str:
    """The ``webhook-signature`` of ``body``: one ``v1,`` or ``v1a,`` entry per key, in their order.

    ``timestamp`` is the attempt's, in whole Unix seconds. Raises InvalidInput for an id that is empty or
    holds a dot or a space, and for no key.
    """
    if (
        not message_id or "." in message_id or " " in message_id
    ):  # a dot would make the signed bytes ambiguous
        raise InvalidInput("An event's id must hold neither a dot nor a space.", field="event_id")
    if not keys:
        raise InvalidInput("There is no secret to sign with.", field="secret")
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    return " ".join([key.sign(signed) for key in keys])


def _sign_v1(key: bytes, signed: bytes) -> str:
    return "v1," + _encode(hmac.digest(key, signed, "sha256"))


def _sign_v1a(private: Ed25519PrivateKey, signed: bytes) -> str:
    return "v1a," + _encode(private.sign(signed))


def decode_secret(secret: str) -> bytes:
    """The HMAC key in a secret; raises InvalidInput, which never repeats it, unless it is ``whsec_`` and
    canonical base64 of 24 to 64 bytes.
    """
    key = _decode(secret, SECRET_PREFIX)
    if key is None or not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise InvalidInput("A secret is whsec_ and base64 of 24 to 64 bytes.", field="secret")
    return key


def decode_private_key(secret: str) -> Ed25519PrivateKey:
    """The Ed25519 key in a secret; raises InvalidInput, which never repeats it, unless it is ``whsk_`` and canonical
    base64 of a seed and the public key that belongs to it (the form that Svix writes).
    """
    pair = _decode(secret, PRIVATE_PREFIX)
    if pair is not None and len(pair) == 2 * SEED_BYTES:
        private = Ed25519PrivateKey.from_private_bytes(pair[:SEED_BYTES])
        if _public_half(private) == pair[SEED_BYTES:]:
            return private
    raise InvalidInput("A private key is whsk_ and base64 of a seed and its public key.", field="secret")


def shown_public_key(public: bytes) -> str:
    """A public key as integrators copy it: ``whpk_`` and base64 of 32 bytes."""
    return PUBLIC_PREFIX + _encode(public)


def _public_half(private: Ed25519PrivateKey) -> bytes:
    return private.public_key().public_bytes_raw()


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decode(text: str, prefix: str) -> bytes | None:
    """The bytes behind the prefix; None unless they stand there in canonical base64."""
    encoded = text.removeprefix(prefix)
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if text.startswith(prefix) and _encode(data) == encoded else None


def active_keys(keys: Iterable[SigningKey], now: datetime) -> tuple[SigningKey, ...]:
    """Those that sign at ``now``, in their order (new first)."""
    return tuple([key for key in keys if key.expires_at is None or key.expires_at > now])


def rotate(
    secrets: Sequence[EndpointSecret], now: datetime, overlap: timedelta, new: Sequence[str]
) -> tuple[EndpointSecret, ...]:
    """The secrets after ``new`` took over, new first; the others sign until ``now`` + ``overlap`` or their
    own earlier end.

    So a second rotation does not cut the first one's overlap short. What no longer signs is dropped, and the
    oldest beyond MAX_SECRETS. Raises InvalidInput for a malformed ``new``.
    """
    fresh = [EndpointSecret(value) for value in new]
    for secret in fresh:
        signing_key(secret)
    end = now + overlap
    older = (EndpointSecret(old.value, min(old.expires_at or end, end)) for old in secrets)
    still_signing = [old for old in older if old.expires_at is not None and old.expires_at > now]
    return (*fresh, *still_signing)[:MAX_SECRETS]


def with_signing(
    secrets: Sequence[EndpointSecret], signing: Signing, random_bytes: Callable[[int], bytes]
) -> tuple[EndpointSecret, ...]:
    """The secrets that sign as asked from now on: what is not used is dropped, a key pair is made where there is none.

    Raises InvalidInput where a shared secret is missing: nobody would be shown a new one.
    """
    kept = tuple(
        secret
        for secret in secrets
        if (signing.uses_key_pair if secret.is_private_key else signing.uses_secret)
    )
    current = [secret for secret in kept if secret.expires_at is None]
    if signing.uses_secret and all(secret.is_private_key for secret in current):
        raise InvalidInput("There is no secret yet: rotate-secret makes and shows one.", field="signing")
    if signing.uses_key_pair and not any(secret.is_private_key for secret in current):
        return (*current, EndpointSecret(new_private_key(random_bytes)), *kept[len(current) :])
    return kept


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


def load_keys(opened: Sequence[Mapping[str, Any]]) -> tuple[SigningKey, ...]:
    """The same, decoded; raises InvalidInput for a malformed secret."""
    return tuple(signing_key(secret) for secret in load_secrets(opened))
