"""JSON of providers: what it may hold, and what of it can be stored."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.errors import MalformedPayload
from channels.json_posts import DEEPEST, object_of, objects_of, read_json, text_of

STORABLE = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | STORABLE
)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(STORABLE, inner), max_leaves=20)


@given(document=JSON, ascii_only=st.booleans())
def test_what_can_be_stored_is_read_as_it_is(document, ascii_only):
    assert read_json(json.dumps(document, ensure_ascii=ascii_only).encode()) == document


@given(body=st.binary() | JSON.map(lambda document: json.dumps(document).encode()[:-1]))
def test_no_body_raises_anything_but_malformed(body):
    try:
        document = read_json(body)
    except MalformedPayload:
        return
    json.dumps(document, allow_nan=False)


@pytest.mark.parametrize(
    ("body", "document"),
    [
        (rb'"a\u0000b"', "a\ufffdb"),
        (rb'["\ud83d", "\ud83d\ude00"]', ["\ufffd", "\U0001f600"]),
        (rb'{"a\u0000": {"b": "\udc00"}}', {"a\ufffd": {"b": "\ufffd"}}),
    ],
)
def test_what_postgresql_does_not_take_is_replaced(body, document):
    assert read_json(body) == document


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"NaN", b"[Infinity]", b"-Infinity", b"1e999", b"\xef\xbb\xbf{}", b"\xff", b"9" * 5000],
)
def test_what_is_no_json_is_malformed(body):
    with pytest.raises(MalformedPayload):
        read_json(body)


def test_depth_has_an_end():
    def nested(depth):
        return b"[" * depth + b"]" * depth

    assert read_json(nested(DEEPEST))
    with pytest.raises(MalformedPayload):
        read_json(nested(DEEPEST + 1))
    with pytest.raises(MalformedPayload):
        read_json(nested(200_000))


@pytest.mark.parametrize("value", [None, 1, True, [], ["x"], {}, {"a": 1}, "x", [{"a": 1}, 2]])
def test_a_part_of_another_kind_is_as_if_it_were_not_there(value):
    holder = {"part": value}

    assert text_of(holder, "part") == (value if isinstance(value, str) else "")
    assert object_of(holder, "part") == (value if isinstance(value, dict) else {})
    assert objects_of(holder, "part") == ([{"a": 1}] if value == [{"a": 1}, 2] else [])
    assert (text_of({}, "part"), object_of({}, "part"), objects_of({}, "part")) == ("", {}, [])
