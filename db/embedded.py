"""PostgreSQL for one machine: started, guarded, recovered and stopped by us, with nothing to configure.

One process owns the server of a data folder; others that ask for the same folder use it too, and one of
them takes it over when the owner leaves. The server dies with its owner, and comes back when it dies alone.
The measurements behind the choice are in docs/adr/0002-postgresql-for-one-machine.md.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

import asyncpg

from db.embedded_cluster import (
    SUPERUSER,
    Cluster,
    DataFolder,
    OwnerLock,
    clear_stale_pid,
    copy_data_dir,
    initialise,
    listening_port,
    locate,
    remove_data_dir,
)
from db.embedded_process import GuardedProcess
from db.errors import DataFolderError, EmbeddedDatabaseError, ServerStartError

__all__ = [
    "EmbeddedEvent",
    "EmbeddedPostgres",
    "EventKind",
    "copy_data_dir",
    "embedded_postgres",
    "remove_data_dir",
]

HOST: Final = "127.0.0.1"
GENTLE_SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "max_connections": "100",  # seven processes of ours with 13 each, and a person's psql
        "shared_buffers": "128MB",
        "fsync": "on",
        "listen_addresses": HOST,
        "unix_socket_directories": "",  # TCP only: a socket's path may not be longer than 107 bytes
        "logging_collector": "off",
        "log_min_messages": "log",  # ranks above "error": a refused row's values are not for the log
        "log_line_prefix": "%m [%p] ",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
)
JOIN_SECONDS: Final = 60.0  # the longest wait for another process's server
START_SECONDS: Final = 300.0  # the longest that a start of ours may take, recovery after a crash included
POLL_SECONDS: Final = 0.02  # between two looks at a server that is starting
TAKE_OVER_SECONDS: Final = 0.5  # between two looks whether the owner is still there
STOP_PATIENCE_SECONDS: Final = 10.0
FIRST_BACKOFF_SECONDS: Final = 0.05
LONGEST_BACKOFF_SECONDS: Final = 5.0
STEADY_SECONDS: Final = 30.0  # a server that ran so long was healthy: the next restart is immediate again
PORT_TRIES: Final = 5


class EventKind(StrEnum):
    """What can happen to the server."""

    INITIALISING = "initialising"  # first start: the database is being made
    READY = "ready"  # we own it and it answers
    JOINED = "joined"  # another process owns it and it answers
    LOST = "lost"  # it died without being asked to
    RESTART_FAILED = "restart_failed"  # tried again after a pause
    OWNER_LEFT = "owner_left"  # we take it over now
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class EmbeddedEvent:
    """One thing that happened, for logs and for people; `detail` holds no secret."""

    kind: EventKind
    detail: str = ""


def ignore_event(_event: EmbeddedEvent) -> None:
    """Take an event and do nothing with it."""


class EmbeddedPostgres:
    """The PostgreSQL of one data folder. `start` before use, `stop` at the end; both in the same event loop.

    `data_dir` is created when missing. `settings` are PostgreSQL settings beside or in place of the gentle
    defaults (`{"fsync": "off"}` also makes initdb skip its flush). `major` is the version that a new cluster is
    made with; an existing one keeps its own. `on_event` is called in the event loop and must not wait.
    Start it in the main thread where you can: there the kernel itself ties the server's life to ours (Linux).
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        on_event: Callable[[EmbeddedEvent], None] = ignore_event,
        settings: Mapping[str, str] | None = None,
        major: int | None = None,
    ) -> None:
        self._folder = DataFolder(data_dir.absolute())
        self._major = major
        self._on_event = on_event
        self._settings = {**GENTLE_SETTINGS, **(settings or {})}
        self._lock: OwnerLock | None = None
        self._server: GuardedProcess | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self.owner = False

    @property
    def data_dir(self) -> Path:
        return self._folder.path

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1. Raises EmbeddedDatabaseError before the first start."""
        port = self._folder.port()
        if port is None:
            raise EmbeddedDatabaseError(f"No server was started in {self.data_dir} yet.")
        return port

    @property
    def dsn(self) -> str:
        """The superuser's DSN of the database `postgres`. It holds the password: never log it."""
        return self.dsn_for("postgres")

    def dsn_for(self, database: str) -> str:
        """The superuser's DSN of any database of this server."""
        login = f"{SUPERUSER}:{self._folder.password()}"
        return f"postgresql://{login}@{HOST}:{self.port}/{database}?sslmode=disable"

    @property
    def server_pid(self) -> int | None:
        """The postmaster's process id where we own it."""
        return self._server.pid if self._server and not self._server.ended else None

    async def start(self) -> Self:
        """Bring the server up, or join the one that another process runs, and return when it answers.

        Raises PostgresNotFoundError, DataFolderError or ServerStartError; then nothing is left running.
        """
        if self._lock:
            raise EmbeddedDatabaseError("This EmbeddedPostgres was started already.")
        self._folder.make()
        self._lock = OwnerLock(self._folder.lock)
        try:
            await self._own_or_join(self._lock)
        except BaseException as error:
            await self.stop()
            if isinstance(error, OSError):  # a full disk, no more processes
                raise ServerStartError(f"The embedded PostgreSQL did not start: {error}") from error
            raise
        self._supervisor = asyncio.create_task(self._supervise(self._lock), name="embedded-postgres")
        return self

    async def stop(self) -> None:
        """Shut the server down if we own it (fast: open transactions are rolled back), else just leave it."""
        await self._stop_supervisor()
        if self._server and not self._server.ended:
            await self._server.stop(patience=STOP_PATIENCE_SECONDS)
            self._tell(EventKind.STOPPED)
        if self._lock:
            self._lock.close()
        self._lock, self._server, self.owner = None, None, False

    async def _stop_supervisor(self) -> None:
        if self._supervisor:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):  # that is what we asked for
                await self._supervisor
            self._supervisor = None

    def _tell(self, kind: EventKind, detail: str = "") -> None:
        self._on_event(EmbeddedEvent(kind, detail))

    async def _own_or_join(self, lock: OwnerLock) -> None:
        """Become the owner if the lock is free, else wait for the owner's server; whichever comes first."""
        try:
            async with asyncio.timeout(JOIN_SECONDS):
                while not lock.acquire():
                    if await self._answers():
                        self._tell(EventKind.JOINED, f"port {self.port}")
                        return
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise ServerStartError(
                f"Another process holds {self._folder.lock}, but no server answers."
            ) from None
        await self._launch_owned(lock)

    async def _launch_owned(self, lock: OwnerLock) -> None:
        """First start as the owner: makes the cluster where there is none."""
        self.owner = True
        cluster = await asyncio.to_thread(locate, self._folder, self._major)
        if not cluster.exists:
            self._tell(EventKind.INITIALISING, f"PostgreSQL {cluster.binaries.major}")
            await initialise(cluster, lock, durable=self._settings["fsync"] != "off")
        await self._launch(cluster, lock)
        self._tell(EventKind.READY, f"PostgreSQL {cluster.binaries.major}, port {self.port}")

    async def _launch(self, cluster: Cluster, lock: OwnerLock) -> None:
        """Start the postmaster on its old port, or on another when that is taken; wait until it answers."""
        clear_stale_pid(cluster)
        for _ in range(PORT_TRIES):
            port = _usable_port(self._folder.port())
            self._folder.keep_port(port)
            self._server = self._spawn(cluster, lock, port)
            if await self._comes_up(self._server):
                return
            if not _is_taken(port):
                break
        raise ServerStartError(f"PostgreSQL did not start. Its last words:\n{self._folder.log_tail()}")

    def _spawn(self, cluster: Cluster, lock: OwnerLock, port: int) -> GuardedProcess:
        settings = {**self._settings, "port": str(port)}
        command = [str(cluster.binaries.postgres), "-D", str(cluster.path)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with self._folder.open_log() as log:
            return GuardedProcess.spawn(
                command, user=cluster.user, death_signal=signal.SIGINT, lock_fd=lock.fd, log=log
            )

    async def _comes_up(self, server: GuardedProcess) -> bool:
        """Wait until the server answers (True) or has ended (False); ServerStartError when neither comes."""
        try:
            async with asyncio.timeout(START_SECONDS):
                while not server.ended:
                    if await self._answers():
                        return True
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise ServerStartError(f"PostgreSQL did not answer within {START_SECONDS:.0f} s.") from None
        await server.wait()
        return False

    async def _answers(self) -> bool:
        """Whether our server, which is the one that knows our password, takes connections."""
        if listening_port(self._folder) is None:
            return False
        try:
            connection = await asyncpg.connect(self.dsn, timeout=5)
        except asyncpg.TooManyConnectionsError:
            return True
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False  # its pid file is a dead server's, or it is going down at this moment
        await connection.close()
        return True

    async def _supervise(self, lock: OwnerLock) -> None:
        """Until cancelled: restart the server when it dies, take it over when its owner leaves."""
        while True:
            if self._server is None:
                await self._wait_for_vacancy(lock)
                self.owner = True
                self._tell(EventKind.OWNER_LEFT)
            else:
                code = await self._server.wait()
                self._tell(EventKind.LOST, f"exit code {code}")
            await self._relaunch(lock)

    async def _wait_for_vacancy(self, lock: OwnerLock) -> None:
        while not lock.acquire():  # noqa: ASYNC110 - a file lock of another process has no event to wait for
            await asyncio.sleep(TAKE_OVER_SECONDS)

    async def _relaunch(self, lock: OwnerLock) -> None:
        """Try to start the server again until it answers, with growing pauses."""
        pause = FIRST_BACKOFF_SECONDS
        while True:
            try:
                await self._relaunch_once(lock)
            except (EmbeddedDatabaseError, OSError) as error:
                self._tell(EventKind.RESTART_FAILED, str(error))
            else:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_BACKOFF_SECONDS)

    async def _relaunch_once(self, lock: OwnerLock) -> None:
        cluster = await asyncio.to_thread(locate, self._folder, self._major)
        if not cluster.exists:  # never made anew: that would hide the loss of all data
            raise DataFolderError(f"{cluster.path} has disappeared while its server ran.")
        if self._server and not self._server.ended:
            await self._server.stop(patience=STOP_PATIENCE_SECONDS)
        await self._launch(cluster, lock)
        self._tell(EventKind.READY, f"port {self.port}")


@asynccontextmanager
async def embedded_postgres(
    data_dir: Path,
    *,
    on_event: Callable[[EmbeddedEvent], None] = ignore_event,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[EmbeddedPostgres]:
    """Run the PostgreSQL of `data_dir` while the block runs; arguments and errors: EmbeddedPostgres."""
    server = EmbeddedPostgres(data_dir, on_event=on_event, settings=settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def _usable_port(wanted: int | None) -> int:
    """The wanted port if it is free, else any free one."""
    if wanted is not None and not _is_taken(wanted):
        return wanted
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as PostgreSQL does
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False
