"""Signatures of the providers of mail, made and checked.

SendGrid (docs, "Getting Started with the Event Webhook Security Features" and "Securing your Inbound Parse Webhooks"):
ECDSA over P-256 with SHA-256 of the timestamp header and the raw body, DER in base64; the key is a public one in
base64 DER. Mailgun (docs, "Securing webhooks"): hexadecimal HMAC-SHA256 of timestamp and token, which does not cover
the body; see ``channels.base.OneTimeTokens``.
"""

import base64
import hmac
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from channels.base import InboundRequest
from channels.errors import VerificationFailed

SENDGRID_SIGNATURE = "X-Twilio-Email-Event-Webhook-Signature"
SENDGRID_TIMESTAMP = "X-Twilio-Email-Event-Webhook-Timestamp"
AHEAD = timedelta(minutes=10)  # how far a provider's clock may be before ours
_SECONDS = re.compile(r"[0-9]{1,11}", re.ASCII)
_TOKEN = re.compile(r"[!-~]{1,256}", re.ASCII)


def public_key(encoded: str) -> ec.EllipticCurvePublicKey:
    """A P-256 key in base64 of DER, as SendGrid's pages show it; raises ValueError."""
    try:
        key = load_der_public_key(base64.b64decode(encoded, validate=True))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("not a public key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("not a key of the curve P-256")  # noqa: TRY004 - a key of another kind is a wrong value
    return key


def sendgrid_signature(key: ec.EllipticCurvePrivateKey, timestamp: str, body: bytes) -> str:
    """The signature header that SendGrid would send beside this timestamp header."""
    return base64.b64encode(key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))).decode("ascii")


def verify_sendgrid(request: InboundRequest, keys: Iterable[str]) -> None:
    """Raises VerificationFailed, with a constant text, unless one of the public ``keys`` belongs to the signature.

    How old its timestamp may be SendGrid does not say, nor whether a mail that is posted again, for three days, is signed
    anew. The body is signed, and what it says has a key of the dedupe: an old post is a duplicate.
    """
    timestamp = request.headers.get(SENDGRID_TIMESTAMP, "")
    signature = _decoded(request.headers.get(SENDGRID_SIGNATURE, ""))
    if not _SECONDS.fullmatch(timestamp):
        raise VerificationFailed
    signed = timestamp.encode("ascii") + request.body
    if not any(_belongs(key, signature, signed) for key in keys):
        raise VerificationFailed


def mailgun_signature(key: str, timestamp: str, token: str) -> str:
    """The ``signature`` that Mailgun would put beside this timestamp and token."""
    return hmac.digest(key.encode(), (timestamp + token).encode(), "sha256").hex()


def verify_mailgun(
    signed: Mapping[str, str], keys: Iterable[str], now: datetime, tolerance: timedelta
) -> None:
    """Raises VerificationFailed, with a constant text, unless one of the ``keys`` signed the timestamp and the token of
    ``signed`` (with its ``signature``) and the timestamp is not older than ``tolerance``.
    """
    timestamp, token = signed.get("timestamp", ""), signed.get("token", "")
    given = signed.get("signature", "").encode("utf-8", "replace")
    if not is_fresh(timestamp, now, tolerance) or not _TOKEN.fullmatch(token):
        raise VerificationFailed
    expected = [mailgun_signature(key, timestamp, token).encode("ascii") for key in keys]
    if not any([hmac.compare_digest(given, mac) for mac in expected]):  # noqa: C419 - all are compared
        raise VerificationFailed


def is_fresh(timestamp: str, now: datetime, tolerance: timedelta) -> bool:
    """Whether a time in whole seconds is neither older than the tolerance nor far ahead of ``now``."""
    if not _SECONDS.fullmatch(timestamp):
        return False
    signed_at = datetime.fromtimestamp(int(timestamp), UTC)
    return now - tolerance <= signed_at <= now + AHEAD


def _belongs(key: str, signature: bytes, signed: bytes) -> bool:
    try:
        public_key(key).verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def _decoded(text: str) -> bytes:
    """The bytes of canonical base64: each signature has one form only."""
    try:
        content = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        raise VerificationFailed from None
    if base64.b64encode(content).decode("ascii") != text:
        raise VerificationFailed
    return content
