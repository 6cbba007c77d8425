"""`waystation dev` and `waystation simulate` from outside: what a newcomer types after `make demo`."""

import asyncio
import json
import os
import random
import re
import shlex
import signal
import stat
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from db.embedded import remove_data_dir
from gateway.dev.observing import observe
from gateway.ports import free_port, usable_port

ROOT = Path(__file__).parents[2]
WHATSAPP, SMS, CUSTOMER = "+525555550100", "+12025550100", "+525555550277"
META, MAIL = "+525555550101", "pedidos@laesquina.example"


def quiet_port() -> int:
    """A free port under those that Linux gives to whoever asks for any: dev starts its database before it listens, and
    that, or a connection of another test, could be given the port meanwhile.
    """
    for port in random.sample(range(20_000, 32_000), 100):
        if usable_port(port) == port:
            return port
    return free_port()


class Desk:
    """A folder in which commands are typed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = quiet_port()
        self.shown = ""
        self._dev: asyncio.subprocess.Process | None = None

    async def spawn(self, *arguments: str | bytes, **environment: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *arguments,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "WAYSTATION_DEBOUNCE_SECONDS": "0.5", **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *arguments: str, **environment: str) -> tuple[int | None, str]:
        """A `waystation` command: exit code, and all that it printed."""
        return await self.run_line([sys.executable, "-m", "gateway", *arguments], **environment)

    async def run_line(self, command: Sequence[str | bytes], **environment: str) -> tuple[int | None, str]:
        process = await self.spawn(*command, **environment)
        output, errors = await asyncio.wait_for(process.communicate(), 30)
        return process.returncode, output.decode() + errors.decode()

    async def start_dev(self) -> None:
        self._dev = await self.spawn(sys.executable, "-m", "gateway", "dev", "--port", str(self.port))
        assert self._dev.stdout is not None
        self.shown = ""
        while "/received" not in self.shown:
            line = await asyncio.wait_for(self._dev.stdout.readline(), 30)
            assert line, (await self._dev.communicate())[1].decode()
            self.shown += line.decode()

    async def stop_dev(self) -> None:
        if self._dev:
            self._dev.send_signal(signal.SIGINT)
            await asyncio.wait_for(self._dev.communicate(), 30)
            assert self._dev.returncode == 0
            self._dev = None

    def told(self, name: str) -> str:
        found = re.search(rf"^  {name} +(\S+)", self.shown, re.MULTILINE)
        assert found
        return found[1]

    async def get(self, path: str) -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self.told('api key')}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(self.told("gateway") + path) as answer,
        ):
            assert answer.status == 200
            found: list[dict[str, Any]] = (await answer.json())["data"]
            return found

    async def mail_sent(self) -> dict[str, Any]:
        """The latest mail that SendGrid's stand-in took; empty where there is none."""
        url = f"{self.told('stand-ins')}/sandbox/sendgrid/taken"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            taken = (await answer.json())["taken"]
        return taken[-1]["document"] if taken else {}

    async def wait_for(self, path: str, count: int) -> list[dict[str, Any]]:
        return await observe(
            lambda: self.get(path), lambda found: len(found) >= count, f"{count} of {path}", 15
        )


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    await desk.start_dev()
    yield desk
    await desk.stop_dev()
    remove_data_dir(tmp_path / ".waystation" / "postgres")


@pytest.mark.timeout(150)
async def test_what_dev_prints_can_be_pasted_and_survives_a_restart(desk):
    lines = [line.strip() for line in desk.shown.splitlines() if " simulate " in line]
    assert len(lines) == 5
    for line in (lines[0], *lines[2:]):
        code, printed = await desk.run_line(shlex.split(line))
        assert code == 0, printed
        assert "conversation" in printed
    orders = await desk.wait_for("/v1/orders", 4)
    assert sorted(order["channel"] for order in orders) == ["EMAIL", "SMS", "WHATSAPP", "WHATSAPP"]
    for line in (line.strip() for line in desk.shown.splitlines() if "curl " in line):
        code, printed = await desk.run_line(shlex.split(line))
        assert code == 0
        assert json.loads(printed)
    key = desk.told("api key")
    assert stat.S_IMODE((desk.folder / ".waystation" / "dev.json").stat().st_mode) == 0o600
    await desk.stop_dev()
    await desk.start_dev()
    assert desk.told("api key") == key
    assert len(await desk.get("/v1/orders")) == 4
    assert len(await desk.get("/v1/channel-accounts")) == 4
    assert len(await desk.get("/v1/webhook-endpoints")) == 1


async def test_simulate_says_what_became_of_a_message_and_why_not(desk):
    to_us = ("--to", WHATSAPP, "--from", CUSTOMER)
    (desk.folder / "list.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (desk.folder / "large.bin").write_bytes(bytes(26_214_401))
    code, printed = await desk.run("simulate", "whatsapp", *to_us, "la lista", "--media", "list.png")
    assert code == 0, printed
    conversation = re.search(r"conversation +(\S+)", printed)
    assert conversation
    (message, *_) = reversed(await desk.get(f"/v1/conversations/{conversation[1]}/messages"))
    assert (message["text"], message["type"]) == ("la lista", "IMAGE")
    assert [file["content_type"] for file in message["attachments"]] == ["image/png"]

    for arguments, wanted_code, words in (
        (("email", "--to", "a@example.com", "--from", "b@example.com", "hi"), 1, "There is no EMAIL account"),
        (("sms", "--to", SMS, "--from", CUSTOMER, "--subject", "x", "hi"), 2, "only mails have one"),
        (("sms", "--to", "+12025550188", "--from", CUSTOMER, "hi"), 1, "There is no SMS account"),
        (("whatsapp", "--to", "call me", "--from", CUSTOMER, "hi"), 1, "not a phone number"),
        (("whatsapp", *to_us, "hi", "--media", "absent.png"), 1, "absent.png: No such file"),
        (("email", "--to", MAIL, "--from", "señora@example.com", "hi"), 1, "No mail can be made of this"),
        (
            ("email", "--to", MAIL, "--from", "rosa@example.com", "--media", "large.bin", "hi"),
            1,
            "26,214,400",
        ),
    ):
        code, printed = await desk.run("simulate", *arguments)
        assert (code, words in printed) == (wanted_code, True), printed
        assert "Traceback" not in printed

    await desk.stop_dev()
    # Somebody's own gateway may listen at the default port while the tests run.
    code, printed = await desk.run("simulate", "whatsapp", *to_us, "hi", WAYSTATION_PORT=str(desk.port))
    assert (code, "No gateway answers" in printed) == (1, True), printed


async def test_mails_stay_in_their_thread_and_files_come_along(desk):
    (desk.folder / "orden.pdf").write_bytes(b"%PDF-1.4 order")
    address = ("--to", MAIL, "--from", "rosa@example.com")
    code, printed = await desk.run(
        "simulate", "email", *address, "--subject", "4 cajas de agua 600", "", "--media", "orden.pdf"
    )
    assert code == 0, printed
    await desk.wait_for("/v1/orders", 1)
    conversation = re.search(r"conversation +(\S+)", printed)
    assert conversation
    messages = f"/v1/conversations/{conversation[1]}/messages"
    found = await desk.wait_for(messages, 2)
    assert [file["filename"] for message in found for file in message["attachments"]] == ["orden.pdf"]

    reply = await observe(desk.mail_sent, bool, "a mail at the stand-in of SendGrid", 15)
    own_id = reply["headers"]["Message-ID"]
    code, printed = await desk.run("simulate", "email", *address, "--reply-to", own_id, "sí, confirmo")
    assert (code, conversation[1] in printed) == (0, True), printed

    to_meta = ("--to", META, "--from", CUSTOMER)
    code, printed = await desk.run("simulate", "whatsapp", *to_meta, "la lista", "--media", "orden.pdf")
    assert code == 0, printed
    conversation = re.search(r"conversation +(\S+)", printed)
    assert conversation

    async def states() -> list[str]:
        found = await desk.get(f"/v1/conversations/{conversation[1]}/messages")
        return [file["state"] for message in found for file in message["attachments"]]

    await observe(states, lambda seen: seen == ["STORED"], "the file from Meta's stand-in", 15)


async def test_two_tenants_with_one_address_are_told_apart(desk):
    code, printed = await desk.run("tenants", "create", "--name", "Second", "--json")
    assert code == 0, printed
    second = json.loads(printed.splitlines()[0])
    headers = {"Authorization": f"Bearer {second['api_key']}"}
    body = {
        "channel": "SMS",
        "provider": "twilio",
        "address": SMS,
        "credentials": {"account_sid": "AC" + "ab" * 16, "auth_token": "another-token"},
    }
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(desk.told("gateway") + "/v1/channel-accounts", json=body) as answer,
    ):
        assert answer.status == 201
        account = (await answer.json())["id"]
    arguments = ("simulate", "sms", "--to", SMS, "--from", "+12025550142", "hello")
    code, printed = await desk.run(*arguments, "--distributor", second["distributor_id"])
    assert (code, account in printed) == (0, True), printed
    code, printed = await desk.run(*arguments)
    assert (code, account in printed) == (0, False), printed  # the dev tenant goes first
    (desk.folder / ".waystation" / "dev.json").unlink()
    code, printed = await desk.run(*arguments, WAYSTATION_PORT=str(desk.port))
    assert (code, "--distributor" in printed) == (1, True), printed


async def test_an_argument_of_another_encoding_is_bad_usage(tmp_path):
    command: list[str | bytes] = [
        sys.executable,
        "-m",
        "gateway",
        "simulate",
        "sms",
        "--to",
        SMS,
        "--from",
        CUSTOMER,
        b"ma\xf1ana",
    ]
    code, printed = await Desk(tmp_path).run_line(command)
    assert (code, "this is not UTF-8" in printed) == (2, True), printed
    assert "Traceback" not in printed


async def test_outside_a_gateways_folder_simulate_makes_no_database(tmp_path):
    code, printed = await Desk(tmp_path).run("simulate", "sms", "--to", SMS, "--from", CUSTOMER, "hi")
    assert (code, "no database of a gateway" in printed) == (1, True), printed
    assert list(tmp_path.iterdir()) == []
