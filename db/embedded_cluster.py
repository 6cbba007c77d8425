"""The files of one embedded PostgreSQL: where they lie, who owns them, and how they come to be.

Inside the data folder: `owner.lock`, `password`, `port`, `postgres.log`, and `cluster/`, PostgreSQL's own.
PostgreSQL refuses to run as root. So root gives `cluster/` to an unprivileged account; where that account
cannot reach the data folder, `cluster/` lies in the machine's state folder and the file `place` says where.
No folder that we did not make is ever given other rights.
"""

import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from db.embedded_account import account_of, service_account
from db.embedded_binaries import Binaries, find_binaries, machine_state_folder, usable_by
from db.embedded_process import GuardedProcess, SystemUser
from db.errors import DataFolderError, ServerStartError

SUPERUSER: Final = "postgres"
BUILTIN_LOCALES_SINCE: Final = 17
PID_FILE_PORT_LINE: Final = 3  # counted from 0, as in PostgreSQL's src/include/utils/pidfile.h
PID_FILE_STATUS_LINE: Final = 7
LOG_LIMIT_BYTES: Final = 10_000_000
LOG_TAIL_BYTES: Final = 1_500


class OwnerLock:
    """The right to run the server of one folder: ours, and of every PostgreSQL process that inherits it."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def acquire(self) -> bool:
        """Take the lock if nobody has it; never waits."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Give the lock up."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Forget the file; a server that inherited the lock keeps it."""
        os.close(self.fd)


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The data folder and the small files in it."""

    path: Path

    @property
    def lock(self) -> Path:
        return self.path / "owner.lock"

    @property
    def log(self) -> Path:
        return self.path / "postgres.log"

    def make(self) -> None:
        """Create the folder with what is missing above it; DataFolderError when it is not ours to use."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            os.close(self._open(self.lock, os.O_RDWR))
        except OSError as error:
            raise DataFolderError(
                f"The embedded PostgreSQL's folder {self.path} cannot be used: {error.strerror}. Mend: run "
                "as the account that made it, or as root, or delete the folder if its data may go."
            ) from error

    def password(self) -> str:
        """The superuser's password, from a file that only the account that runs us can read.

        Raises DataFolderError when there is none.
        """
        password = self._read("password")
        if not password:
            raise DataFolderError(
                f"{self.path / 'password'} is missing. Mend: restore it, or delete the folder."
            )
        return password

    def make_password(self) -> str:
        """The password that a new cluster gets; one that was made before is kept."""
        return self._read("password") or self._write("password", secrets.token_urlsafe(32))

    def port(self) -> int | None:
        """The port that the server had last."""
        text = self._read("port")
        return int(text) if text else None

    def keep_port(self, port: int) -> None:
        if port != self.port():
            self._write("port", str(port))

    def place(self) -> Path | None:
        """The folder of `cluster/` where it is not the data folder itself."""
        text = self._read("place")
        return Path(text) if text else None

    def keep_place(self, place: Path) -> None:
        self._write("place", str(place))

    def log_tail(self) -> str:
        """The last lines that PostgreSQL wrote, for an error's text."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - LOG_TAIL_BYTES))
            return file.read().decode(errors="replace").strip()

    def open_log(self) -> IO[bytes]:
        """The log for appending, for our eyes alone. A large one is set aside; one older is kept."""
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        return os.fdopen(self._open(self.log, os.O_WRONLY | os.O_APPEND), "ab")

    def _read(self, name: str) -> str:
        try:
            return (self.path / name).read_text().strip()
        except FileNotFoundError:
            return ""
        except PermissionError as error:
            raise DataFolderError(
                f"{self.path} belongs to another account. Mend: run as that one."
            ) from error

    def _write(self, name: str, text: str) -> str:
        """Write a whole file or nothing, readable by us alone."""
        staging = self.path / f"{name}.new"
        staging.unlink(missing_ok=True)
        with os.fdopen(self._open(staging, os.O_WRONLY), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        staging.replace(self.path / name)
        return text

    def _open(self, file: Path, flags: int) -> int:
        """Open a file, or make one that only the folder's owner can read; no link leads us elsewhere.

        Root may work in another account's folder: what it makes there belongs to that account.
        """
        flags |= os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(file, flags | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return os.open(file, flags)
        if os.geteuid() == 0:
            owner = self.path.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        return descriptor


@dataclass(frozen=True, slots=True)
class Cluster:
    """Everything that a start needs: PostgreSQL's folder, the programs, and the account that runs them."""

    folder: DataFolder
    place: Path
    binaries: Binaries
    user: SystemUser | None

    @property
    def path(self) -> Path:
        return self.place / "cluster"

    @property
    def exists(self) -> bool:
        return self.path.exists()


def has_cluster(data_dir: Path) -> bool:
    """Whether a database was made there; makes nothing. Raises DataFolderError for another account's folder."""
    folder = DataFolder(data_dir.absolute())
    return ((folder.place() or folder.path) / "cluster").exists()


def locate(folder: DataFolder, major: int | None = None) -> Cluster:
    """Decide where the cluster lies and who runs it, a new one with version `major` if given. Call it with the
    lock held; it blocks.

    Raises DataFolderError when the cluster is another account's, PostgresNotFoundError when nothing runs it.
    """
    place = folder.place() or folder.path
    user = _server_user(folder.path, place / "cluster")
    if user and not (place / "cluster").exists() and not _can_enter(user, place):
        place = _reachable_place(folder)
    binaries = find_binaries(_made_by(place / "cluster") or major)
    if user:
        binaries = usable_by(binaries, user, machine_state_folder())
    return Cluster(folder, place, binaries, user)


async def initialise(cluster: Cluster, lock: OwnerLock, *, durable: bool) -> None:
    """Make the cluster with initdb: whole or not at all, whenever the machine or we are stopped.

    `durable=False` skips the flush to disk. Raises ServerStartError with initdb's own words.
    """
    staging = cluster.place / "cluster.new"
    if staging.exists():
        shutil.rmtree(staging)  # an initdb that was cut short; the lock says that nobody works on it
    staging.mkdir(mode=0o700)
    password_file = staging / "password"
    password_file.touch(mode=0o600)
    password_file.write_text(cluster.folder.make_password())
    _give(cluster.user, staging, password_file)
    await _run_initdb(cluster, lock, staging, durable=durable)
    (staging / "cluster").rename(cluster.path)
    shutil.rmtree(staging)


async def _run_initdb(cluster: Cluster, lock: OwnerLock, staging: Path, *, durable: bool) -> None:
    command = [str(cluster.binaries.initdb), "-D", str(staging / "cluster"), "-U", SUPERUSER, "-E", "UTF8"]
    command += ["--auth=scram-sha-256", f"--pwfile={staging / 'password'}", *_locale(cluster.binaries)]
    command += [] if durable else ["--no-sync"]
    with cluster.folder.open_log() as log:
        child = GuardedProcess.spawn(
            command, user=cluster.user, death_signal=signal.SIGTERM, lock_fd=lock.fd, log=log
        )
    try:
        code = await child.wait()
    finally:
        if not child.ended:
            await child.stop(patience=5)
    if code != 0:
        raise ServerStartError(f"initdb failed (code {code}). Its last words:\n{cluster.folder.log_tail()}")


def _locale(binaries: Binaries) -> list[str]:
    """The same sorting and case rules on every machine: bytes order, Unicode letters."""
    if binaries.major >= BUILTIN_LOCALES_SINCE:
        return ["--locale-provider=builtin", "--locale=C.UTF-8"]
    return ["--no-locale"] if sys.platform == "darwin" else ["--locale=C.UTF-8"]


def listening_port(folder: DataFolder) -> int | None:
    """The port of a server that says in its pid file that it is ready; None while there is no such server.

    Asked before any connection, so that our password is never offered to a stranger on our old port.
    """
    pid_file = (folder.place() or folder.path) / "cluster" / "postmaster.pid"
    try:
        lines = pid_file.read_text().splitlines()
    except FileNotFoundError:
        return None
    ready = len(lines) > PID_FILE_STATUS_LINE and lines[PID_FILE_STATUS_LINE].strip() == "ready"
    return int(lines[PID_FILE_PORT_LINE]) if ready else None


def clear_stale_pid(cluster: Cluster) -> None:
    """Remove the pid file of a server that was killed. Call it with the lock held.

    PostgreSQL itself believes such a file when any process has that id now, which is likely in a container.
    We know that no server of ours lives; one that somebody started by hand raises DataFolderError.
    """
    pid_file = cluster.path / "postmaster.pid"
    if not pid_file.exists():
        return
    pid = int(pid_file.read_text().split("\n", 1)[0])
    if _serves(pid, cluster.path):
        raise DataFolderError(
            f"Process {pid} runs a PostgreSQL on {cluster.path} that Waystation did not start. Mend: stop it."
        )
    pid_file.unlink()


def copy_data_dir(source: Path, target: Path) -> None:
    """Copy the data folder of a stopped server; the copy gets a port and a place of its own.

    Raises DataFolderError while a server runs on `source`.
    """
    lock = OwnerLock(source / "owner.lock")
    try:
        if not lock.acquire():
            raise DataFolderError(f"A server runs on {source}; stop it before the folder is copied.")
        target.mkdir(parents=True)
        shutil.copy2(source / "password", target / "password")
        made, copy = locate(DataFolder(source)), locate(DataFolder(target.absolute()))
        shutil.copytree(made.path, copy.path, symlinks=True)
        _give(made.user, copy.path, *copy.path.rglob("*"))
    finally:
        lock.close()


def remove_data_dir(data_dir: Path) -> None:
    """Delete a stopped server's data folder, and the folder elsewhere that root may have had to use for it.

    Raises DataFolderError while a server runs on it.
    """
    folder = DataFolder(data_dir.absolute())
    lock = OwnerLock(folder.lock)
    try:
        if not lock.acquire():
            raise DataFolderError(f"A server runs on {data_dir}; stop it before the folder is deleted.")
        place = folder.place()
        if place and place.exists():  # a removal that was cut short has taken it already
            shutil.rmtree(place)
        shutil.rmtree(folder.path)
    finally:
        lock.close()


def _serves(pid: int, cluster_path: Path) -> bool:
    """Whether that process is a server on that folder: a postmaster's working folder is its cluster."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cwd").readlink() == cluster_path
        except (FileNotFoundError, PermissionError, ProcessLookupError):  # gone, or another account's
            return False
    shown = subprocess.run(  # noqa: S603 - a number
        ["/bin/ps", "-o", "command=", "-p", str(pid)], check=False, capture_output=True, text=True
    )
    return str(cluster_path) in shown.stdout


def _server_user(data_dir: Path, cluster_path: Path) -> SystemUser | None:
    """The account for the server: None when we are not root; else the data's owner, or a new one."""
    us, made = os.geteuid(), cluster_path.exists()
    owner = (cluster_path if made else data_dir).stat().st_uid
    if us == 0:
        return account_of(owner) if owner else service_account()
    if made and owner != us:
        raise DataFolderError(f"{cluster_path} belongs to account {owner}. Mend: run as that one or as root.")
    return None


def _can_enter(user: SystemUser, folder: Path) -> bool:
    """Ask the kernel, as that user, whether the folder can be passed through."""
    done = subprocess.run(  # noqa: S603 - a fixed test
        ["/bin/sh", "-c", 'test -x "$1"', "sh", str(folder)],
        check=False,
        cwd="/",
        user=user.uid,
        group=user.gid,
        extra_groups=[],
    )
    return done.returncode == 0


def _reachable_place(folder: DataFolder) -> Path:
    """A new folder in the machine's state folder, for a data folder that the account cannot reach.

    Its name is random: a name made from the path would meet an older life's data when a data folder was
    deleted or moved away and another one is made in its place.
    """
    place = machine_state_folder() / f"waystation-{secrets.token_hex(6)}"
    place.mkdir()
    place.chmod(0o711)  # ours, made a line above: may be passed through, not listed
    folder.keep_place(place)
    return place


def _made_by(cluster_path: Path) -> int | None:
    """The major version that made the cluster."""
    version_file = cluster_path / "PG_VERSION"
    return int(version_file.read_text()) if version_file.exists() else None


def _give(user: SystemUser | None, *paths: Path) -> None:
    if user is None:
        return
    for path in paths:
        os.chown(path, user.uid, user.gid, follow_symlinks=False)
