"""The credentials of a number at Meta's WhatsApp Cloud API: their form, and what of them must never be seen."""

import re
from collections.abc import Mapping
from typing import Any

from channels.credentials import check_names, list_of, matching

GRAPH_ID = re.compile(r"[0-9A-Za-z_-]{1,64}", re.ASCII)  # Meta's are digits; a stand-in may have others
FIELDS = frozenset(
    {"phone_number_id", "waba_id", "app_secret", "app_secrets_previous", "access_token", "verify_token"}
)


def valid_credentials(credentials: Mapping[str, Any]) -> dict[str, Any]:
    """See ``WhatsAppCloudAdapter.validate_credentials``."""
    check_names(credentials, FIELDS)
    return {
        "phone_number_id": matching(credentials, "phone_number_id", GRAPH_ID),
        "waba_id": matching(credentials, "waba_id", GRAPH_ID),
        "app_secret": matching(credentials, "app_secret"),
        "app_secrets_previous": list_of(credentials, "app_secrets_previous"),
        "access_token": matching(credentials, "access_token"),
        "verify_token": matching(credentials, "verify_token"),
    }


def secrets_in_force(credentials: Mapping[str, Any]) -> tuple[str, ...]:
    """The app secrets that may have signed a post, the newest first."""
    return (credentials["app_secret"], *(credentials.get("app_secrets_previous") or ()))


def secret_values(credentials: Mapping[str, Any]) -> frozenset[str]:
    """Every value that may never be shown."""
    return frozenset(
        (*secrets_in_force(credentials), credentials["access_token"], credentials["verify_token"])
    )
