"""Times as providers write them: one row is one text."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.iso_times import mail_time, utc_time

AT = datetime(2026, 11, 24, 8, 12, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-24T08:12:05Z", AT),
        ("2026-11-24T03:12:05-05:00", AT),
        ("2026-11-24 08:12:05+00", AT),
        ("2026-11-24T08:12:05", AT),
        ("2026-11-24T08:12:05.2735393Z", AT.replace(microsecond=273539)),
        ("0001-01-01T00:00:00+14:00", None),
        ("24/11/2026", None),
        ("", None),
    ],
)
def test_iso_8601(text, moment):
    assert utc_time(text) == moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Tue, 24 Nov 2026 08:12:05 +0000 (UTC)", AT),
        ("Tue, 24 Nov 2026 09:12:05 +0100", AT),
        (" 24 Nov 2026 08:12:05 -0000", AT),
        ("Tue, 24 Nov 2026 99:12:05 +0100", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_a_mail_s_time(text, moment):
    assert mail_time(text) == moment


@given(st.text())
def test_nothing_is_raised(text):
    for read in (utc_time, mail_time):
        found = read(text)
        assert found is None or found.tzinfo is UTC
