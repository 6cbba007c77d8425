"""`waystation bench deliver`: whole deliveries a second of one worker process, every attempt recorded; beside it the same
without records, and the bare posts.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.bench.conditions import read_conditions
from gateway.bench.cores import cpu_seconds, move_to
from gateway.bench.events import BODY_BYTES, store_events
from gateway.bench.figures import Goal, median_of, paired_ratio
from gateway.bench.lane import Variant
from gateway.bench.show import Advance, Report, StepFailed, Steps
from gateway.bench.sinks import Arrival, SinkReport
from gateway.bench.stage import Stage, check_running
from gateway.bench.statements import STATEMENTS
from gateway.bench.tenants import BenchTenant, EndpointPlan, make_tenants, paths_of
from gateway.bench.unrecorded import no_attempts_recorded
from gateway.dev.children import Child
from gateway.dev.observing import observe
from gateway.services import Services

_LOOK_AGAIN_SECONDS = 0.1
_STALLED_SECONDS = 30.0  # without one more post
_SETTLED_SECONDS = 20.0  # from the last post to the last commit
_BEGINS, _ENDS = 0.1, 0.9  # of a run is measured: connections are made before, the rest runs dry behind
_US = 1e6
_ALONE = "alone"
_ALONE_PATH = "/ok/alone"


@dataclass(frozen=True, slots=True)
class DeliverPlan:
    """How much is delivered, how often, to whom. ``profile``: where a worker's profile goes; it slows that run down."""

    deliveries: int = 40_000
    rounds: int = 3
    tenants: int = 20
    endpoints: int = 5
    alone: int = 10_000  # to one endpoint alone
    profile: Path | None = None

    @property
    def events(self) -> int:
        """Of each tenant."""
        return max(1, self.deliveries // (self.tenants * self.endpoints))

    @property
    def number(self) -> int:
        """Deliveries in all."""
        return self.events * self.tenants * self.endpoints


@dataclass(frozen=True, slots=True)
class _Sample:
    count: int
    worker: float
    database: float


class _Bench:
    """One run's stage, its tenants, and the ways to fill and to measure."""

    def __init__(self, stage: Stage, services: Services, tenants: Sequence[BenchTenant]) -> None:
        self._stage = stage
        self._services = services
        self._tenants = tenants
        self._runs = 0

    async def measure(
        self, variant: Variant, plan: DeliverPlan, steps: Steps, *, alone: bool = False
    ) -> dict[str, Any]:
        """Fills, runs one worker until all is delivered, and looks whether it was."""
        number = await self._fill(variant, plan, steps, alone=alone)
        recording = (
            no_attempts_recorded(self._stage.admin) if variant is Variant.UNRECORDED else nullcontext()
        )
        title = f"{variant}{' to one endpoint' if alone else ''}"
        async with recording:
            with steps.step(title, number) as advance:
                lane = await self._start_lane(variant, number, None)
                samples = await self._watch(lane, number, advance)
                figures = await self._finish(lane, variant, number)
        return {"variant": _ALONE if alone else str(variant), **figures, **_cpu_of(samples, number)}

    async def profile(self, variant: Variant, plan: DeliverPlan, out: Path, steps: Steps) -> None:
        """One more run, slower, that writes where a worker's time went."""
        number = await self._fill(variant, plan, steps, alone=False)
        with steps.step(f"profile of {variant}", number) as advance:
            lane = await self._start_lane(variant, number, out)
            await self._watch(lane, number, advance)
            await self._finish(lane, variant, number)

    async def _fill(self, variant: Variant, plan: DeliverPlan, steps: Steps, *, alone: bool) -> int:
        await self._stage.forget_events()
        events = 1 if variant is Variant.POSTS else plan.alone if alone else plan.events
        made = 0
        with steps.step("storing events", len(self._tenants)) as advance:
            for done, tenant in enumerate(self._tenants):
                if (tenant.endpoints[0].path == _ALONE_PATH) is alone:
                    made += await store_events(self._services.runtime, tenant.id, events)
                advance(done)
        await self._stage.settle_down()
        await self._stage.sink.reset()
        return plan.number if variant is Variant.POSTS else made

    async def _start_lane(self, variant: Variant, number: int, profile: Path | None) -> Child:
        self._runs += 1
        more = ("--profile", str(profile)) if profile else ()
        lane = await self._stage.start(
            f"lane-{self._runs}", "bench", "lane", "--variant", variant, "--number", str(number), *more
        )
        move_to(lane.pid, self._stage.cores.worker)
        return lane

    async def _watch(self, lane: Child, number: int, advance: Advance) -> list[_Sample]:
        """How far it was, and what it and the database had used of the processor, until all was posted."""
        samples = [await self._sample(lane)]
        loop = asyncio.get_running_loop()
        moved = loop.time()
        while samples[-1].count < number:
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            check_running(lane)
            samples.append(await self._sample(lane))
            advance(samples[-1].count)
            moved = loop.time() if samples[-1].count > samples[-2].count else moved
            if loop.time() - moved > _STALLED_SECONDS:
                raise StepFailed(
                    f"{samples[-1].count} of {number} posts, and no more for {_STALLED_SECONDS:g} s"
                )
        return samples

    async def _sample(self, lane: Child) -> _Sample:
        database = self._stage.server.server_pid
        count = await self._stage.sink.count()
        return _Sample(count, cpu_seconds(lane.pid), cpu_seconds(database) if database else 0.0)

    async def _finish(self, lane: Child, variant: Variant, number: int) -> dict[str, Any]:
        """Ends the worker in order and compares what both sides know."""
        if variant is not Variant.POSTS:
            await self._until_settled()
        if code := await lane.stop():
            raise StepFailed(f"the worker ended with {code}: {' '.join(lane.last_lines(5))}")
        report = await self._stage.sink.report()
        await self._check(report, variant, number)
        return {
            "per_second": round(_rate(report.arrivals), 1),
            "verified": report.verify(paths_of(self._tenants)),
        }

    async def _until_settled(self) -> None:
        async def look() -> int:
            return int(await self._stage.admin.fetchval(STATEMENTS["count_unfinished"]))

        await observe(look, lambda left: left == 0, "every delivery to be settled", _SETTLED_SECONDS)

    async def _check(self, report: SinkReport, variant: Variant, number: int) -> None:
        if len(report.arrivals) != number or report.duplicates:
            raise StepFailed(f"{len(report.arrivals)} posts, {report.duplicates} of them twice, of {number}")
        if variant is Variant.POSTS:
            return
        seen = dict(await self._stage.admin.fetchrow(STATEMENTS["count_outcomes"]))
        kept = number if variant is Variant.RECORDED else 0
        wanted = {
            "deliveries": number,
            "succeeded": number,
            "attempts": kept,
            "finished": kept,
            "under_way": 0,
        }
        if seen != wanted:
            raise StepFailed(f"the database has {seen}, wanted was {wanted}")


def _rate(arrivals: Sequence[Arrival]) -> float:
    """Posts a second in the middle of a run."""
    times = sorted(arrival.at for arrival in arrivals)
    first, last = int(len(times) * _BEGINS), max(1, int(len(times) * _ENDS)) - 1
    passed = times[last] - times[first]
    return (last - first) / passed if passed > 0 else 0.0


def _cpu_of(samples: Sequence[_Sample], number: int) -> dict[str, float]:
    """Microseconds of processor for one delivery, in the middle of a run; 0 where nothing tells."""
    middle = [sample for sample in samples if _BEGINS * number <= sample.count <= _ENDS * number] or samples
    first, last = middle[0], middle[-1]
    delivered = max(last.count - first.count, 1)
    return {
        "worker_cpu_us": round((last.worker - first.worker) / delivered * _US, 1),
        "database_cpu_us": round((last.database - first.database) / delivered * _US, 1),
    }


async def measure_deliver(stage: Stage, steps: Steps, plan: DeliverPlan) -> Report:
    """Measures every variant in each round, each time in another order. Raises StepFailed."""
    bench = await _prepare(stage, plan, steps)
    rounds: list[dict[str, Any]] = []
    for number in range(plan.rounds):
        variants = list(Variant)
        turned = variants[number % len(variants) :] + variants[: number % len(variants)]
        rounds += [{"round": number + 1, **await bench.measure(variant, plan, steps)} for variant in turned]
        rounds.append({"round": number + 1, **await bench.measure(Variant.RECORDED, plan, steps, alone=True)})
    if plan.profile:
        await bench.profile(Variant.RECORDED, plan, plan.profile, steps)
    conditions = await read_conditions(
        stage.admin,
        stage.cores.told,
        tenants=plan.tenants,
        endpoints=plan.tenants * plan.endpoints,
        deliveries=plan.number,
        body_bytes=BODY_BYTES,
        rounds=plan.rounds,
    )
    return _report(conditions, rounds)


async def _prepare(stage: Stage, plan: DeliverPlan, steps: Steps) -> _Bench:
    with steps.step("making tenants and endpoints"):
        gateway = await stage.start_gateway()
        services = await stage.open_services()
        plans = [
            [EndpointPlan(f"/ok/{tenant}/{number}") for number in range(plan.endpoints)]
            for tenant in range(plan.tenants)
        ]
        tenants = await make_tenants(stage, services.runtime, [*plans, [EndpointPlan(_ALONE_PATH)]])
        await gateway.stop()
    return _Bench(stage, services, tenants)


def _report(conditions: Mapping[str, Any], rounds: Sequence[Mapping[str, Any]]) -> Report:
    by_variant = {
        name: [each for each in rounds if each["variant"] == name] for name in (*map(str, Variant), _ALONE)
    }
    rates = {name: [each["per_second"] for each in runs] for name, runs in by_variant.items()}
    to_unrecorded = paired_ratio(rates[Variant.RECORDED], rates[Variant.UNRECORDED])
    to_posts = paired_ratio(rates[Variant.RECORDED], rates[Variant.POSTS])
    names = ("per_second", "worker_cpu_us", "database_cpu_us")
    medians = {
        variant: {name: median_of(runs, name) for name in names} for variant, runs in by_variant.items()
    }
    figures = {
        **medians,
        "recorded_to_unrecorded": to_unrecorded,
        "recorded_to_posts": to_posts,
    }
    goals = [
        Goal("recorded to unrecorded", to_unrecorded, 0.95),
        Goal("deliveries a second of one process", medians[Variant.RECORDED]["per_second"], 4_000),
    ]
    return Report("deliver", conditions, figures, goals, rounds)
