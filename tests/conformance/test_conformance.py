"""Every adapter of the registry, and the one to be copied, through every row of the quality table.

Real HTTP, a real PostgreSQL, the provider's stand-in: one gateway for all rows of a provider.
"""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from channels.registry import build_adapters
from db.embedded import EmbeddedPostgres
from db.migrate import find_runtime_dsn
from db.sealing import Sealer
from db.tenant import open_database
from handlers.runtime import RetrySchedule, Runtime, new_uuid7, utc_now
from tests.conformance.document import DOCUMENT, expected_results, render
from tests.conformance.kit import ChannelKit
from tests.conformance.kits import all_kits
from tests.conformance.rows import ROWS, Row
from tests.conformance.sides import stand_in_side
from tests.conformance.stage import Stage
from tests.conftest import PUBLIC_URL
from tests.gateways import serving
from tests.servers import MASTER_KEY, TEMPLATE, execute

KITS = all_kits()


@asynccontextmanager
async def runtime_of(dsn: str) -> AsyncIterator[Runtime]:
    database = await open_database(await find_runtime_dsn(dsn, [MASTER_KEY]))
    yield Runtime(
        database,
        Sealer([MASTER_KEY]),
        utc_now,
        new_uuid7,
        random.Random(1),
        RetrySchedule((0.0,)),
        PUBLIC_URL,
    )
    await database.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=KITS.values(), ids=KITS)
async def stage(
    request: pytest.FixtureRequest, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    kit: ChannelKit = request.param
    name = f"conformance_{kit.provider}"
    await execute(postgres.dsn, f"create database {name} template {TEMPLATE} strategy file_copy")
    home: Path = tmp_path_factory.mktemp(kit.provider)
    async with (
        runtime_of(postgres.dsn_for(name)) as runtime,
        (kit.side or stand_in_side)(kit) as side,
        serving(runtime, home, side.adapters) as client,
    ):
        yield Stage(kit, side, runtime, client, postgres.dsn, name)
    await execute(postgres.dsn, f"drop database {name} with (force)")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_row(stage: Stage, row: Row):
    if reason := stage.kit.reason_against(row.name):
        pytest.skip(reason)
    await row.check(stage)


@pytest.mark.parametrize("provider", build_adapters())
def test_every_registered_provider_has_a_kit(provider: str):
    assert provider in KITS


@pytest.mark.parametrize("kit", KITS.values(), ids=KITS)
def test_a_kit_leaves_out_known_rows_only(kit: ChannelKit):
    assert kit.not_applicable.keys() <= {row.name for row in ROWS}
    assert all(reason.endswith(".") for reason in kit.not_applicable.values())


@pytest.mark.parametrize("provider", build_adapters())
def test_an_operator_is_told_what_to_configure(provider: str):
    kit = KITS[provider]
    assert kit.hooks
    assert kit.limits
    assert kit.gaps


def test_the_document_says_what_the_suite_does():
    assert DOCUMENT.read_text(encoding="utf-8") == render(KITS, expected_results(KITS)), "run `make docs`"
