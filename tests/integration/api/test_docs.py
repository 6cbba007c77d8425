"""The document and its page are open, self-contained, and safe to show."""

import re

import pytest

from gateway.api.routes import OPERATIONS

FILES = {"/docs": "text/html", "/docs/page.css": "text/css", "/docs/page.js": "text/javascript"}


async def test_the_document_needs_no_key(http, document) -> None:
    async with http.get("/openapi.json") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        assert await response.json() == document.value


@pytest.mark.parametrize(("path", "content_type"), FILES.items())
async def test_the_page_uses_nothing_from_elsewhere(http, path, content_type) -> None:
    async with http.get(path) as response:
        text = await response.text()
        assert (response.status, response.content_type) == (200, content_type)
        policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert re.findall(r"https?://", text) == []
    assert re.findall(r"\bon\w+=|style=|<script>|innerHTML|eval\(", text) == []


async def test_what_the_page_loads_is_there(http) -> None:
    async with http.get("/docs") as response:
        loaded = re.findall(r'(?:src|href)="(/[^"]+)"', await response.text())
    assert set(loaded) == {"/docs/page.css", "/docs/page.js", "/openapi.json"}
    for path in loaded:
        async with http.get(path) as response:
            assert response.status == 200


def test_every_operation_of_the_document_has_a_summary_for_people() -> None:
    assert len({operation.summary for operation in OPERATIONS}) == len(OPERATIONS)
