"""Values at the door: numbers, times, JSON that can be given back."""

import json
import zoneinfo
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from gateway.api.problems import ApiError
from gateway.api.product_rows import read_import
from gateway.api.requests import MAX_JSON_DEPTH, read_json
from gateway.api.schemas import Line, Moment, Money, Quantity
from gateway.time_zones import named_by_region


class TestNumbers:
    @pytest.mark.parametrize(
        ("given_", "taken"),
        [(1, "1"), (1.5, "1.5"), ("1.50", "1.50"), ("1e3", "1E+3"), (0.1, "0.1"), ("0", "0")],
    )
    def test_a_number_may_come_as_text(self, given_, taken) -> None:
        assert TypeAdapter(Money).validate_python(given_) == Decimal(taken)

    @pytest.mark.parametrize(
        "value", [True, "NaN", "Infinity", "-1", -0.01, "", "1,5", None, 10**10, "0.00001"]
    )
    def test_what_the_column_would_not_hold_is_refused(self, value) -> None:
        with pytest.raises(ValidationError):
            TypeAdapter(Money).validate_python(value)

    @pytest.mark.parametrize("value", [0, -1, 10**9, "0.0001"])
    def test_a_quantity_is_above_zero(self, value) -> None:
        with pytest.raises(ValidationError):
            TypeAdapter(Quantity).validate_python(value)


class TestLines:
    @pytest.mark.parametrize(
        "text",
        ["a\nb", "a\tb", "a\x1bb", "a\x7fb", "a\x85b", "a\u2028b", "a\u202eb", "\u202aa", "a\u2066b\u2069"],
    )
    def test_what_would_be_shown_as_another_name_is_refused(self, text) -> None:
        with pytest.raises(ValidationError, match="may hold no control characters"):
            TypeAdapter(Line).validate_python(text)

    @pytest.mark.parametrize(
        "text", ["Agua Mineral 600 ml", "Ñandú «1» 50%", "عصير", "👩\u200d🌾 fruta", "a\u200eb"]
    )
    def test_every_script_is_taken(self, text) -> None:
        assert TypeAdapter(Line).validate_python(f" {text}\n") == text


class TestTimeZones:
    def test_every_zone_with_a_region_is_taken_and_utc(self) -> None:
        names = {name for name in zoneinfo.available_timezones() if "/" in name} | {"UTC"}
        assert {named_by_region(name) for name in names} == names

    @pytest.mark.parametrize(
        "name",
        ["localtime", "EST", "GMT", "Mexico", "posix/UTC", "right/America/Lima", "utc", "/UTC", "UTC/"],
    )
    def test_what_means_something_else_elsewhere_is_refused(self, name) -> None:
        with pytest.raises(ValueError, match="IANA name with a region"):
            named_by_region(name)


class TestMoments:
    @pytest.mark.parametrize(
        "text",
        [
            "2026-08-01T12:00:00Z",
            "2026-08-01T12:00:00",
            "2026-08-01T14:00:00 02:00",
            "2026-08-01T07:00:00-05:00",
        ],
    )
    def test_a_time_is_utc_inside(self, text) -> None:
        assert TypeAdapter(Moment).validate_python(text) == datetime(2026, 8, 1, 12, tzinfo=UTC)

    @pytest.mark.parametrize("text", ["", "soon", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"])
    def test_a_time_that_is_none_is_refused(self, text) -> None:
        with pytest.raises(ValidationError):
            TypeAdapter(Moment).validate_python(text)


def status_of(raw: bytes) -> int | None:
    """How a body is refused; None where it is taken."""
    try:
        read_json(raw)
    except ApiError as error:
        return error.status
    return None


class TestJson:
    @pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
    @pytest.mark.parametrize("core", [b"1", b'"\\u0041"', b'"\\\\u0000"'])
    @pytest.mark.parametrize(
        ("depth", "status"),
        [(0, None), (1, None), (MAX_JSON_DEPTH, None), (MAX_JSON_DEPTH + 1, 422), (990, 422), (9_999, 400)],
    )
    def test_depth_is_limited(self, opening, closing, core, depth, status) -> None:
        assert status_of(opening * depth + core + closing * depth) == status

    @pytest.mark.parametrize("core", ["[]", "{}", "[1,[]]"])
    def test_an_empty_array_or_object_is_a_level_too(self, core) -> None:
        depth = MAX_JSON_DEPTH - core.count("[") - core.count("{")
        assert status_of(f"{'[' * depth}{core}{']' * depth}".encode()) is None
        assert status_of(f"{'[' * (depth + 1)}{core}{']' * (depth + 1)}".encode()) == 422

    @pytest.mark.parametrize(
        "raw", [rb'"\u0000"', rb'["a",{"b":["c\u0000"]}]', rb'{"\u0000":1}', rb'[{"a":{"b\u0000":1}}]']
    )
    def test_nul_is_refused_wherever_it_stands(self, raw) -> None:
        assert status_of(raw) == 422

    def test_a_number_out_of_range_is_refused(self) -> None:
        assert status_of(b'{"a":[1e400]}') == 400

    @given(
        st.recursive(
            st.none() | st.booleans() | st.text(alphabet="a\0", max_size=3),
            lambda members: (
                st.lists(members, max_size=4)
                | st.dictionaries(st.text(alphabet="b\0", max_size=2), members, max_size=4)
            ),
            max_leaves=20,
        )
    )
    def test_what_is_taken_is_given_back(self, value) -> None:
        raw = json.dumps(value).encode()
        if b"\\u0000" in raw:
            assert status_of(raw) == 422
        else:
            assert read_json(raw) == value


class TestImports:
    @given(st.binary(max_size=200))
    def test_any_bytes_are_rows_or_a_problem(self, raw) -> None:
        for content_type in ("text/csv", "application/json"):
            with suppress(ApiError):
                read_import(raw, content_type)

    @given(st.lists(st.lists(st.text(max_size=8), max_size=5), max_size=5))
    def test_any_cells_are_rows_or_errors(self, lines) -> None:
        text = "\n".join(["sku,name,unit,pack_size", *(",".join(line) for line in lines)])
        with suppress(ApiError):
            read = read_import(text.encode(errors="replace"), "text/csv")
            numbers = [row.number for row in read.rows] + [error.row for error in read.errors]
            assert sorted(numbers) == list(range(1, len(numbers) + 1))
