"""Which core a process runs on and how much of it it used, where the system tells (Linux)."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
# Of /proc/<pid>/stat (proc(5)), behind the name: the parent, then user, system, and both of children that ended.
_PARENT, _TIMES = 1, slice(11, 15)


@dataclass(frozen=True, slots=True)
class Cores:
    """The worker's own core and all others; both empty where nothing is pinned."""

    worker: frozenset[int] = frozenset()
    others: frozenset[int] = frozenset()

    @property
    def told(self) -> str:
        """For the conditions."""
        if not self.worker:
            return "nothing pinned"
        return f"worker on core {min(self.worker)}, all else on {', '.join(map(str, sorted(self.others)))}"


def split_cores() -> Cores:
    """The last core of those that we may use for the worker, the rest for everybody else; none where there is one only, or
    the system pins nothing.
    """
    if not hasattr(os, "sched_getaffinity"):
        return Cores()
    usable = sorted(os.sched_getaffinity(0))
    return Cores(frozenset(usable[-1:]), frozenset(usable[:-1])) if len(usable) > 1 else Cores()


@contextmanager
def kept_to(cores: frozenset[int]) -> Iterator[None]:
    """This process, and whatever it starts meanwhile, on these cores only; anywhere if there are none."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def move_to(pid: int, cores: frozenset[int]) -> None:
    """Another process of ours to these cores, before it has threads."""
    if cores:
        os.sched_setaffinity(pid, cores)


def cpu_seconds(pid: int) -> float:
    """What a process and all below it have used so far; 0 where the system does not tell."""
    if not _PROC.is_dir():
        return 0.0
    stats = {
        int(entry.name): stat for entry in _PROC.iterdir() if entry.name.isdigit() and (stat := _stat(entry))
    }
    family = {pid}
    while more := {child for child, stat in stats.items() if int(stat[_PARENT]) in family} - family:
        family |= more
    ticks = sum(int(part) for member in family & stats.keys() for part in stats[member][_TIMES])
    return ticks / os.sysconf("SC_CLK_TCK")


def _stat(entry: Path) -> list[str]:
    """The fields behind a process's name, which may hold anything; none where it ended meanwhile."""
    with contextlib.suppress(OSError):
        return (entry / "stat").read_text().rpartition(")")[2].split()
    return []
