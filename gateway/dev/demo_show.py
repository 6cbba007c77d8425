"""How the demo tells what it sees: a spinner and ticks on a terminal, plain lines, or one JSON object."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

_TITLES = {
    "stored": "stored (PostgreSQL)",
    "sent": "sent (the provider's count)",
    "delivered": "delivered (the integrator's count)",
}


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step: what was seen, or what was missing."""

    name: str
    ok: bool
    seconds: float
    detail: str


@dataclass(frozen=True, slots=True)
class DemoReport:
    """A whole run. ``failure`` holds the failed step's name, ``expected`` and ``seen``."""

    steps: tuple[StepReport, ...]
    seconds: float
    totals: Mapping[str, Mapping[str, int]]
    failure: Mapping[str, str] | None
    logs: Mapping[str, list[str]]

    @property
    def exit_code(self) -> int:
        return 1 if self.failure else 0


class Narrator(Protocol):
    """Tells people what happens while it happens, and how it ended."""

    def begin(self, title: str) -> "StepLine": ...

    def end(self, report: DemoReport) -> None: ...


class StepLine(Protocol):
    """One step while it runs."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def done(self, report: StepReport) -> None: ...


class JsonNarrator:
    """Says nothing until the end, then one JSON object."""

    def begin(self, _title: str) -> StepLine:
        return _Silence()

    def end(self, report: DemoReport) -> None:
        print(json.dumps({**asdict(report), "ok": report.exit_code == 0, "exit_code": report.exit_code}))


class _Silence:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def done(self, report: StepReport) -> None:
        del report


class ConsoleNarrator:
    """Lines for people; a spinner and colours on a terminal only."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def begin(self, title: str) -> StepLine:
        return _ConsoleLine(self._console, title)

    def end(self, report: DemoReport) -> None:
        if report.failure:
            self._tell_failure(report.failure, report.logs)
            return
        self._console.print(_table(report.totals))
        self._say(f"Every step was observed; {report.seconds:.0f} s in all. Nothing is left running.")
        self._say("Next: `waystation dev` starts all of this and stays, with an API key and what to try;")
        self._say("the API's page is then at http://127.0.0.1:8080/docs. README.md has the rest.")

    def _tell_failure(self, failure: Mapping[str, str], logs: Mapping[str, list[str]]) -> None:
        self._say(f"The step `{failure['step']}` failed.")
        self._say(f"  expected: {failure['expected']}")
        self._say(f"  seen:     {failure['seen']}")
        for name, lines in logs.items():
            self._say(f"Last lines of `{name}`:")
            for line in lines:
                self._say(f"  {line}")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class _ConsoleLine:
    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._status = Status(f"{escape(title)} …", console=console) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def done(self, report: StepReport) -> None:
        mark = "[green]✓[/green]" if report.ok else "[red]✗[/red]"
        name, seconds = f"[bold]{report.name:<13}[/bold]", f"[dim]({report.seconds:.1f} s)[/dim]"
        text = f"{mark} {name} {escape(report.detail)} {seconds}"
        self._console.print(text, highlight=False, soft_wrap=True)


def _table(totals: Mapping[str, Mapping[str, int]]) -> Table:
    table = Table(title="What was stored, sent and delivered", title_justify="left")
    table.add_column("where")
    table.add_column("what")
    table.add_column("count", justify="right")
    for place, counts in totals.items():
        for index, (what, count) in enumerate(counts.items()):
            table.add_row("" if index else _TITLES[place], what, str(count))
        table.add_section()
    return table
