"""Posts while the database is away: answered as their provider needs it, kept, and stored once it is back, once."""

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from channels.base import ChannelAccount, ChannelAdapter, OwnFault
from channels.signatures import twilio_signature
from channels.twilio import TwilioAdapter
from db.errors import DatabaseUnavailable
from db.sealing import Sealer
from db.tenant import Database
from gateway import keys
from gateway.accounts import KEPT_SECONDS, OUTAGE_SECONDS, AccountDirectory
from gateway.app import SPOOL, build_app
from gateway.settings import SettingsError
from gateway.spool import Disk, Spool, SpoolBroken, SpooledPost, SpoolFull, SpoolLimits, credentials_proof
from handlers.runtime import Runtime, new_uuid7
from tests.conftest import PUBLIC_URL
from tests.factories import (
    CUSTOMER_NUMBER,
    OUR_NUMBER,
    TWILIO_CREDENTIALS,
    make_account,
    make_distributor,
    posted,
)
from tests.gateways import services_of, serving
from tests.servers import MASTER_KEY

TOKEN = TWILIO_CREDENTIALS["auth_token"]


class Killed(BaseException):
    """The process ends here."""


class DyingDisk(Disk):
    """Does so many operations and is killed in the next one: before it, or with half of it done."""

    def __init__(self, lives: int, *, halfway: bool = False) -> None:
        self.lives = lives
        self.halfway = halfway

    def write(self, path: Path, content: bytes) -> None:
        if self.lives == 0 and self.halfway:
            path.write_bytes(content[: len(content) // 2])
        self._live()
        super().write(path, content)

    def move(self, path: Path, to: Path) -> None:
        if self.lives == 0 and self.halfway:
            path.rename(to)
        self._live()
        super().move(path, to)

    def remove(self, path: Path) -> None:
        if self.lives == 0 and self.halfway:
            path.unlink()
        self._live()
        super().remove(path)

    def _live(self) -> None:
        if self.lives == 0:
            raise Killed
        self.lives -= 1


class LeavingDatabase:
    """A database that is away when told so."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.away = False

    def __getattr__(self, name: str) -> Any:
        if self.away:
            raise DatabaseUnavailable
        return getattr(self._database, name)


class RetriedTwilio(TwilioAdapter):
    """As if Twilio posted again."""

    own_fault = OwnFault.RETRIED


@dataclass
class Stage:
    """A gateway whose database can leave."""

    client: TestClient[Any, Any]
    runtime: Runtime
    database: LeavingDatabase
    account: ChannelAccount
    home: Path

    @property
    def waiting(self) -> list[Path]:
        return sorted((self.home / SPOOL).glob("*.post"))

    @property
    def aside(self) -> list[Path]:
        return sorted((self.home / SPOOL / "aside").glob("*.post"))

    async def post(self, number: int, account: ChannelAccount | None = None, token: str = TOKEN) -> int:
        path = f"/in/twilio/{(account or self.account).id}"
        form = {
            "MessageSid": f"SM{number:032}", "AccountSid": TWILIO_CREDENTIALS["account_sid"], "From": f"whatsapp:{CUSTOMER_NUMBER}",
            "To": f"whatsapp:{OUR_NUMBER}", "Body": f"pedido {number}", "NumMedia": "0",
        }  # fmt: skip
        signature = twilio_signature(token, PUBLIC_URL + path, form.items())
        async with self.client.post(path, data=form, headers={"X-Twilio-Signature": signature}) as answer:
            return answer.status

    async def replay(self) -> None:
        await self.client.app[keys.SPOOLING].replay()

    async def texts(self) -> list[str]:
        """In the order in which they were stored."""
        async with self.runtime.database.tenant(self.account.distributor_id) as connection:
            rows = await connection.fetch("select text from messages order by id")
        return [row["text"] for row in rows]


@asynccontextmanager
async def staged(runtime: Runtime, home: Path, adapter: ChannelAdapter | None = None) -> AsyncIterator[Stage]:
    account = await make_account(runtime, await make_distributor(runtime))
    leaving = LeavingDatabase(runtime.database)
    own = replace(runtime, database=leaving)  # type: ignore[arg-type]  # a fake
    async with serving(own, home, {"twilio": adapter or TwilioAdapter()}) as client:
        yield Stage(client, runtime, leaving, account, home)


@pytest.fixture
async def stage(runtime: Runtime, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(runtime, tmp_path) as stage:
        yield stage


async def test_posts_that_do_not_come_again_are_kept_and_stored_in_order_once_the_database_is_back(
    stage: Stage,
):
    await stage.post(1)
    stage.database.away = True

    assert [await stage.post(number) for number in (2, 3, 4)] == [200, 200, 200]
    await stage.replay()
    assert len(stage.waiting) == 3
    assert await stage.texts() == ["pedido 1"]

    stage.database.away = False
    await stage.replay()

    assert stage.waiting == []
    assert await stage.texts() == ["pedido 1", "pedido 2", "pedido 3", "pedido 4"]


async def test_killed_between_the_commit_and_the_end_of_its_file_a_post_is_stored_once(stage: Stage):
    await stage.post(1)
    stage.database.away = True
    await stage.post(2)
    stage.database.away = False
    (path,) = stage.waiting
    kept = path.read_bytes()
    await stage.replay()
    path.write_bytes(kept)  # as the killed process left it

    await stage.replay()

    assert stage.waiting == []
    assert await stage.texts() == ["pedido 1", "pedido 2"]


async def test_a_provider_that_posts_again_is_asked_to(runtime: Runtime, tmp_path: Path):
    async with staged(runtime, tmp_path, RetriedTwilio()) as stage:
        await stage.post(1)
        stage.database.away = True

        assert await stage.post(2) == 503
        assert stage.waiting == []

        stage.database.away = False
        assert await stage.post(2) == 200
        assert await stage.texts() == ["pedido 1", "pedido 2"]


async def test_of_an_account_that_was_not_read_lately_nothing_can_be_verified(stage: Stage):
    stage.database.away = True

    assert await stage.post(1) == 503
    assert stage.waiting == []


async def test_accounts_are_remembered_for_an_hour_and_only_while_the_database_is_away(runtime: Runtime):
    account = await make_account(runtime, await make_distributor(runtime))
    leaving, seconds = LeavingDatabase(runtime.database), [0.0]
    directory = AccountDirectory(replace(runtime, database=leaving), lambda: seconds[0])  # type: ignore[arg-type]  # a fake
    assert await directory.find(account.id) is not None
    leaving.away, seconds[0] = True, OUTAGE_SECONDS - 1

    known = await directory.find(account.id)
    assert known == await AccountDirectory(runtime).find(account.id)
    assert known is not None
    seconds[0] = OUTAGE_SECONDS + KEPT_SECONDS
    with pytest.raises(DatabaseUnavailable):
        await directory.find(account.id)

    leaving.away = False
    assert await directory.find(account.id) is not None
    async with runtime.database.tenant(account.distributor_id) as connection:
        await connection.execute("update channel_accounts set deleted_at = now()")
    seconds[0] += KEPT_SECONDS + 1
    assert await directory.find(account.id) is None
    leaving.away, seconds[0] = True, seconds[0] + KEPT_SECONDS + 1
    with pytest.raises(DatabaseUnavailable):
        await directory.find(account.id)


async def test_what_is_not_signed_is_not_kept_either(stage: Stage):
    await stage.post(1)
    stage.database.away = True

    assert await stage.post(2, token="tok_wrong") == 403
    assert stage.waiting == []


async def test_customers_words_are_sealed_on_disk_and_the_folder_is_its_owners(stage: Stage):
    await stage.post(1)
    stage.database.away = True
    await stage.post(2)

    (path,) = stage.waiting
    assert b"pedido" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_posts_from_disk_are_counted(stage: Stage):
    async def figures() -> dict[str, float]:
        async with stage.client.get("/metrics") as answer:
            lines = [line.rpartition(" ") for line in (await answer.text()).splitlines()]
        names = {
            'waystation_spooled_posts_total{provider="twilio"}', "waystation_spool_waiting",
            'waystation_spool_replayed_total{provider="twilio",result="stored"}',
        }  # fmt: skip
        return {name: float(value) for name, _, value in lines if name in names}

    await stage.post(1)
    before = await figures()
    stage.database.away = True
    await stage.post(2)
    during = await figures()
    stage.database.away = False
    await stage.replay()
    after = await figures()

    assert during["waystation_spool_waiting"] == 1
    assert after["waystation_spool_waiting"] == 0
    for name in (
        'waystation_spooled_posts_total{provider="twilio"}',
        'waystation_spool_replayed_total{provider="twilio",result="stored"}',
    ):
        assert after[name] == before.get(name, 0) + 1


async def test_secrets_that_were_withdrawn_before_the_outage_open_nothing_afterwards(stage: Stage):
    await stage.post(1)
    sealed = stage.runtime.sealer.seal_json(
        {**TWILIO_CREDENTIALS, "auth_token": "tok_new"},
        f"channel_accounts:{stage.account.distributor_id}:{stage.account.id}",
    )
    async with stage.runtime.database.tenant(stage.account.distributor_id) as connection:
        await connection.execute("update channel_accounts set credentials_sealed = $1", sealed)
    stage.database.away = True
    assert await stage.post(2) == 200  # by what was last known
    stage.database.away = False

    await stage.replay()

    assert (len(stage.waiting), len(stage.aside)) == (0, 1)
    assert await stage.texts() == ["pedido 1"]


async def test_a_file_that_cannot_be_replayed_is_set_aside_and_holds_up_nobody(stage: Stage):
    await stage.post(1)
    stage.database.away = True
    for number in (2, 3, 4):
        await stage.post(number)
    broken = stage.waiting[1]
    broken.write_bytes(broken.read_bytes()[:-1])
    stage.database.away = False

    await stage.replay()

    assert await stage.texts() == ["pedido 1", "pedido 2", "pedido 4"]
    assert [path.name for path in stage.aside] == [broken.name]


async def test_set_aside_posts_are_tried_again_at_the_next_start(runtime: Runtime, tmp_path: Path):
    async with staged(runtime, tmp_path) as stage:
        await stage.post(1)
        stage.database.away = True
        await stage.post(2)
        stage.waiting[0].rename(tmp_path / SPOOL / "aside" / stage.waiting[0].name)
        stage.database.away = False
        async with serving(runtime, tmp_path) as later:
            await later.app[keys.SPOOLING].replay()

        assert (stage.waiting, stage.aside) == ([], [])
        assert await stage.texts() == ["pedido 1", "pedido 2"]


async def test_two_gateways_share_a_folder_and_store_each_post_once(runtime: Runtime, tmp_path: Path):
    async with staged(runtime, tmp_path) as stage, serving(runtime, tmp_path) as second:
        await stage.post(1)
        stage.database.away = True
        for number in range(2, 6):
            await stage.post(number)
        stage.database.away = False
        await asyncio.gather(stage.replay(), second.app[keys.SPOOLING].replay())
        await stage.replay()

        assert stage.waiting == []
        assert await stage.texts() == [f"pedido {number}" for number in range(1, 6)]


# the folder itself


def spool_in(folder: Path, disk: Disk | None = None, limits: SpoolLimits | None = None) -> Spool:
    return Spool(folder, Sealer([MASTER_KEY]), new_uuid7, limits or SpoolLimits(), disk)


def opened(folder: Path, **more: Any) -> Spool:
    spool = spool_in(folder, **more)
    spool.open()
    return spool


@pytest.fixture
def post(runtime: Runtime) -> SpooledPost:
    account = ChannelAccount(new_uuid7(), new_uuid7(), "SMS", "twilio", OUR_NUMBER, TWILIO_CREDENTIALS)  # type: ignore[arg-type]
    seen = posted(runtime, account)
    odd = replace(seen.request, headers={"X-Name": "caf\udce9"}, body=bytes(range(256)))
    return SpooledPost("twilio", account.id, odd, seen.received_at, credentials_proof(account.credentials))


def kept(spool: Spool) -> Sequence[SpooledPost]:
    return [spool.read(path) for path in spool.waiting()]


async def test_a_post_is_read_as_it_was_written(tmp_path: Path, post: SpooledPost):
    spool = opened(tmp_path / "spool")
    await spool.put(post)

    (same,) = kept(spool)

    assert replace(same, request=replace(same.request, headers=dict(same.request.headers))) == post
    assert same.request.headers["x-name"] == "caf\udce9"


@pytest.mark.parametrize("halfway", [False, True])
@pytest.mark.parametrize("lives", range(4))
async def test_killed_between_any_two_steps_nothing_answered_is_lost_and_nothing_is_doubled(
    tmp_path: Path, post: SpooledPost, lives: int, halfway: bool
):
    """Steps: write, move; then, once replayed, remove."""
    folder = tmp_path / "spool"
    opened(folder)
    spool, answered, stored = spool_in(folder, DyingDisk(lives, halfway=halfway)), 0, set()
    try:
        await spool.put(post)
        answered += 1
        for path in spool.waiting():
            stored.add(spool.read(path).request.body)  # the commit; its key is known the second time
            spool.finish(path)
    except Killed:
        pass

    after = opened(folder)
    for path in after.waiting():
        stored.add(after.read(path).request.body)
        after.finish(path)

    assert len(stored) >= answered
    assert len(stored) <= 1
    assert after.waiting() == []


async def test_what_a_killed_process_had_not_finished_goes_once_nobody_can_be_writing_it(tmp_path: Path):
    folder = tmp_path / "spool"
    opened(folder)
    old, young = folder / "a.new", folder / "b.new"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))

    opened(folder)

    assert (old.exists(), young.exists()) == (False, True)


@pytest.mark.parametrize("limits", [SpoolLimits(files=2), SpoolLimits(bytes=1_900)], ids=["files", "bytes"])
async def test_it_is_bounded(tmp_path: Path, post: SpooledPost, limits: SpoolLimits):
    spool = opened(tmp_path / "spool", limits=limits)
    await spool.put(post)
    await spool.put(post)

    with pytest.raises(SpoolFull):
        await spool.put(post)

    spool.finish(spool.waiting()[0])
    spool.measure()
    await spool.put(post)


async def test_a_disk_that_takes_nothing_is_told_to_the_provider(stage: Stage):
    await stage.post(1)
    stage.database.away = True
    shutil.rmtree(stage.home / SPOOL)

    assert await stage.post(2) == 503


@pytest.mark.parametrize("change", [lambda sealed: sealed[:-1], lambda sealed: b"", lambda sealed: b"{}"])
async def test_a_changed_file_is_broken(tmp_path: Path, post: SpooledPost, change: Any):
    spool = opened(tmp_path / "spool")
    await spool.put(post)
    (path,) = spool.waiting()
    path.write_bytes(change(path.read_bytes()))

    with pytest.raises(SpoolBroken):
        spool.read(path)


async def test_a_file_under_another_name_is_broken(tmp_path: Path, post: SpooledPost):
    spool = opened(tmp_path / "spool")
    await spool.put(post)
    (path,) = spool.waiting()

    with pytest.raises(SpoolBroken):
        spool.read(path.rename(path.with_name("other.post")))


def test_one_process_replays_at_a_time(tmp_path: Path):
    first, second = opened(tmp_path / "spool"), opened(tmp_path / "spool")
    with first.alone() as mine, second.alone() as too:
        assert (mine, too) == (True, False)
    with second.alone() as now:
        assert now


def test_a_folder_that_cannot_be_made_is_told_with_what_to_do(tmp_path: Path):
    (tmp_path / "spool").write_text("a file")

    with pytest.raises(SettingsError, match="must be a folder that can be written"):
        opened(tmp_path / "spool")


async def test_a_gateway_does_not_start_without_its_spool(runtime: Runtime, tmp_path: Path):
    (tmp_path / SPOOL).write_text("a file")

    async with services_of(runtime, tmp_path) as services:
        runner = web.AppRunner(build_app(services))
        with pytest.raises(SettingsError, match="must be a folder that can be written"):
            await runner.setup()
        await runner.cleanup()


async def test_half_a_post_takes_no_room_on_a_disk_that_is_full(tmp_path: Path, post: SpooledPost):
    class FullDisk(Disk):
        def write(self, path: Path, content: bytes) -> None:
            path.write_bytes(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")

    spool = Spool(tmp_path, Sealer([MASTER_KEY]), new_uuid7, disk=FullDisk())

    with pytest.raises(SpoolFull):
        await spool.put(post)

    assert list(tmp_path.iterdir()) == []
