"""The tables of providers' error codes, and their pages."""

import pytest

from channels.error_tables import Concern, ErrorMeaning, error_types, meanings_of
from channels.errors import BadCredentials, Throttled
from tests.unit.channels.error_pages import PAGES


def test_a_line_is_a_code_or_a_run_of_codes():
    meanings = meanings_of(
        '[throttled]\n4 = ["rate", "slow"]\n[bad_credentials]\n"200-202" = ["config", "no right"]\n'
    )

    denied = ErrorMeaning(BadCredentials, Concern.CONFIG, "no right")
    assert meanings == {
        "4": ErrorMeaning(Throttled, Concern.RATE, "slow"),
        "200": denied,
        "201": denied,
        "202": denied,
    }
    assert error_types(meanings)["201"] is BadCredentials


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            '[throttled]\n4 = ["rate", "slow"]\n[bad_credentials]\n4 = ["config", "no right"]\n',
            "4 is there twice",
        ),
        ('[throttled]\n4 = ["rate", "slow"]\n"3-5" = ["rate", "slow"]\n', "4 is there twice"),
        ('[throttled]\nfour = ["rate", "slow"]\n', "four"),
        ('[throttled]\n4 = ["weather", "slow"]\n', "weather"),
    ],
)
def test_a_table_that_says_two_things_or_nothing_is_refused(text, fault):
    with pytest.raises(ValueError, match=fault):
        meanings_of(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.source)
def test_the_pages_say_what_the_tables_say(page):
    assert page.path.read_text(encoding="utf-8") == page.render()
