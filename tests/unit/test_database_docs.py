"""The tool that writes docs/database: dates that stay, anchors, values as psql shows them, examples that must not fail."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.database_docs.__main__ import write_documents
from tests.database_docs.examples import Stage, run_examples
from tests.database_docs.index import UNDATED
from tests.database_docs.markdown import anchors, fill, grid
from tests.database_docs.values import show_value

FIRST, LATER = date(2026, 1, 1), date(2026, 2, 2)


def test_the_date_is_that_of_the_last_change(tmp_path: Path):
    documents = {"a.md": f"one\n\n{UNDATED}\n", "b.md": "two\n"}

    assert write_documents(documents, tmp_path, FIRST) == ["a.md", "b.md"]
    assert write_documents(documents, tmp_path, LATER) == []
    assert "Date: 2026-01-01" in (tmp_path / "a.md").read_text()
    assert write_documents({**documents, "b.md": "three\n"}, tmp_path, LATER) == ["b.md"]
    assert "Date: 2026-02-02" in (tmp_path / "a.md").read_text()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (True, "t"),
        (3, "3"),
        (Decimal("1.50"), "1.50"),
        (datetime(2025, 6, 16, 18, tzinfo=UTC), "2025-06-16 18:00:00+00"),
        (timedelta(seconds=30), "00:00:30"),
        (timedelta(days=1), "1 day"),
        (timedelta(days=2, hours=3), "2 days 03:00:00"),
        (["a", None], "{a,}"),
        (b"\x01", "\\x01"),
    ],
)
def test_a_value_is_shown_as_psql_does(value: Any, shown: str):
    assert show_value(value) == shown


def test_a_cell_holds_anything():
    assert grid(("a",), [("x|y\nz",)]) == "| a |\n| --- |\n| x\\|y<br>z |"


def test_anchors_are_githubs():
    document = "# The `messages` table\n```sh\n# no heading\n```\n## 7 Security & privacy\n## curl, `/v1`\n"

    assert anchors(document) == ("the-messages-table", "7-security--privacy", "curl-v1")


def test_a_template_may_ask_only_for_what_there_is():
    assert fill("{{ one }} {{ shout hey you }}", {"one": "1", "shout": str.upper}) == "1 HEY YOU"
    with pytest.raises(KeyError):
        fill("{{ two }}", {})


async def test_an_example_that_fails_is_named():
    nowhere = Stage("postgresql://nobody@127.0.0.1:1/none", "postgresql://nobody@127.0.0.1:1/none", {})

    with pytest.raises(AssertionError, match="select broken"):
        await run_examples("```sql\nselect broken;\n```\n", nowhere)
