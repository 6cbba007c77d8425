"""Builds the documents of ``docs/database`` from the catalogue, the notes, the templates and the story."""

from collections import defaultdict
from pathlib import Path
from uuid import UUID

import asyncpg

from tests.database_docs.catalogue import Catalogue, read_catalogue
from tests.database_docs.diagrams import diagram_values
from tests.database_docs.examples import Stage, run_examples
from tests.database_docs.guide import guide_values
from tests.database_docs.index import index_values
from tests.database_docs.markdown import Value, fill
from tests.database_docs.notes import Notes, read_notes

HERE = Path(__file__).parent
TEMPLATES = HERE / "templates"
DOCUMENTS = Path(__file__).parents[2] / "docs" / "database"
_NOTICE = "<!-- Written by `make docs` from tests/database_docs: change templates, notes or comments there, not this file. -->\n\n"


async def build_documents(admin_dsn: str, runtime_dsn: str) -> dict[str, str]:
    """The documents by file name, undated. The DSNs are an empty migrated database's, in which the story is told.

    Raises CatalogueError where comments or notes are missing, AssertionError for an example that fails.
    """
    stage = Stage(admin_dsn, runtime_dsn, await tell_story(admin_dsn))
    catalogue = await read_schema(admin_dsn)
    values = {**document_values(catalogue, read_notes(catalogue)), "id": lambda name: str(stage.ids[name])}
    return {
        name: _NOTICE + await run_examples(fill(template, values), stage)
        for name, template in read_templates().items()
    }


def read_templates() -> dict[str, str]:
    """The templates by document; a long one is in parts, ``name.1.md``, ``name.2.md``."""
    templates: defaultdict[str, str] = defaultdict(str)
    for path in sorted(TEMPLATES.glob("*.md")):
        templates[f"{path.name.partition('.')[0]}.md"] += path.read_text(encoding="utf-8")
    return templates


def document_values(catalogue: Catalogue, notes: Notes) -> dict[str, Value]:
    """All that templates may ask for."""
    return {**index_values(catalogue), **guide_values(catalogue, notes), **diagram_values(catalogue, notes)}


async def read_schema(admin_dsn: str) -> Catalogue:
    """The catalogue of a migrated database."""
    connection = await asyncpg.connect(admin_dsn)
    try:
        return await read_catalogue(connection)
    finally:
        await connection.close()


async def tell_story(admin_dsn: str) -> dict[str, UUID]:
    """Writes the story's rows, and lets every later session of this database live at the story's moment. Gives back
    the rows' ids by name.
    """
    connection = await asyncpg.connect(admin_dsn)
    try:
        async with connection.transaction():
            await connection.execute((HERE / "story.sql").read_text(encoding="utf-8"))
            name = await connection.fetchval("select quote_ident(current_database())")
            # now() is looked up like any name: the story's comes before PostgreSQL's.
            await connection.execute(f"alter database {name} set search_path = story, pg_catalog, public")
            await connection.execute(f"alter database {name} set timezone = 'UTC'")
            rows = await connection.fetch("select name, story.id(name) as id from story.ids")
    finally:
        await connection.close()
    return {row["name"]: UUID(str(row["id"])) for row in rows}
