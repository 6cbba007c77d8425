"""Extraction over files: rows out, and errors that name file and line."""

import json
from pathlib import Path

import pytest

from handlers.ai.engine import UnknownEngine, build_engine
from handlers.ai.files import ExtractionFileError, extract_file

CATALOGUE = {
    "shop": {
        "language_hint": "es",
        "products": [
            {
                "sku": "TOM",
                "name": "Tomate",
                "unit": "kg",
                "unit_price": "1.00",
                "brand": None,
                "aliases": [],
                "pack_size": None,
                "max_quantity": 200,
            }
        ],
    }
}
ROW = {
    "id": "a-1",
    "vertical": "shop",
    "now": "2026-04-15T10:00:00-06:00",
    "texts": ["kilo y medio de tomate y 2 kg de quinoa para mañana"],
    "draft": [],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "c.json").write_text(json.dumps(CATALOGUE), encoding="utf-8")
    return tmp_path


def run(folder: Path, *lines: str) -> int:
    (folder / "m.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return extract_file(folder / "c.json", folder / "m.jsonl", folder / "p.jsonl", build_engine("rules"))


def test_rows(folder: Path) -> None:
    """A prediction row holds the whole order, the spans left over and the day."""
    assert run(folder, json.dumps(ROW), "") == 1

    assert json.loads((folder / "p.jsonl").read_text(encoding="utf-8")) == {
        "id": "a-1",
        "intent": "BUY",
        "lines": [{"sku": "TOM", "quantity": "1.5", "band": "auto"}],
        "unmatched": ["2 kg de quinoa"],
        "delivery_date": "2026-04-16",
    }


def test_cancel_empties_the_order(folder: Path) -> None:
    """A cancelled draft has no lines."""
    run(folder, json.dumps({**ROW, "texts": ["cancela todo"], "draft": [{"sku": "TOM", "quantity": "3"}]}))

    assert json.loads((folder / "p.jsonl").read_text(encoding="utf-8"))["lines"] == []


def test_progress(folder: Path) -> None:
    """Every row is told."""
    (folder / "m.jsonl").write_text("\n".join([json.dumps(ROW)] * 2), encoding="utf-8")
    told: list[tuple[int, int]] = []

    extract_file(
        folder / "c.json",
        folder / "m.jsonl",
        folder / "p.jsonl",
        build_engine("rules"),
        lambda done, total: told.append((done, total)),
    )

    assert told == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"m\.jsonl:2: malformed JSON"),
        ("[]", r"m\.jsonl:2: not of the form"),
        (json.dumps({**ROW, "vertical": "moon"}), r"m\.jsonl:2: unknown vertical 'moon'; there are shop"),
        (json.dumps({**ROW, "now": "2026-04-15T10:00:00"}), r"m\.jsonl:2: .*no offset"),
        (json.dumps({**ROW, "texts": "hola"}), r"m\.jsonl:2: .*list of strings"),
        (
            json.dumps({key: value for key, value in ROW.items() if key != "id"}),
            r"m\.jsonl:2: .*id is missing",
        ),
        (json.dumps({**ROW, "draft": [{"sku": "TOM", "quantity": "x"}]}), r"m\.jsonl:2: not of the form"),
    ],
)
def test_bad_rows(folder: Path, line: str, message: str) -> None:
    """A bad row is told with its line, and nothing is written."""
    with pytest.raises(ExtractionFileError, match=message):
        run(folder, json.dumps(ROW), line)
    assert not (folder / "p.jsonl").exists()


def test_missing_and_malformed_files(folder: Path) -> None:
    """A file that is not there or no catalogue is told by name."""
    with pytest.raises(ExtractionFileError, match=r"none\.jsonl: cannot be read"):
        extract_file(folder / "c.json", folder / "none.jsonl", folder / "p.jsonl", build_engine("rules"))
    (folder / "c.json").write_text('{"shop": {}}', encoding="utf-8")
    with pytest.raises(
        ExtractionFileError, match=r"c\.json: not of the form of a catalogue file \(products is missing\)"
    ):
        run(folder, json.dumps(ROW))


def test_output_that_cannot_be_written(folder: Path) -> None:
    """An output path in a missing folder is told by name."""
    (folder / "m.jsonl").write_text(json.dumps(ROW), encoding="utf-8")

    with pytest.raises(ExtractionFileError, match="cannot be written"):
        extract_file(folder / "c.json", folder / "m.jsonl", folder / "no" / "p.jsonl", build_engine("rules"))


def test_unknown_engine() -> None:
    """An unknown engine is told with those that there are; others can be handed in."""
    with pytest.raises(UnknownEngine, match="unknown engine 'magic'; there are rules"):
        build_engine("magic")
    rules = build_engine("rules")
    assert build_engine("own", {"own": lambda: rules}) is rules
