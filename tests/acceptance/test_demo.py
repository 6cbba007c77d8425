"""`waystation demo` from outside: it succeeds, it names what is broken, and it leaves nothing behind."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.dev.observing import observe

STEPS = [
    *("database", "processes", "tenant", "burst", "confirmation", "english_sms"),
    *(
        "email_order",
        "email_thread",
        "meta",
        "retries",
        "forgery",
        "duplicates",
        "opt_out",
        "kill",
        "books",
        "drain",
    ),
]


class Run:
    """One demo in a folder for its temporary files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def start(self, *options: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "gateway", "demo", *options),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(self.folder)},
        )

    async def finish(self, *options: str) -> tuple[int, str, str]:
        process = await self.start(*options)
        output, errors = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode(), errors.decode()

    def processes_left(self) -> list[str]:
        """Command lines of processes that know this run's folder: children by their environment, PostgreSQL by its log."""
        return [line for process in _processes() if (line := _mentions(process, str(self.folder)))]


def _processes() -> list[Path]:
    return [
        entry
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and int(entry.name) != os.getpid()
    ]


def _mentions(process: Path, text: str) -> str:
    try:
        about = (process / "environ").read_bytes() + b"".join(
            bytes(descriptor.readlink()) for descriptor in (process / "fd").iterdir()
        )
        return (
            (process / "cmdline").read_bytes().replace(b"\0", b" ").decode() if text.encode() in about else ""
        )
    except (
        FileNotFoundError,
        PermissionError,
        ProcessLookupError,
    ):  # it left meanwhile, or is another account's
        return ""


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Run]:
    run = Run(tmp_path)
    yield run
    assert list(tmp_path.iterdir()) == []
    if sys.platform == "linux":
        assert run.processes_left() == []


@pytest.mark.timeout(120)
async def test_every_step_is_observed(run):
    code, output, errors = await run.finish("--json")
    report = json.loads(output)
    assert (code, errors) == (0, ""), (report["failure"], report["logs"])
    assert [step["name"] for step in report["steps"]] == STEPS
    assert all(step["ok"] for step in report["steps"])
    assert report["ok"]
    assert report["seconds"] < 90
    stored, sent = report["totals"]["stored"], report["totals"]["sent"]
    assert stored["messages out"] == sum(sent.values()) == 10
    assert (stored["messages in"], stored["orders"], stored["AI turns"]) == (13, 7, 10)
    assert report["totals"]["delivered"]["order.confirmed"] == stored["orders confirmed"] == 3


@pytest.mark.parametrize(
    ("broken", "step", "seen"),
    [
        ("token", "burst", "403"),
        ("receiver", "confirmation", "'refused'"),
        ("migration", "processes", "waystation migrate"),
    ],
)
async def test_what_is_broken_is_named(run, broken, step, seen):
    code, output, _ = await run.finish("--json", "--break", broken)
    report = json.loads(output)
    assert code == report["exit_code"] == 1
    assert report["failure"]["step"] == step == report["steps"][-1]["name"]
    assert [one["ok"] for one in report["steps"]] == [True] * (len(report["steps"]) - 1) + [False]
    assert seen in report["failure"]["seen"]
    assert report["logs"]


async def test_people_read_which_step_failed(run):
    code, output, errors = await run.finish("--break", "migration")
    assert (code, errors) == (1, "")
    assert "The step `processes` failed." in output
    assert "run `waystation migrate`" in output
    assert "\x1b" not in output  # no colours where there is no terminal
    assert "password" not in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_interrupted_it_leaves_nothing_behind(run, number):
    process = await run.start()
    assert process.stdout is not None
    while b"processes" not in await process.stdout.readline():
        assert process.returncode is None
    if sys.platform == "linux":
        assert len(run.processes_left()) >= 3  # so that none afterwards means something
    process.send_signal(number)
    await asyncio.wait_for(process.communicate(), 25)
    assert process.returncode == 130


async def test_killed_it_is_swept_by_the_next_one(run: Run):
    """With the server's data, which root's demo keeps elsewhere where its account cannot reach the folder."""
    process = await run.start()
    assert process.stdout is not None
    while b"processes" not in await process.stdout.readline():
        assert process.returncode is None
    (folder,) = run.folder.iterdir()
    place_file = folder / "postgres" / "place"
    place = Path(place_file.read_text()) if place_file.exists() else folder / "postgres"
    assert (place / "cluster").exists()
    process.kill()
    await process.communicate()
    assert folder.exists()

    async def left() -> list[str]:
        return run.processes_left()

    await observe(left, lambda seen: not seen, "the killed demo's server to end", 20)
    code, _, _ = await run.finish("--json", "--break", "migration")

    assert code == 1
    assert not folder.exists()
    assert not place.exists()
