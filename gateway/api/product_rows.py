"""Many products at once, as JSON or CSV: each row is judged by itself, so that bad ones harm no others."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.api.problems import invalid, invalid_fields
from gateway.api.requests import read_model
from gateway.api.schemas import Body, Line, Money, Quantity
from handlers.catalogue import ImportRow, RowError

CSV = "text/csv"
IMPORT_CAP = 10 * 1024 * 1024
ALIAS_SEPARATOR = "|"
_DELIMITERS = ",;\t"
_REQUIRED = ("sku", "name", "unit")
_LARGEST_INT = 2**31 - 1
_SHOWN_NAMES = 20
_MAX_ROWS = 50_000

Aliases = Annotated[tuple[Line, ...], Field(max_length=100, description="Other words that customers use.")]
PackSize = Annotated[int, Field(ge=1, le=_LARGEST_INT, description="Single pieces in one sale unit.")]


class ProductFields(Body):
    """A product as it is given."""

    sku: Line = Field(examples=["AGUA-600"])
    name: Line = Field(examples=["Agua Mineral 600 ml"])
    unit: Line = Field(description="The unit that it is sold in.", examples=["caja"])
    unit_price: Money | None = Field(default=None, examples=[120])
    brand: Line | None = None
    aliases: Aliases = ()
    pack_size: PackSize | None = Field(default=None, examples=[24])
    max_quantity: Quantity | None = Field(default=None, description="More of it looks like a slip.")
    active: bool = Field(default=True, description="An inactive product is never matched.")


class ProductImport(Body):
    """Rows to be stored by sku."""

    products: list[ProductFields]


class _LooseImport(BaseModel):
    """The same, its rows not judged yet."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    products: list[Any]


_FIELDS = frozenset(ProductFields.model_fields)
_Row = Mapping[str, Any] | str  # a row, or what is wrong with its form


@dataclass(frozen=True, slots=True)
class ReadRows:
    """An import after reading: valid rows, errors, and names that no product has."""

    rows: Sequence[ImportRow]
    errors: Sequence[RowError]
    ignored_fields: Sequence[str]


def read_import(raw: bytes, content_type: str) -> ReadRows:
    """The rows of a body; raises ApiError 400 or 422 where it cannot be taken apart into rows."""
    rows = _csv_rows(raw) if content_type == CSV else _json_rows(raw)
    if len(rows) > _MAX_ROWS:
        raise invalid("body", "", f"An import may have at most {_MAX_ROWS} rows.")
    good: list[ImportRow] = []
    errors: list[RowError] = []
    ignored: dict[str, None] = {}
    for number, row in enumerate(rows, 1):
        judged = RowError(number, None, row) if isinstance(row, str) else _judge(number, row)
        if isinstance(judged, RowError):
            errors.append(judged)
        else:
            good.append(judged)
        ignored.update(dict.fromkeys(() if isinstance(row, str) else row.keys() - _FIELDS))
    return ReadRows(good, errors, tuple(ignored)[:_SHOWN_NAMES])


def _judge(number: int, row: Mapping[str, Any]) -> ImportRow | RowError:
    try:
        product = ProductFields.model_validate({name: row[name] for name in row.keys() & _FIELDS})
    except ValidationError as error:
        sku = row.get("sku")
        return RowError(number, sku if isinstance(sku, str) else None, invalid_fields("body", error).detail)
    return ImportRow(number, {name: getattr(product, name) for name in product.model_fields_set})


def _json_rows(raw: bytes) -> list[_Row]:
    loose = read_model(_LooseImport, raw)
    assert isinstance(loose, _LooseImport)
    return [row if isinstance(row, dict) else "is not an object" for row in loose.products]


def _csv_rows(raw: bytes) -> list[_Row]:
    if b"\0" in raw:
        raise invalid("body", "", "Text may not hold the character NUL.")
    try:
        text = raw.decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
        lines = [line for line in reader if line]
    except (UnicodeDecodeError, csv.Error):
        raise invalid("body", "", "The body is not CSV in UTF-8.") from None
    header = [name.strip().lower() for name in lines[0]] if lines else []
    missing = [name for name in _REQUIRED if name not in header]
    if missing:
        raise invalid("body", "", f"The header row lacks: {', '.join(missing)}.")
    return [_csv_row(header, line) for line in lines[1:]]


def _csv_row(header: Sequence[str], line: Sequence[str]) -> _Row:
    """The row's cells by name; an empty cell empties the field."""
    if len(line) > len(header):
        return "has more cells than the header row"
    cells: dict[str, Any] = dict(zip(header, line, strict=False))
    row = {name: cell.strip() or None for name, cell in cells.items()}
    if "aliases" in row:
        row["aliases"] = [alias for alias in (row["aliases"] or "").split(ALIAS_SEPARATOR) if alias.strip()]
    if row.get("active", "") is None:
        del row["active"]
    return row


def _delimiter(text: str) -> str:
    """What separates the names of the header row: a comma, or what spreadsheets elsewhere write."""
    header = text.partition("\n")[0]
    return max(_DELIMITERS, key=header.count)
