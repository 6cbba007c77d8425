"""The headers of a post to an endpoint: what an integrator may add, and what stays ours."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from channels.errors import InvalidInput
from channels.targets import HEADER_NAME, is_framing_header
from handlers.runtime import product_version
from handlers.webhooks.endpoint_auth import NOTHING, Authorisation
from handlers.webhooks.signing import SigningKey, signature_headers

USER_AGENT = f"Waystation/{product_version()}"

MAX_HEADERS = 20
MAX_NAME = 100  # characters
MAX_VALUE = 2_000  # characters
RESERVED_PREFIX = "webhook-"  # of Standard Webhooks
# Of a request of ours beside its framing, which the guarded client keeps to itself.
RESERVED_NAMES = frozenset({"accept-encoding", "content-encoding", "content-type", "user-agent"})
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")  # RFC 9110 §5.5 without obs-text


def is_reserved(name: str) -> bool:
    """Whether a header is ours to set, in whatever case it is written."""
    lowered = name.lower()
    return lowered in RESERVED_NAMES or lowered.startswith(RESERVED_PREFIX) or is_framing_header(name)


def request_headers(
    message_id: str,
    body: bytes,
    now: datetime,
    *,
    keys: Sequence[SigningKey],
    custom: Mapping[str, str],
    authorisation: Authorisation = NOTHING,
) -> dict[str, str]:
    """All headers of a post at ``now``, signed by all of ``keys``: the endpoint's own, then ours, which they cannot
    override.
    """
    ours = {
        **authorisation.headers,
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        **signature_headers(message_id, int(now.timestamp()), body, keys),
    }
    taken = {name.lower() for name in authorisation.headers}
    return {
        **{name: value for name, value in custom.items() if not (is_reserved(name) or name.lower() in taken)},
        **ours,
    }


def validate_custom_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers as stored; raises InvalidInput for field ``headers``.

    Refused are reserved names, names that are no token, one name in two cases, values that are empty or hold
    CR, LF, NUL, other control characters or anything but ASCII, and more than 20 headers. The message never
    repeats a value.
    """
    if len(headers) > MAX_HEADERS:
        raise _refused(f"At most {MAX_HEADERS} headers may be added.")
    if len({name.lower() for name in headers}) < len(headers):
        raise _refused("A header may be named only once.")
    for name, value in headers.items():
        _check(name, value)
    return dict(headers)


def _check(name: str, value: str) -> None:
    if len(name) > MAX_NAME or HEADER_NAME.fullmatch(name) is None:
        raise _refused("A header's name must be a token of at most 100 characters.")
    if is_reserved(name):
        raise _refused(f"The header {name} is set by the gateway.")
    if len(value) > MAX_VALUE or _VALUE.fullmatch(value) is None:
        raise _refused(f"The value of {name} must be printable ASCII of at most {MAX_VALUE} characters.")


def _refused(message: str) -> InvalidInput:
    return InvalidInput(message, field="headers")
