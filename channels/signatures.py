"""Providers' signatures, made and checked in one place.

Twilio (docs: "Security", request validation; scheme as of helper library 9.13): HMAC over the full URL and,
for a form post, every distinct name and value, sorted and joined without separators; base64 in
``X-Twilio-Signature``. What is here is stricter than Twilio's own helper: constant-time comparison, canonical
base64 only, the body hash of JSON is never optional, no algorithm but the configured one, and no exception
other than VerificationFailed.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum

from channels.base import InboundRequest
from channels.errors import VerificationFailed
from channels.forms import FORM_TYPE, FormPairs, form_pairs, query_of

TWILIO_SIGNATURE = "X-Twilio-Signature"
TWILIO_SIGNATURE_SETTINGS = "X-Twilio-Webhooks-Signature-Settings"
BODY_HASH = "bodySHA256"
FIELD_LIMIT = 1000  # Twilio posts under a hundred; who is not yet known may not make us sort a million
DEFAULT_PORTS: Mapping[str, str] = {"https": "443", "http": "80"}


class TwilioAlgorithm(StrEnum):
    """SHA1 goes with an account's auth token, SHA256 with a shared signing key."""

    SHA1 = "HMAC_SHA1"
    SHA256 = "HMAC_SHA256"


DIGESTS: Mapping[TwilioAlgorithm, str] = {TwilioAlgorithm.SHA1: "sha1", TwilioAlgorithm.SHA256: "sha256"}


def twilio_signature(
    secret: str,
    url: str,
    fields: Iterable[tuple[str, str]] = (),
    algorithm: TwilioAlgorithm = TwilioAlgorithm.SHA1,
) -> str:
    """The value of X-Twilio-Signature that Twilio would send for this URL and these form fields (none: GET or
    JSON).
    """
    pairs = tuple((name.encode(), value.encode()) for name, value in fields)
    return _mac(secret, _signed_bytes(url.encode(), pairs), algorithm).decode("ascii")


def with_body_hash(url: str, body: bytes) -> str:
    """The URL as Twilio signs and calls it for a JSON body: the hex SHA256 of the body added to the query."""
    separator = "&" if "?" in url else "?"
    return f"{url}{separator}{BODY_HASH}={hashlib.sha256(body).hexdigest()}"


def signature_settings(key_id: str) -> str:
    """The value of X-Twilio-Webhooks-Signature-Settings for a shared signing key."""
    return f"key={key_id},algorithm={TwilioAlgorithm.SHA256}"


def verify_twilio(request: InboundRequest, tokens: Sequence[str], signing_keys: Mapping[str, str]) -> None:
    """Raises VerificationFailed, with a constant text, unless one of the secrets signed the request.

    ``tokens`` are the auth tokens in force (several while one is rotated). With the settings header only the
    named key of ``signing_keys`` counts, with SHA256; without it only the tokens count, with SHA1, so neither
    can stand in for the other.
    """
    given = _header(request, TWILIO_SIGNATURE)
    url = _url_bytes(request.url)
    pairs = _covered_fields(request)
    algorithm, secrets = _secrets_in_force(request, tokens, signing_keys)
    candidates = (
        _mac(secret, _signed_bytes(variant, pairs), algorithm)
        for secret in secrets
        for variant in port_variants(url)
    )
    if not given or not any(hmac.compare_digest(candidate, given) for candidate in candidates):
        raise VerificationFailed


def port_variants(url: bytes) -> Iterator[bytes]:
    """The URL as it is, without its port, and with its scheme's default port if it names none.

    Twilio is not consistent about ports (its own helper tries both). User information and IPv6 hosts are left
    whole.
    """
    yield url
    scheme, mark, rest = url.partition(b"://")
    end = min(
        (at for at in (rest.find(b"/"), rest.find(b"?"), rest.find(b"#")) if at >= 0), default=len(rest)
    )
    user, at_sign, host_port = rest[:end].rpartition(b"@")
    host, port = _split_port(host_port)
    front = scheme + mark + user + at_sign + host
    if port:
        yield front + rest[end:]
    elif default := DEFAULT_PORTS.get(scheme.decode("ascii", "replace").lower()):
        yield front + b":" + default.encode() + rest[end:]


def _split_port(host_port: bytes) -> tuple[bytes, bytes]:
    host, colon, port = host_port.rpartition(b":")
    return (host, port) if colon and port.isdigit() else (host_port, b"")


def _secrets_in_force(
    request: InboundRequest, tokens: Sequence[str], signing_keys: Mapping[str, str]
) -> tuple[TwilioAlgorithm, Sequence[str]]:
    settings = request.headers.get(TWILIO_SIGNATURE_SETTINGS)
    if settings is None:
        return TwilioAlgorithm.SHA1, tokens
    parts = [_setting(part) for part in settings.split(",")]
    named = dict(parts)
    known = len(parts) == len(named) and named.keys() == {"key", "algorithm"}
    if not known or named["algorithm"] != TwilioAlgorithm.SHA256:
        raise VerificationFailed
    secret = signing_keys.get(named["key"])
    return TwilioAlgorithm.SHA256, (secret,) if secret else ()


def _setting(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return name.strip(), value.strip()


def _covered_fields(request: InboundRequest) -> FormPairs:
    """The fields that are signed beside the URL; checks the body's hash where the URL carries one."""
    hashes = [value for name, value in form_pairs(query_of(request.url)) if name == BODY_HASH.encode()]
    if hashes:
        _check_body_hash(request.body, hashes)
    if request.method == "GET":
        return ()
    if is_form(request):
        return _form_fields(request.body)
    if not hashes:  # nothing would bind this body to the signature
        raise VerificationFailed
    return ()


def _form_fields(body: bytes) -> FormPairs:
    if body.count(b"&") >= FIELD_LIMIT:
        raise VerificationFailed
    return form_pairs(body)


def is_form(request: InboundRequest) -> bool:
    """Whether the request says that its body is a form."""
    content_type = request.headers.get("Content-Type", "")
    return content_type.partition(";")[0].strip().lower() == FORM_TYPE


def _check_body_hash(body: bytes, hashes: Sequence[bytes]) -> None:
    expected = hashlib.sha256(body).hexdigest().encode()
    if not all(hmac.compare_digest(expected, given) for given in hashes):
        raise VerificationFailed


def _header(request: InboundRequest, name: str) -> bytes:
    return request.headers.get(name, "").encode("utf-8", "replace")


def _url_bytes(url: str) -> bytes:
    """The bytes of the request line: servers decode what is not UTF-8 to surrogate escapes."""
    try:
        return url.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise VerificationFailed from None


def _signed_bytes(url: bytes, pairs: FormPairs) -> bytes:
    return url + b"".join(name + value for name, value in sorted(set(pairs)))


def _mac(secret: str, message: bytes, algorithm: TwilioAlgorithm) -> bytes:
    return base64.b64encode(hmac.digest(secret.encode(), message, DIGESTS[algorithm]))
