"""The demo's throw-away folders: each is locked for as long as its demo lives, and swept once that was killed."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from db.embedded import remove_data_dir
from db.errors import DataFolderError
from gateway.dev.dev_state import NotPossibleHere

DATABASE = "postgres"
PREFIX = "waystation-demo-"
_UNLOCKED_PREFIX = "waystation-new-"  # for the moment between a folder and its lock


@contextmanager
def throw_away_folder() -> Iterator[Path]:
    """A new folder for one demo, removed at the end; raises NotPossibleHere where none can be made."""
    try:
        folder, lock = _make()
    except OSError as error:
        raise NotPossibleHere(
            f"No folder for temporary files can be made: {error.strerror}; set TMPDIR"
        ) from None
    try:
        yield folder
    finally:
        _remove(folder)
        os.close(lock)


def sweep() -> None:
    """Removes what killed demos of this account left behind, and their servers' data elsewhere.

    A demo that lives holds the lock of its folder; the kernel lets go of it with the process, however that ends.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        # One that lives, whose server is still going down, or that another sweep has taken: for a later demo.
        with contextlib.suppress(OSError, DataFolderError):
            _sweep_one(folder)


def _make() -> tuple[Path, int]:
    """A folder that is locked before it has the name by which others look for it."""
    unlocked = Path(tempfile.mkdtemp(prefix=_UNLOCKED_PREFIX))
    lock = _open(unlocked)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if os.geteuid() == 0:
        unlocked.chmod(0o711)  # the account that root gives the server to may pass, and nobody may list
    return unlocked.rename(unlocked.with_name(PREFIX + unlocked.name.removeprefix(_UNLOCKED_PREFIX))), lock


def _sweep_one(folder: Path) -> None:
    lock = _open(folder)
    try:
        # Others may put anything into a shared folder for temporary files; what is ours only we could make.
        if os.fstat(lock).st_uid == os.geteuid():
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(folder)
    finally:
        os.close(lock)


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _remove(folder: Path) -> None:
    """The server's data first: that is refused while it runs, and then the folder stays as well."""
    if (folder / DATABASE).exists():
        remove_data_dir(folder / DATABASE)
    shutil.rmtree(folder)
