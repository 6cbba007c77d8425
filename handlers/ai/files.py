"""Order extraction over files: a catalogue file and messages in, one prediction row per message out."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import orjson

from handlers.ai.catalogue import IndexedCatalogue
from handlers.ai.merge import order_after
from handlers.ai.types import (
    AIEngine,
    CatalogueProduct,
    DraftLine,
    Extraction,
    ExtractionRequest,
    Language,
)

Progress = Callable[[int, int], None]


class ExtractionFileError(ValueError):
    """A catalogue or messages file cannot be read; the message names the file and, for messages, the line."""


@dataclass(frozen=True, slots=True)
class VerticalCatalogue:
    """One vertical of a catalogue file: the indexed products and the language its customers usually write."""

    catalogue: IndexedCatalogue
    language_hint: Language


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One burst of a messages file with the vertical whose catalogue it is read against."""

    id: str
    vertical: str
    texts: tuple[str, ...]
    draft: tuple[DraftLine, ...]
    now: datetime


def extract_file(
    catalogue_path: Path,
    messages_path: Path,
    out_path: Path,
    engine: AIEngine,
    progress: Progress | None = None,
) -> int:
    """Write one prediction row per message row and return how many were written.

    The engine is closed at the end. ``progress`` is told rows done and rows in all. Raises
    ExtractionFileError for a missing file, malformed
    JSON (with its line number), an unknown vertical or a row of another form; nothing is written then.
    """
    catalogues = load_catalogues(catalogue_path)
    rows = load_messages(messages_path, catalogues)
    lines = asyncio.run(_predict_and_close(rows, catalogues, engine, progress))
    try:
        out_path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    except OSError as error:
        raise ExtractionFileError(f"{out_path}: cannot be written ({error.strerror})") from error
    return len(lines)


async def _predict_and_close(
    rows: Sequence[MessageRow],
    catalogues: Mapping[str, VerticalCatalogue],
    engine: AIEngine,
    progress: Progress | None,
) -> list[dict[str, Any]]:
    """The engine is closed in the loop that it ran in."""
    try:
        return await _predict_all(rows, catalogues, engine, progress)
    finally:
        await engine.aclose()


async def _predict_all(
    rows: Sequence[MessageRow],
    catalogues: Mapping[str, VerticalCatalogue],
    engine: AIEngine,
    progress: Progress | None,
) -> list[dict[str, Any]]:
    predictions = []
    for done, row in enumerate(rows, start=1):
        request = request_for(row, catalogues[row.vertical])
        predictions.append(prediction(row, await engine.extract(request)))
        if progress is not None:
            progress(done, len(rows))
    return predictions


def request_for(row: MessageRow, vertical: VerticalCatalogue) -> ExtractionRequest:
    """The engine's request for a row."""
    return ExtractionRequest(row.texts, vertical.catalogue, row.draft, row.now, vertical.language_hint)


def prediction(row: MessageRow, extraction: Extraction) -> dict[str, Any]:
    """The prediction row: the whole order after the messages, quantities as decimal strings."""
    lines = order_after(row.draft, extraction)
    return {
        "id": row.id,
        "intent": extraction.intent.value,
        "lines": [
            {"sku": line.sku, "quantity": plain(line.quantity), "band": line.band.value} for line in lines
        ],
        "unmatched": list(extraction.unmatched),
        "delivery_date": extraction.delivery_date.isoformat() if extraction.delivery_date else None,
    }


def plain(quantity: Decimal) -> str:
    """A decimal without exponent and trailing zeros: "1.5", "20"."""
    text = f"{quantity:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


# --- reading --------------------------------------------------------------------------------------


def load_catalogues(path: Path) -> dict[str, VerticalCatalogue]:
    """The verticals of a catalogue file, indexed. Raises ExtractionFileError."""
    raw = _json(_bytes(path), f"{path}")
    try:
        return {name: _vertical(value) for name, value in raw.items()}
    except (KeyError, TypeError, AttributeError, ValueError, InvalidOperation) as error:
        raise ExtractionFileError(f"{path}: not of the form of a catalogue file ({_cause(error)})") from error


def load_messages(path: Path, verticals: Mapping[str, object]) -> list[MessageRow]:
    """The rows of a messages file; ``verticals`` are the names they may use. Raises ExtractionFileError."""
    rows = []
    for number, line in _lines(path):
        row = _json(line, f"{path}:{number}")
        try:
            message = _message(row)
        except (KeyError, TypeError, AttributeError, ValueError, InvalidOperation) as error:
            raise ExtractionFileError(
                f"{path}:{number}: not of the form of a message row ({_cause(error)})"
            ) from error
        if message.vertical not in verticals:
            known = ", ".join(sorted(verticals))
            raise ExtractionFileError(
                f"{path}:{number}: unknown vertical {message.vertical!r}; there are {known}"
            )
        rows.append(message)
    return rows


def product_from(raw: Mapping[str, Any]) -> CatalogueProduct:
    """A product of the catalogue file's form."""
    price, limit, pack = raw.get("unit_price"), raw.get("max_quantity"), raw.get("pack_size")
    return CatalogueProduct(
        sku=str(raw["sku"]),
        name=str(raw["name"]),
        unit=str(raw["unit"]),
        unit_price=None if price is None else Decimal(str(price)),
        brand=raw.get("brand"),
        aliases=tuple(str(alias) for alias in raw.get("aliases") or ()),
        pack_size=None if pack is None else int(pack),
        max_quantity=None if limit is None else Decimal(str(limit)),
    )


def _vertical(raw: Mapping[str, Any]) -> VerticalCatalogue:
    products = [product_from(product) for product in raw["products"]]
    return VerticalCatalogue(IndexedCatalogue(products), Language(raw.get("language_hint", Language.ES)))


def _message(raw: Mapping[str, Any]) -> MessageRow:
    now = datetime.fromisoformat(raw["now"])
    if now.utcoffset() is None:
        raise ValueError("now has no offset")
    texts = raw["texts"]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise TypeError("texts is no list of strings")
    draft = tuple(
        DraftLine(str(line["sku"]), Decimal(str(line["quantity"]))) for line in raw.get("draft") or ()
    )
    return MessageRow(str(raw["id"]), str(raw["vertical"]), tuple(texts), draft, now)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExtractionFileError(f"{path}: cannot be read ({error.strerror})") from error


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    return ((number, line) for number, line in enumerate(_bytes(path).splitlines(), start=1) if line.strip())


def _json(raw: bytes, where: str) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ExtractionFileError(f"{where}: malformed JSON ({error})") from error


def _cause(error: Exception) -> str:
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
