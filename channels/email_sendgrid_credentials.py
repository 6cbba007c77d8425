"""The credentials of a SendGrid account: their form, and what of them must never be seen."""

from collections.abc import Mapping
from typing import Any

from channels.basic_auth import basic_credentials
from channels.credentials import check_names, list_of, login, matching, optional
from channels.signatures_mail import public_key

PUBLIC_KEYS = ("inbound_public_key", "event_public_key")
FIELDS = frozenset(
    {
        "api_key",
        *PUBLIC_KEYS,
        "inbound_public_keys_previous",
        "event_public_keys_previous",
        "inbound_basic_auth",
        "inbound_basic_auths_previous",
    }
)


def valid_credentials(credentials: Mapping[str, Any]) -> dict[str, Any]:
    """The credentials as stored, absent lists filled in (the adapter says what the fields are); raises ValueError that
    names the field only.
    """
    check_names(credentials, FIELDS)
    valid = {
        "api_key": matching(credentials, "api_key"),
        "event_public_key": matching(credentials, "event_public_key"),
        "event_public_keys_previous": list_of(credentials, "event_public_keys_previous"),
        "inbound_public_keys_previous": list_of(credentials, "inbound_public_keys_previous"),
        "inbound_basic_auths_previous": _logins(credentials, "inbound_basic_auths_previous"),
        **optional(credentials, "inbound_public_key"),
        **login(credentials, "inbound_basic_auth"),
    }
    if "inbound_public_key" not in valid and "inbound_basic_auth" not in valid:
        raise ValueError("inbound_public_key or inbound_basic_auth: one of them is needed")
    _check_keys(valid)
    return valid


def event_keys(credentials: Mapping[str, Any]) -> tuple[str, ...]:
    """The public keys that an event post may be signed for."""
    return (credentials["event_public_key"], *(credentials.get("event_public_keys_previous") or ()))


def inbound_keys(credentials: Mapping[str, Any]) -> tuple[str, ...]:
    """The public keys that an inbound post must be signed for; empty: its login counts."""
    key = credentials.get("inbound_public_key")
    return (key, *(credentials.get("inbound_public_keys_previous") or ())) if key else ()


def inbound_logins(credentials: Mapping[str, Any]) -> tuple[Mapping[str, str], ...]:
    """The logins of which an inbound post must bring one where no key is set."""
    current = credentials.get("inbound_basic_auth")
    previous = credentials.get("inbound_basic_auths_previous") or ()
    return (current, *previous) if current else ()


def secret_values(credentials: Mapping[str, Any]) -> frozenset[str]:
    """Every secret, and the forms in which it travels; public keys are none."""
    logins = inbound_logins(credentials)
    return frozenset(
        (
            credentials["api_key"],
            *(each["password"] for each in logins),
            *(basic_credentials(each) for each in logins),
        )
    )


def _logins(credentials: Mapping[str, Any], name: str) -> list[dict[str, str]]:
    values = credentials.get(name)
    if values is None:
        return []
    if not isinstance(values, list):
        raise ValueError(f"{name}: not a list of the expected form")  # noqa: TRY004 - of a field, like the others
    return [login({name: value}, name)[name] for value in values if value is not None]


def _check_keys(valid: Mapping[str, Any]) -> None:
    for name in PUBLIC_KEYS:
        listed = f"{name.removesuffix('_key')}_keys_previous"
        for field, keys in ((name, [valid[name]] if name in valid else []), (listed, valid[listed])):
            try:
                for key in keys:
                    public_key(key)
            except ValueError:
                raise ValueError(f"{field}: no P-256 public key in base64 DER") from None
