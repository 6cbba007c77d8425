"""Where a DSN leads and why nothing is reached there: host, port and the reason's kind, never a user or a password."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from db.connecting import connect, connected, target_of
from db.embedded import EmbeddedPostgres
from db.errors import DatabaseError, DatabaseRefused, DatabaseUnavailable
from db.migrate import find_runtime_dsn, migrate
from db.tenant import open_database
from gateway.ports import free_port
from tests.servers import MASTER_KEY

LOGIN = "somebody:S3CR3T"


async def told_of(dsn: str) -> DatabaseError:
    with pytest.raises(DatabaseError) as caught:
        await connect(dsn)
    assert "S3CR3T" not in str(caught.value)
    assert "somebody" not in str(caught.value)
    return caught.value


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[int]:
    """A server that says the same to everybody and hangs up; its port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_refused_connection_is_told_with_its_port():
    port = free_port()

    error = await told_of(f"postgresql://{LOGIN}@127.0.0.1:{port}/d")

    assert isinstance(error, DatabaseUnavailable)
    assert str(error) == f"The database at 127.0.0.1:{port} cannot be reached: the connection was refused"


async def test_a_refused_connection_of_a_name_with_two_addresses_is_told_too():
    assert "refused" in str(await told_of(f"postgresql://{LOGIN}@localhost:{free_port()}/d"))


async def test_a_name_that_is_not_found_is_told():
    error = await told_of(f"postgresql://{LOGIN}@nowhere.invalid/d")

    assert str(error) == "The database at nowhere.invalid:5432 cannot be reached: the host name was not found"


async def test_what_takes_too_long_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("db.connecting.CONNECT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert "no answer within" in str(await told_of(f"postgresql://{LOGIN}@127.0.0.1:{port}/d"))


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""], ids=["http", "silence"])
async def test_what_is_not_postgresql_is_told(answer: bytes):
    async with answering(answer) as port:
        assert "PostgreSQL" in str(await told_of(f"postgresql://{LOGIN}@127.0.0.1:{port}/d"))


async def test_tls_that_the_server_does_not_speak_is_told(postgres: EmbeddedPostgres):
    error = await told_of(f"postgresql://{LOGIN}@127.0.0.1:{postgres.port}/d?sslmode=require")

    assert "TLS" in str(error)


async def test_a_wrong_password_and_a_wrong_database_are_refusals(postgres: EmbeddedPostgres):
    error = await told_of(f"postgresql://{LOGIN}@127.0.0.1:{postgres.port}/d?sslmode=disable")
    with pytest.raises(DatabaseRefused, match="no database of that name"):
        await connect(postgres.dsn_for("none"))

    assert isinstance(error, DatabaseRefused)
    assert "user name and password" in str(error)


async def test_every_way_in_tells_it():
    port = free_port()
    dsn = f"postgresql://{LOGIN}@127.0.0.1:{port}/d"
    for way in (open_database(dsn), migrate(dsn, [MASTER_KEY]), find_runtime_dsn(dsn, [MASTER_KEY])):
        with pytest.raises(
            DatabaseUnavailable, match=f"127.0.0.1:{port} cannot be reached: the connection was refused"
        ):
            await way


async def test_a_parameter_that_the_driver_refuses_is_no_trace():
    error = await told_of(f"postgresql://{LOGIN}@127.0.0.1/d?ssl_min_protocol_version=S3CR3T")

    assert isinstance(error, DatabaseRefused)
    assert error.__suppress_context__


async def lose_connection(dsn: str) -> None:
    async with connected(dsn) as connection:
        pid = await connection.fetchval("select pg_backend_pid()")
        other = await asyncpg.connect(dsn)
        await other.execute("select pg_terminate_backend($1)", pid)
        await other.close()
        await connection.fetchval("select 1")


async def test_a_connection_lost_on_the_way_is_unavailable(admin_dsn: str):
    with pytest.raises(DatabaseUnavailable, match="was lost"):
        await lose_connection(admin_dsn)


@pytest.mark.parametrize(
    ("dsn", "target"),
    [
        ("postgresql://u:p@one,two:6/d", "one:5432, two:6"),
        ("postgresql://u:p@[::1]/d", "[::1]:5432"),
        ("postgresql:///d?host=/run/postgresql", "/run/postgresql"),
        ("postgresql://u:p@/d?host=one&port=7", "one:7"),
        ("postgresql:///d", "this machine"),
    ],
)
def test_a_target_is_hosts_and_ports(dsn: str, target: str):
    assert target_of(dsn) == target
