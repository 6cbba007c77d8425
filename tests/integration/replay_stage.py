"""A tenant with an endpoint, and the events of its days: for tests of replays and of traces.

Ids are made by the test's clock, as a service's are by the time. What a worker does is told to the rows in so many words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from typing import Any
from uuid import UUID

import asyncpg

from db.events import record_events
from handlers.endpoints import CheckedUrl, EndpointDraft, create_endpoint
from handlers.runtime import Clock, Runtime, new_uuid7
from handlers.webhooks.events import iso_utc
from handlers.webhooks.replay import ReplayRequest, Selection, StartedReplay, run_replays, start_replay
from handlers.webhooks.signing import Signing
from tests.factories import make_distributor
from tests.fakes import START, FakeClock
from tests.integration.api.seeds import Seeds

EVER = START.replace(year=2020)


@dataclass
class ClockIds:
    """UUIDv7 of the clock's time, one after the other."""

    clock: Clock
    numbers: "count[int]" = field(default_factory=lambda: count(new_uuid7().int % 2**30 << 31))

    def __call__(self) -> UUID:
        return id_at(self.clock(), next(self.numbers))


def id_at(moment: datetime, number: int) -> UUID:
    return UUID(int=int(moment.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62 | number)


def by_the_clock(runtime: Runtime) -> Runtime:
    return replace(runtime, new_id=ClockIds(runtime.clock))


@dataclass
class Stage:
    """A tenant and its endpoint."""

    runtime: Runtime
    clock: FakeClock
    tenant: UUID
    endpoint: UUID

    async def event(
        self,
        event_type: str = "order.created",
        data: Mapping[str, Any] | None = None,
        *,
        conversation: UUID | None = None,
        after: float = 1,
    ) -> UUID:
        """Something happens, ``after`` seconds from now."""
        return (await self.events(1, event_type, data, conversation=conversation, after=after))[0]

    async def events(
        self,
        number: int,
        event_type: str = "order.created",
        data: Mapping[str, Any] | None = None,
        *,
        conversation: UUID | None = None,
        after: float = 1,
    ) -> list[UUID]:
        now = self.clock.advance(after)
        ids = [self.runtime.new_id() for _ in range(number)]
        body = {
            "type": event_type,
            "timestamp": now.isoformat(),
            "distributor_id": str(self.tenant),
            "data": data or {},
        }
        rows = [
            {
                "id": str(event_id),
                "distributor_id": str(self.tenant),
                "type": event_type,
                "conversation_id": str(conversation) if conversation else None,
                "occurred_at": iso_utc(now),
                "due_at": iso_utc(now),
                "body": body,
            }
            for event_id in ids
        ]  # fmt: skip
        async with self.runtime.database.tenant(self.tenant) as connection:
            await record_events(connection, rows)
        return ids

    async def work(self, *, succeeds: bool = True, gives_up: bool = True) -> list[UUID]:
        """Whatever is due is posted once, and each conversation's next one let go until none is due; the events."""
        posted: list[UUID] = []
        while batch := await self.work_once(succeeds, gives_up):
            posted += batch
            if not succeeds and not gives_up:
                break
        return posted

    async def work_once(self, succeeds: bool = True, gives_up: bool = True) -> list[UUID]:
        status = "SUCCESS" if succeeds else "EXHAUSTED" if gives_up else "RETRYING"
        async with self.runtime.database.tenant(self.tenant) as connection:
            rows = await connection.fetch(
                "with due as (select event_id from webhook_deliveries where endpoint_id = $1 and due_at <= $2"
                "  order by due_at, event_id for update)"
                " update webhook_deliveries d set status = $3, attempt_count = attempt_count + 1, updated_at = $2,"
                "  due_at = case when $3 = 'RETRYING' then $2 + interval '1 minute' end"
                " from due where d.event_id = due.event_id and d.endpoint_id = $1"
                " returning d.event_id, d.ordering_key, d.sequence",
                self.endpoint, self.clock(), status,
            )  # fmt: skip
            keys = [row["ordering_key"] for row in rows if row["ordering_key"]]
            await connection.execute(
                "select release_heads($1, $2, $3, $4)", self.tenant, self.endpoint, keys, self.clock()
            )
        return sorted(row["event_id"] for row in rows)

    async def replay(
        self,
        only: Selection = Selection.MISSING,
        since: datetime | None = EVER,
        *,
        dry_run: bool = False,
        **more: Any,
    ) -> StartedReplay:
        request = ReplayRequest(only=only, since=since, **more)
        return await start_replay(self.runtime, self.tenant, self.endpoint, request, dry_run=dry_run)

    async def run_all(self) -> int:
        """Workers do batches, and post what is due, until no replay has any left."""
        sent = 0
        while await self.fetch("select 1 from webhook_replays where due_at is not null"):
            self.clock.advance(2)
            await self.work()
            sent += await run_replays(self.runtime)
        await self.work()
        return sent

    async def fetch(self, query: str, *arguments: Any) -> list[dict[str, Any]]:
        async with self.runtime.database.tenant(self.tenant) as connection:
            return [dict(row) for row in await connection.fetch(query, *arguments)]

    async def execute(self, query: str, *arguments: Any) -> None:
        async with self.runtime.database.tenant(self.tenant) as connection:
            await connection.execute(query, *arguments)

    async def deliveries(self) -> dict[UUID, dict[str, Any]]:
        """By event."""
        rows = await self.fetch(
            "select * from webhook_deliveries where endpoint_id = $1 order by event_id", self.endpoint
        )
        return {row["event_id"]: row for row in rows}

    async def statuses(self) -> list[str]:
        """In the order of events."""
        return [row["status"] for row in (await self.deliveries()).values()]

    async def progress(self) -> dict[str, Any]:
        (row,) = await self.fetch("select * from webhook_replays order by id desc limit 1")
        return row


async def open_stage(
    runtime: Runtime,
    clock: FakeClock,
    event_types: Sequence[str] = ("order.*",),
    filter_: Mapping[str, Any] | None = None,
    **columns: Any,
) -> Stage:
    """``columns`` of webhook_endpoints."""
    timed = by_the_clock(runtime)
    tenant = await make_distributor(timed)
    url = CheckedUrl("https://erp.example.test/hook")
    draft = EndpointDraft(
        name="erp",
        url=url,
        event_types=list(event_types),
        filter=filter_,
        headers={},
        auth=None,
        description="",
        transport="push",
        payload="full",
        signing=Signing.HMAC,
        ordering=columns.pop("ordering", "none"),
        rate_limit_per_second=None,
        max_in_flight=10,
        verify=False,
    )
    made = await create_endpoint(timed, tenant, draft)
    stage = Stage(timed, clock, tenant, made.record.id)
    if columns:
        changes = ", ".join(f"{column} = ${place}" for place, column in enumerate(columns, 2))
        await stage.execute(
            f"update webhook_endpoints set {changes} where id = $1", stage.endpoint, *columns.values()
        )
    return stage


async def make_conversations(stage: Stage, admin_dsn: str, number: int) -> list[UUID]:
    """Conversations of the stage's tenant."""
    admin = await asyncpg.connect(admin_dsn)
    seeds = Seeds(admin, stage.runtime, stage.tenant)
    account = await seeds.account()
    made = [await seeds.conversation(account) for _ in range(number)]
    await admin.close()
    return made
