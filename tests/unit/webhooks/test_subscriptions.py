"""Subscriptions: which names are taken, what a filter compiles to, what is refused."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.errors import InvalidInput
from handlers.webhooks.event_types import FAMILIES, KNOWN_TYPES
from handlers.webhooks.subscriptions import (
    MATCHES_ALL,
    MAX_CONDITIONS,
    MAX_DEPTH,
    check_filter_paths,
    compile_filter,
    validate_event_types,
)

STRING_LITERAL = re.compile(r'"(?:[^"\\]|\\.)*"')
SYNTAX = re.compile(r"exists|starts with|double|is unknown|true|false|null|[$@.?()!&|<>= \-+0-9eE]")


@pytest.mark.parametrize("names", [[name] for name in sorted(KNOWN_TYPES)] + [[f"{f}.*"] for f in FAMILIES])
def test_every_known_name_is_taken(names):
    assert validate_event_types(names) == tuple(names)


def test_repetitions_are_dropped_and_the_order_kept():
    assert validate_event_types(["order.*", "*", "order.*"]) == ("order.*", "*")


@pytest.mark.parametrize(
    "names",
    [[], [""], ["order"], ["order."], ["*.created"], ["orders.*"], ["order.*.x"], ["Order.created"], ["**"]],
)
def test_unknown_names_are_refused(names):
    with pytest.raises(InvalidInput) as caught:
        validate_event_types(names)

    assert caught.value.field == "event_types"


COMPILED = [
    ({}, MATCHES_ALL),
    ({"data.channel": "SMS"}, '(exists($."data"."channel" ? (@ == "SMS")))'),
    ({"data.channel": ["SMS", "EMAIL"]}, '(exists($."data"."channel" ? (@ == "SMS" || @ == "EMAIL")))'),
    ({"a": {"$ne": True}}, '((!(exists($."a" ? (@ == true)))))'),
    ({"a": {"$nin": [None]}}, '((!(exists($."a" ? (@ == null)))))'),
    ({"a": {"$exists": False}}, '((!(exists($."a"))))'),
    ({"a": {"$gte": 100}}, '((exists($."a" ? (@ >= 100 || @.double() >= 100))))'),
    ({"a": "100"}, '(exists($."a" ? (@ == "100" || @ == 100)))'),
    ({"a": "0100"}, '(exists($."a" ? (@ == "0100")))'),
    ({"a": {"$prefix": "+52"}}, '((exists($."a" ? (@ starts with "+52"))))'),
    ({"$not": {"a": None}}, '(!((exists($."a" ? (@ == null)))))'),
    ({"$or": [{}, {"a": "b"}]}, '((exists($)) || ((exists($."a" ? (@ == "b")))))'),
]


@pytest.mark.parametrize(("given_filter", "path"), COMPILED)
def test_a_filter_compiles_to_one_predicate(given_filter, path):
    assert compile_filter(given_filter) == path


MALFORMED: list[Any] = [
    None,
    [],
    "data.channel",
    7,
    {"": 1},
    {"data.": 1},
    {".data": 1},
    {"data..x": 1},
    {"a.b.c.d.e.f.g.h.i.j.k": 1},
    {"a" * 1001: 1},
    {"a\0": 1},
    {"a": "\0"},
    {"a": "\ud800"},
    {"a": "x" * 1001},
    {"a": {}},
    {"a": []},
    {"a": [[]]},
    {"a": [{"$eq": 1}]},
    {"a": {"b": 1}},
    {"a": {"$eq": 1, "b": 1}},
    {"a": {"$regex": "x"}},
    {"a": {"$not": {"$eq": 1}}},
    {"a": {"$eq": [1]}},
    {"a": {"$eq": {}}},
    {"a": {"$in": "x"}},
    {"a": {"$in": []}},
    {"a": {"$nin": [[1]]}},
    {"a": {"$gt": None}},
    {"a": {"$gt": True}},
    {"a": {"$lt": [1]}},
    {"a": {"$prefix": 1}},
    {"a": {"$exists": 1}},
    {"a": {"$exists": None}},
    {"a": float("nan")},
    {"a": float("inf")},
    {"a": 10**5000},
    {"a": b"bytes"},
    {"$nor": []},
    {"$and": []},
    {"$and": {}},
    {"$or": [1]},
    {"$or": {"a": 1}},
    {"$not": [{"a": 1}]},
    {"$not": None},
    {"$where": "1"},
    {7: 1},
    {"a": {7: 1}},
]


@pytest.mark.parametrize("malformed", MALFORMED)
def test_a_malformed_filter_names_its_field(malformed):
    with pytest.raises(InvalidInput) as caught:
        compile_filter(malformed)

    assert (caught.value.field, caught.value.code) == ("filter", "invalid_field")


def _nested(levels: int) -> dict[str, Any]:
    nested: dict[str, Any] = {"a": 1}
    for _ in range(levels - 1):
        nested = {"$not": nested}
    return nested


def test_the_depth_is_capped():
    assert compile_filter(_nested(MAX_DEPTH))
    with pytest.raises(InvalidInput, match="deeper"):
        compile_filter(_nested(MAX_DEPTH + 1))
    with pytest.raises(InvalidInput, match="deeper"):
        compile_filter(_nested(900))


def test_the_number_of_conditions_is_capped_over_all_branches():
    half = {"a": list(range(MAX_CONDITIONS // 2))}

    assert compile_filter({"$or": [half, half]})
    for more in ({"b": 1}, {"b": {"$exists": True}}):
        with pytest.raises(InvalidInput, match="at most 100 values"):
            compile_filter({"$or": [half, half, more]})


@given(st.text(), st.text().filter(lambda key: not key.startswith("$")))
def test_no_text_escapes_its_literal(value, key):
    """Whatever the integrator writes stands inside ASCII string literals; around them is only our syntax."""
    try:
        path = compile_filter({key: value, "x": {"$prefix": value, "$gt": value}})
    except InvalidInput:
        return
    outside = STRING_LITERAL.sub("", path)

    assert path.isascii()
    assert SYNTAX.sub("", outside) == ""
    assert {value} | set(key.split(".")) <= {json.loads(text) for text in STRING_LITERAL.findall(path)}


@pytest.mark.parametrize(
    "given_filter",
    [
        {},
        {
            "type": "order.created",
            "timestamp": {"$gt": "2026"},
            "distributor_id": ["x"],
            "sequence": {"$gt": 1},
        },
        {"data.total_amount": 1, "data.lines.sku": "A"},
        {"$or": [{"data.a": 1}, {"$not": {"data.b": 1}}, {"$and": [{}]}]},
        {"data.x": {"$in": ["total_amount"], "$exists": True}},
    ],
)
def test_paths_that_lead_into_a_body_are_taken(given_filter):
    compile_filter(given_filter)

    check_filter_paths(given_filter)


@pytest.mark.parametrize(
    ("given_filter", "lost"),
    [
        ({"total_amount": {"$gte": 100}}, "total_amount"),
        ({"data.a": 1, "channel": "SMS"}, "channel"),
        ({"data": {"$exists": True}}, "data"),
        ({"type.name": "x"}, "type.name"),
        ({"database.x": 1}, "database.x"),
        ({"Data.x": 1}, "Data.x"),
        ({"$or": [{"data.a": 1}, {"$not": {"$and": [{}, {"text": "x"}]}}]}, "text"),
    ],
)
def test_a_path_that_leads_nowhere_is_named(given_filter, lost):
    compile_filter(given_filter)

    with pytest.raises(InvalidInput) as caught:
        check_filter_paths(given_filter)

    assert caught.value.field == "filter"
    assert f'"{lost}"' in str(caught.value)
