"""The credentials of a Twilio account: their form, and what of them must never be seen."""

import base64
import re
from collections.abc import Mapping
from typing import Any

from channels.credentials import SECRET, check_names, list_of, matching, optional

# The prefix tells an account's id from a token pasted into the wrong field; a stand-in of Twilio may use
# shorter ids than Twilio's 34 characters.
ACCOUNT_SID = re.compile(r"AC[0-9A-Za-z_-]{1,62}", re.ASCII)
SERVICE_SID = re.compile(r"MG[0-9A-Za-z_-]{1,62}", re.ASCII)
KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}", re.ASCII)
FIELDS = frozenset(
    {"account_sid", "auth_token", "auth_tokens_previous", "messaging_service_sid", "signing_keys"}
)


def valid_credentials(credentials: Mapping[str, Any]) -> dict[str, Any]:
    """The credentials as stored, absent lists and maps filled in; raises ValueError that names the field
    only.

    ``account_sid`` (AC…), ``auth_token``, ``auth_tokens_previous[]`` (still accepted while one is
    rotated), ``messaging_service_sid`` (MG…, optional), ``signing_keys`` ({key id: secret},
    optional).
    """
    check_names(credentials, FIELDS)
    return {
        "account_sid": matching(credentials, "account_sid", ACCOUNT_SID),
        "auth_token": matching(credentials, "auth_token"),
        "auth_tokens_previous": list_of(credentials, "auth_tokens_previous"),
        "signing_keys": _signing_keys(credentials),
        **optional(credentials, "messaging_service_sid", SERVICE_SID),
    }


def tokens_in_force(credentials: Mapping[str, Any]) -> tuple[str, ...]:
    """The auth tokens that may have signed a request, the newest first."""
    return (credentials["auth_token"], *(credentials.get("auth_tokens_previous") or ()))


def secret_values(credentials: Mapping[str, Any]) -> frozenset[str]:
    """Every secret, and the forms in which it travels (basic authorisation)."""
    tokens = tokens_in_force(credentials)
    pairs = (f"{credentials['account_sid']}:{token}".encode() for token in tokens)
    travelling = (base64.b64encode(pair).decode("ascii") for pair in pairs)
    return frozenset((*tokens, *travelling, *(credentials.get("signing_keys") or {}).values()))


def _signing_keys(credentials: Mapping[str, Any]) -> dict[str, str]:
    keys = credentials.get("signing_keys")
    if keys is None:
        return {}
    if not isinstance(keys, Mapping) or not all(_is_key(*item) for item in keys.items()):
        raise ValueError("signing_keys: not a map of key ids to secrets")
    return dict(keys)


def _is_key(key_id: Any, secret: Any) -> bool:
    return isinstance(key_id, str) and bool(KEY_ID.fullmatch(key_id)) and _is_secret(secret)


def _is_secret(value: Any) -> bool:
    return isinstance(value, str) and bool(SECRET.fullmatch(value))
