"""Writes ``docs/database`` anew: ``python -m tests.database_docs``, which ``make docs`` runs."""

import asyncio
import sys
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path

from db.embedded import embedded_postgres, remove_data_dir
from db.migrate import find_runtime_dsn, migrate
from tests.database_docs.build import DOCUMENTS, build_documents
from tests.database_docs.catalogue import CatalogueError
from tests.database_docs.index import DATE, dated, undated

_KEY = bytes(range(32))


def main() -> int:
    """Returns the exit code; what was written is printed."""
    try:
        documents = asyncio.run(_build())
    except (CatalogueError, AssertionError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command for people
        return 1
    changed = write_documents(documents, DOCUMENTS, datetime.now(UTC).date())
    print(f"docs/database: {', '.join(changed) or 'nothing has'} changed")  # noqa: T201 - a command for people
    return 0


async def _build() -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "postgres"
        async with embedded_postgres(data, settings={"fsync": "off"}) as server:
            await migrate(server.dsn, [_KEY])
            documents = await build_documents(server.dsn, await find_runtime_dsn(server.dsn, [_KEY]))
        remove_data_dir(data)
    return documents


def write_documents(documents: dict[str, str], folder: Path, today: date) -> list[str]:
    """Writes what differs and gives back its names. The date is that of the last change: where nothing else
    differs, it stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = {name: _read(folder / name) for name in documents}
    changed = [name for name, text in documents.items() if undated(before[name]) != text]
    day = today if changed else _date_of(before) or today
    for name, text in documents.items():
        (folder / name).write_text(dated(text, day), encoding="utf-8")
    return changed


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _date_of(documents: dict[str, str]) -> date | None:
    found = (DATE.search(text) for text in documents.values())
    return next((date.fromisoformat(match["date"]) for match in found if match), None)


if __name__ == "__main__":
    sys.exit(main())
