"""Twilio does not repeat a post that failed: of 200 messages a fifth never arrives, and one asking brings them all."""

import asyncio
import base64
import json
import os
import random
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
import pytest

from channels.base import ChannelAccount
from gateway.dev.sandbox import build_sandbox, running_sandbox
from handlers.runtime import Runtime, new_uuid7, utc_now
from tests.acceptance.test_processes import ROOT, running
from tests.factories import OUR_NUMBER, TWILIO_CREDENTIALS, make_account, make_distributor, make_product
from tests.servers import MASTER_KEY

MESSAGES, LOST, CUSTOMERS = 200, 40, 20
WITHIN = 60.0
PHOTO = {"content_type": "image/png", "content_base64": base64.b64encode(b"png").decode()}


async def customers_write(sandbox_url: str, gateway_url: str, account: ChannelAccount) -> None:
    """Each of twenty customers writes ten messages, at one time with the others; one message in ten has a photo."""
    lost = set(random.Random(7).sample(range(MESSAGES), LOST))
    async with aiohttp.ClientSession(sandbox_url) as session:

        async def write(number: int) -> None:
            order = {
                "url": f"{gateway_url}/in/twilio/{account.id}",
                "account_sid": TWILIO_CREDENTIALS["account_sid"],
                "from": f"whatsapp:+1555000{number % CUSTOMERS:04}",
                "to": f"whatsapp:{OUR_NUMBER}",
                "body": f"mensaje {number}: 2 cajas de coca 600",
                "media": [PHOTO] if number % 10 == 0 else [],
                "lost": number in lost,
            }
            async with session.post("/sandbox/inbound", json=order) as answer:
                assert (await answer.json())["status"] == (None if number in lost else 200)

        for start in range(0, MESSAGES, CUSTOMERS):
            await asyncio.gather(*(write(number) for number in range(start, start + CUSTOMERS)))


async def waystation(*arguments: str, **settings: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", *arguments,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **settings},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, error = await process.communicate()
    return process.returncode or 0, out.decode(), error.decode()


async def until_answered(admin: Any) -> None:
    """No turn and no send is left to do."""
    async with asyncio.timeout(WITHIN):
        while await admin.fetchval(  # noqa: ASYNC110 - another process's commit has no event
            "select exists (select from conversations where turn_due_at is not null)"
            " or exists (select from messages where send_due_at is not null)"
        ):
            await asyncio.sleep(0.05)


@pytest.mark.timeout(180)
async def test_one_asking_brings_what_never_arrived(runtime: Runtime, admin_dsn: str, tmp_path: Path):
    now = Runtime(
        runtime.database, runtime.sealer, utc_now, new_uuid7, runtime.random, runtime.webhook_schedule, ""
    )
    tenant = await make_distributor(now)
    account = await make_account(now, tenant)
    await make_product(now, tenant, "COCA-600", "Coca-Cola 600 ml", aliases=["coca 600"])
    credentials = {TWILIO_CREDENTIALS["account_sid"]: TWILIO_CREDENTIALS["auth_token"]}
    sandbox = build_sandbox(credentials, new_id=new_uuid7, clock=utc_now)
    admin = await asyncpg.connect(admin_dsn)
    async with running_sandbox(sandbox) as sandbox_url:
        settings = {
            "WAYSTATION_DATABASE_URL": admin_dsn,
            "WAYSTATION_MASTER_KEYS": base64.b64encode(MASTER_KEY).decode(),
            "WAYSTATION_TWILIO_API_URL": sandbox_url,
            "WAYSTATION_DEBOUNCE_SECONDS": "0",
        }
        async with running(tmp_path, "serve", "--workers", "1", WAYSTATION_PORT="0", **settings) as gateway:
            url = str((await gateway.wait_for("serving"))["public_url"])
            await customers_write(sandbox_url, url, account)
            assert await stored(admin) == MESSAGES - LOST
            await until_answered(admin)

            ask = ("reconcile", "--account", str(account.id), "--since", "1h")
            first = await waystation(*ask, "--json", **settings)
            second = await waystation(*ask, "--distributor", str(tenant), **settings)
            foreign = await waystation(*ask, "--distributor", str(UUID(int=7)), **settings)
            await until_answered(admin)

    assert json.loads(first[1]) == {"seen": MESSAGES, "new": LOST, "duplicate": MESSAGES - LOST}, first
    assert second[1].split() == ["seen", "200", "new", "0", "duplicate", "200"]
    assert (foreign[0], foreign[1]) == (1, "")
    assert "no such channel account" in foreign[2]
    assert await stored(admin) == MESSAGES
    told = await admin.fetch("select text from messages where direction = 'INBOUND'")
    assert {row["text"] for row in told} == {f"mensaje {n}: 2 cajas de coca 600" for n in range(MESSAGES)}
    assert await admin.fetchval("select count(*) from attachments") == MESSAGES // 10
    assert await admin.fetchval("select count(*) from conversations") == CUSTOMERS
    assert await admin.fetchval("select bool_and(ai_processed) from messages")
    assert await admin.fetchval("select count(*) from messages where direction = 'OUTBOUND'") >= CUSTOMERS
    await admin.close()


async def stored(admin: Any) -> int:
    number: int = await admin.fetchval("select count(*) from messages where direction = 'INBOUND'")
    return number


@pytest.mark.parametrize("span", ["", "24", "0h", "1w", "-1h", "h"])
async def test_a_span_that_is_none_is_bad_usage(span: str):
    code, out, error = await waystation("reconcile", "--account", str(UUID(int=7)), "--since", span)

    assert (code, out) == (2, "")
    assert "like 24h" in error


async def test_a_folder_without_a_database_makes_none(tmp_path: Path):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "reconcile", "--account", str(UUID(int=7)), cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, error = await process.communicate()

    assert process.returncode == 1
    assert b"has no database" in error
    assert list(tmp_path.iterdir()) == []
