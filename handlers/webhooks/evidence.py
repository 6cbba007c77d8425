"""What is kept of an attempt for those who must find out why a post did or did not arrive: headers both ways without their
secrets, the address that was dialled, how long each phase took, which keys signed.

Rules: reference "Outgoing webhooks" §4, Policy: of a blocked or a redirected answer nothing is shown, or endpoints would be
a way to read inner networks. A header's value is shown where its name is known to hold no secret (requests), or not known
to hold one (answers). It runs for every attempt, so nearly all take the short way: all values are judged as one text.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Any, NamedTuple

from channels.errors import FaultClass
from channels.exchanges import ExchangeTrace
from handlers.webhooks.signing import ID_HEADER, TIMESTAMP_HEADER

REDACTED = "redacted"
MAX_HEADERS = 50  # of each direction
MAX_NAME, MAX_URL, MAX_VALUE = 100, 512, 1_024  # characters
MAX_EVIDENCE_BYTES = (
    8_192  # as compact JSON; the shares leave 2,048 of it for the URL and all that is no header
)
_REQUEST_SHARE, _ANSWER_SHARE = 2_816, 3_328
_PAIR_OVERHEAD = 6  # two pairs of quotation marks, colon, comma
_SHORT = (
    1_024  # characters of all names and values; even with each of them escaped they are within their share
)
_OPEN_NAMES = frozenset(
    {"accept", "accept-encoding", "content-type", "user-agent", ID_HEADER, TIMESTAMP_HEADER}
)
_SECRET_NAME = re.compile(r"auth|cookie|credential|csrf|key|passw|secret|session|signature|token|xsrf")
_CHALLENGES = frozenset(
    {"www-authenticate", "proxy-authenticate"}
)  # they say what is missing, not what it is
_USER_INFO = re.compile(r"//[^/?#\s]*@")
_QUERY = re.compile(r"[?#][^\s>\"]+")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_MIN_ECHO = 6  # characters; shorter values are found by chance


class _Name(NamedTuple):
    """A header's name as it is kept, and whether its value may be, too."""

    text: str
    is_open: bool


def build_evidence(
    *,
    url: str,
    request_headers: Mapping[str, str],
    key_ids: Sequence[str],
    trace: ExchangeTrace,
    status: int | None = None,
    response_headers: Mapping[str, str] | None = None,
    error_class: FaultClass | None = None,
    excerpt_truncated: bool = False,
) -> dict[str, Any]:
    """The JSON object of ``webhook_delivery_attempts.evidence``, at most 8 KiB; what is unknown is left out.

    ``request_headers`` are all that were sent, ``response_headers`` all that came (None without an answer, and then
    ``status`` is None, too). ``key_ids`` name the keys that signed, in the order of the signatures. ``excerpt_truncated``:
    the answer's body was longer than what is kept of it.
    """
    sent, is_cut = _kept(request_headers, _of_request, _REQUEST_SHARE, ())
    evidence: dict[str, Any] = {"url": _shown(url)[:MAX_URL], "request_headers": sent, "key_ids": [*key_ids]}
    if is_cut:
        evidence["request_headers_truncated"] = True
    if error_class is FaultClass.EGRESS_BLOCKED:
        return evidence
    _add_phases(evidence, trace)
    if response_headers is not None and status is not None and not is_redirect(status):
        secrets = _secret_values(request_headers)
        evidence["response_headers"], is_cut = _kept(response_headers, _of_answer, _ANSWER_SHARE, secrets)
        if is_cut:
            evidence["response_headers_truncated"] = True
        if excerpt_truncated:
            evidence["response_excerpt_truncated"] = True
    return evidence


def is_redirect(status: int) -> bool:
    """Whether an answer sends elsewhere: then it is not the receiver's own, and nothing of it is kept."""
    return HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST


def without_echoes(text: str, request_headers: Mapping[str, str]) -> str:
    """``text`` of an answer without the secrets of the request that it repeats, as servers do that tell what they got.

    To be asked before the text is cut: a part of a secret is not found.
    """
    return _without(text, _secret_values(request_headers))


def _without(text: str, secrets: Sequence[str]) -> str:
    # The longest first: what is a part of another must not hide it.
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return text


def _secret_values(headers: Mapping[str, str]) -> list[str]:
    """Values, and what follows a scheme (``Bearer ...``) or another signature: each is a secret by itself."""
    values = [value for name, value in headers.items() if not _of_request(name).is_open]
    values += [value.partition(" ")[2] for value in values if " " in value]
    return [value for value in values if len(value) >= _MIN_ECHO]


def _add_phases(evidence: dict[str, Any], trace: ExchangeTrace) -> None:
    if trace.address:
        evidence["address"] = trace.address
    if trace.tls_version:
        evidence["tls_version"] = trace.tls_version
    if trace.reused:
        evidence["connection_reused"] = True
    times = (
        ("dns_ms", trace.dns_ms),
        ("connect_ms", trace.connect_ms),
        ("tls_ms", trace.tls_ms),
        ("first_byte_ms", trace.first_byte_ms),
        ("total_ms", trace.total_ms),
    )
    evidence["timings"] = {name: round(time, 1) for name, time in times if time is not None}


@lru_cache(2_048)
def _of_request(name: str) -> _Name:
    lowered = name.lower()
    return _Name(_clean(lowered)[:MAX_NAME], lowered in _OPEN_NAMES)


@lru_cache(2_048)
def _of_answer(name: str) -> _Name:
    lowered = name.lower()
    is_open = lowered in _CHALLENGES or _SECRET_NAME.search(lowered) is None
    return _Name(_clean(lowered)[:MAX_NAME], is_open)


def _kept(
    headers: Mapping[str, str], name_of: Callable[[str], _Name], share: int, secrets: Sequence[str]
) -> tuple[dict[str, str], bool]:
    """Headers by lower-case name, and whether any had to be left out; ``secrets`` are not to be repeated."""
    text = " ".join([*headers, *headers.values()])
    if len(text) <= _SHORT and len(headers) <= MAX_HEADERS and _is_harmless(text, secrets):
        named = [(*name_of(name), value) for name, value in headers.items()]
        kept = {name: value if is_open else REDACTED for name, is_open, value in named}
        if len(kept) == len(named):
            return kept, False
    return _kept_one_by_one(headers, name_of, share, secrets)


def _is_harmless(text: str, secrets: Sequence[str]) -> bool:
    """Whether nothing in it needs to be looked at: no URL that may hold a credential, no echo, nothing unprintable."""
    return (
        text.isascii()
        and text.isprintable()
        and not ("@" in text or "?" in text or "#" in text)
        and not [secret for secret in secrets if secret in text]
    )


def _kept_one_by_one(
    headers: Mapping[str, str], name_of: Callable[[str], _Name], share: int, secrets: Sequence[str]
) -> tuple[dict[str, str], bool]:
    kept: dict[str, str] = {}
    for place, (given_name, given_value) in enumerate(headers.items()):
        name, is_open = name_of(given_name)
        value = _shown(_without(given_value, secrets)) if is_open else REDACTED
        if name in kept:  # a list (RFC 9110 §5.3)
            value = _cut(f"{kept[name]}, {value}")
        share -= _size(name) + _size(value) + _PAIR_OVERHEAD
        if share < 0 or place >= MAX_HEADERS:
            return kept, True
        kept[name] = value
    return kept, False


def _size(text: str) -> int:
    """Bytes as JSON: what is kept is printable ASCII, of which two characters are escaped."""
    return len(text) + text.count('"') + text.count("\\")


def _shown(text: str) -> str:
    """A URL, or a text with some, without user information, queries and fragments: they often hold credentials."""
    if "@" in text:
        text = _USER_INFO.sub(f"//{REDACTED}@", text)
    if "?" in text or "#" in text:
        text = _QUERY.sub(f"?{REDACTED}", text)
    return _cut(_clean(text))


def _clean(text: str) -> str:
    """Printable ASCII: also lone surrogates go, which no database takes."""
    return text if text.isascii() and text.isprintable() else _UNPRINTABLE.sub("?", text)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 3]}..."
