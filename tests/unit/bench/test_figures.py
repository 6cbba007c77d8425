"""What is made of measured numbers, and how it is told."""

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from db.errors import DataFolderError
from gateway.bench.figures import Goal, paired_ratio, percentile, spread
from gateway.bench.running import run_bench
from gateway.bench.show import Report, Steps, flat, tell, tell_failure
from gateway.bench.stage import Stage
from gateway.bench.unrecorded import without_attempts


@pytest.mark.parametrize(
    ("values", "share", "wanted"),
    [
        ([5.0], 0.95, 5.0),
        ([4.0, 1.0, 3.0, 2.0], 0.5, 2.0),
        ([float(number) for number in range(1, 101)], 0.95, 95.0),
        ([float(number) for number in range(1, 101)], 1.0, 100.0),
        ([float(number) for number in range(1, 101)], 0.0, 1.0),
    ],
)
def test_a_percentile_is_a_value_that_was_measured(values: list[float], share: float, wanted: float):
    assert percentile(values, share) == wanted


def test_nothing_measured_is_no_number():
    assert math.isnan(percentile([], 0.5))
    assert spread([1.0, 2.0])["count"] == 2


def test_a_ratio_is_of_rounds_and_not_of_sums():
    """In the second round the machine was ten times slower: both parts were."""
    assert paired_ratio([90.0, 9.0, 95.0], [100.0, 10.0, 100.0]) == 0.9


@pytest.mark.parametrize(
    ("goal", "reached"),
    [
        (Goal("rate", 4_000, 4_000), True),
        (Goal("rate", 3_999, 4_000), False),
        (Goal("wait", 10, 10, at_least=False), True),
        (Goal("wait", 10.1, 10, at_least=False), False),
    ],
)
def test_a_goal_is_reached_or_not(goal: Goal, reached: bool):
    assert goal.reached is reached
    assert goal.as_json()["reached"] is reached


def test_a_report_is_told_to_machines_and_to_people(capsys: pytest.CaptureFixture[str]):
    figures = {"fast": {"per_second": 12.5}, "ratio": 0.97}
    report = Report("deliver", {"cores": 2}, figures, [Goal("ratio", 0.97, 0.95)], [{"round": 1}])

    tell(report, as_json=True)
    told = json.loads(capsys.readouterr().out)
    tell(report, as_json=False)
    shown = capsys.readouterr().out

    assert told == {
        "bench": "deliver", "ok": True, "conditions": {"cores": 2}, "figures": figures, "rounds": [{"round": 1}],
        "goals": [{"name": "ratio", "measured": 0.97, "goal": ">= 0.95", "reached": True}],
    }  # fmt: skip
    assert flat(figures) == {"fast.per_second": 12.5, "ratio": 0.97}
    assert "fast.per second" in shown
    assert "goal >= 0.95" in shown


def test_a_failure_names_its_step(capsys: pytest.CaptureFixture[str]):
    tell_failure("deliver", "storing events", "the disk is full", as_json=True)
    told = json.loads(capsys.readouterr().out)
    tell_failure("deliver", "storing events", "the disk is full", as_json=False)

    assert told == {
        "bench": "deliver", "ok": False, "failure": {"step": "storing events", "reason": "the disk is full"},
    }  # fmt: skip
    assert "storing events" in capsys.readouterr().err


def test_attempts_are_cut_out_and_nothing_else():
    definition = "    with claimed as (\n        update 1\n    ),\n    attempt as (\n        insert (\n            2\n        )\n    ),\n    taken as (\n        3\n    )\n"

    assert (
        without_attempts(definition)
        == "    with claimed as (\n        update 1\n    ),\n    taken as (\n        3\n    )\n"
    )


@pytest.mark.parametrize("definition", ["select 1", "attempt as (\n1\n),\nattempt as (\n2\n),\n"])
def test_a_definition_of_another_form_is_no_comparison(definition: str):
    with pytest.raises(ValueError, match="another way"):
        without_attempts(definition)


@asynccontextmanager
async def _no_stage() -> AsyncIterator[Stage]:
    raise DataFolderError("There is no room for a folder.")
    yield


async def _never(_: Stage, __: Steps) -> Report:
    raise AssertionError


def test_a_benchmark_that_cannot_begin_ends_with_one_and_says_why(capsys: pytest.CaptureFixture[str]):
    assert run_bench("growth", _never, _no_stage(), as_json=True) == 1

    told = json.loads(capsys.readouterr().out)
    assert told["failure"]["step"] == "starting PostgreSQL and the receiver"
    assert "no room" in told["failure"]["reason"]
