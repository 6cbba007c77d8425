"""Runs one benchmark from the command line: shows its steps, tells its report, names the step that failed."""

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import asyncpg
import structlog

from channels.errors import GatewayError
from db.errors import DatabaseError
from gateway.bench.conditions import require_durable_commits
from gateway.bench.show import Report, StepFailed, Steps, showing_steps, tell, tell_failure
from gateway.bench.stage import Stage
from gateway.dev.dev_state import NotPossibleHere
from gateway.dev.management import UnexpectedAnswer
from gateway.dev.observing import NotObserved
from gateway.processes import run_loop
from gateway.settings import SettingsError

_FAILURES = (
    GatewayError,
    DatabaseError,
    NotPossibleHere,
    UnexpectedAnswer,
    SettingsError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
)


def run_bench(
    name: str,
    measure: Callable[[Stage, Steps], Awaitable[Report]],
    opening: AbstractAsyncContextManager[Stage],
    *,
    as_json: bool,
) -> int:
    """The command's exit code: 0 where all was measured, whatever the figures are; 1 where a step failed."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with showing_steps() as steps:
        try:
            report = run_loop(_measured(measure, steps, opening))
        except (StepFailed, NotObserved) as error:
            failure = str(error)
        except _FAILURES as error:
            failure = f"{type(error).__name__}: {error}"
        else:
            failure = ""
    if failure:
        tell_failure(name, steps.current, failure, as_json=as_json)
        return 1
    tell(report, as_json=as_json)
    return 0


async def _measured(
    measure: Callable[[Stage, Steps], Awaitable[Report]],
    steps: Steps,
    opening: AbstractAsyncContextManager[Stage],
) -> Report:
    async with AsyncExitStack() as stack:
        with steps.step("starting PostgreSQL and the receiver"):
            stage = await stack.enter_async_context(opening)
            await require_durable_commits(stage.admin)
        return await measure(stage, steps)
