"""The form of a Resend account's credentials; an error names the field and never shows its value."""

import pytest

from tests.unit.channels.resend_cases import CREDENTIALS, OLD_SECRET, SECRET, adapter


def test_the_least_and_the_most():
    least = {"api_key": "re_test_key_0001", "signing_secret": SECRET}

    assert adapter().validate_credentials(least) == CREDENTIALS
    full = {**CREDENTIALS, "signing_secrets_previous": [OLD_SECRET]}
    assert adapter().validate_credentials(full) == full


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("api_key", None),
        ("api_key", "with blank"),
        ("signing_secret", None),
        ("signing_secret", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"),
        ("signing_secret", "whsec_MDEyMzQ1Njc"),
        ("signing_secrets_previous", SECRET),
        ("signing_secrets_previous", ["whsec_MDEyMzQ1Njc"]),
        ("signing_secrets_previous", ["MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"]),
    ],
)
def test_what_is_refused(field, value):
    with pytest.raises(ValueError, match=field) as caught:
        adapter().validate_credentials({**CREDENTIALS, field: value})

    assert not value or str(value) not in str(caught.value)


def test_unknown_fields_are_refused():
    with pytest.raises(ValueError, match="unknown field"):
        adapter().validate_credentials({**CREDENTIALS, "verify": False})


def test_redaction_names_every_secret_in_every_form():
    secrets = adapter().redact({**CREDENTIALS, "signing_secrets_previous": [OLD_SECRET]})

    assert secrets == {"re_test_key_0001", SECRET, OLD_SECRET, SECRET[6:], OLD_SECRET[6:]}
