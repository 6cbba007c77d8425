"""`waystation bench …`. What a benchmark needs is imported when it runs, so that `--help` is quick."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

bench = typer.Typer(
    name="bench",
    help="The published benchmarks, on this machine, with real processes. Figures: docs/benchmarks.md.",
    no_args_is_help=True,
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Rounds = Annotated[int, typer.Option(min=1, help="How often everything is measured; medians are told.")]


@bench.command()
def deliver(
    deliveries: Annotated[int, typer.Option(min=100, help="Deliveries in each run.")] = 40_000,
    rounds: Rounds = 3,
    profile: Annotated[
        Path | None, typer.Option(help="Where a worker's time goes is written here, of one more run.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Deliveries a second of one worker on one core, every attempt recorded; beside it without records, and bare posts."""
    from gateway.bench.cores import split_cores  # noqa: PLC0415 - see the module's docstring
    from gateway.bench.deliver import DeliverPlan, measure_deliver  # noqa: PLC0415 - see the module's docstring
    from gateway.bench.running import run_bench  # noqa: PLC0415 - see the module's docstring
    from gateway.bench.stage import open_stage  # noqa: PLC0415 - see the module's docstring

    plan = DeliverPlan(
        deliveries=deliveries, rounds=rounds, alone=deliveries // 4, profile=profile and profile.absolute()
    )
    measure = partial(measure_deliver, plan=plan)
    raise typer.Exit(run_bench("deliver", measure, open_stage(split_cores()), as_json=as_json))


@bench.command()
def latency(
    per_second: Annotated[float, typer.Option(min=1, help="Messages a second, over all tenants.")] = 200,
    seconds: Annotated[float, typer.Option(min=1, help="For how long in each round.")] = 30,
    rounds: Rounds = 3,
    as_json: AsJson = False,
) -> None:
    """From the commit of a customer's message to the first byte at the integrator's receiver."""
    from gateway.bench.cores import Cores  # noqa: PLC0415 - see the module's docstring
    from gateway.bench.latency import TELLS_COMMITS, LatencyPlan, measure_latency  # noqa: PLC0415 - see the module's docstring
    from gateway.bench.open_loop import Load  # noqa: PLC0415 - see the module's docstring
    from gateway.bench.running import run_bench  # noqa: PLC0415 - see the module's docstring
    from gateway.bench.stage import open_stage  # noqa: PLC0415 - see the module's docstring

    plan = LatencyPlan(Load(per_second, seconds), rounds)
    measure = partial(measure_latency, plan=plan)
    raise typer.Exit(run_bench("latency", measure, open_stage(Cores(), TELLS_COMMITS), as_json=as_json))


@bench.command()
def fairness(
    hanging: Annotated[
        int, typer.Option(min=1, help="Deliveries that wait for the receiver that hangs.")
    ] = 5_000,
    hanging_endpoints: Annotated[int, typer.Option(min=1, help="That tenant's endpoints.")] = 1,
    per_second: Annotated[float, typer.Option(min=1, help="The healthy tenants' events a second.")] = 100,
    seconds: Annotated[float, typer.Option(min=1, help="For how long each time; time-outs are 15.")] = 20,
    rounds: Rounds = 3,
    as_json: AsJson = False,
) -> None:
    """What 50 healthy tenants notice of one whose receiver takes posts and never answers."""
    from gateway.bench.cores import Cores  # noqa: PLC0415 - see the module's docstring
    from gateway.bench.fairness import FairnessPlan, measure_fairness  # noqa: PLC0415 - see the module's docstring
    from gateway.bench.open_loop import Load  # noqa: PLC0415 - see the module's docstring
    from gateway.bench.running import run_bench  # noqa: PLC0415 - see the module's docstring
    from gateway.bench.stage import open_stage  # noqa: PLC0415 - see the module's docstring

    load = Load(per_second, seconds)
    plan = FairnessPlan(load, hanging=hanging, hanging_endpoints=hanging_endpoints, rounds=rounds)
    measure = partial(measure_fairness, plan=plan)
    raise typer.Exit(run_bench("fairness", measure, open_stage(Cores()), as_json=as_json))


@bench.command()
def growth(
    parked: Annotated[int, typer.Option(min=1, help="Retries that lie there, due in an hour.")] = 1_000_000,
    blocked: Annotated[int, typer.Option(min=20, help="Deliveries behind one that failed.")] = 20_000,
    rounds: Rounds = 5,
    as_json: AsJson = False,
) -> None:
    """What a claim of deliveries costs beside a million parked retries, and beside a blocked backlog."""
    from gateway.bench.cores import Cores  # noqa: PLC0415 - see the module's docstring
    from gateway.bench.growth import GrowthPlan, measure_growth  # noqa: PLC0415 - see the module's docstring
    from gateway.bench.running import run_bench  # noqa: PLC0415 - see the module's docstring
    from gateway.bench.stage import open_stage  # noqa: PLC0415 - see the module's docstring

    plan = GrowthPlan(parked=parked, blocked=blocked, rounds=rounds)
    measure = partial(measure_growth, plan=plan)
    raise typer.Exit(run_bench("growth", measure, open_stage(Cores()), as_json=as_json))


@bench.command(hidden=True)
def sink(port: Annotated[int, typer.Option(help="Port of loopback to listen on.")]) -> None:
    """The benchmarks' receiver."""
    from gateway.bench.sink import run_sink  # noqa: PLC0415 - see the module's docstring
    from gateway.ports import LOOPBACK  # noqa: PLC0415 - see the module's docstring
    from gateway.processes import run_loop  # noqa: PLC0415 - see the module's docstring

    run_loop(run_sink(LOOPBACK, port))


@bench.command(hidden=True)
def lane(
    variant: Annotated[str, typer.Option(help="recorded, unrecorded or posts.")],
    number: Annotated[int, typer.Option(help="Posts that are made out of memory.")] = 0,
    profile: Annotated[Path | None, typer.Option(help="Where its time went is written here.")] = None,
) -> None:
    """A worker of the benchmarks."""
    from gateway.bench.lane import Variant, run_profiled  # noqa: PLC0415 - see the module's docstring
    from gateway.logs import configure_logging  # noqa: PLC0415 - see the module's docstring
    from gateway.services import HOME  # noqa: PLC0415 - see the module's docstring
    from gateway.settings import read_settings  # noqa: PLC0415 - see the module's docstring

    settings = read_settings()
    configure_logging(settings.log_format)
    run_profiled(settings, HOME, Variant(variant), number, profile)
