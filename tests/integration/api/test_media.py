"""Files in the API: links that need no key, end soon, and lead to one tenant's one file."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from channels.errors import StoreUnavailable
from handlers.media_links import LINK_LASTS, make_link, make_token
from handlers.media_store import store_key
from handlers.runtime import Runtime
from tests.conftest import PUBLIC_URL
from tests.fakes import FakeClock
from tests.integration.api.conftest import AioClient, Api, NewTenant
from tests.integration.api.seeds import Seeds
from tests.media_stage import PNG, MemoryStore
from tests.unit.test_sniffing import EXE

DIGEST = bytes(32)


class Files:
    """A message of the tenant under test, and files of it."""

    def __init__(self, api: Api, seeds: Seeds, store: MemoryStore, http: AioClient, runtime: Runtime) -> None:
        self.api, self.seeds, self.store, self.http, self.runtime = api, seeds, store, http, runtime
        self.message_id = UUID(int=0)
        self.conversation_id = UUID(int=0)

    async def attach(self, content: bytes | None = PNG, **columns: Any) -> UUID:
        if not self.message_id.int:
            self.conversation_id = await self.seeds.conversation()
            self.message_id = await self.seeds.message(self.conversation_id)
        key = store_key(self.api.distributor_id, DIGEST)
        stored = {
            "state": "STORED",
            "store_key": key,
            "size_bytes": len(content or b""),
            "sha256": DIGEST,
            "sniffed_type": "image/png",
        }
        if content is not None:
            await self.store.put(key, content)
        values = {
            "message_id": self.message_id,
            "position": 1,
            "url": "https://provider.example/secret-path",
            "content_type": "image/jpeg",
            "filename": "foto.png",
            "created_at": self.runtime.clock(),
            **(stored if content is not None else {}),
            **columns,
        }
        return await self.seeds.attachment(**values)

    async def shown(self) -> dict[str, Any]:
        _, message = await self.api.get(f"/v1/messages/{self.message_id}")
        _, page = await self.api.get(f"/v1/conversations/{self.conversation_id}/messages")
        (file,) = message["attachments"]
        assert page["data"][0]["attachments"] == [file]
        return dict(file)

    async def open(self, url: str) -> tuple[int, bytes, Any]:
        async with self.http.get(url.removeprefix(PUBLIC_URL)) as answer:
            return answer.status, await answer.read(), answer.headers


@pytest.fixture
def files(api: Api, seeds: Seeds, store: MemoryStore, http: AioClient, runtime: Runtime) -> Files:
    return Files(api, seeds, store, http, runtime)


async def test_a_stored_file_has_a_link_that_needs_no_key(files: Files):
    file_id = await files.attach()

    file = await files.shown()
    status, body, headers = await files.open(file.pop("url"))

    assert file == {
        "id": str(file_id),
        "filename": "foto.png",
        "content_type": "image/png",
        "size_bytes": len(PNG),
        "state": "STORED",
        "scanned": False,
    }
    assert (status, body) == (200, PNG)
    assert headers["Content-Type"] == "image/png"
    assert headers["Content-Disposition"] == "inline; filename*=UTF-8''foto.png"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("sandbox; default-src 'none';")
    assert "script" not in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "private, no-store"
    assert "Set-Cookie" not in headers


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        ({"state": "PENDING"}, {"content_type": "image/jpeg", "url": None, "size_bytes": None}),
        ({"state": "UNAVAILABLE"}, {"url": None}),
        ({"state": "TOO_LARGE"}, {"url": None}),
        (
            {"state": "INFECTED", "sniffed_type": "application/pdf"},
            {"content_type": "application/pdf", "url": None},
        ),
        ({"state": "LINKED"}, {"content_type": "image/jpeg", "url": "https://provider.example/secret-path"}),
        (
            {"state": "PENDING", "scanned_at": datetime.fromisoformat("2026-07-06T15:00:00+00:00")},
            {"scanned": True},
        ),
    ],
)
async def test_a_file_says_what_became_of_it(files: Files, columns: dict[str, Any], shown: dict[str, Any]):
    await files.attach(None, **columns)

    file = await files.shown()

    assert file.items() >= {"state": columns["state"], **shown}.items()


@pytest.mark.parametrize(
    ("kind", "disposition"),
    [
        ("image/png", "inline"),
        ("audio/ogg", "inline"),
        ("application/pdf", "attachment"),
        ("text/html", "attachment"),
        ("image/svg+xml", "attachment"),
        ("text/plain", "attachment"),
        ("application/vnd.microsoft.portable-executable", "attachment"),
        ("application/octet-stream", "attachment"),
    ],
)
async def test_only_what_cannot_run_is_shown_inline(files: Files, kind: str, disposition: str):
    await files.attach(EXE, sniffed_type=kind, filename=None)

    status, body, headers = await files.open((await files.shown())["url"])

    assert (status, body) == (200, EXE)
    assert (headers["Content-Type"], headers["Content-Disposition"]) == (kind, disposition)


@pytest.mark.parametrize(
    ("filename", "told"),
    [
        ("año nuevo.png", "a%C3%B1o%20nuevo.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\x.png", "x.png"),
        ('x"; filename=evil.exe', "x%22%3B%20filename%3Devil.exe"),
        ("a\r\nSet-Cookie: b=c", "a%0D%0ASet-Cookie%3A%20b%3Dc"),
    ],
)
async def test_a_files_name_cannot_do_harm(files: Files, filename: str, told: str):
    await files.attach(filename=filename)

    _, _, headers = await files.open((await files.shown())["url"])

    assert headers["Content-Disposition"] == f"inline; filename*=UTF-8''{told}"
    assert "Set-Cookie" not in headers


async def test_an_empty_and_a_large_file_come_whole(files: Files, store: MemoryStore):
    await files.attach(b"", sniffed_type="text/plain")
    url = (await files.shown())["url"]
    assert (await files.open(url))[:2] == (200, b"")

    large = bytes(range(256)) * 2000
    await files.seeds.admin.execute("update attachments set size_bytes = $1", len(large))
    await store.put(store_key(files.api.distributor_id, DIGEST), large)
    assert (await files.open(url))[:2] == (200, large)


async def test_a_link_ends(files: Files, clock: FakeClock):
    await files.attach()
    url = (await files.shown())["url"]

    clock.advance(LINK_LASTS.total_seconds() - 1)
    before, _, _ = await files.open(url)
    clock.advance(1)
    after, _, _ = await files.open(url)

    assert (before, after) == (200, 404)


async def test_every_other_link_is_the_same_404(files: Files, new_tenant: NewTenant, clock: FakeClock):
    """Wrong, over, another tenant's, unknown, not stored, gone from the store: nothing tells them apart."""
    file_id = await files.attach()
    other = await new_tenant("Sur")
    runtime, tenant = files.runtime, files.api.distributor_id
    links = {
        "tampered": make_link(runtime, tenant, file_id)[:-1] + "!",
        "cut": make_link(runtime, tenant, file_id)[:-1],
        "over": "/v1/media/" + make_token(runtime.sealer, tenant, file_id, clock() - timedelta(seconds=1)),
        "another tenant's": make_link(runtime, other.distributor_id, file_id),
        "unknown": make_link(runtime, tenant, UUID(int=7)),
        "nobody's": make_link(runtime, UUID(int=8), file_id),
        "not stored": make_link(runtime, tenant, await files.attach(None)),
        "no token": "/v1/media/x",
    }
    answers = {name: await files.open(url) for name, url in links.items()}
    del files.store.files[store_key(tenant, DIGEST)]
    answers["gone"] = await files.open(make_link(runtime, tenant, file_id))

    assert {name: answer[0] for name, answer in answers.items()} == dict.fromkeys(answers, 404)
    bodies = {body.replace(headers["X-Request-Id"].encode(), b"") for _, body, headers in answers.values()}
    assert len(bodies) == 1


async def test_a_store_that_is_away_is_503(files: Files, store: MemoryStore):
    await files.attach()
    url = (await files.shown())["url"]
    store.failing = StoreUnavailable()

    status, body, headers = await files.open(url)

    assert (status, headers["Retry-After"] is not None) == (503, True)
    assert b"unavailable" in body


async def test_a_file_to_be_sent_keeps_its_address(api: Api, seeds: Seeds):
    conversation = await seeds.conversation()
    sent = {"url": "https://files.example.com/a.pdf", "content_type": "application/pdf", "filename": "a.pdf"}

    status, message = await api.post(
        f"/v1/conversations/{conversation}/messages", {"text": "aquí", "attachments": [sent]}
    )

    (file,) = message["attachments"]
    assert status == 202
    assert file.items() >= {**sent, "state": "LINKED", "size_bytes": None, "scanned": False}.items()
    (row,) = await seeds.admin.fetch("select state, fetch_due_at from attachments")
    assert (row["state"], row["fetch_due_at"]) == ("LINKED", None)
