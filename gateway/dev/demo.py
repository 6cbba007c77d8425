"""`waystation demo`: the main job once on loopback; a step is told only when it was seen from outside."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rich.console import Console

from gateway.dev.choices import Break
from gateway.dev.demo_faults import (
    refuse_forgery,
    respect_stop,
    retry_deliveries,
    survive_kill,
    swallow_duplicates,
)
from gateway.dev.demo_mail import confirm_by_mail, order_by_mail, order_over_meta
from gateway.dev.demo_orders import confirm_order, order_by_burst, order_in_english
from gateway.dev.demo_setting import (
    check_books,
    drain,
    make_tenant,
    prepare_database,
    read_totals,
    start_processes,
)
from gateway.dev.demo_show import ConsoleNarrator, DemoReport, JsonNarrator, Narrator, StepReport
from gateway.dev.demo_stage import Stage, open_stage
from gateway.dev.demo_story import Story
from gateway.dev.observing import NotObserved
from gateway.processes import stop_signals

_WHOLE_RUN_SECONDS = 90.0
_INTERRUPTED = 130  # what shells expect after Ctrl-C


@dataclass(frozen=True, slots=True)
class Step:
    """A named part of the story; ``play`` acts, looks and says what it saw, or raises."""

    name: str
    title: str
    play: Callable[[Story], Awaitable[str]]


STEPS = (
    Step("database", "A throw-away PostgreSQL with today's schema", prepare_database),
    Step("processes", "The gateway and a worker, each its own process", start_processes),
    Step("tenant", "A tenant with its numbers, catalogue and webhook", make_tenant),
    Step("burst", "Three WhatsApp messages in a burst", order_by_burst),
    Step("confirmation", "The customer confirms", confirm_order),
    Step("english_sms", "Another customer orders by SMS, in English", order_in_english),
    Step("email_order", "An order by mail, with a PDF and a quoted thread", order_by_mail),
    Step("email_thread", "The customer answers our mail", confirm_by_mail),
    Step("meta", "A customer writes over Meta's own WhatsApp API", order_over_meta),
    Step("retries", "The integrator's receiver fails twice", retry_deliveries),
    Step("forgery", "Somebody forges messages", refuse_forgery),
    Step("duplicates", "The provider posts one message twenty times", swallow_duplicates),
    Step("opt_out", "A customer says STOP", respect_stop),
    Step("kill", "The worker is killed in the middle of a send", survive_kill),
    Step("books", "Database, provider and integrator are compared", check_books),
    Step("drain", "Everybody is asked to leave", drain),
)


async def play_demo(*, as_json: bool, broken: Break | None = None) -> int:
    """Plays the story and tells it; the command's exit code. Ctrl-C ends it in order."""
    console = Console()
    narrator = JsonNarrator() if as_json else ConsoleNarrator(console)
    async with stop_signals() as stop:
        run = asyncio.create_task(run_demo(narrator, broken))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({run, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not run.done():
            run.cancel()
            await asyncio.wait({run})
    if run.cancelled():
        print("Interrupted; everything was stopped and removed.", file=sys.stderr)
        return _INTERRUPTED
    report = run.result()
    narrator.end(report)
    return report.exit_code


async def run_demo(narrator: Narrator, broken: Break | None) -> DemoReport:
    """Plays every step until one fails; afterwards nothing of it is left on the machine."""
    began = _now()
    async with open_stage(broken) as stage:
        story = Story(stage)
        reports: list[StepReport] = []
        for step in STEPS:
            failure = await _play(story, step, narrator, reports, began + _WHOLE_RUN_SECONDS)
            if failure:
                return DemoReport(tuple(reports), _now() - began, {}, failure, stage.logs())
        totals = await read_totals(story)
    return DemoReport(tuple(reports), _now() - began, totals, None, {})


async def _play(
    story: Story, step: Step, narrator: Narrator, reports: list[StepReport], deadline: float
) -> dict[str, str] | None:
    """Plays one step and notes it; what failed, if it did."""
    began, failure = _now(), None
    with narrator.begin(step.title) as line:
        try:
            async with asyncio.timeout_at(deadline):
                detail = await step.play(story)
        except Exception as error:  # noqa: BLE001 - however a step fails, it is named and told
            failure = _failure(story.stage, step, error)
            detail = f"expected {failure['expected']}; saw {failure['seen']}"
        reports.append(StepReport(step.name, failure is None, round(_now() - began, 2), detail))
    line.done(reports[-1])
    return failure


def _failure(stage: Stage, step: Step, error: Exception) -> dict[str, str]:
    match error:
        case NotObserved():
            expected, seen = error.expected, error.seen
        case TimeoutError():
            expected, seen = f"{step.title} in time", "no end of it"
        case _:
            expected, seen = step.title, f"{type(error).__name__}: {error}"
    return {"step": step.name, "expected": stage.redacted(expected), "seen": stage.redacted(seen)}


def _now() -> float:
    return asyncio.get_running_loop().time()
