"""What docs/database says is the database's: the same as written anew, counted, linked and drawn without a gap."""

import asyncio
import difflib
import re
from collections.abc import Iterator
from dataclasses import replace

import asyncpg
import pytest

from db.embedded import EmbeddedPostgres
from db.migrate import find_runtime_dsn, read_migrations
from tests.database_docs.build import DOCUMENTS, build_documents, read_schema
from tests.database_docs.catalogue import Catalogue, CatalogueError, Column
from tests.database_docs.diagrams import references_drawn
from tests.database_docs.index import DATE, undated
from tests.database_docs.markdown import anchors
from tests.database_docs.notes import read_notes
from tests.servers import MASTER_KEY, TEMPLATE

GUIDE = "database-schema-guide.md"
DIAGRAMS = "database-relationships-diagram.md"
EXAMPLES = "practical-examples.md"
NAMES = ("README.md", GUIDE, DIAGRAMS, EXAMPLES)
# As issue 3 has them, to the letter, each with a line of its answer.
GIVEN_QUERIES = (
    (
        "SELECT c.*, conv.unread_count, conv.last_message_at FROM customers c JOIN conversations conv ON conv.customer_id = c.id WHERE c.distributor_id = get_current_distributor_id() ORDER BY conv.last_message_at DESC;",
        "| business_name | Café Aurora | Restaurante La Palma | Tienda Lupita | Bar El Faro |",
    ),
    (
        "SELECT m.*, ar.extracted_data, ar.confidence FROM messages m LEFT JOIN ai_responses ar ON ar.message_id = m.id WHERE m.ai_processed = FALSE AND m.distributor_id = get_current_distributor_id();",
        "| text | Buenas! Tienen agua de litro? | Quiero 4 cajas |",
    ),
    (
        "SELECT c.*, COUNT(o.id) as order_count, SUM(o.total_amount) as total_spent FROM customers c LEFT JOIN orders o ON o.customer_id = c.id WHERE c.distributor_id = get_current_distributor_id() GROUP BY c.id;",
        "| order_count | 2 | 5 | 7 | 0 |",
    ),
)
FIRST_MIGRATIONS = tuple(f"{each.version:04d}_{each.name}" for each in read_migrations()[:15])


@pytest.fixture(scope="module")
def told(postgres: EmbeddedPostgres) -> Iterator[tuple[Catalogue, dict[str, str]]]:
    """The catalogue, and the documents written anew, in a database of their own."""
    with asyncio.Runner() as runner:
        runner.run(_administer(postgres, f"create database documents template {TEMPLATE} strategy file_copy"))
        dsn = postgres.dsn_for("documents")
        runtime_dsn = runner.run(find_runtime_dsn(dsn, [MASTER_KEY]))
        yield runner.run(read_schema(dsn)), runner.run(build_documents(dsn, runtime_dsn))
        runner.run(_administer(postgres, "drop database documents with (force)"))


async def _administer(server: EmbeddedPostgres, statement: str) -> None:
    connection = await asyncpg.connect(server.dsn)
    await connection.execute(statement)
    await connection.close()


@pytest.fixture
def catalogue(told: tuple[Catalogue, dict[str, str]]) -> Catalogue:
    return told[0]


@pytest.fixture(scope="module")
def documents() -> dict[str, str]:
    """The documents as they are in the repository."""
    return {name: (DOCUMENTS / name).read_text(encoding="utf-8") for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_document_says_what_the_database_says(
    told: tuple[Catalogue, dict[str, str]], documents: dict[str, str], name: str
):
    written, anew = undated(documents[name]).splitlines(), told[1][name].splitlines()
    drift = list(difflib.unified_diff(written, anew, "written", "anew", n=0, lineterm=""))

    assert not drift, "\n".join((f"docs/database/{name} has drifted: run `make docs`", *drift[:40]))


def test_no_document_is_left_over(told: tuple[Catalogue, dict[str, str]]):
    assert {path.name for path in DOCUMENTS.iterdir()} == told[1].keys() == set(NAMES)


def test_the_catalogue_has_47_tables_in_8_categories_by_15_first_migrations(catalogue: Catalogue):
    assert len(catalogue.tables) == 47
    assert [category.number for category in catalogue.categories] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert catalogue.migrations[:15] == FIRST_MIGRATIONS
    assert len(FIRST_MIGRATIONS) == 15


def test_a_table_is_granted_to_somebody_or_says_what_is_coming(catalogue: Catalogue):
    """The guide says so on its first page."""
    for table in catalogue.tables.values():
        assert table.rights or table.coming, table.name


def test_the_guide_tells_of_every_table_once_and_of_every_first_migration(
    catalogue: Catalogue, documents: dict[str, str]
):
    guide = documents[GUIDE]

    assert re.findall(r"^### `(\w+)`$", guide, re.MULTILINE) == [
        table.name for tables in catalogue.categories.values() for table in tables
    ]
    assert re.findall(r"^## (\d .+)$", guide, re.MULTILINE) == [each.title for each in catalogue.categories]
    assert tuple(re.findall(r"^\| `(\d{4}_\w+)` \|", guide, re.MULTILINE))[:15] == FIRST_MIGRATIONS
    assert f"{len(catalogue.tables)} tables in {len(catalogue.categories)} categories" in guide


def test_the_diagrams_draw_every_table_and_every_foreign_key_once(
    catalogue: Catalogue, documents: dict[str, str]
):
    diagrams = documents[DIAGRAMS]
    drawn = re.findall(r"^    (\w+) \S+--\S+ (\w+) : ", diagrams, re.MULTILINE)

    assert sorted(re.findall(r"^    (\w+) \{$", diagrams, re.MULTILINE)) == sorted(catalogue.tables)
    assert sorted(drawn) == sorted((each.parent, each.table) for each in references_drawn(catalogue))
    assert diagrams.count("```mermaid\nerDiagram") == len(catalogue.categories)


def test_the_index_finds_a_feature_for_every_table(catalogue: Catalogue, documents: dict[str, str]):
    features = documents["README.md"].partition("## By feature")[2].partition("\n## ")[0]

    assert set(re.findall(r"\[`(\w+)`\]", features)) == set(catalogue.tables)


def test_the_index_names_the_version_and_a_date(catalogue: Catalogue, documents: dict[str, str]):
    version = f"Version: {len(catalogue.migrations)} migrations, the last is `{catalogue.migrations[-1]}`."

    assert version in documents["README.md"]
    assert len(DATE.findall(documents["README.md"])) == 1


@pytest.mark.parametrize(("query", "line"), GIVEN_QUERIES)
def test_a_given_query_stands_there_with_its_answer(documents: dict[str, str], query: str, line: str):
    """What it answers is held to the database by the comparison above; here, that it is the right tenant's rows."""
    answer = documents[EXAMPLES].partition(f"```sql\n{query}\n```\n\n")[2].partition("\n\n")[0]

    assert line in answer.splitlines()
    assert "Padaria Central" not in answer


def test_links_lead_to_a_document_and_a_heading(documents: dict[str, str]):
    headings = {name: anchors(text) for name, text in documents.items()}

    for name, text in documents.items():
        for target in set(re.findall(r"\]\(([^)]+)\)", text)):
            path, _, anchor = target.partition("#")
            assert (DOCUMENTS / path).exists(), f"{name}: {target}"
            assert not anchor or anchor in headings[path or name], f"{name}: {target}"


def test_nothing_of_a_day_or_a_machine_is_in_them(catalogue: Catalogue, documents: dict[str, str]):
    """Partitions are named by the day on which they were made."""
    cut = [name for name, table in catalogue.tables.items() if table.plan]

    for text in documents.values():
        assert not re.search(rf"(?:{'|'.join(cut)})_(?:\d{{8}}|first)\b", text)


def test_a_new_table_needs_notes(catalogue: Catalogue):
    newcomer = replace(catalogue.tables["products"], name="newcomers")
    grown = replace(catalogue, tables={**catalogue.tables, "newcomers": newcomer})

    with pytest.raises(CatalogueError, match="newcomers has no notes"):
        read_notes(grown)


def test_a_new_column_and_a_new_index_need_a_word(catalogue: Catalogue):
    products = catalogue.tables["products"]
    shelf_life = Column("shelf_life", "integer", False, False, None, None)
    index = replace(products.indexes[0], name="products_new", definition="btree (shelf_life)")
    grown = replace(products, columns=(*products.columns, shelf_life), indexes=(*products.indexes, index))

    with pytest.raises(CatalogueError) as refusal:
        read_notes(replace(catalogue, tables={**catalogue.tables, "products": grown}))

    assert "products.shelf_life needs a `comment on column`" in str(refusal.value)
    assert "products.indexes does not tell of products_new" in str(refusal.value)


def test_an_index_of_a_foreign_key_explains_itself(catalogue: Catalogue):
    conversations = catalogue.tables["conversations"]
    served = {index.name: conversations.reference_of(index) for index in conversations.indexes}

    assert {name for name, reference in served.items() if reference} == {
        "conversations_contact",
        "conversations_customer",
    }
