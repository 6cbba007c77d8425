"""Stored posts through today's adapter: what differs is shown, what is missing is stored, nothing is changed."""

import asyncio
import base64
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest

from channels.base import ChannelAccount, ChannelAdapter, InboundItem, InboundMessage, InboundRequest
from channels.errors import GatewayError, MalformedPayload, NotFound, UnknownAccount
from channels.registry import build_adapters
from channels.twilio import TwilioAdapter
from gateway.replaying import as_json, told
from handlers.accepting import accept_item
from handlers.inbound import Posted
from handlers.replaying import Replay, ReplayState, ReplayTools, replay_event
from handlers.runtime import Runtime
from tests.conftest import PUBLIC_URL
from tests.factories import TWILIO_CREDENTIALS, make_account, make_distributor
from tests.servers import MASTER_KEY
from tests.unit.channels.twilio_cases import fixture

ROOT = Path(__file__).parents[2]
CALLBACK = "SM" + "9" * 32


class Desk:
    """A tenant's Twilio account, and posts of it as they were stored."""

    def __init__(self, runtime: Runtime, account: ChannelAccount) -> None:
        self.runtime = runtime
        self.account = account

    async def store(self, name: str, adapter: ChannelAdapter | None = None, **changes: str) -> UUID:
        """A fixture as an older adapter read it; gives the post's id."""
        fields = {**fixture(name), "AccountSid": TWILIO_CREDENTIALS["account_sid"], **changes}
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": "Basic never-stored"}
        request = InboundRequest(
            "POST", f"{PUBLIC_URL}/in/twilio/{self.account.id}", headers, urlencode(fields).encode()
        )
        posted = Posted(self.account, request, self.runtime.clock())
        for item in (adapter or TwilioAdapter()).parse(self.account, request):
            await accept_item(self.runtime, posted, item, 4.0)
        async with self.runtime.database.tenant(self.account.distributor_id) as connection:
            event_id: UUID = await connection.fetchval("select max(id::text)::uuid from inbound_events")
            return event_id

    async def replay(
        self, event_id: UUID, *, dry_run: bool = False, adapter: ChannelAdapter | None = None, **more: Any
    ) -> Replay:
        adapters: Mapping[str, ChannelAdapter] = {"twilio": adapter} if adapter else build_adapters()
        tools = ReplayTools(adapters, lambda _channel: 4.0)
        return await replay_event(self.runtime, tools, event_id, more.get("distributor_id"), dry_run=dry_run)

    async def texts(self) -> list[str]:
        async with self.runtime.database.tenant(self.account.distributor_id) as connection:
            return [row["text"] for row in await connection.fetch("select text from messages order by id")]


@pytest.fixture
async def desk(runtime: Runtime) -> Desk:
    return Desk(runtime, await make_account(runtime, await make_distributor(runtime)))


class Upper(TwilioAdapter):
    """Reads texts otherwise than today's."""

    def parse(self, account: ChannelAccount, request: InboundRequest) -> tuple[InboundItem, ...]:
        return tuple(
            replace(item, text=item.text.upper()) if isinstance(item, InboundMessage) else item
            for item in super().parse(account, request)
        )


class Twice(TwilioAdapter):
    """Finds a second message in each post, as an adapter would that has learnt something."""

    def parse(self, account: ChannelAccount, request: InboundRequest) -> tuple[InboundItem, ...]:
        items = super().parse(account, request)
        second = (
            replace(item, provider_key=f"{item.provider_key}:2", text="el segundo")
            for item in items
            if isinstance(item, InboundMessage)
        )
        return (*items, *second)


class Blind(TwilioAdapter):
    """Cannot read what was read once."""

    def parse(self, account: ChannelAccount, request: InboundRequest) -> tuple[InboundItem, ...]:
        raise MalformedPayload("NumMedia is no number.")


def states(replay: Replay) -> list[str]:
    return [item.state for item in replay.items]


@pytest.mark.parametrize(
    "name", ["whatsapp__text", "whatsapp__image", "whatsapp__location", "whatsapp__contact_card"]
)
async def test_what_reads_as_it_did_is_the_same(desk: Desk, name: str):
    event_id = await desk.store(name)
    before = await desk.texts()

    replay = await desk.replay(event_id)

    assert states(replay) == ["same"]
    assert await desk.texts() == before


async def test_a_status_is_known_by_its_key(desk: Desk):
    await desk.store("whatsapp__text")
    async with desk.runtime.database.tenant(desk.account.distributor_id) as connection:
        await connection.execute(
            "insert into messages (distributor_id, id, conversation_id, channel_account_id, channel, direction, type, status,"
            " status_rank, text, ai_processed, ai_skip_reason, provider_message_id, created_at, updated_at)"
            " select distributor_id, $1, id, channel_account_id, channel, 'OUTBOUND', 'TEXT', 'QUEUED', 1, 'ok', true, 'outbound', $2, now(), now()"
            " from conversations",
            desk.runtime.new_id(),
            CALLBACK,
        )

    replay = await desk.replay(await desk.store("status__sent", MessageSid=CALLBACK, SmsSid=CALLBACK))

    assert [(item.kind, item.state, item.message_id) for item in replay.items] == [("status", "same", None)]


async def test_a_difference_is_shown_field_by_field_and_nothing_is_changed(desk: Desk):
    event_id = await desk.store("whatsapp__text", adapter=Upper(), Body="dos cajas")

    replay = await desk.replay(event_id)

    (item,) = replay.items
    assert item.state is ReplayState.DIFFERENT
    assert [(change.field, change.stored, change.now) for change in item.changes] == [
        ("text", "DOS CAJAS", "dos cajas")
    ]
    assert await desk.texts() == ["DOS CAJAS"]
    assert "  text: 'DOS CAJAS' -> 'dos cajas'" in list(told(replay))


async def test_what_is_missing_is_stored_once_and_not_in_a_dry_run(desk: Desk):
    event_id = await desk.store("whatsapp__text", Body="el primero")

    assert states(await desk.replay(event_id, adapter=Twice(), dry_run=True)) == ["same", "missing"]
    assert await desk.texts() == ["el primero"]

    assert states(await desk.replay(event_id, adapter=Twice())) == ["same", "accepted"]
    assert states(await desk.replay(event_id, adapter=Twice())) == ["same", "same"]
    assert await desk.texts() == ["el primero", "el segundo"]


async def test_it_is_told_without_any_secret(desk: Desk):
    replay = await desk.replay(await desk.store("whatsapp__text"), dry_run=True)
    printed = "\n".join([*told(replay), json.dumps(as_json(replay, dry_run=True))])

    assert TWILIO_CREDENTIALS["auth_token"] not in printed
    assert "never-stored" not in printed
    assert str(replay.event.id) in printed


async def refusal(desk: Desk, event_id: UUID, **more: Any) -> GatewayError:
    with pytest.raises(GatewayError) as refused:
        await desk.replay(event_id, **more)
    return refused.value


async def test_refusals_say_what_is_wrong(desk: Desk):
    event_id, nobody = await desk.store("whatsapp__text"), UUID(int=7)

    unknown = await refusal(desk, nobody)
    foreign = await refusal(desk, event_id, distributor_id=nobody)
    unreadable = await refusal(desk, event_id, adapter=Blind())
    async with desk.runtime.database.tenant(desk.account.distributor_id) as connection:
        await connection.execute("update channel_accounts set deleted_at = now()")
    deleted = await refusal(desk, event_id)

    assert [type(error) for error in (unknown, foreign, unreadable, deleted)] == [
        NotFound,
        NotFound,
        MalformedPayload,
        UnknownAccount,
    ]
    assert str(nobody) in str(unknown)
    assert "of that distributor" in str(foreign)
    assert "NumMedia is no number." in str(unreadable)
    assert str(desk.account.id) in str(deleted)


async def typed(admin_dsn: str, folder: Path, *arguments: str) -> tuple[int | None, str, str]:
    """`waystation replay` as an operator types it: exit code, output, errors."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "replay", *arguments,
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "WAYSTATION_DATABASE_URL": admin_dsn,
            "WAYSTATION_MASTER_KEYS": base64.b64encode(MASTER_KEY).decode(),
            "WAYSTATION_PUBLIC_URL": PUBLIC_URL,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


async def test_the_command_shows_and_stores(desk: Desk, admin_dsn: str, tmp_path: Path):
    event_id = str(await desk.store("whatsapp__text", adapter=Upper(), Body="dos cajas"))
    async with desk.runtime.database.tenant(desk.account.distributor_id) as connection:
        key = await connection.fetchval("select provider_key from inbound_events")

    code, output, _ = await typed(admin_dsn, tmp_path, event_id, "--dry-run")
    assert (code, f"different     message {key}" in output) == (0, True)
    assert "  text: 'DOS CAJAS' -> 'dos cajas'" in output

    code, output, _ = await typed(admin_dsn, tmp_path, event_id, "--json")
    told = json.loads(output)
    assert (code, told["inbound_event_id"], told["dry_run"]) == (0, event_id, False)
    assert [item["state"] for item in told["items"]] == ["different"]

    code, output, errors = await typed(admin_dsn, tmp_path, str(UUID(int=7)))
    assert (code, output) == (1, "")
    assert "There is no stored post 00000000-0000-0000-0000-000000000007." in errors
