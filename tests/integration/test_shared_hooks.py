"""One post of a provider with several accounts' messages, and providers that ask by GET before they post."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from channels.base import Acknowledgement, Channel, ChannelAccount, InboundItem, InboundRequest
from channels.errors import VerificationFailed
from channels.hello import SIGNATURE, HelloAdapter, hello_signature
from db.accounts import seal_context
from gateway.accounts import AccountDirectory
from handlers.accounts import create_account, patch_account
from handlers.runtime import Runtime
from tests.factories import CUSTOMER_NUMBER, make_distributor
from tests.gateways import serving

OURS, THEIRS = "+15550002222", "+15550003333"


class BatchAdapter(HelloAdapter):
    """As hello, but a post holds many events, each with the number that it is of; asks by GET first."""

    name = "batch"

    def route_of(self, credentials: Mapping[str, Any]) -> str:
        return str(credentials["api_key"])

    def only(self, request: InboundRequest, route: str) -> InboundRequest:
        events = [event for event in json.loads(request.body) if event["route"] == route]
        return replace(request, body=json.dumps(events).encode())

    def parse(self, account: ChannelAccount, request: InboundRequest) -> tuple[InboundItem, ...]:
        events = json.loads(request.body)
        return tuple(
            replace(item, route=event["route"])
            for event in events
            for item in super(BatchAdapter, self).parse(
                account, replace(request, body=json.dumps(event).encode())
            )
        )

    def answer_challenge(self, account: ChannelAccount, request: InboundRequest) -> Acknowledgement:
        if not request.url.endswith(f"?verify={account.credentials['api_key']}"):
            raise VerificationFailed
        return Acknowledgement(200, "text/plain", b"1158201444")


class Stage:
    """A gateway with that adapter."""

    def __init__(self, client: TestClient[Any, Any], runtime: Runtime, adapter: BatchAdapter) -> None:
        self.client = client
        self.runtime = runtime
        self.adapters = {"batch": adapter}

    async def account(self, secret: str, route: str, address: str = OURS) -> ChannelAccount:
        """Of a tenant of its own."""
        tenant = await make_distributor(self.runtime)
        record = await create_account(
            self.runtime, self.adapters, tenant, channel=Channel.SMS, provider="batch", address=address,
            credentials={"secrets": [secret], "api_key": route}, settings={},
        )  # fmt: skip
        account = await AccountDirectory(self.runtime).read(record.id)
        assert account
        return account

    async def post(self, account: ChannelAccount, secret: str, *routes: str) -> int:
        """One message for each route, its text the route's name."""
        events = [
            {"type": "message", "id": f"m-{number}-{route}", "from": CUSTOMER_NUMBER, "text": route, "route": route}
            for number, route in enumerate(routes)
        ]  # fmt: skip
        body = json.dumps(events).encode()
        headers = {SIGNATURE: hello_signature(secret, body)}
        async with self.client.post(f"/in/batch/{account.id}", data=body, headers=headers) as answer:
            return answer.status

    async def texts(self, account: ChannelAccount) -> list[str]:
        """All that row-level security shows to the account's tenant."""
        async with self.runtime.database.tenant(account.distributor_id) as connection:
            rows = await connection.fetch("select channel_account_id, text from messages order by text")
        assert {row["channel_account_id"] for row in rows} <= {account.id}
        return [row["text"] for row in rows]

    async def unrouted(self) -> float:
        async with self.client.get("/metrics") as answer:
            lines = (await answer.text()).splitlines()
        name = 'waystation_unrouted_items_total{provider="batch"}'
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@pytest.fixture
async def stage(runtime: Runtime, tmp_path: Path) -> AsyncIterator[Stage]:
    adapter = BatchAdapter("https://batch.example.test")
    async with serving(runtime, tmp_path, {"batch": adapter}) as client:
        yield Stage(client, runtime, adapter)


async def test_two_tenants_in_one_post_get_only_theirs(stage: Stage):
    one, other = await stage.account("shared", "r1"), await stage.account("shared", "r2", THEIRS)

    assert await stage.post(one, "shared", "r1", "r2", "r1") == 200

    assert await stage.texts(one) == ["r1", "r1"]
    assert await stage.texts(other) == ["r2"]
    for account in (one, other):
        async with stage.runtime.database.tenant(account.distributor_id) as connection:
            owners = await connection.fetch(
                "select distinct distributor_id, channel_account_id, body from inbound_events"
            )
        assert {tuple(row[:2]) for row in owners} == {(account.distributor_id, account.id)}
        foreign = b"r2" if account is one else b"r1"
        assert not [row for row in owners if foreign in row["body"]], "a tenant keeps another's words"


async def test_what_is_of_nobody_is_kept_by_nobody(stage: Stage):
    account = await stage.account("shared", "r1")

    assert await stage.post(account, "shared", "r1", "r9") == 200

    async with stage.runtime.database.tenant(account.distributor_id) as connection:
        bodies = [row["body"] for row in await connection.fetch("select body from inbound_events")]
    assert len(bodies) == 1
    assert b"r9" not in bodies[0]


async def test_a_secret_of_ones_own_proves_nothing_for_another_tenants_number(stage: Stage):
    """A tenant chooses its secret: its signature over a post about somebody else's number is worth nothing."""
    attacker, victim = await stage.account("mine", "r1"), await stage.account("theirs", "r2", THEIRS)
    before = await stage.unrouted()

    assert await stage.post(attacker, "mine", "r1", "r2") == 200

    assert await stage.texts(attacker) == ["r1"]
    assert await stage.texts(victim) == []
    assert await stage.unrouted() == before + 1


async def test_a_hundred_accounts_that_name_anothers_number_do_not_hide_it(stage: Stage):
    squatter = await stage.account("squatters", "r2")
    new_id = stage.runtime.new_id
    async with stage.runtime.database.tenant(squatter.distributor_id) as connection:
        for number in range(100):
            account_id = new_id()
            sealed = stage.runtime.sealer.seal_json(
                dict(squatter.credentials), seal_context(squatter.distributor_id, account_id)
            )
            await connection.execute(
                "insert into channel_accounts (distributor_id, id, channel, provider, address, route, credentials_sealed,"
                " created_at, updated_at) values ($1, $2, 'SMS', 'batch', $3, 'r2', $4, $5, $5)",
                squatter.distributor_id,
                account_id,
                f"+1555{number:07}",
                sealed,
                stage.runtime.clock(),
            )
    one, other = await stage.account("shared", "r1"), await stage.account("shared", "r2", THEIRS)

    assert await stage.post(one, "shared", "r1", "r2") == 200

    assert await stage.texts(other) == ["r2"]


async def test_a_name_of_ones_own_choice_gets_nothing_of_another_tenants(stage: Stage):
    """A tenant names its number, too: without the secret it is given nothing, and keeps nothing from its owner."""
    squatter, owner = await stage.account("mine", "r2"), await stage.account("shared", "r2", THEIRS)
    sender = await stage.account("shared", "r1")

    assert await stage.post(sender, "shared", "r2") == 200

    assert await stage.texts(squatter) == []
    assert await stage.texts(owner) == ["r2"]


async def test_the_urls_account_wins_if_it_holds_the_number(stage: Stage):
    older, newer = await stage.account("shared", "r1"), await stage.account("shared", "r1", THEIRS)

    assert await stage.post(newer, "shared", "r1") == 200

    assert await stage.texts(older) == []
    assert await stage.texts(newer) == ["r1"]


async def test_what_is_nobodys_is_counted_and_stored_for_nobody(stage: Stage):
    account = await stage.account("shared", "r1")
    before = await stage.unrouted()

    assert await stage.post(account, "shared", "r8", "r9") == 200

    assert await stage.texts(account) == []
    assert await stage.unrouted() == before + 2


async def test_a_deleted_account_gets_nothing(stage: Stage):
    sender, gone = await stage.account("shared", "r1"), await stage.account("shared", "r2", THEIRS)
    async with stage.runtime.database.tenant(gone.distributor_id) as connection:
        await connection.execute("update channel_accounts set deleted_at = now()")

    assert await stage.post(sender, "shared", "r2") == 200

    assert await stage.texts(gone) == []


async def test_the_route_follows_the_credentials(stage: Stage):
    sender, mover = await stage.account("shared", "r1"), await stage.account("shared", "r2", THEIRS)
    changes = {"credentials": {"secrets": ["shared"], "api_key": "r3"}}
    await patch_account(stage.runtime, stage.adapters, mover.distributor_id, mover.id, changes)

    assert await stage.post(sender, "shared", "r2", "r3") == 200
    assert await stage.texts(mover) == ["r3"]

    await patch_account(stage.runtime, stage.adapters, mover.distributor_id, mover.id, {"settings": {}})
    assert await stage.post(sender, "shared", "r3") == 200
    assert await stage.texts(mover) == ["r3", "r3"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [("?verify=r1", (200, "1158201444")), ("?verify=r2", (403, "Forbidden.")), ("", (403, "Forbidden."))],
)
async def test_a_provider_that_asks_first_is_answered_by_its_rule(
    stage: Stage, query: str, expected: tuple[int, str]
):
    account = await stage.account("shared", "r1")

    async with stage.client.get(f"/in/batch/{account.id}{query}") as answer:
        assert (answer.status, await answer.text()) == expected
