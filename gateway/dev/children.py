"""The program's own commands as child processes: started, told to drain, killed, and dead when we are."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from db.embedded_process import GUARD, kernel_tells_of_parents_death
from gateway.settings import PREFIX

_SOURCE = Path(__file__).parents[2]
_DRAIN_SECONDS = 20.0
_COMMAND_SECONDS = 30.0
_TAIL_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where children run: a folder of their own and nothing of our settings but what is given."""

    folder: Path
    settings: Mapping[str, str]

    @property
    def environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "OPENAI_"))}
        # The program is found from any folder, also where it runs from a checkout.
        path = os.pathsep.join([str(_SOURCE), *filter(None, [own.get("PYTHONPATH")])])
        return {**own, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **self.settings}


class Child:
    """A running `waystation` command whose output goes to a file."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    @classmethod
    async def start(cls, name: str, arguments: Sequence[str], surroundings: Surroundings) -> Self:
        """Starts ``waystation`` with ``arguments`` in a session of its own: a terminal's Ctrl-C is for us."""
        log = surroundings.folder / f"{name}.log"
        log.touch(mode=0o600)
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *_command(arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=surroundings.folder,
                env=surroundings.environment,
                start_new_session=True,
            )
        return cls(name, process, log)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative after a signal."""
        return self._process.returncode

    async def stop(self) -> int:
        """Asks it to drain and waits; kills it where it does not. Its exit code."""
        self._signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self._process.wait(), _DRAIN_SECONDS)
        except TimeoutError:
            return await self.kill()

    async def kill(self) -> int:
        """Ends it at once, as a crash would."""
        self._signal(signal.SIGKILL)
        return await self._process.wait()

    def last_lines(self, count: int = 12) -> list[str]:
        """The end of its output."""
        with self._log.open("rb") as output:
            output.seek(max(0, self._log.stat().st_size - _TAIL_BYTES))
            return output.read().decode(errors="replace").splitlines()[-count:]

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it ended at this moment
                self._process.send_signal(number)


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a one-off command ended and what it printed."""

    exit_code: int
    output: str
    errors: str


async def run_command(arguments: Sequence[str], surroundings: Surroundings) -> CommandResult:
    """Runs a one-off `waystation` command to its end; raises TimeoutError, and then it is killed."""
    process = await asyncio.create_subprocess_exec(
        *_command(arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=surroundings.folder,
        env=surroundings.environment,
        start_new_session=True,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), _COMMAND_SECONDS)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):  # it ended at this moment
            process.kill()
        await process.wait()
        raise
    return CommandResult(
        process.returncode or 0, output.decode(errors="replace"), errors.decode(errors="replace")
    )


def _command(arguments: Sequence[str]) -> list[str]:
    program = [sys.executable, "-m", "gateway", *arguments]
    if not kernel_tells_of_parents_death():
        return program
    guard = [
        sys.executable,
        "-I",
        "-S",
        str(GUARD),
        "exec",
        str(os.getpid()),
        str(int(signal.SIGKILL)),
        "-1",
        "-1",
    ]
    return [*guard, *program]
