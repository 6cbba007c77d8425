"""Long texts in parts: every character kept, every part within the limit, cuts where readers expect them."""

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.splitting import count_segments, split_text, units

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
FLAG = "\U0001f1f2\U0001f1fd"
TONED = "\U0001f44d\U0001f3fd"
ACCENTED = "e\u0301"
KEYCAP = "1\ufe0f\u20e3"
CLUSTERS = [FAMILY, FLAG, TONED, ACCENTED, KEYCAP, "한", "\u1112\u1161\u11ab", "\r\n", "क्षि"[:2]]
WHOLE = st.sampled_from([*CLUSTERS, "a", "é", "語", ".", "。", " ", "\n", "\n\n", "\U0001f600"])
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=200), st.lists(WHOLE, max_size=80).map("".join)
)


@given(TEXTS, st.integers(2, 60))
def test_every_character_is_kept_and_every_part_has_room(text: str, limit: int):
    parts = split_text(text, limit)

    assert "".join(parts) == text
    assert all(units(part) <= limit for part in parts)
    assert all(parts) or text == ""


@given(st.lists(WHOLE, max_size=80), st.integers(12, 60))
def test_what_readers_see_as_one_character_stays_whole(clusters: list[str], limit: int):
    parts = split_text("".join(clusters), limit)

    for part in parts[1:]:
        assert not part.startswith(("\u200d", "\ufe0f", "\u0301", "\U0001f3fd"))
        assert not unicodedata.combining(part[0])
    assert not any(part.endswith("\u200d") for part in parts)
    assert not any(one.endswith("\r") and two.startswith("\n") for one, two in pairwise(parts))


@given(st.text(alphabet="語漢字", min_size=1, max_size=300), st.integers(2, 50))
def test_a_text_without_blanks_fills_its_parts(text: str, limit: int):
    parts = split_text(text, limit)

    assert [len(part) for part in parts[:-1]] == [limit] * (len(parts) - 1)


@pytest.mark.parametrize(
    ("text", "limit", "parts"),
    [
        ("", 5, ("",)),
        ("short", 5, ("short",)),
        ("first part.\n\nsecond one goes on", 20, ("first part.\n\n", "second one goes on")),
        ("one line here\nand another one", 20, ("one line here\n", "and another one")),
        ("A sentence. Another one here", 20, ("A sentence. ", "Another one here")),
        ("no stop in all these words", 12, ("no stop in ", "all these ", "words")),
        ("これは一つ目です。二つ目の文です", 14, ("これは一つ目です。", "二つ目の文です")),
        ("word " + " " * 20 + "end", 10, ("word      ", " " * 10, "     end")),
        ("a " + "b" * 20, 10, ("a bbbbbbbb", "b" * 10, "bb")),
        ("abc" + FAMILY, 8, ("abc", FAMILY)),
        (FAMILY * 2, 12, (FAMILY, FAMILY)),
        (FAMILY, 4, ("\U0001f468\u200d", "\U0001f469\u200d", "\U0001f467")),  # longer than a part
        (FLAG * 3, 9, (FLAG * 2, FLAG)),
        ("x" + FLAG * 2, 7, ("x" + FLAG, FLAG)),
        ("aa" + TONED, 4, ("aa", TONED)),
        ("aaa" + ACCENTED, 4, ("aaa", ACCENTED)),
        ("\u1112\u1161\u11ab" * 2, 5, ("\u1112\u1161\u11ab", "\u1112\u1161\u11ab")),
        ("ab\r\ncd", 3, ("ab", "\r\nc", "d")),
    ],
)
def test_where_a_text_is_cut(text: str, limit: int, parts: tuple[str, ...]):
    assert split_text(text, limit) == parts


def test_a_part_has_room_for_any_character():
    with pytest.raises(ValueError, match="room"):
        split_text("x", 1)


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),  # two septets each
        ("€" * 81, 2),
        ("ñandú" * 14, 1),  # ú is not in the alphabet
        ("ú" * 71, 2),
        ("\U0001f600" * 35, 1),
        ("\U0001f600" * 36, 2),
        ("¿Qué?\n" * 26, 1),
    ],
)
def test_segments_as_carriers_count_them(text: str, segments: int):
    assert count_segments(text) == segments
