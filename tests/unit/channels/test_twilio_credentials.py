"""The form of a Twilio account's credentials; an error names the field and never shows its value."""

import base64

import pytest

from channels.twilio import TwilioAdapter
from tests.unit.channels.twilio_cases import ACCOUNT_SID, TOKEN

GOOD = {"account_sid": ACCOUNT_SID, "auth_token": TOKEN}


def test_the_least_and_the_most():
    adapter = TwilioAdapter()
    full = {
        **GOOD,
        "auth_tokens_previous": ["tok_older_1"],
        "messaging_service_sid": "MG" + "ef" * 16,
        "signing_keys": {"webhooks_sharedkey_1": "shared-secret"},
    }

    assert adapter.validate_credentials(GOOD) == {**GOOD, "auth_tokens_previous": [], "signing_keys": {}}
    assert adapter.validate_credentials(full) == full


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("account_sid", "tok_wrong_sid"),
        ("account_sid", None),
        ("auth_token", ""),
        ("auth_token", " token-with-blanks "),
        ("auth_token", 12345678),
        ("auth_tokens_previous", "tok_older_1"),
        ("auth_tokens_previous", ["with blank"]),
        ("messaging_service_sid", "SM" + "ef" * 16),
        ("signing_keys", ["shared-secret"]),
        ("signing_keys", {"k": ""}),
        ("signing_keys", {"": "shared-secret"}),
    ],
)
def test_what_is_refused(field, value):
    with pytest.raises(ValueError, match=field) as caught:
        TwilioAdapter().validate_credentials({**GOOD, field: value})

    assert not value or str(value) not in str(caught.value)


def test_unknown_fields_are_refused():
    with pytest.raises(ValueError, match="unknown field"):
        TwilioAdapter().validate_credentials({**GOOD, "verify": False})


def test_redaction_names_every_secret_in_every_form():
    credentials = {**GOOD, "auth_tokens_previous": ["tok_older_1"], "signing_keys": {"k": "shared-secret"}}

    secrets = TwilioAdapter().redact(credentials)

    assert {TOKEN, "tok_older_1", "shared-secret"} < secrets
    assert base64.b64encode(f"{ACCOUNT_SID}:{TOKEN}".encode()).decode() in secrets
    assert ACCOUNT_SID not in secrets
