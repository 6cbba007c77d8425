"""A real PostgreSQL for the session, a migrated template in it, and a copy of the template for each test."""

import asyncio
import itertools
import os
import random
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from db.embedded import EmbeddedPostgres, remove_data_dir
from db.migrate import find_runtime_dsn, migrate
from db.sealing import Sealer
from db.tenant import Database, open_database
from handlers.runtime import RetrySchedule, Runtime, new_uuid7
from tests.fakes import FakeClock

MASTER_KEY = bytes(range(32))
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "100"}
TEMPLATE = "waystation_template"
PUBLIC_URL = "https://gw.example.test"

_numbers = itertools.count(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what cannot be meant on this machine; nothing that could run here is left out."""
    absent = {
        *({"only_as_root"} if os.geteuid() != 0 else ()),
        *({"only_on_linux"} if sys.platform != "linux" else ()),
        *({"only_with_node"} if shutil.which("node") is None else ()),
    }
    left_out = [item for item in items if absent & {marker.name for marker in item.iter_markers()}]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> None:
    """The product's settings of the machine's environment must not reach a test."""
    for name in [name for name in os.environ if name.startswith(("WAYSTATION_", "OPENAI_"))]:
        del os.environ[name]


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """The server, with a migrated template database. Runs in a loop of its own, for fixtures of the session
    have none.
    """
    folder: Path = tmp_path_factory.mktemp("postgres")
    with asyncio.Runner() as runner:
        server = EmbeddedPostgres(folder / "data", settings=FAST)
        runner.run(server.start())
        try:
            runner.run(_make_template(server))
            yield server
        finally:
            runner.run(server.stop())
            remove_data_dir(folder / "data")


async def _make_template(server: EmbeddedPostgres) -> None:
    await _administer(server, f"create database {TEMPLATE}")
    await migrate(server.dsn_for(TEMPLATE), [MASTER_KEY])


async def _administer(server: EmbeddedPostgres, statement: str) -> None:
    connection = await asyncpg.connect(server.dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
async def admin_dsn(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The superuser's DSN of a database of this test's own: empty, migrated."""
    name = f"test_{next(_numbers)}"
    await _administer(postgres, f"create database {name} template {TEMPLATE} strategy file_copy")
    yield postgres.dsn_for(name)
    await _administer(postgres, f"drop database {name} with (force)")


@pytest.fixture
async def runtime_dsn(admin_dsn: str) -> str:
    """The DSN that the program would run with: the login without rights of its own."""
    return await find_runtime_dsn(admin_dsn, [MASTER_KEY])


@pytest.fixture
async def database(runtime_dsn: str) -> AsyncIterator[Database]:
    database = await open_database(runtime_dsn)
    yield database
    await database.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def runtime(database: Database, clock: FakeClock) -> Runtime:
    """The handlers' dependencies: a real database, a clock that the test moves."""
    return Runtime(
        database=database,
        sealer=Sealer([MASTER_KEY]),
        clock=clock,
        new_id=new_uuid7,
        random=random.Random(1),
        webhook_schedule=RetrySchedule((0.0, 5.0, 30.0)),
        public_url=PUBLIC_URL,
    )
