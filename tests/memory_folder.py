"""A folder in memory for what tests throw away: each test's database is some 700 files, made and deleted.

On a disk those are the slowest part of a run: ext4 does not give out the inodes of files that were deleted in the last
seconds, and looks through all of them for each new file.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # Linux; elsewhere there is none, and a disk does
ROOM = 2 * 1024**3  # bytes; a run of two processes was seen to hold 0.9 GB
_PREFIX = "waystation-tests-"


@contextmanager
def folder_in_memory(otherwise: Path) -> Iterator[Path]:
    """A new folder in memory, which other accounts can reach and which is gone afterwards; ``otherwise`` where there is no
    room for one.
    """
    if not _has_room():
        yield otherwise
        return
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=SHARED_MEMORY))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _has_room() -> bool:
    return os.access(SHARED_MEMORY, os.W_OK) and shutil.disk_usage(SHARED_MEMORY).free >= ROOM


def _sweep() -> None:
    """Takes away what killed runs left behind."""
    for folder in SHARED_MEMORY.glob(f"{_PREFIX}*"):
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        with contextlib.suppress(OSError, ValueError):
            if not _is_alive(int(owner)):
                shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
