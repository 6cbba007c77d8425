"""What is wrong with a field of credentials is said so that it can be mended, and never with its value."""

import re

import pytest

from channels.credentials import check_names, matching

DIGITS = re.compile(r"[0-9]+", re.ASCII)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "token: missing"),
        ({"token": None}, "token: missing"),
        ({"token": "s3cret "}, "token: not of the expected form: ASCII signs, no blanks and no line break"),
        ({"token": 7}, "token: not of the expected form: ASCII signs, no blanks and no line break"),
    ],
)
def test_a_secret_that_is_missing_is_told_from_one_with_a_blank(given, words):
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        matching(given, "token")


def test_of_another_form_only_the_name_is_told():
    with pytest.raises(ValueError, match=r"^waba_id: not of the expected form$"):
        matching({"waba_id": "s3cret"}, "waba_id", DIGITS)


def test_an_unknown_field_is_answered_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"^credentials: unknown field; there are key, region$"):
        check_names({"s3cret": "x"}, ("region", "key"))
