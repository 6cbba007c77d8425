"""Envelope encryption of secrets at rest: a data key per value, itself sealed by a master key (AES-256-GCM).

A sealed value is ``version (1) | master key id (8) | nonce (12) | sealed data key (48) | nonce
(12) | ciphertext``, lengths in bytes.
The context (table, tenant and row) is authenticated, so that a sealed value cannot be moved to another row.
"""

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from db.errors import SealBroken

_VERSION = b"\x01"
_KEY_ID = slice(1, 9)
_KEY_NONCE = slice(9, 21)
_SEALED_KEY = slice(21, 69)
_NONCE = slice(69, 81)
_CIPHERTEXT = slice(81, None)
_KEY_BYTES = 32
_SHOWN_DIGITS = 12
_NONCE_BYTES = 12
_SALT_BYTES = 16
_SCRAM_ITERATIONS = (
    4096  # PostgreSQL's own number; the password is 256 random bits, which no number of guesses finds
)


def decode_master_key(text: str) -> bytes:
    """32 bytes out of base64; raises ValueError that says what is wrong without repeating the key."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a master key must be base64 of 32 bytes") from None
    if len(key) != _KEY_BYTES:
        raise ValueError(f"a master key must be 32 bytes, this one has {len(key)}")
    return key


def key_id(key: bytes) -> bytes:
    """What tells keys apart and nothing of a key; every sealed value begins with its key's."""
    return hashlib.sha256(b"waystation master key id" + key).digest()[:8]


class Sealer:
    """Seals with the first master key and opens with any; ``random_bytes`` gives nonces and data keys."""

    def __init__(
        self, master_keys: Sequence[bytes], random_bytes: Callable[[int], bytes] = os.urandom
    ) -> None:
        if not master_keys:
            raise ValueError("at least one master key is needed")
        self._keys = {key_id(key): AESGCM(key) for key in master_keys}
        self._first = key_id(master_keys[0])
        self._mac_keys = [hmac.digest(key, b"waystation macs", "sha256") for key in master_keys]
        self._random_bytes = random_bytes

    def seal(self, plain: bytes, context: str) -> bytes:
        """The sealed form of ``plain``, bound to ``context``."""
        data_key, key_nonce, nonce = self._random_bytes(_KEY_BYTES), self._nonce(), self._nonce()
        bound = context.encode()
        sealed_key = self._keys[self._first].encrypt(key_nonce, data_key, bound)
        return (
            _VERSION
            + self._first
            + key_nonce
            + sealed_key
            + nonce
            + AESGCM(data_key).encrypt(nonce, plain, bound)
        )

    def open(self, sealed: bytes, context: str) -> bytes:
        """The value that was sealed for ``context``; raises SealBroken for a wrong key, context or a changed
        byte.
        """
        master = self._keys.get(sealed[_KEY_ID])
        if sealed[:1] != _VERSION or master is None:
            raise SealBroken
        bound = context.encode()
        try:
            data_key = master.decrypt(sealed[_KEY_NONCE], sealed[_SEALED_KEY], bound)
            return AESGCM(data_key).decrypt(sealed[_NONCE], sealed[_CIPHERTEXT], bound)
        except (InvalidTag, ValueError):
            raise SealBroken from None

    @property
    def older_ids(self) -> list[bytes]:
        """The ids of all keys but the first."""
        return [known for known in self._keys if known != self._first]

    def reseal(self, sealed: bytes, context: str) -> bytes:
        """The same value sealed with the first key; as it is where it is that already, or where its key is unknown.

        Raises SealBroken for a value that its own key does not open.
        """
        if sealed[_KEY_ID] not in self.older_ids:
            return sealed
        try:
            return self.seal(self.open(sealed, context), context)
        except SealBroken:
            raise SealBroken(
                f"{context} was changed or moved: its key is listed and does not open it"
            ) from None

    def macs(self, message: bytes, purpose: str) -> list[bytes]:
        """HMAC-SHA256 of a message for a purpose, with a key derived from each master key: the first one makes what is
        given away, any may have made what comes back.
        """
        bound = purpose.encode() + b"\0" + message
        return [hmac.digest(key, bound, "sha256") for key in self._mac_keys]

    def seal_json(self, value: Any, context: str) -> bytes:
        return self.seal(orjson.dumps(value), context)

    def open_json(self, sealed: bytes, context: str) -> Any:
        return orjson.loads(self.open(sealed, context))

    def _nonce(self) -> bytes:
        return self._random_bytes(_NONCE_BYTES)


def shown_key_id(identity: bytes) -> str:
    """A key's id as people see it, in messages and in the name of its login."""
    return identity.hex()[:_SHOWN_DIGITS]


def derive_login_name(master_key: bytes) -> str:
    """The run-time login of a key; the name tells keys apart and nothing of a key."""
    return f"waystation_login_{shown_key_id(key_id(master_key))}"


def derive_login_password(master_key: bytes) -> str:
    """The run-time login's password: the same on every machine that holds the key, written down on none."""
    return hmac.new(master_key, b"waystation database login", hashlib.sha256).hexdigest()


def derive_login_verifier(master_key: bytes) -> str:
    """What the server needs to know of the run-time login's password: its SCRAM-SHA-256 verifier, from which
    the password cannot be had. A statement with it may be logged.

    Source: RFC 5803; PostgreSQL, "CREATE ROLE", a password that is encrypted already.
    """
    salt = hmac.new(master_key, b"waystation database login salt", hashlib.sha256).digest()[:_SALT_BYTES]
    password = derive_login_password(master_key).encode()
    salted = hashlib.pbkdf2_hmac("sha256", password, salt, _SCRAM_ITERATIONS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    texts = (base64.b64encode(part).decode("ascii") for part in (salt, stored_key, server_key))
    return "SCRAM-SHA-256${}:{}${}:{}".format(_SCRAM_ITERATIONS, *texts)
