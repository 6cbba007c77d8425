"""Scores an engine on the development set: ``python -m tests.ai_eval [--json] [--data FILE] [--engine
rules]``.
"""

import argparse
import asyncio
import dataclasses
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from handlers.ai.engine import build_engine
from handlers.ai.files import (
    ExtractionFileError,
    MessageRow,
    VerticalCatalogue,
    load_catalogues,
    load_messages,
    prediction,
    request_for,
)
from handlers.ai.types import AIEngine
from tests.ai_eval.scoring import Figures, Row, groups, measure
from tests.ai_eval.timing import Timing, time_requests, time_synthetic

DATA = Path(__file__).parent / "data"
_COLUMNS = (
    ("rows", "rows"), ("lines", "lines"), ("P", "precision"), ("R", "recall"), ("F1", "f1"), ("exact", "exact"), ("exAll", "exact_all"),
    ("intent", "intent"), ("date", "date"), ("umF1", "unmatched_f1"), ("falseO", "false_orders"), ("autoP", "auto_precision"),
    ("autoC", "auto_coverage"),
)  # fmt: skip
_SYNTHETIC_SIZES = (1_000, 10_000)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table or JSON; returns the exit code."""
    options = _options(arguments)
    try:
        catalogues = load_catalogues(options.catalogue)
        messages = load_messages(options.data, catalogues)
    except ExtractionFileError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command for people
        return 2
    labels: list[Row] = [
        json.loads(line) for line in options.data.read_text(encoding="utf-8").splitlines() if line.strip()
    ]
    predictions = asyncio.run(predict(messages, catalogues, build_engine(options.engine)))
    figures = {name: measure(part, predictions) for name, part in groups(labels).items()}
    timings = [] if options.engine != "rules" or options.no_timing else _timings(messages, catalogues)
    print(_as_json(options, figures, timings) if options.json else _as_table(options, figures, timings))  # noqa: T201 - a command for people
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.ai_eval", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data", type=Path, default=DATA / "orders_dev.jsonl")
    parser.add_argument("--catalogue", type=Path, default=DATA / "catalogues.json")
    parser.add_argument("--engine", default="rules")
    parser.add_argument("--no-timing", action="store_true")
    return parser.parse_args(arguments)


async def predict(
    messages: Sequence[MessageRow], catalogues: Mapping[str, VerticalCatalogue], engine: AIEngine
) -> dict[str, dict[str, Any]]:
    """The prediction rows by id."""
    rows = {}
    for message in messages:
        extraction = await engine.extract(request_for(message, catalogues[message.vertical]))
        rows[message.id] = prediction(message, extraction)
    return rows


def _timings(messages: Sequence[MessageRow], catalogues: Mapping[str, VerticalCatalogue]) -> list[Timing]:
    requests = [request_for(message, catalogues[message.vertical]) for message in messages]
    time_requests(requests, 0)  # warm
    own = time_requests(requests, max(len(vertical.catalogue.products) for vertical in catalogues.values()))
    vertical = catalogues[messages[0].vertical]
    sample = [
        request_for(message, vertical) for message in messages if message.vertical == messages[0].vertical
    ]
    return [own, *(time_synthetic(sample, size) for size in _SYNTHETIC_SIZES)]


def _as_json(options: argparse.Namespace, figures: Mapping[str, Figures], timings: Sequence[Timing]) -> str:
    return json.dumps(
        {
            "engine": options.engine,
            "data": options.data.name,
            "python": platform.python_version(),
            "groups": {name: dataclasses.asdict(value) for name, value in figures.items()},
            "cpu_ms": [dataclasses.asdict(timing) for timing in timings],
        },
        indent=2,
    )


def _as_table(options: argparse.Namespace, figures: Mapping[str, Figures], timings: Sequence[Timing]) -> str:
    lines = [f"engine {options.engine}, data {options.data.name}, Python {platform.python_version()}"]
    lines.append(f"{'':<28}" + "".join(f"{title:>7}" for title, _ in _COLUMNS))
    for name, value in figures.items():
        lines.append(f"{name:<28}" + "".join(f"{_cell(getattr(value, field)):>7}" for _, field in _COLUMNS))
    lines += [
        f"CPU per message, {timing.products:>6} products: p50 {timing.p50:6.2f} ms, p95 {timing.p95:6.2f} ms (index built in {timing.index_seconds:.2f} s)"
        for timing in timings
    ]
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


if __name__ == "__main__":
    sys.exit(main())
