"""Master keys come and go: nothing wrong gets in, nothing needed is lost, and a key that went has no login left."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from db import resealing
from db.accounts import seal_context
from db.connecting import with_login
from db.embedded import EmbeddedPostgres
from db.endpoints import auth_context, headers_context, secrets_context
from db.errors import DatabaseRefused, KeysMissing, SealBroken
from db.idempotency import answer_context
from db.migrate import find_runtime_dsn, migrate
from db.sealing import Sealer, derive_login_name, key_id, shown_key_id
from gateway.master_keys import key_uses, own_master_key, rotate
from gateway.settings import SettingsError
from handlers.runtime import Runtime
from tests.factories import make_account, make_distributor, make_endpoint
from tests.servers import MASTER_KEY, TEMPLATE, execute

pytestmark = pytest.mark.every_postgres
_seeds = count(1)
_names = count(1)


@pytest.fixture
def new() -> bytes:
    """A key that no other test has."""
    return next(_seeds).to_bytes(32)


@pytest.fixture
def newer() -> bytes:
    return (next(_seeds) + 1_000_000).to_bytes(32)


async def logins(dsn: str, keys: Iterable[bytes]) -> set[bytes]:
    """Which of the keys have a login."""
    connection = await asyncpg.connect(dsn)
    names = {derive_login_name(key): key for key in keys}
    rows = await connection.fetch("select rolname from pg_roles where rolname = any($1)", list(names))
    await connection.close()
    return {names[row["rolname"]] for row in rows}


@asynccontextmanager
async def another_database(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """Of the same server, with our tables in it."""
    name = f"another_{next(_names)}"
    await execute(postgres.dsn, f"create database {name} template {TEMPLATE} strategy file_copy")
    yield postgres.dsn_for(name)
    await execute(postgres.dsn, f"drop database {name} with (force)")


class TestWrongKeys:
    async def test_they_are_refused_before_a_login_is_made(
        self, admin_dsn: str, runtime: Runtime, new: bytes
    ):
        await make_account(runtime, await make_distributor(runtime))

        for dry_run in (False, True):
            with pytest.raises(KeysMissing, match=shown_key_id(key_id(MASTER_KEY))):
                await migrate(admin_dsn, [new], dry_run=dry_run)

        assert await logins(admin_dsn, [new]) == set()
        await migrate(admin_dsn, [new, MASTER_KEY])

    async def test_an_endpoints_secret_and_an_answer_count_as_well(
        self, admin_dsn: str, runtime: Runtime, new: bytes
    ):
        tenant = await make_distributor(runtime)
        await store_answer(runtime, tenant, "old answer", age="25 hours")
        await migrate(admin_dsn, [new])
        await store_answer(runtime, tenant, "fresh answer")
        with pytest.raises(KeysMissing):
            await migrate(admin_dsn, [new])

        async with runtime.database.tenant(tenant) as connection:
            await connection.execute("delete from idempotency_keys")
        await make_sealed_endpoint(runtime, tenant)
        with pytest.raises(KeysMissing):
            await migrate(admin_dsn, [new])

    async def test_where_nothing_is_sealed_every_key_is_right(self, admin_dsn: str, new: bytes):
        await migrate(admin_dsn, [new])

    async def test_what_was_deleted_holds_nobody_up(self, admin_dsn: str, runtime: Runtime, new: bytes):
        tenant = await make_distributor(runtime)
        await make_account(runtime, tenant)
        async with runtime.database.tenant(tenant) as connection:
            await connection.execute("update channel_accounts set deleted_at = now()")

        await migrate(admin_dsn, [new])


class TestLogins:
    async def test_a_key_that_is_listed_no_more_loses_its_login(
        self, postgres: EmbeddedPostgres, admin_dsn: str, new: bytes, newer: bytes
    ):
        notes: list[str] = []
        await migrate(admin_dsn, [new], on_note=notes.append)
        await migrate(admin_dsn, [newer, new], on_note=notes.append)
        assert await logins(admin_dsn, [new, newer]) == {new, newer}
        assert notes == []

        await migrate(admin_dsn, [newer], on_note=notes.append)

        assert await logins(admin_dsn, [new, newer]) == {newer}
        assert len(notes) == 1
        assert notes[0].startswith(derive_login_name(new))
        assert notes[0].endswith("was dropped")
        with pytest.raises(DatabaseRefused):
            await find_runtime_dsn(admin_dsn, [new])
        assert await find_runtime_dsn(admin_dsn, [newer])

    async def test_another_databases_login_is_left_alone(
        self, postgres: EmbeddedPostgres, admin_dsn: str, new: bytes, newer: bytes
    ):
        """One key for two databases: the first to forget it leaves the login to the second, which drops it."""
        notes: list[str] = []
        async with another_database(postgres) as other_dsn:
            await migrate(admin_dsn, [new])
            await migrate(other_dsn, [new])

            await migrate(admin_dsn, [newer], on_note=notes.append)
            assert await find_runtime_dsn(other_dsn, [new])
            await migrate(other_dsn, [newer], on_note=notes.append)

            assert await logins(admin_dsn, [new, newer]) == {newer}
        assert [note.partition(", ")[2].partition("listed, ")[2] for note in notes] == [
            "is left to another database of this server",
            "was dropped",
        ]

    async def test_a_database_that_does_not_say_what_it_uses_may_use_any(
        self, postgres: EmbeddedPostgres, admin_dsn: str, new: bytes, newer: bytes
    ):
        """An older release made it, or a template: our tables, and no word on logins."""
        await migrate(admin_dsn, [new])
        notes: list[str] = []
        async with another_database(postgres) as other_dsn:
            assert await find_runtime_dsn(other_dsn, [new])
            await migrate(admin_dsn, [newer], on_note=notes.append)
            assert await find_runtime_dsn(other_dsn, [new])
            assert "stays: another database of this server may use it" in notes[0]

            await migrate(other_dsn, [MASTER_KEY])
            await migrate(admin_dsn, [newer], on_note=notes.append)
        assert notes[1].endswith("was dropped")

    async def test_a_login_that_works_in_another_database_stays(
        self, postgres: EmbeddedPostgres, admin_dsn: str, new: bytes, newer: bytes
    ):
        await migrate(admin_dsn, [new])
        elsewhere = await asyncpg.connect(
            (await find_runtime_dsn(admin_dsn, [new])).replace(admin_dsn.rpartition("/")[2], "postgres")
        )
        notes: list[str] = []
        await migrate(admin_dsn, [newer], on_note=notes.append)
        await elsewhere.close()

        assert "stays" in notes[0]
        assert await logins(admin_dsn, [new]) == {new}

    async def test_roles_that_are_not_ours_are_never_touched(
        self, postgres: EmbeddedPostgres, admin_dsn: str, new: bytes
    ):
        names = ["waystation_login_of_a_person", "a_reader"]
        for name in names:
            await execute(admin_dsn, f"create role {name} login")
            await execute(
                admin_dsn,
                f"grant connect on database {admin_dsn.rpartition('/')[2].partition('?')[0]} to {name}",
            )

        await migrate(admin_dsn, [new])

        connection = await asyncpg.connect(admin_dsn)
        assert await connection.fetchval("select count(*) from pg_roles where rolname = any($1)", names) == 2
        for name in names:
            await connection.execute(f"drop owned by {name}; drop role {name}")
        await connection.close()

    async def test_an_owner_that_may_make_roles_drops_what_it_made(
        self, postgres: EmbeddedPostgres, new: bytes, newer: bytes
    ):
        """No superuser is needed, neither for the marks nor for the end of a login."""
        await execute(postgres.dsn, "create role boss login createrole password 'boss'")
        await execute(
            postgres.dsn,
            "grant waystation_owner, waystation_app, waystation_worker to boss with admin option",
        )
        await execute(postgres.dsn, "create database bosses owner boss")
        dsn = with_login(postgres.dsn_for("bosses"), "boss", "boss")
        notes: list[str] = []

        for keys in ([new], [newer, new], [newer]):
            await migrate(dsn, keys, on_note=notes.append)

        assert [note.endswith("was dropped") for note in notes] == [True]
        assert await logins(dsn, [new, newer]) == {newer}
        await execute(postgres.dsn, "drop database bosses")
        await execute(postgres.dsn, f"drop role boss, {derive_login_name(newer)}")


class TestResealing:
    async def test_the_first_key_opens_everything_afterwards(self, runtime: Runtime, new: bytes, monkeypatch):
        monkeypatch.setattr(resealing, "_BATCH", 2)
        tenants = [await make_distributor(runtime, name) for name in ("A", "B")]
        for tenant in tenants:
            for number in range(3):
                await make_account(runtime, tenant, address=f"+1555000{number:04d}")
                await make_sealed_endpoint(runtime, tenant, with_headers=number > 0, with_auth=number > 1)
                await store_answer(runtime, tenant, f"answer {number}")
        progress: list[tuple[int, int]] = []

        done = await rotate(runtime.database, [new, MASTER_KEY], lambda *now: progress.append(now))

        assert done.resealed == 2 * (3 + 3 + 2 + 1 + 3)
        assert progress[-1] == (done.resealed, done.resealed)
        assert [(use.first, use.seals) for use in done.uses] == [(True, done.resealed), (False, 0)]
        assert "it may go" in done.uses[1].told()
        for tenant in tenants:
            assert await opened(runtime, Sealer([new]), tenant) == 12

    async def test_stopped_in_the_middle_it_is_run_again(self, runtime: Runtime, new: bytes, monkeypatch):
        monkeypatch.setattr(resealing, "_BATCH", 2)
        tenant = await make_distributor(runtime)
        for number in range(5):
            await make_account(runtime, tenant, address=f"+1555000{number:04d}")

        def stop(*_: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            await rotate(runtime.database, [new, MASTER_KEY], stop)
        assert sorted((await resealing.count_everywhere(runtime.database)).values()) == [2, 3]
        again = await rotate(runtime.database, [new, MASTER_KEY], lambda *_: None)

        assert again.resealed == 3
        assert await opened(runtime, Sealer([new]), tenant) == 5
        assert (await rotate(runtime.database, [new, MASTER_KEY], lambda *_: None)).resealed == 0

    async def test_what_no_listed_key_opens_is_left_and_told(
        self, runtime: Runtime, new: bytes, newer: bytes
    ):
        tenant = await make_distributor(runtime)
        await make_account(runtime, tenant)

        done = await rotate(runtime.database, [new, newer], lambda *_: None)

        assert done.resealed == 0
        assert "not in the list, though it seals 1 value" in done.uses[-1].told()
        assert await opened(runtime, Sealer([MASTER_KEY]), tenant) == 1

    async def test_a_value_that_was_moved_is_named_and_nothing_of_its_batch_changes(
        self, runtime: Runtime, new: bytes
    ):
        tenant = await make_distributor(runtime)
        first, second = [await make_account(runtime, tenant, address=f"+1555000{n:04d}") for n in range(2)]
        async with runtime.database.tenant(tenant) as connection:
            await connection.execute(
                "update channel_accounts a set credentials_sealed = b.credentials_sealed from channel_accounts b"
                " where a.id = $1 and b.id = $2",
                second.id,
                first.id,
            )

        with pytest.raises(SealBroken, match=f"channel_accounts:{tenant}:{second.id} was changed or moved"):
            await rotate(runtime.database, [new, MASTER_KEY], lambda *_: None)
        assert set(await resealing.count_everywhere(runtime.database)) == {key_id(MASTER_KEY)}

    def test_a_key_that_is_listed_twice_is_one(self):
        (use,) = key_uses([MASTER_KEY, MASTER_KEY], {key_id(MASTER_KEY): 1})

        assert (use.first, use.seals) == (True, 1)


class TestTheFoldersOwnKey:
    def test_it_is_made_once_and_privately(self, tmp_path: Path):
        assert use_own_key(tmp_path) == use_own_key(tmp_path)
        assert [(path.name, path.stat().st_mode & 0o777) for path in tmp_path.iterdir()] == [
            ("master.key", 0o600)
        ]

    def test_a_lost_one_is_named_and_not_replaced(self, tmp_path: Path):
        with pytest.raises(SettingsError, match=r"master\.key is missing: .* key ab12; restore that file"):
            use_own_key(tmp_path, KeysMissing(["ab12"]))
        assert list(tmp_path.iterdir()) == []

    def test_another_one_is_named_and_kept(self, tmp_path: Path):
        key = use_own_key(tmp_path)
        with pytest.raises(SettingsError, match=r"master\.key is another key: .* key ab12"):
            use_own_key(tmp_path, KeysMissing(["ab12"]))
        assert use_own_key(tmp_path) == key

    def test_where_it_cannot_be_made_that_is_told(self, tmp_path: Path):
        with pytest.raises(SettingsError, match=r"master\.key cannot be made: No such file"):
            use_own_key(tmp_path / "absent")

    @pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"c2VjcmV0"])
    def test_a_broken_one_is_named(self, tmp_path: Path, content: bytes):
        (tmp_path / "master.key").write_bytes(content)

        with pytest.raises(SettingsError, match=r"master\.key holds no key") as caught:
            use_own_key(tmp_path)
        assert "c2VjcmV0" not in str(caught.value)


def use_own_key(home: Path, failure: Exception | None = None) -> bytes:
    with own_master_key(home) as key:
        if failure:
            raise failure
        return key


ENDPOINT_SEALS = {
    "secrets_sealed": secrets_context,
    "headers_sealed": headers_context,
    "auth_sealed": auth_context,
}


async def store_answer(runtime: Runtime, tenant: UUID, key: str, age: str = "0 hours") -> None:
    sealed = runtime.sealer.seal(b"{}", answer_context(tenant, "POST /v1/x", key))
    async with runtime.database.tenant(tenant) as connection:
        await connection.execute(
            "insert into idempotency_keys (distributor_id, route, key, request_hash, response_status, response_sealed, created_at)"
            " values ($1, 'POST /v1/x', $2, 'h', 200, $3, now() - $4::text::interval)",
            tenant, key, sealed, age,
        )  # fmt: skip


async def make_sealed_endpoint(
    runtime: Runtime, tenant: UUID, *, with_headers: bool = False, with_auth: bool = False
) -> None:
    endpoint = await make_endpoint(runtime, tenant, ["*"])
    secrets = runtime.sealer.seal_json(["s"], secrets_context(tenant, endpoint))
    headers = runtime.sealer.seal_json({"X-Token": "t"}, headers_context(tenant, endpoint))
    auth = runtime.sealer.seal_json({"type": "bearer", "token": "t"}, auth_context(tenant, endpoint))
    async with runtime.database.tenant(tenant) as connection:
        await connection.execute(
            "update webhook_endpoints set secrets_sealed = $1, headers_sealed = $2, auth_sealed = $3 where id = $4",
            secrets, headers if with_headers else None, auth if with_auth else None, endpoint,
        )  # fmt: skip


async def opened(runtime: Runtime, sealer: Sealer, tenant: UUID) -> int:
    """Opens all that a tenant has sealed; how many values that was."""
    async with runtime.database.tenant(tenant) as connection:
        accounts = await connection.fetch("select id, credentials_sealed as sealed from channel_accounts")
        endpoints = await connection.fetch("select * from webhook_endpoints")
        answers = await connection.fetch("select route, key, response_sealed from idempotency_keys")
    values: list[Any] = [
        *(sealer.open_json(row["sealed"], seal_context(tenant, row["id"])) for row in accounts),
        *(
            sealer.open_json(row[column], context(tenant, row["id"]))
            for row in endpoints
            for column, context in ENDPOINT_SEALS.items()
            if row[column]
        ),
        *(
            sealer.open(row["response_sealed"], answer_context(tenant, row["route"], row["key"]))
            for row in answers
        ),
    ]
    return len(values)
