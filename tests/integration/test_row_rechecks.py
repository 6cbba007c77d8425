"""Rows that change between a statement's snapshot and its lock (PostgreSQL's EvalPlanQual): no statement may then choose
among partitions while it runs, or PostgreSQL 18 crashes (docs/adr/0015-rows-that-changed.md).

The server is one of the module's own: a crash takes all of a server's connections along.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from channels.base import ChannelAccount, MessageStatus, StatusUpdate
from db.embedded import EmbeddedPostgres
from db.lanes import ClaimTerms, claim_sends
from db.named_sql import load_statements
from db.sends import settle_send
from db.tenant import APP_ROLE, WORKER_ROLE
from handlers.inbound import accept_messages, accept_statuses, status_item
from handlers.runtime import Runtime, new_uuid7
from handlers.send_rates import SEND_PACE
from handlers.statuses import settle_statuses
from tests.factories import accepted_item, inbound, make_account, make_distributor, posted
from tests.fakes import FakeClock
from tests.integration.rechecks import Variable, find_endangered, locking_statements
from tests.integration.test_queries import STATEMENTS, WORKER_FILES, WORKER_STATEMENTS, type_name
from tests.seeds import insert_row, tenant_rows
from tests.servers import Servers

MANY = (
    2_000  # so that the planner looks rows up one by one, as it does where there is anything to look through
)
SEVERAL = 8
CUSTOMERS = 200
GATE = 15  # an advisory lock that reading channel accounts waits for
TERMS = ClaimTerms(batch=100, share=100, lease=timedelta(minutes=1))


@pytest.fixture(scope="module")
def postgres(servers: Servers) -> EmbeddedPostgres:
    return servers.apart("rechecks")


@dataclass(frozen=True, slots=True)
class Stage:
    """An account with many outbound messages, and a superuser's connection that gets in between."""

    runtime: Runtime
    account: ChannelAccount
    messages: list[UUID]  # some of those that are due; by turns in one partition and in another
    token: UUID  # under which the first of them is being sent
    other: Any

    @property
    def now(self) -> datetime:
        return self.runtime.clock()

    async def change_behind(self, statement: Awaitable[Any]) -> Any:
        """What a statement gives when all messages that it is about to lock were changed after it began."""
        await self.other.execute("begin")
        await self.other.execute("select pg_advisory_xact_lock($1)", GATE)
        await self.other.execute("update messages set updated_at = now() where send_due_at is not null")
        running = asyncio.ensure_future(statement)
        async with asyncio.timeout(10):
            waiting = "select count(*) from pg_locks where not granted"
            while not await self.other.fetchval(waiting) and not running.done():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert not running.done(), "it waited for nobody"
        await self.other.execute("commit")
        return await running


@pytest.fixture
async def stage(runtime: Runtime, clock: FakeClock, admin_dsn: str) -> AsyncIterator[Stage]:
    tenant = await make_distributor(runtime)
    account = await make_account(runtime, tenant)
    for one in (account, await make_account(runtime, tenant, address="+15550009999")):
        written = (inbound(key=f"SM{n:032}", sender=f"+1555000{n:04}") for n in range(CUSTOMERS))
        await accept_messages(runtime, [accepted_item(runtime, one, message) for message in written])
    other = await asyncpg.connect(admin_dsn)
    token = runtime.new_id()
    ids = [_in_partition(n % 2, runtime.new_id()) for n in range(MANY)]
    await other.execute(
        "set role waystation_owner; select make_partitions_at(now() + 2 * $$31 days$$::interval); reset role"
    )
    await other.execute(
        "insert into messages (distributor_id, id, conversation_id, channel_account_id, channel, direction, type, status,"
        " status_rank, text, ai_processed, ai_skip_reason, send_due_at, created_at, updated_at)"
        " select distributor_id, i.id, c.id, channel_account_id, channel, 'OUTBOUND', 'TEXT', 'QUEUED', 1, 'x', true,"
        " 'outbound', $2, $2, $2"
        " from (select *, row_number() over (order by id) as n from conversations) c"
        " join unnest($1::uuid[]) with ordinality as i(id, n) on mod((i.n - 1) / 2, $3) + 1 = c.n",
        ids,
        clock(),
        2 * CUSTOMERS,
    )
    messages = ids[-SEVERAL:]
    await other.execute("update messages set send_lease_token = $2 where id = $1", messages[0], token)
    # Reading accounts is what claims do before they lock anything.
    await other.execute(
        f"create policy gate on channel_accounts as restrictive for select to waystation_worker"
        f" using (pg_advisory_xact_lock_shared({GATE}) is not null)"
    )
    await other.execute("analyze")
    yield Stage(runtime, account, messages, token, other)
    await other.close()


def _in_partition(number: int, made: UUID) -> UUID:
    """An id of now, or of 45 days from now: so of another month."""
    return UUID(int=made.int + (number * 45 * 86_400_000 << 80))


def _statuses(stage: Stage) -> list[Any]:
    post = posted(stage.runtime, stage.account)
    words = [
        StatusUpdate(f"SM{n}", MessageStatus.DELIVERED, message_id=m) for n, m in enumerate(stage.messages)
    ]
    return [status_item(stage.runtime, post, word) for word in words]


async def _settle(runtime: Runtime, items: list[Any]) -> Any:
    async with runtime.database.worker() as connection:
        return await settle_statuses(connection, items)


@pytest.mark.parametrize("tell", [accept_statuses, _settle], ids=["at-once", "locked-before"])
async def test_statuses_of_messages_that_changed(
    stage: Stage, tell: Callable[[Runtime, list[Any]], Awaitable[Any]]
):
    told = await stage.change_behind(tell(stage.runtime, _statuses(stage)))

    assert [answer.applied for answer in told] == [True] * SEVERAL


async def test_claims_of_messages_that_changed(stage: Stage):
    async def claim() -> Any:
        async with stage.runtime.database.queue_statements() as connection:
            return await claim_sends(connection, TERMS, stage.now, stage.runtime.new_id(), SEND_PACE)

    claimed = await stage.change_behind(claim())

    accounts = await stage.other.fetchval(
        "select count(distinct channel_account_id) from messages where id = any($1) and send_lease_until is not null",
        [send.message_id for send in claimed],
    )
    assert accounts == 2


async def test_a_settlement_of_a_message_that_changed(stage: Stage):
    async def settle() -> Any:
        async with stage.runtime.database.tenant(stage.account.distributor_id) as connection:
            return await settle_send(
                connection, stage.messages[0], stage.token, status="SENT", rank=3, provider_message_id="SM0",
                error_code=None, sent_at=stage.now, due_at=None, now=stage.now,
            )  # fmt: skip

    settled = await stage.change_behind(settle())

    assert settled is not None
    assert settled.first_sent


# What may choose among partitions all the same, and why.
NAMED = {
    (
        "accept",
        "accept_consents",
    ): "what a mail's word is looked up by is read whole, to be sorted, before a contact is locked",
    ("statuses", "learn_opt_outs"): "the refusals are read whole, to be sorted, before a contact is locked",
    (
        "redelivery",
        "lock_delivery",
    ): "one row of an endpoint whose state is locked, so that nobody else changes it",
}
IN_FUNCTIONS = {
    "claim_deliveries": "whoever changes a delivery holds its endpoint's state, which an earlier statement has locked",
}
# What functions declare.
DECLARED = {
    "claim_deliveries": (
        Variable("locked.tenants", "uuid[]"),
        Variable("locked.endpoints", "uuid[]"),
        Variable("locked.rooms", "int[]"),
        Variable("locked.tenant_count", "bigint"),
    ),
    "lock_messages": (Variable("place", "int"),),
    **{
        name: (Variable("tenant", "uuid"),)
        for name in ("set_user_role", "refresh_usage", "refresh_ai_usage", "record_denials")
    },
}


@pytest.fixture
async def planner(catalogue: Any) -> Any:
    """A superuser's connection to a database with some partitions, and statistics of much in one of each."""
    await catalogue.execute("set role waystation_owner")
    await catalogue.execute("select make_partitions_at(now() + interval '40 days')")
    await catalogue.execute("reset role")
    tenant = new_uuid7()
    for table, row in tenant_rows(tenant).items():
        await insert_row(catalogue, table, row)
    await catalogue.execute(
        "update pg_class set relpages = 1, reltuples = 1000000 where relnamespace = 'public'::regnamespace and relkind = 'r'"
        " and pg_relation_size(oid) > 0"
    )
    return catalogue


async def test_no_named_statement_locks_rows_and_chooses_among_partitions(planner: Any):
    found = set()
    for source, name in STATEMENTS:
        worker = source in WORKER_FILES or (source, name) in WORKER_STATEMENTS
        await planner.execute(f"set local role {WORKER_ROLE if worker else APP_ROLE}")
        statement = load_statements(source)[name]
        types = [type_name(parameter) for parameter in (await planner.prepare(statement)).get_parameters()]
        if await find_endangered(planner, statement, types):
            found.add((source, name))

    assert found == set(NAMED)


async def test_no_function_of_the_schema_does(planner: Any):
    functions = await planner.fetch(
        # The arguments that are given; of what comes back the names are others' columns' too.
        "select p.proname as name, p.prosrc as source, array("
        "  select row(p.proargnames[a.n], format_type(a.type, null)) from unnest(p.proargtypes) with ordinality a(type, n)"
        " ) as arguments"
        " from pg_proc p where p.pronamespace = 'public'::regnamespace and p.proname <> 'protect_tenant_table'"  # makes policies
        " and p.prosrc ~* 'for\\s+(no\\s+key\\s+)?(update|share)'"
    )
    found, read = set(), set()
    for function in functions:
        name = function["name"]
        variables = [Variable(*argument) for argument in function["arguments"]] + list(DECLARED.get(name, ()))
        for statement, types in locking_statements(function["source"], variables):
            read.add(name)
            if await find_endangered(planner, statement, types):
                found.add(name)

    assert found == set(IN_FUNCTIONS)
    assert read == {function["name"] for function in functions}
