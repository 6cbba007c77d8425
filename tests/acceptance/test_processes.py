"""The long-running commands as an operator runs them: they start, answer, drain on a signal and leave nothing behind."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from db.embedded import remove_data_dir
from db.errors import DataFolderError
from db.migrate import read_migrations

ROOT = Path(__file__).parents[2]
STARTS_WITHIN = 30.0


class Running:
    """A command in a folder of its own, and the JSON lines it logs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, object]] = []

    async def wait_for(self, event: str) -> dict[str, object]:
        assert self.process.stderr is not None
        async with asyncio.timeout(STARTS_WITHIN):
            while True:
                line = await self.process.stderr.readline()
                assert line, f"the command ended before it said {event!r}: {self.lines}"
                self.lines.append(json.loads(line))
                if self.lines[-1]["event"] == event:
                    return self.lines[-1]

    async def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        async with asyncio.timeout(STARTS_WITHIN):
            _, rest = await self.process.communicate()
        self.lines += [json.loads(line) for line in rest.splitlines()]
        assert self.process.returncode is not None
        return self.process.returncode


@asynccontextmanager
async def running(folder: Path, *arguments: str, **settings: str) -> AsyncIterator[Running]:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "WAYSTATION_LOG_FORMAT": "json",
        **settings,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", *arguments, cwd=folder, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()  # reads to the end, so that both pipes are closed


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Path]:
    """Where the commands run. Removing the database afterwards is refused as long as any server of it lives."""
    yield tmp_path
    database = tmp_path / ".waystation" / "postgres"
    async with asyncio.timeout(STARTS_WITHIN):
        while database.exists():
            # A server that heard of its parent's death may still be writing its checkpoint.
            with contextlib.suppress(DataFolderError):
                remove_data_dir(database)
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_serve_and_work_share_the_embedded_database_and_drain(folder: Path, number: signal.Signals):
    async with (
        running(folder, "serve", "--workers", "1", WAYSTATION_PORT="0") as gateway,
        aiohttp.ClientSession() as session,
    ):
        serving = await gateway.wait_for("serving")
        port = serving["port"]
        assert serving["public_url"] == f"http://127.0.0.1:{port}"
        async with running(folder, "work") as worker:
            await worker.wait_for("working")
            async with session.get(f"http://127.0.0.1:{port}/ready") as answer:
                assert answer.status == 200
            assert await worker.stop(number) == 0
        async with session.get(f"http://127.0.0.1:{port}/ready") as answer:
            assert answer.status == 200
        assert await gateway.stop(number) == 0
    assert [line["event"] for line in gateway.lines if line["event"] in {"serving", "draining"}] == [
        "serving",
        "draining",
    ]


async def test_a_taken_port_is_one_clear_line(folder: Path):
    async with running(folder, "serve", WAYSTATION_PORT="0") as first:
        port = (await first.wait_for("serving"))["port"]
        async with running(folder, "serve", WAYSTATION_PORT=str(port)) as second:
            _, error = await second.process.communicate()
            assert second.process.returncode == 1
        assert b"cannot listen on 127.0.0.1" in error
        assert b"Traceback" not in error
        await first.stop(signal.SIGTERM)


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (["serve"], {"WAYSTATION_PROT": "1"}, b"WAYSTATION_PROT is not a setting"),
        (
            ["work"],
            {"WAYSTATION_DATABASE_URL": "postgresql://x@127.0.0.1:9/x"},
            b"WAYSTATION_MASTER_KEYS is needed",
        ),
        (
            ["work"],
            {
                "WAYSTATION_DATABASE_URL": "postgresql://x@127.0.0.1:9/x",
                "WAYSTATION_MASTER_KEYS": "A" * 43 + "=",
            },
            b"The database at 127.0.0.1:9 cannot be reached: the connection was refused",
        ),
        (["work"], {"WAYSTATION_AI_ENGINE": "openai"}, b"OPENAI_API_KEY is needed"),
        (["work"], {"WAYSTATION_PORT": "0"}, b"WAYSTATION_PUBLIC_URL is needed"),
        (
            ["serve"],
            {"WAYSTATION_PORT": "0", "WAYSTATION_HOST": "203.0.113.1"},
            b"cannot listen on 203.0.113.1",
        ),
        (["tenants", "create", "--name", " "], {}, b"A tenant needs a name"),
        (["tenants", "create", "--name", "A", "--currency", "PESO"], {}, b"The currency must be"),
        (["extract", "--catalogue", "no.json", "--messages", "no.jsonl", "--out", "o"], {}, b"no.json"),
    ],
    ids=[
        "unknown-setting",
        "no-keys",
        "database-away",
        "no-openai-key",
        "no-port",
        "not-our-host",
        "no-name",
        "no-currency",
        "no-catalogue",
    ],
)
async def test_what_an_operator_can_mend_is_one_line(
    folder: Path, arguments: list[str], settings: dict[str, str], message: bytes
):
    async with running(folder, *arguments, **settings) as command:
        _, error = await command.process.communicate()

    assert command.process.returncode == 1
    assert message in error
    assert b"Traceback" not in error


async def test_workers_end_when_their_parent_is_killed(folder: Path):
    """Two children of `serve --workers 2`; the parent gets SIGKILL, and removing the database later finds it free."""
    async with running(folder, "serve", "--workers", "2", WAYSTATION_PORT="0") as gateway:
        await gateway.wait_for("serving")
        for _ in range(2):
            await gateway.wait_for("working")
        gateway.process.kill()
        assert gateway.process.stderr is not None
        async with asyncio.timeout(STARTS_WITHIN):
            rest = await gateway.process.stderr.read()  # ends when the last process that holds it has ended

    assert rest.count(b'"draining"') == 2


async def test_keys_that_open_nothing_are_told_at_the_start(folder: Path):
    right, wrong = "A" * 43 + "=", "B" * 42 + "A="
    async with running(folder, "serve", WAYSTATION_PORT="0", WAYSTATION_MASTER_KEYS=right) as gateway:
        port = (await gateway.wait_for("serving"))["port"]
        async with running(
            folder, "tenants", "create", "--name", "A", "--json", WAYSTATION_MASTER_KEYS=right
        ) as create:
            created = json.loads((await create.process.communicate())[0])
        account = {
            "channel": "SMS", "provider": "twilio", "address": "+15550002222",
            "credentials": {"account_sid": "AC" + "1" * 32, "auth_token": "tok_12345"},
        }  # fmt: skip
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {created['api_key']}"}) as session,
            session.post(f"http://127.0.0.1:{port}/v1/channel-accounts", json=account) as answer,
        ):
            assert answer.status == 201
        await gateway.stop(signal.SIGTERM)
    async with running(folder, "serve", WAYSTATION_PORT="0", WAYSTATION_MASTER_KEYS=wrong) as gateway:
        _, error = await gateway.process.communicate()

    assert gateway.process.returncode == 1
    assert b"WAYSTATION_MASTER_KEYS does not open" in error

    output, errors = await once(folder, "migrate")  # with the folder's own key, which is made for it
    assert b".waystation/master.key is missing" in errors
    assert not (folder / ".waystation" / "master.key").exists()

    output, _ = await once(folder, "migrate", WAYSTATION_MASTER_KEYS=f"{wrong},{right}")
    assert b"seals 1 value; keep it, and run `waystation keys rotate`" in output
    output, _ = await once(folder, "keys", "rotate", WAYSTATION_MASTER_KEYS=f"{wrong},{right}")
    assert b"Sealed 1 values with the first key." in output
    assert b"seals nothing; it may go" in output
    output, _ = await once(folder, "migrate", WAYSTATION_MASTER_KEYS=wrong)
    assert b"the login of a key that is no longer listed, was dropped" in output
    _, errors = await once(folder, "migrate", "--json", WAYSTATION_MASTER_KEYS=right)
    assert b"WAYSTATION_MASTER_KEYS does not open" in errors


@pytest.mark.parametrize(
    ("arguments", "code"), [(["migrate", "--dry-run", "--json"], 0), (["keys", "rotate"], 1)], ids=str
)
async def test_a_look_makes_no_database(folder: Path, arguments: list[str], code: int):
    async with running(folder, *arguments) as command:
        output, errors = await command.process.communicate()

    assert command.process.returncode == code
    assert list(folder.iterdir()) == []
    assert b"Traceback" not in errors
    if code == 0:
        assert len(json.loads(output)["applied"]) == len(read_migrations())


async def once(folder: Path, *arguments: str, **settings: str) -> tuple[bytes, bytes]:
    async with running(folder, *arguments, **settings) as command:
        output, errors = await command.process.communicate()
    assert b"Traceback" not in errors
    return output, errors
