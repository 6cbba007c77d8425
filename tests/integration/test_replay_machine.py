"""Replays beside everything else that happens to an endpoint, in any order: a model says what each has to send.

After each step the rows are what the model says: nothing lost, nothing sent twice by one replay, whatever killed the
worker between two statements of a batch.
"""

import asyncio
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from db import webhook_replays
from db.migrate import find_runtime_dsn
from db.sealing import Sealer
from db.tenant import Database, open_database
from handlers.endpoints import disable_endpoint, enable_endpoint, patch_endpoint
from handlers.runtime import RetrySchedule, Runtime, new_uuid7
from handlers.webhooks.replay import Selection, run_replays
from tests.fakes import FakeClock
from tests.integration.replay_stage import EVER, Stage, make_conversations, open_stage
from tests.servers import MASTER_KEY

STEPS = (
    "lock_due",
    "read_room",
    "is_past_horizon",
    "read_page",
    "send_again",
    "release_heads",
    "record_progress",
)
TYPES = ("order.created", "order.updated", "customer.created")
SUBSCRIPTIONS = (["*"], ["order.*"], ["order.created", "customer.created"])
ENDED_IN_VAIN = ("EXHAUSTED", "CANCELLED")


SETTINGS = settings(
    max_examples=12, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)


class Killed(Exception):
    """The worker's process is gone."""


@contextmanager
def killed_after(step: str | None) -> Iterator[None]:
    """Whoever does this step of a batch ends with it; what it did is not committed."""
    if step is None:
        yield
        return
    done = getattr(webhook_replays, step)

    async def die(*arguments: Any) -> Any:
        await done(*arguments)
        raise Killed

    setattr(webhook_replays, step, die)
    try:
        yield
    except Killed:
        pass
    finally:
        setattr(webhook_replays, step, done)


@dataclass
class Known:
    """What the model knows of an event and its delivery (status None: there is none)."""

    type: str
    number: int
    status: str | None = None
    attempts: int = 0

    @property
    def waits(self) -> bool:
        return self.status in {"PENDING", "RETRYING"}


class ReplayMachine(RuleBasedStateMachine):
    """One endpoint, its events, and a worker that may be killed."""

    dsn: str
    ordering: str
    runner: asyncio.Runner
    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.events: dict[UUID, Known] = {}
        self.enabled = True
        self.types = SUBSCRIPTIONS[0]
        self.least = 0
        self.stage, self.talks = self.runner.run(asyncio.wait_for(self.open(), 8))

    async def open(self) -> tuple[Stage, list[UUID | None]]:
        runtime = Runtime(
            database=self.database,
            sealer=Sealer([MASTER_KEY]),
            clock=self.clock,
            new_id=new_uuid7,
            random=random.Random(1),
            webhook_schedule=RetrySchedule((0.0, 5.0)),
            public_url="https://gw.example.test",
        )
        stage = await open_stage(runtime, self.clock, self.types, ordering=self.ordering)
        return stage, [None, *await make_conversations(stage, self.dsn, 2)]

    def teardown(self) -> None:
        self.runner.run(self.send_all_that_is_owed())

    def matches(self, known: Known) -> bool:
        covering = {"*", f"{known.type.partition('.')[0]}.*", known.type}
        return bool(covering & set(self.types)) and known.number >= self.least

    def expected(self, only: Selection) -> list[UUID]:
        """What a replay has to send, the oldest first."""
        return [event for event, known in sorted(self.events.items()) if self.covers(only, known)]

    def covers(self, only: Selection, known: Known) -> bool:
        if only is Selection.FAILED:
            return known.status in ENDED_IN_VAIN and known.attempts > 0
        if not self.matches(known) or known.waits:
            return False
        return only is Selection.ALL or (known.attempts == 0 and known.status in {None, "CANCELLED"})

    def posted(self, status: str) -> None:
        for known in self.events.values():
            if known.waits:
                known.status, known.attempts = status, known.attempts + 1

    def cancelled(self) -> None:
        for known in self.events.values():
            if known.waits:
                known.status = "CANCELLED"

    @rule(
        kind=st.sampled_from(TYPES), number=st.integers(0, 3), count=st.integers(1, 4), talk=st.integers(0, 2)
    )
    def something_happens(self, kind: str, number: int, count: int, talk: int) -> None:
        conversation = self.talks[talk]
        made = self.runner.run(self.stage.events(count, kind, {"n": number}, conversation=conversation))
        for event in made:
            known = Known(kind, number)
            known.status = "PENDING" if self.enabled and self.matches(known) else None
            self.events[event] = known

    @precondition(lambda self: self.enabled)
    @rule(succeeds=st.booleans())
    def a_worker_posts_what_waits(self, succeeds: bool) -> None:
        self.clock.advance(61)
        self.runner.run(self.stage.work(succeeds=succeeds))
        self.posted("SUCCESS" if succeeds else "EXHAUSTED")

    @precondition(lambda self: self.enabled and self.ordering == "none")
    @rule()
    def a_worker_posts_in_vain_and_tries_again_later(self) -> None:
        self.clock.advance(61)
        self.runner.run(self.stage.work(succeeds=False, gives_up=False))
        self.posted("RETRYING")

    @precondition(lambda self: self.enabled)
    @rule()
    def it_is_disabled(self) -> None:
        self.clock.advance(1)
        self.runner.run(disable_endpoint(self.stage.runtime, self.stage.tenant, self.stage.endpoint))
        self.enabled = False
        self.cancelled()

    @precondition(lambda self: not self.enabled)
    @rule()
    def it_is_enabled(self) -> None:
        self.clock.advance(1)
        self.runner.run(enable_endpoint(self.stage.runtime, self.stage.tenant, self.stage.endpoint))
        self.enabled = True

    @rule(types=st.sampled_from(SUBSCRIPTIONS), least=st.integers(0, 3))
    def it_asks_for_something_else(self, types: list[str], least: int) -> None:
        changes: Mapping[str, Any] = {"event_types": types, "filter": {"data.n": {"$gte": least}}}
        self.runner.run(patch_endpoint(self.stage.runtime, self.stage.tenant, self.stage.endpoint, changes))
        self.types, self.least = types, least

    @precondition(lambda self: self.enabled)
    @rule(
        only=st.sampled_from(Selection),
        succeeds=st.booleans(),
        kills=st.lists(st.sampled_from([*STEPS, None]), max_size=6),
        later=st.integers(0, 2),
    )
    def a_replay_runs_to_its_end(
        self, only: Selection, succeeds: bool, kills: list[str | None], later: int
    ) -> None:
        self.runner.run(self.replay_to_the_end(only, succeeds, kills, later))

    async def replay_to_the_end(
        self, only: Selection, succeeds: bool, kills: list[str | None], later: int = 0
    ) -> None:
        self.clock.advance(61)
        owed = self.expected(only)
        for step in [kill for kill in kills if kill in {"send_again", "record_progress"}][:1]:
            with killed_after(step):  # the request that asks for it is cut off: it never was
                await self.stage.replay(only)
        assert (await self.stage.replay(only, dry_run=True)).count.matched == len(owed)
        assert (await self.stage.replay(only)).count.matched == len(owed)
        self.clock.advance(0.001)
        for _ in range(later):
            self.events[await self.stage.event("order.created", {"n": 3})] = Known(
                "order.created", 3, "PENDING"
            )
        for event in owed:
            self.events[event].status = "PENDING"
        rounds = 0
        while await self.stage.fetch("select from webhook_replays where due_at is not null"):
            rounds += 1
            assert rounds < 100, "it does not come to its end"
            await self.stage.work(succeeds=succeeds)
            self.clock.advance(2)
            with killed_after(kills.pop() if kills else None):
                await run_replays(self.stage.runtime)
        await self.stage.work(succeeds=succeeds)
        self.posted("SUCCESS" if succeeds else "EXHAUSTED")
        progress = await self.stage.progress()
        assert (progress["status"], progress["replayed"]) == ("DONE", len(owed))

    @precondition(lambda self: self.enabled)
    @rule(only=st.sampled_from(Selection), batches=st.integers(0, 3))
    def a_replay_is_cut_short_by_disabling(self, only: Selection, batches: int) -> None:
        self.runner.run(self.replay_until_disabled(only, batches))

    async def replay_until_disabled(self, only: Selection, batches: int) -> None:
        self.clock.advance(61)
        owed = self.expected(only)
        started = await self.stage.replay(only)
        self.clock.advance(0.001)
        for _ in range(batches):
            self.clock.advance(2)
            await run_replays(self.stage.runtime)
        (progress,) = await self.stage.fetch("select * from webhook_replays where id = $1", started.replay_id)
        for event in owed[: progress["replayed"]]:
            self.events[event].status = "PENDING"
        await disable_endpoint(self.stage.runtime, self.stage.tenant, self.stage.endpoint)
        self.enabled = False
        self.cancelled()
        assert await self.stage.fetch("select from webhook_replays where due_at is not null") == []

    async def send_all_that_is_owed(self) -> None:
        """At the end, what was missed and what failed is sent, and nothing is left of either."""
        if not self.enabled:
            await enable_endpoint(self.stage.runtime, self.stage.tenant, self.stage.endpoint)
            self.enabled = True
        for only in (Selection.MISSING, Selection.FAILED):
            await self.replay_to_the_end(only, succeeds=True, kills=["record_progress", "send_again"])
            assert (await self.stage.replay(only, EVER, dry_run=True)).count.matched == 0
        await self.compare()
        assert all(known.status == "SUCCESS" for known in self.events.values() if self.matches(known))

    @invariant()
    def the_rows_are_what_the_model_says(self) -> None:
        self.runner.run(self.compare())

    async def compare(self) -> None:
        rows = await self.stage.deliveries()
        stored = {
            event: (row["status"], row["attempt_count"])
            for event, row in rows.items()
            if event in self.events
        }
        known = {
            event: (one.status, one.attempts) for event, one in self.events.items() if one.status is not None
        }
        assert stored == known


@pytest.mark.timeout(300)  # thousands of statements
@pytest.mark.parametrize("ordering", ["none", "conversation"])
def test_replays_hold_whatever_happens_beside_them(
    shared_dsn: str, monkeypatch: pytest.MonkeyPatch, ordering: str
):
    monkeypatch.setattr("handlers.webhooks.replay._BATCH", 3)  # several batches, though there are few events
    monkeypatch.setattr("handlers.webhooks.replay._MOST_LOOKED_AT", 5)

    class Machine(ReplayMachine):
        dsn = shared_dsn

    Machine.ordering = ordering
    with asyncio.Runner() as runner:
        login = runner.run(find_runtime_dsn(shared_dsn, [MASTER_KEY]))
        Machine.runner, Machine.database = runner, runner.run(open_database(login, app=2, worker=2))
        run_state_machine_as_test(Machine, settings=SETTINGS)
        runner.run(Machine.database.close())
