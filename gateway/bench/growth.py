"""`waystation bench growth`: what a claim costs beside a million parked retries, and beside a blocked backlog.

Each case is a copy of one database; they take turns, so that whatever slows the machine down slows all of them.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import median
from typing import Any

from channels.egress import EgressResponse
from db.lanes import ClaimTerms
from gateway.bench.conditions import read_conditions
from gateway.bench.events import BODY_BYTES, store_events
from gateway.bench.figures import Goal, median_of, paired_ratio
from gateway.bench.show import Report, StepFailed, Steps
from gateway.bench.stage import Stage, connect_admin
from gateway.bench.statements import STATEMENTS
from gateway.bench.tenants import BenchTenant, EndpointPlan, make_tenants
from gateway.bench.watched import TimedDatabase
from gateway.delivery_claims import DeliveryClaims
from gateway.worker import DELIVERIES_AT_ONCE, DELIVERY_LEASE, DELIVERY_SHARE, POLL_SECONDS
from handlers.deliveries import deliver, settle
from handlers.runtime import Runtime
from handlers.webhooks.delivery_tools import delivery_tools

_CONVERSATIONS = 20
_ORDERED_ENDPOINTS = 5
_PARKED_AT_ONCE = 100_000
_SPARE_EVENTS = 1.1  # the last endpoint's share is not whole
_STATEMENTS_TOLD = {
    "find_endpoints": "find_ms",
    "claim_deliveries": "claim_ms",
    "settle_deliveries": "settle_ms",
}


class Case(StrEnum):
    """What lies in the tables beside the work."""

    EMPTY = "empty"
    PARKED = "parked"  # retries that are due in an hour
    BLOCKED = "blocked"  # of ordered endpoints, behind one that failed


@dataclass(frozen=True, slots=True)
class GrowthPlan:
    """How much lies there, and how much is claimed beside it in each round."""

    parked: int = 1_000_000
    parked_endpoints: int = 2_000
    blocked: int = 20_000
    deliveries: int = 4_000
    rounds: int = 5
    tenants: int = 20
    endpoints: int = 5


class _Answered:
    """Every post is taken at once: what is measured is the database's part."""

    async def post(self, *_: Any, **__: Any) -> EgressResponse:
        """An answer."""
        return EgressResponse(200, {}, b"ok", truncated=False)


@dataclass(frozen=True, slots=True)
class _Filled:
    """A case's database, filled."""

    case: Case
    runtime: Runtime
    tenants: Sequence[BenchTenant]

    async def measure(self, plan: GrowthPlan) -> dict[str, Any]:
        """Stores deliveries, then claims and settles them as a worker does; only those two are timed."""
        events = max(1, plan.deliveries // (plan.tenants * plan.endpoints))
        wanted = 0
        for tenant in self.tenants:
            wanted += await store_events(self.runtime, tenant.id, events)
        timed = TimedDatabase(self.runtime.database)
        claimed, claiming, settling = await _drain(replace(self.runtime, database=timed))
        if claimed != wanted:
            raise StepFailed(f"{self.case}: {claimed} of {wanted} deliveries were claimed")
        times = {
            name: round(median(timed.times[statement]), 2) for statement, name in _STATEMENTS_TOLD.items()
        }
        return {
            "case": str(self.case),
            "claimed_per_second": round(claimed / claiming, 1),
            "done_per_second": round(claimed / (claiming + settling), 1),
            **times,
        }


async def _drain(runtime: Runtime) -> tuple[int, float, float]:
    """How many deliveries there were, and the seconds of claiming and of settling them."""
    claims = DeliveryClaims(runtime, POLL_SECONDS)
    terms = ClaimTerms(batch=DELIVERIES_AT_ONCE, share=DELIVERY_SHARE, lease=DELIVERY_LEASE)
    tools = delivery_tools(runtime, _Answered())
    count, claiming, settling = 0, 0.0, 0.0
    while True:
        began = time.perf_counter()
        rows = await claims.claim(terms)
        claiming += time.perf_counter() - began
        if not rows:
            return count, claiming, settling
        finished = [await deliver(runtime, tools, row) for row in rows]
        began = time.perf_counter()
        await settle(runtime, finished)
        settling += time.perf_counter() - began
        count += len(rows)


async def measure_growth(stage: Stage, steps: Steps, plan: GrowthPlan) -> Report:
    """Measures every case in each round, each time in another order. Raises StepFailed."""
    cases = await _fill(stage, plan, steps)
    rounds: list[dict[str, Any]] = []
    with steps.step("claiming and settling", plan.rounds * len(cases)) as advance:
        for number in range(plan.rounds):
            turned = cases[number % len(cases) :] + cases[: number % len(cases)]
            for case in turned:
                rounds.append({"round": number + 1, **await case.measure(plan)})
                advance(len(rounds))
    return _report(await _conditions(stage, plan), rounds)


async def _fill(stage: Stage, plan: GrowthPlan, steps: Steps) -> list[_Filled]:
    with steps.step("making tenants and endpoints"):
        busy, ordered = await _make_tenants(stage, plan)
        dsns = {
            Case.EMPTY: stage.dsn,
            **{case: await stage.copy_database(case) for case in (Case.PARKED, Case.BLOCKED)},
        }
    runtimes = {case: (await stage.open_services(dsn)).runtime for case, dsn in dsns.items()}
    with steps.step("parking retries", plan.parked) as advance:
        await _park(dsns[Case.PARKED], runtimes[Case.PARKED], plan, advance)
    with steps.step("storing a backlog that is blocked"):
        await _block(dsns[Case.BLOCKED], runtimes[Case.BLOCKED], ordered, plan)
    for dsn in dsns.values():
        await _as_admin(dsn, "settle_down")
    return [_Filled(case, runtimes[case], busy) for case in Case]


async def _make_tenants(stage: Stage, plan: GrowthPlan) -> tuple[list[BenchTenant], BenchTenant]:
    """Those that have work, and the one whose endpoints keep an order. Nobody is connected afterwards."""
    gateway = await stage.start_gateway()
    plans = [
        [EndpointPlan(f"/ok/{tenant}/{number}") for number in range(plan.endpoints)]
        for tenant in range(plan.tenants)
    ]
    in_order = [
        EndpointPlan(f"/ok/ordered/{number}", ordering="conversation") for number in range(_ORDERED_ENDPOINTS)
    ]
    async with stage.services() as services:
        made = await make_tenants(stage, services.runtime, [*plans, in_order])
    await gateway.stop()
    return made[:-1], made[-1]


async def _park(dsn: str, runtime: Runtime, plan: GrowthPlan, advance: Any) -> None:
    await _as_admin(dsn, "clone_endpoints", plan.parked_endpoints)
    for parked in range(0, plan.parked, _PARKED_AT_ONCE):
        number = min(_PARKED_AT_ONCE, plan.parked - parked)
        share = number / (plan.parked_endpoints + plan.tenants * plan.endpoints) + 2
        ids = [runtime.new_id() for _ in range(int(share * (plan.tenants + 1) * _SPARE_EVENTS))]
        await _as_admin(dsn, "park_retries", number, ids)
        advance(parked + number)
    await _as_admin(dsn, "look_at_parked")


async def _block(dsn: str, runtime: Runtime, tenant: BenchTenant, plan: GrowthPlan) -> None:
    await store_events(runtime, tenant.id, plan.blocked // _ORDERED_ENDPOINTS)
    await _as_admin(dsn, "block_backlog", tenant.id, _CONVERSATIONS)
    await _as_admin(dsn, "look_at_parked")


async def _as_admin(dsn: str, statement: str, *values: Any) -> None:
    connection = await connect_admin(dsn)
    try:
        await connection.execute(STATEMENTS[statement], *values, timeout=600)
    finally:
        await connection.close()


async def _conditions(stage: Stage, plan: GrowthPlan) -> dict[str, Any]:
    return await read_conditions(
        stage.admin,
        stage.cores.told,
        tenants=plan.tenants,
        busy_endpoints=plan.tenants * plan.endpoints,
        parked=plan.parked,
        parked_endpoints=plan.parked_endpoints,
        blocked=plan.blocked,
        deliveries_in_a_round=plan.deliveries,
        body_bytes=BODY_BYTES,
        rounds=plan.rounds,
    )


def _report(conditions: Mapping[str, Any], rounds: Sequence[Mapping[str, Any]]) -> Report:
    by_case = {case: [each for each in rounds if each["case"] == case] for case in Case}
    names = ("claimed_per_second", "done_per_second", *_STATEMENTS_TOLD.values())
    rates = {case: [each["claimed_per_second"] for each in runs] for case, runs in by_case.items()}
    ratios = {case: paired_ratio(rates[case], rates[Case.EMPTY]) for case in (Case.PARKED, Case.BLOCKED)}
    figures: dict[str, Any] = {
        **{case: {name: median_of(runs, name) for name in names} for case, runs in by_case.items()},
        **{f"{case}_to_empty": ratio for case, ratio in ratios.items()},
    }
    goals = [Goal(f"claims beside {case} deliveries, to none", ratio, 0.95) for case, ratio in ratios.items()]
    return Report("growth", conditions, figures, goals, rounds)
