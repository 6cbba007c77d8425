"""How the benchmarks tell: a bar for what runs, a table at the end, or one JSON object."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from gateway.bench.figures import Goal

Advance = Callable[[int], None]


class StepFailed(Exception):
    """A step did not come to what it must come to; the message says what was seen instead."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a benchmark measured. ``figures`` are for the table, ``rounds`` are every single measurement."""

    bench: str
    conditions: Mapping[str, Any]
    figures: Mapping[str, Any]
    goals: Sequence[Goal]
    rounds: Sequence[Mapping[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "bench": self.bench,
            "ok": True,
            "conditions": dict(self.conditions),
            "figures": dict(self.figures),
            "goals": [goal.as_json() for goal in self.goals],
            "rounds": [dict(each) for each in self.rounds],
        }


class Steps:
    """Names what is being done, so that a failure can name it, and shows it on a terminal."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.current = "starting"

    @contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Advance]:
        """One step; what it gives takes how much of ``total`` is done."""
        self.current = title
        task = self._progress.add_task(title, total=total)
        yield lambda done: self._progress.update(task, completed=done)
        self._progress.remove_task(task)


@contextmanager
def showing_steps() -> Iterator[Steps]:
    """Bars on standard error, on a terminal only."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Steps(progress)


def tell(report: Report, *, as_json: bool) -> None:
    """Prints a report."""
    if as_json:
        print(json.dumps(report.as_json()))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(_table("Conditions", report.conditions))
    console.print(_table(f"bench {report.bench}", flat(report.figures)))
    for goal in report.goals:
        mark = "[green]✓[/green]" if goal.reached else "[red]✗[/red]"
        told = goal.as_json()
        console.print(f"{mark} {told['name']}: {told['measured']:g} (goal {told['goal']})")


def tell_failure(bench: str, step: str, reason: str, *, as_json: bool) -> None:
    """Says which step failed and how."""
    if as_json:
        print(json.dumps({"bench": bench, "ok": False, "failure": {"step": step, "reason": reason}}))
        return
    Console(stderr=True, highlight=False, soft_wrap=True).print(
        f"bench {bench} failed at: {step}\n{reason}", style="red", markup=False
    )


def flat(figures: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested figures as ``outer.inner``."""
    lines: dict[str, Any] = {}
    for name, value in figures.items():
        lines |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return lines


def _table(title: str, lines: Mapping[str, Any]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column("what", style="bold")
    table.add_column("value")
    for name, value in lines.items():
        table.add_row(name.replace("_", " "), f"{value:g}" if isinstance(value, float) else str(value))
    return table
