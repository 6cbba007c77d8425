"""The job library's place in our database: a schema of its own, made by `migrate`, used in the worker's role.

Lanes are for work that is born with a message; jobs are for what a clock starts (docs/adr/0008).
"""

import asyncpg
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.adapters.persistence.qb import (
    QueryBuilderEnvironment,
    QueryQueueBuilder,
    QuerySchedulerBuilder,
)
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain.settings import DBSettings
from pgqueuer.ports.driver import Driver

SCHEMA = "jobs"


def pool_jobs(pool: "asyncpg.Pool[asyncpg.Record]") -> Queries:
    """The library's statements over a pool, whose connections may come and go."""
    return _queries(AsyncpgPoolDriver(pool))


async def install_jobs(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Makes the library's tables, or brings them to what its installed release declares. Re-running is safe."""
    jobs = _queries(AsyncpgDriver(connection))
    if await jobs.schema_is_installed():
        await jobs.upgrade()
    else:
        await jobs.install(create_schema=False)


def _queries(driver: Driver) -> Queries:
    settings = DBSettings(db_schema=SCHEMA)
    return Queries(
        driver,
        QueryBuilderEnvironment(settings),
        QueryQueueBuilder(settings),
        QuerySchedulerBuilder(settings),
    )
