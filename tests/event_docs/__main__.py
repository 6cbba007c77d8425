"""Writes docs/webhook-events.md and docs/event-schemas: `python -m tests.event_docs`. Breaks nothing that was published."""

import sys
from pathlib import Path

from handlers.webhooks.catalogue import build_catalogue
from tests.event_docs.document import DOCUMENT, render_document
from tests.event_docs.schemas import FOLDER, emitted, find_breaks, read_published, render_schema


def write(folder: Path, document: Path) -> int:
    """The exit code: 1, and nothing written, where receivers would break without a word to them."""
    catalogue = build_catalogue()
    schemas = emitted(catalogue)
    breaks = list(find_breaks(read_published(folder), schemas))
    if breaks:
        sys.stderr.write("\n".join(["These changes break receivers:", *breaks, ""]))
        return 1
    folder.mkdir(exist_ok=True)
    for name, published in schemas.items():
        folder.joinpath(f"{name}.json").write_text(render_schema(published), encoding="utf-8")
    document.write_text(render_document(catalogue), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(write(FOLDER, DOCUMENT))
