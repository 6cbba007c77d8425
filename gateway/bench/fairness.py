"""`waystation bench fairness`: what healthy tenants notice of one whose receiver takes posts and never answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import time
from typing import Any

from db.events import record_events
from gateway.bench.conditions import read_conditions
from gateway.bench.events import BODY_BYTES, make_event, public_id, store_events
from gateway.bench.figures import Goal, median_of, paired_ratio, spread
from gateway.bench.open_loop import Load, keep_up
from gateway.bench.show import Advance, Report, StepFailed, Steps
from gateway.bench.sink import HANG
from gateway.bench.stage import Stage
from gateway.bench.tenants import BenchTenant, EndpointPlan, make_tenants, paths_of
from gateway.services import Services

_ARRIVES_WITHIN = 60.0
_SOLO, _TOGETHER = "solo", "together"


@dataclass(frozen=True, slots=True)
class FairnessPlan:
    """The healthy tenants' events, and what waits for the receiver that hangs."""

    load: Load
    healthy: int = 50
    hanging: int = 5_000
    hanging_endpoints: int = 1
    rounds: int = 3


class _Healthy:
    """Tells of events of the healthy tenants in turn, and remembers when each was committed."""

    def __init__(self, services: Services, tenants: Sequence[BenchTenant]) -> None:
        self._services = services
        self._tenants = tenants
        self.committed: dict[str, float] = {}

    async def tell(self, number: int) -> None:
        """One event, committed, and the workers woken as after any commit."""
        tenant = self._tenants[number % len(self._tenants)]
        row = make_event(self._services.runtime, tenant.id, self._services.runtime.clock())
        async with self._services.runtime.database.tenant(tenant.id) as connection:
            await record_events(connection, [row])
        self.committed[public_id(row)] = time()
        self._services.notifier.poke()


class _Bench:
    def __init__(self, stage: Stage, services: Services, tenants: Sequence[BenchTenant]) -> None:
        self._stage = stage
        self._services = services
        self._healthy, self._hole = tenants[:-1], tenants[-1]

    async def measure(self, case: str, plan: FairnessPlan, advance: Advance) -> dict[str, Any]:
        """The healthy tenants' latencies, of a worker that begins anew."""
        await self._stage.forget_events()
        await self._stage.sink.reset()
        if case == _TOGETHER:
            events = plan.hanging // len(self._hole.endpoints)
            await store_events(self._services.runtime, self._hole.id, events)
        worker = await self._stage.start(f"work-{case}", "work")
        await self._warm_up(plan)
        held = await self._stage.sink.held()
        if (held > 0) is not (case == _TOGETHER):
            raise StepFailed(f"{held} posts hang")
        latencies = await self._latencies(plan, advance)
        held = await self._stage.sink.held()
        await worker.kill()
        return {"case": case, **spread(latencies), "hanging_posts": held}

    async def _warm_up(self, plan: FairnessPlan) -> None:
        """Until the worker runs and every healthy receiver was met."""
        first = _Healthy(self._services, self._healthy)
        for number in range(len(self._healthy)):
            await first.tell(number)
        await self._stage.sink.until(plan.healthy, _ARRIVES_WITHIN)
        report = await self._stage.sink.report()
        report.verify(paths_of(self._healthy))

    async def _latencies(self, plan: FairnessPlan, advance: Advance) -> list[float]:
        events = _Healthy(self._services, self._healthy)
        await keep_up(plan.load, events.tell, advance)
        await self._stage.sink.until(plan.healthy + plan.load.number, _ARRIVES_WITHIN)
        report = await self._stage.sink.report()
        if report.duplicates:
            raise StepFailed(f"{report.duplicates} posts came twice")
        return [
            (arrival.at - events.committed[arrival.event_id]) * 1000
            for arrival in report.arrivals
            if arrival.event_id in events.committed
        ]


async def measure_fairness(stage: Stage, steps: Steps, plan: FairnessPlan) -> Report:
    """Measures with and without the receiver that hangs, by turns. Raises StepFailed."""
    with steps.step("making tenants and endpoints"):
        bench = await _prepare(stage, plan)
    rounds: list[dict[str, Any]] = []
    for number in range(plan.rounds):
        cases = (_SOLO, _TOGETHER) if number % 2 == 0 else (_TOGETHER, _SOLO)
        for case in cases:
            with steps.step(case, plan.load.number) as advance:
                rounds.append({"round": number + 1, **await bench.measure(case, plan, advance)})
    conditions = await read_conditions(
        stage.admin,
        stage.cores.told,
        healthy_tenants=plan.healthy,
        events_per_second=plan.load.per_second,
        seconds=plan.load.seconds,
        hanging_deliveries=plan.hanging,
        hanging_endpoints=plan.hanging_endpoints,
        body_bytes=BODY_BYTES,
        rounds=plan.rounds,
    )
    return _report(conditions, rounds)


async def _prepare(stage: Stage, plan: FairnessPlan) -> _Bench:
    gateway = await stage.start_gateway()
    services = await stage.open_services()
    healthy = [[EndpointPlan(f"/ok/{tenant}")] for tenant in range(plan.healthy)]
    hole = [EndpointPlan(f"{HANG}/{number}") for number in range(plan.hanging_endpoints)]
    tenants = await make_tenants(stage, services.runtime, [*healthy, hole])
    await gateway.stop()
    return _Bench(stage, services, tenants)


def _report(conditions: Mapping[str, Any], rounds: Sequence[Mapping[str, Any]]) -> Report:
    cases = {case: [each for each in rounds if each["case"] == case] for case in (_SOLO, _TOGETHER)}
    ratio = paired_ratio(*([each["p95"] for each in cases[case]] for case in (_TOGETHER, _SOLO)))
    figures: dict[str, Any] = {
        **{
            f"healthy_{case}_ms": {name: median_of(runs, name) for name in ("p50", "p95", "p99")}
            for case, runs in cases.items()
        },
        "p95_together_to_solo": ratio,
    }
    return Report(
        "fairness", conditions, figures, [Goal("healthy p95, to solo", ratio, 1.2, at_least=False)], rounds
    )
