"""Both stores of files keep the same promises; and what is particular to each."""

import os
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from aiohttp.test_utils import TestServer

from channels.errors import NotThere, StoreUnavailable
from channels.sigv4 import AwsKey
from gateway.local_media import FolderStore
from gateway.s3_media import Bucket, S3Store, read_bucket
from handlers.media_store import store_key
from tests.fakes import FakeClock
from tests.s3_stand_in import S3StandIn

TENANT, OTHER = UUID(int=1), UUID(int=2)
KEYS = [store_key(TENANT, bytes([number]) * 32) for number in (1, 2, 170, 255)]
AWS_KEY = AwsKey("AKIDEXAMPLE", "secret")
LATER = datetime.max.replace(tzinfo=UTC)
BIG = bytes(range(256)) * 1000


@pytest.fixture
async def s3(clock: FakeClock):
    return S3StandIn(AWS_KEY, "eu-west-1", clock)


@pytest.fixture(params=["folder", "s3"])
async def store(request, tmp_path: Path, s3: S3StandIn, clock: FakeClock):
    if request.param == "folder":
        yield FolderStore(tmp_path / "media")
        return
    async with TestServer(s3.build_app()) as server:
        url = f"s3://files/of/us?region=eu-west-1&endpoint=http://127.0.0.1:{server.port}"
        store = S3Store(read_bucket(url), AWS_KEY, clock)
        yield store
        await store.aclose()


async def content_of(store, key: str) -> bytes:
    async with aclosing(store.read(key)) as pieces:
        return b"".join([piece async for piece in pieces])


async def keys_of(store, tenant: UUID, after: str = "", limit: int = 10) -> list[str]:
    return [file.key for file in await store.list_files(tenant, after, limit)]


@pytest.mark.parametrize("content", [b"", b"a file", BIG], ids=["empty", "small", "in pieces"])
async def test_what_was_put_is_read(store, content: bytes):
    await store.put(KEYS[0], content)

    assert await content_of(store, KEYS[0]) == content


async def test_what_was_put_twice_is_there_once(store):
    await store.put(KEYS[0], b"a file")
    await store.put(KEYS[0], b"a file")

    assert await keys_of(store, TENANT) == [KEYS[0]]
    assert await content_of(store, KEYS[0]) == b"a file"


async def test_what_was_deleted_is_gone_and_may_be_deleted_again(store):
    await store.put(KEYS[0], b"a file")
    for _ in range(2):
        await store.delete_older(KEYS[0], LATER)

    assert await keys_of(store, TENANT) == []
    with pytest.raises(NotThere):
        await content_of(store, KEYS[0])


async def test_what_was_put_since_is_not_deleted(store):
    await store.put(KEYS[0], b"a file")
    (file,) = await store.list_files(TENANT, "", 1)

    assert not await store.delete_older(KEYS[0], file.put_at.replace(microsecond=0))
    assert await store.delete_older(KEYS[0], file.put_at + timedelta(seconds=1))
    assert not await store.delete_older(KEYS[0], LATER)


async def test_a_tenants_files_are_listed_in_order_batch_by_batch(store):
    for key in reversed(KEYS):
        await store.put(key, b"a file")
    await store.put(store_key(OTHER, b"\x05" * 32), b"another tenant's")

    assert await keys_of(store, TENANT, limit=3) == KEYS[:3]
    assert await keys_of(store, TENANT, after=KEYS[2], limit=3) == KEYS[3:]
    assert await keys_of(store, TENANT, after=KEYS[3]) == []
    assert await keys_of(store, UUID(int=3)) == []


async def test_a_file_says_when_it_was_put(tmp_path: Path):
    store = FolderStore(tmp_path)
    await store.put(KEYS[0], b"a file")

    (file,) = await store.list_files(TENANT, "", 1)

    assert abs(file.put_at - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    "key", ["../../etc/passwd", f"{TENANT}/..", f"{TENANT}/{'0' * 63}", "x/" + "0" * 64, ""]
)
async def test_a_folder_is_never_left(tmp_path: Path, key: str):
    with pytest.raises(ValueError, match="no key"):
        await FolderStore(tmp_path).put(key, b"x")


async def test_a_folder_is_its_owners_alone(tmp_path: Path):
    folder = tmp_path / "media"
    await FolderStore(folder).put(KEYS[0], b"a file")

    (file,) = (path for path in folder.rglob("*") if path.is_file())
    folders = [path for path in folder.rglob("*") if path.is_dir()]

    assert file.stat().st_mode & 0o077 == 0
    assert folder.stat().st_mode & 0o077 == 0
    assert len(folders) == 2


async def test_what_a_killed_process_left_is_listed_and_can_be_deleted(tmp_path: Path):
    store = FolderStore(tmp_path)
    await store.put(KEYS[0], b"a file")
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    file.with_name(f"{file.name}.ab12cd_e").write_bytes(b"hal")

    left = await keys_of(store, TENANT)
    assert await store.delete_older(left[1], LATER)

    assert left == [KEYS[0], f"{KEYS[0]}.ab12cd_e"]
    assert await keys_of(store, TENANT) == [KEYS[0]]


async def test_a_folder_that_cannot_be_used_is_a_fault_that_may_pass(tmp_path: Path):
    in_the_way = tmp_path / "media"
    in_the_way.write_text("a file where the folder should be")
    store = FolderStore(in_the_way)

    for use in (store.put(KEYS[0], b""), content_of(store, KEYS[0]), store.delete_older(KEYS[0], LATER)):
        with pytest.raises(StoreUnavailable):
            await use


async def test_no_draft_is_left_where_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_handle: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreUnavailable, match="No space left"):
        await FolderStore(tmp_path).put(KEYS[0], b"a file")

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("status", [301, 403, 500, 503])
async def test_a_bucket_that_answers_with_a_fault_may_work_later(
    s3: S3StandIn, clock: FakeClock, status: int
):
    s3.fail_with = status
    async with TestServer(s3.build_app()) as server:
        store = S3Store(Bucket(f"http://127.0.0.1:{server.port}/files", "eu-west-1"), AWS_KEY, clock)
        for use in (
            store.put(KEYS[0], b"x"),
            content_of(store, KEYS[0]),
            store.delete_older(KEYS[0], LATER),
            store.list_files(TENANT, "", 1),
        ):
            with pytest.raises(StoreUnavailable):
                await use
        await store.aclose()


async def test_a_bucket_that_is_away_may_work_later(clock: FakeClock, unused_tcp_port: int):
    store = S3Store(Bucket(f"http://127.0.0.1:{unused_tcp_port}/files", "eu-west-1"), AWS_KEY, clock)

    with pytest.raises(StoreUnavailable):
        await store.put(KEYS[0], b"x")
    await store.aclose()


async def test_a_wrong_secret_stores_nothing(s3: S3StandIn, clock: FakeClock):
    async with TestServer(s3.build_app()) as server:
        wrong = AwsKey(AWS_KEY.access_key_id, "another")
        store = S3Store(Bucket(f"http://127.0.0.1:{server.port}/files", "eu-west-1"), wrong, clock)
        with pytest.raises(StoreUnavailable, match="403"):
            await store.put(KEYS[0], b"x")
        await store.aclose()

    assert (s3.objects, s3.refused) == ({}, 1)


@pytest.mark.parametrize(
    ("url", "bucket"),
    [
        ("s3://files", Bucket("https://files.s3.us-east-1.amazonaws.com", "us-east-1")),
        ("s3://files/?region=sa-east-1", Bucket("https://files.s3.sa-east-1.amazonaws.com", "sa-east-1")),
        ("s3://files/a/b/", Bucket("https://files.s3.us-east-1.amazonaws.com", "us-east-1", "a/b/")),
        (
            "s3://files/a?region=x&endpoint=https://minio.example:9000/",
            Bucket("https://minio.example:9000/files", "x", "a/"),
        ),
    ],
)
def test_a_setting_names_a_bucket(url: str, bucket: Bucket):
    assert read_bucket(url) == bucket


@pytest.mark.parametrize(
    "url",
    ["files", "https://files", "s3://", "s3:///files", "s3://files?zone=x", "s3://files?endpoint=minio:9000"],
)
def test_another_setting_is_refused(url: str):
    with pytest.raises(ValueError, match="must"):
        read_bucket(url)
