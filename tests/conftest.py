"""A real PostgreSQL for the session, a migrated template in it, and a copy of the template for each test."""

import contextlib
import itertools
import os
import random
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import hypothesis
import pytest

from db.embedded import EmbeddedPostgres
from db.errors import DatabaseUnavailable
from db.migrate import find_runtime_dsn
from db.sealing import Sealer
from db.tenant import Database, open_database
from handlers.runtime import RetrySchedule, Runtime, new_uuid7
from tests.event_bodies import check_stored_bodies
from tests.fakes import FakeClock
from tests.memory_folder import folder_in_memory
from tests.servers import MASTER_KEY, TEMPLATE, Servers, execute, majors_here, run_apart

MAJORS = majors_here()
PUBLIC_URL = "https://gw.example.test"

_numbers = itertools.count(1)

# How long examples take to be made says how busy the machine is, and nothing of the code.
hypothesis.settings.register_profile("busy", suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")


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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A module with the mark runs on every version of PostgreSQL that schemas are tested on."""
    marked = metafunc.definition.get_closest_marker("every_postgres")
    if marked and "postgres" in metafunc.fixturenames:
        names = [f"postgresql{major}" if major else "embedded" for major in MAJORS]
        metafunc.parametrize("postgres", MAJORS, ids=names, indirect=True, scope="module")


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> None:
    """The product's settings of the machine's environment must not reach a test."""
    for name in [name for name in os.environ if name.startswith(("WAYSTATION_", "OPENAI_"))]:
        del os.environ[name]


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with folder_in_memory(tmp_path_factory.mktemp("postgres")) as folder, Servers(folder) as servers:
        yield servers


@pytest.fixture(scope="module")
def postgres(servers: Servers, request: pytest.FixtureRequest) -> EmbeddedPostgres:
    """The server, with a migrated template database: the embedded one, or the parameter's version."""
    return servers.with_template(getattr(request, "param", None))


@pytest.fixture
async def admin_dsn(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The superuser's DSN of a database of this test's own: empty, migrated."""
    name = f"test_{next(_numbers)}"
    await execute(postgres.dsn, _copy_of_template(name))
    yield postgres.dsn_for(name)
    await execute(postgres.dsn, f"drop database {name} with (force)")


@pytest.fixture(scope="module")
def shared_dsn(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The superuser's DSN of a database that a module's tests share: each leaves it as it was."""
    name = f"shared_{next(_numbers)}"
    run_apart(execute(postgres.dsn, _copy_of_template(name)))
    yield postgres.dsn_for(name)
    run_apart(execute(postgres.dsn, f"drop database {name} with (force)"))


def _copy_of_template(name: str) -> str:
    return f"create database {name} template {TEMPLATE} strategy file_copy"


@pytest.fixture
async def catalogue(shared_dsn: str) -> AsyncIterator[Any]:
    """The superuser's connection to the module's shared database; what it does is undone at the test's end."""
    connection = await asyncpg.connect(shared_dsn)
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


@pytest.fixture
async def runtime_dsn(admin_dsn: str) -> str:
    """The DSN that the program would run with: the login without rights of its own."""
    return await find_runtime_dsn(admin_dsn, [MASTER_KEY])


@pytest.fixture
async def database(runtime_dsn: str) -> AsyncIterator[Database]:
    database = await open_database(runtime_dsn)
    yield database
    with contextlib.suppress(DatabaseUnavailable):  # the test closed it
        await check_stored_bodies(database)
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
