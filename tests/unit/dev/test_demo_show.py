"""What the demo prints: lines without a terminal, a table at the end, one object for machines."""

import io
import json

from rich.console import Console

from gateway.dev.demo_show import ConsoleNarrator, DemoReport, JsonNarrator, StepReport

GOOD = StepReport("burst", True, 1.25, "3 messages → [1] order")
BAD = StepReport("kill", False, 2.0, "expected this; saw that")
TOTALS = {"stored": {"messages in": 10, "orders": 5}, "sent": {"read": 4}, "delivered": {"order.created": 5}}
FAILURE = {"step": "kill", "expected": "[bold]this[/bold]", "seen": "that"}


def told(*reports, end, terminal=False):
    output = io.StringIO()
    narrator = ConsoleNarrator(Console(file=output, force_terminal=terminal, width=200))
    for report in reports:
        with narrator.begin("A step [of many]") as line:
            pass
        line.done(report)
    narrator.end(end)
    return output.getvalue()


def test_without_a_terminal_there_are_lines_and_a_table():
    text = told(GOOD, end=DemoReport((GOOD,), 41.0, TOTALS, None, {}))
    assert "\x1b" not in text
    assert "✓ burst         3 messages → [1] order (1.2 s)" in text
    for words in ("stored (PostgreSQL)", "messages in", "order.created", "41 s in all", "waystation dev"):
        assert words in text


def test_a_terminal_gets_a_spinner_and_colours():
    assert "\x1b[" in told(GOOD, end=DemoReport((GOOD,), 41.0, TOTALS, None, {}), terminal=True)


def test_a_failure_is_told_as_it_is():
    text = told(BAD, end=DemoReport((BAD,), 3.0, {}, FAILURE, {"work": ["a [strange] line"]}))
    assert "The step `kill` failed." in text
    assert "expected: [bold]this[/bold]" in text
    assert "a [strange] line" in text


def test_machines_get_one_object(capsys):
    narrator = JsonNarrator()
    with narrator.begin("title") as line:
        pass
    line.done(BAD)
    narrator.end(DemoReport((GOOD, BAD), 3.0, {}, FAILURE, {}))
    shown = json.loads(capsys.readouterr().out)
    assert (shown["ok"], shown["exit_code"], shown["failure"]["step"]) == (False, 1, "kill")
    assert [step["name"] for step in shown["steps"]] == ["burst", "kill"]
