"""A child process that never outlives us unseen: it dies with its parent and its end is noticed at once.

Three things hold it together. It gets a signal when we die (see `db.embedded_guard`). It and all its own
children inherit the write end of a pipe, the lifeline, so end-of-file on our end means that the whole family
has gone. And they inherit the lock's descriptor, so a lock that is free proves that no server is left.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

GUARD = Path(__file__).with_name("embedded_guard.py")
REAP_SECONDS = 5.0  # the lifeline closes a moment before the process can be reaped


@dataclass(frozen=True, slots=True)
class SystemUser:
    """An account of the machine under which a server runs."""

    name: str
    uid: int
    gid: int


def kernel_tells_of_parents_death() -> bool:
    """Whether PR_SET_PDEATHSIG can be used: on Linux; it follows the *thread* that spawned the child."""
    return sys.platform == "linux" and threading.current_thread() is threading.main_thread()


class GuardedProcess:
    """A running child; made by `spawn`, in the thread that runs the event loop."""

    def __init__(self, popen: subprocess.Popen[bytes], lifeline: int, watcher: "_Watcher | None") -> None:
        self._popen = popen
        self._lifeline = lifeline
        self._watcher = watcher
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(lifeline, self._on_end)

    @classmethod
    def spawn(
        cls,
        program: Sequence[str],
        *,
        user: SystemUser | None,
        death_signal: int,
        lock_fd: int,
        log: IO[bytes],
    ) -> Self:
        """Start `program` in a session of its own, as `user` (None: as ourselves), writing to `log`.

        Raises OSError when it cannot be started.
        """
        lifeline, child_end = os.pipe()
        by_kernel = kernel_tells_of_parents_death()
        command = _guarded(program, user, death_signal) if by_kernel else list(program)
        try:
            popen = subprocess.Popen(  # noqa: S603 - the program is one of PostgreSQL's own
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_environment(),
                pass_fds=(child_end, lock_fd),
                start_new_session=True,  # a terminal's Ctrl-C is for us; we then stop the server in order
                user=user.uid if user and not by_kernel else None,  # else the guard drops the rights itself
                group=user.gid if user and not by_kernel else None,
                extra_groups=[] if user and not by_kernel else None,
            )
        except OSError:
            os.close(lifeline)
            raise
        finally:
            os.close(child_end)
        return cls(popen, lifeline, None if by_kernel else _Watcher(popen.pid, death_signal, lifeline))

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def ended(self) -> bool:
        """Whether the process and all its children have gone."""
        return self._ended.is_set()

    async def wait(self) -> int:
        """Wait until the process and all its children have gone; its exit code (negative: a signal)."""
        await self._ended.wait()
        return self._popen.wait(REAP_SECONDS)

    def send(self, number: int) -> None:
        """Send a signal; nothing happens when the process has ended (an unreaped id is never reused)."""
        self._popen.send_signal(number)

    async def stop(self, *, patience: float) -> None:
        """End a postmaster: fast shutdown, after `patience` seconds immediate shutdown, then kill."""
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            self.send(number)
            with contextlib.suppress(TimeoutError):  # the next signal is sterner
                await asyncio.wait_for(self.wait(), patience)
                return
        await self.wait()

    def _on_end(self) -> None:
        self._loop.remove_reader(self._lifeline)
        os.close(self._lifeline)
        self._ended.set()
        if self._watcher is not None:
            self._watcher.close()


class _Watcher:
    """The stand-in for PR_SET_PDEATHSIG: a process that signals the child when our end of a pipe closes."""

    def __init__(self, pid: int, death_signal: int, lifeline: int) -> None:
        parent_end, self._our_end = os.pipe()
        arguments = [str(number) for number in (pid, death_signal, parent_end, lifeline)]
        self._popen = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, "-I", "-S", str(GUARD), "watch", *arguments],
            stdin=subprocess.DEVNULL,
            cwd="/",
            pass_fds=(parent_end, lifeline),
            start_new_session=True,
        )
        os.close(parent_end)

    def close(self) -> None:
        """Reap the watcher, which leaves by itself once the child has gone."""
        os.close(self._our_end)
        self._popen.wait(REAP_SECONDS)


def _guarded(program: Sequence[str], user: SystemUser | None, death_signal: int) -> list[str]:
    uid, gid = (user.uid, user.gid) if user else (-1, -1)
    numbers = [str(number) for number in (os.getpid(), int(death_signal), uid, gid)]
    return [sys.executable, "-I", "-S", str(GUARD), "exec", *numbers, *program]


def _environment() -> dict[str, str]:
    """What PostgreSQL's programs need: no PG* setting or locale of ours may change what they do."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
