"""The form of a Postmark account's credentials; an error names the field and never shows its value."""

import base64

import pytest

from channels.email_postmark import PostmarkAdapter
from tests.unit.channels.postmark_cases import CREDENTIALS

OLD = {"username": "postmark", "password": "hook-password-0"}


def test_the_least_and_the_most():
    full = {**CREDENTIALS, "basic_auth_previous": OLD, "message_stream": "replies"}

    assert PostmarkAdapter().validate_credentials(CREDENTIALS) == CREDENTIALS
    assert PostmarkAdapter().validate_credentials(full) == full


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("server_token", None),
        ("server_token", "with blank"),
        ("basic_auth", None),
        ("basic_auth", "no colon"),
        ("basic_auth", {"username": "postmark"}),
        ("basic_auth_previous", {"username": "post:mark", "password": "hook-password-0"}),
        ("message_stream", "Not A Stream"),
    ],
)
def test_what_is_refused(field, value):
    with pytest.raises(ValueError, match=r"basic_auth|username|server_token|message_stream") as caught:
        PostmarkAdapter().validate_credentials({**CREDENTIALS, field: value})

    assert not value or str(value) not in str(caught.value)


def test_unknown_fields_are_refused():
    with pytest.raises(ValueError, match="unknown field"):
        PostmarkAdapter().validate_credentials({**CREDENTIALS, "verify": False})


def test_redaction_names_every_secret_in_every_form():
    secrets = PostmarkAdapter().redact({**CREDENTIALS, "basic_auth_previous": OLD})

    assert {"server-token-0001", "hook-password-1", "hook-password-0"} < secrets
    assert base64.b64encode(b"postmark:hook-password-1").decode() in secrets
    assert "postmark" not in secrets
