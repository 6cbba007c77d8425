"""The rules engine on the labelled development set must not fall behind what it reached."""

import asyncio
import json
from typing import Any

import pytest

from handlers.ai.engine import build_engine
from handlers.ai.files import load_catalogues, load_messages
from tests.ai_eval.__main__ import DATA, main, predict
from tests.ai_eval.scoring import groups, measure, span_hits

FLOORS = {"es/plain": 0.98, "en/plain": 0.98, "pt/plain": 0.98, "tier=hard": 0.91}


@pytest.fixture(scope="module")
def labelled() -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    catalogues = load_catalogues(DATA / "catalogues.json")
    messages = load_messages(DATA / "orders_dev.jsonl", catalogues)
    labels = [
        json.loads(line) for line in (DATA / "orders_dev.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    return labels, asyncio.run(predict(messages, catalogues, build_engine("rules")))


@pytest.mark.parametrize(("group", "floor"), FLOORS.items())
def test_line_f1(
    group: str, floor: float, labelled: tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]
) -> None:
    """Line F1 stays above its floor in every language."""
    labels, predictions = labelled

    figures = measure(groups(labels)[group], predictions)

    assert figures.f1 is not None
    assert figures.f1 >= floor


def test_sure_lines_and_intents(labelled: tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]) -> None:
    """Lines marked auto are right, and negative messages order nothing."""
    labels, predictions = labelled

    figures = measure(labels, predictions)
    negative = measure(groups(labels)["tier=negative"], predictions)

    assert (figures.auto_precision or 0) >= 0.995
    assert (figures.auto_coverage or 0) >= 0.85
    assert (figures.intent or 0) >= 0.99
    assert (figures.date or 0) >= 0.99
    assert (negative.false_orders or 0) <= 0.01


def test_span_hits_are_one_to_one() -> None:
    """One predicted span cannot serve two expected ones."""
    assert span_hits(["2 kg quinoa", "2 kg quinoa"], ["2 kg de quinoa"]) == 1
    assert span_hits(["2 kg quinoa"], ["whatever"]) == 0


def test_the_command_prints_table_and_json(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    """The command prints a table for people and JSON for scripts; a bad file ends it with a message."""
    assert main(["--no-timing"]) == 0
    assert "es/plain" in capsys.readouterr().out
    assert main(["--no-timing", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["groups"]["all"]["rows"] == 600
    assert main(["--data", str(tmp_path / "none.jsonl")]) == 2
