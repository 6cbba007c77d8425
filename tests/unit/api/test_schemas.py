"""Values at the door: numbers, times, JSON that can be given back."""

from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from gateway.api.problems import ApiError
from gateway.api.product_rows import read_import
from gateway.api.schemas import MAX_JSON_DEPTH, JsonObject, Moment, Money, Quantity


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


class TestJson:
    @pytest.mark.parametrize(
        ("depth", "fits"), [(1, True), (MAX_JSON_DEPTH - 1, True), (MAX_JSON_DEPTH, False), (900, False)]
    )
    def test_depth_is_limited(self, depth, fits) -> None:
        value: Any = 1
        for _ in range(depth):
            value = {"a": value}
        if fits:
            assert TypeAdapter(JsonObject).validate_python(value) == value
        else:
            with pytest.raises(ValidationError):
                TypeAdapter(JsonObject).validate_python(value)

    def test_a_number_out_of_range_is_refused(self) -> None:
        with pytest.raises(ValidationError):
            TypeAdapter(JsonObject).validate_python({"a": [float("inf")]})


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
