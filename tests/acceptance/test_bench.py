"""Every benchmark in a tiny size: that all is done and found done, not how fast."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from db.embedded import EmbeddedPostgres
from gateway.bench.conditions import require_durable_commits
from gateway.bench.cores import Cores
from gateway.bench.deliver import DeliverPlan, measure_deliver
from gateway.bench.fairness import FairnessPlan, measure_fairness
from gateway.bench.growth import GrowthPlan, measure_growth
from gateway.bench.open_loop import Load
from gateway.bench.show import Report, StepFailed, Steps, showing_steps
from gateway.bench.stage import Stage, stage_on
from tests.servers import MASTER_KEY

pytestmark = pytest.mark.timeout(180)  # each starts half a dozen processes


@pytest.fixture
async def stage(postgres: EmbeddedPostgres, admin_dsn: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage_on(postgres, admin_dsn, MASTER_KEY, tmp_path, Cores()) as stage:
        yield stage


@pytest.fixture
def steps():
    with showing_steps() as steps:
        yield steps


def names_of(report: Report) -> set[str]:
    told = json.loads(json.dumps(report.as_json()))
    assert told["ok"]
    assert {"date", "processor", "postgresql", "fsync"} <= told["conditions"].keys()
    return {goal["name"] for goal in told["goals"]}


async def test_deliver_measures_every_variant_and_counts_what_both_sides_know(
    stage: Stage, steps: Steps, tmp_path: Path
):
    profile = tmp_path / "profile.txt"
    plan = DeliverPlan(deliveries=120, rounds=1, tenants=2, endpoints=2, alone=20, profile=profile)

    report = await measure_deliver(stage, steps, plan)

    assert names_of(report) == {"recorded to unrecorded", "deliveries a second of one process"}
    assert [each["variant"] for each in report.rounds] == ["recorded", "unrecorded", "posts", "alone"]
    assert all(each["per_second"] > 0 and each["verified"] > 0 for each in report.rounds)
    assert "function calls" in profile.read_text()
    # The last was a recorded one, and the functions that record are the product's own again.
    assert await stage.admin.fetchval("select count(*) from webhook_delivery_attempts") == 120


async def test_fairness_finds_posts_that_hang_only_where_they_should(stage: Stage, steps: Steps):
    plan = FairnessPlan(Load(100, 0.3), healthy=3, hanging=30, rounds=1)

    report = await measure_fairness(stage, steps, plan)

    assert names_of(report) == {"healthy p95, to solo"}
    assert {each["case"]: each["hanging_posts"] > 0 for each in report.rounds} == {
        "solo": False,
        "together": True,
    }
    assert [each["count"] for each in report.rounds] == [30, 30]


async def test_growth_claims_all_beside_what_is_parked_and_what_is_blocked(stage: Stage, steps: Steps):
    plan = GrowthPlan(
        parked=500, parked_endpoints=20, blocked=100, deliveries=80, rounds=1, tenants=2, endpoints=2
    )

    report = await measure_growth(stage, steps, plan)

    assert len(names_of(report)) == 2
    assert [each["case"] for each in report.rounds] == ["empty", "parked", "blocked"]
    assert all(each["claimed_per_second"] > 0 for each in report.rounds)


async def test_latency_knows_when_each_message_was_committed(tmp_path: Path):
    """By the command itself, on a server of its own: only there commits are dated."""
    output = await run(
        "latency", "--seconds", "1", "--per-second", "20", "--rounds", "1", "--json", folder=tmp_path
    )

    told = json.loads(output)
    assert told["ok"]
    assert told["figures"]["commit_to_first_byte_ms"]["count"] == 20
    assert (
        0
        < told["figures"]["commit_to_first_byte_ms"]["p50"]
        <= told["figures"]["commit_to_first_byte_ms"]["max"]
    )
    assert list(tmp_path.iterdir()) == []


async def test_commits_that_are_not_durable_are_not_measured(stage: Stage):
    """Such as those of the tests' own server."""
    with pytest.raises(StepFailed, match="durable"):
        await require_durable_commits(stage.admin)


async def run(*options: str, folder: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gateway", "bench", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()
