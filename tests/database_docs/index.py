"""The index page's generated parts: maintenance that the workers do by the clock, retention, counts, the date."""

import re
from datetime import date

from gateway.schedules import SCHEDULES
from tests.database_docs.catalogue import Catalogue, PartitionPlan
from tests.database_docs.markdown import Value, code, grid
from tests.database_docs.texts import guide_link

DATE = re.compile(r"^Date: (?P<date>\d{4}-\d{2}-\d{2})$", re.MULTILINE)
UNDATED = "Date: 0001-01-01"


def index_values(catalogue: Catalogue) -> dict[str, Value]:
    """What every template may ask for."""
    return {
        "tables": str(len(catalogue.tables)),
        "category_count": str(len(catalogue.categories)),
        "migration_count": str(len(catalogue.migrations)),
        "last_migration": code(catalogue.migrations[-1]),
        "references": str(len(catalogue.references)),
        "date": UNDATED,
        "table": guide_link,
        "schedules": grid(
            ("job", "when (cron, UTC)", "what it does"),
            ((code(name), code(cron), _first_line(job.__doc__)) for name, (cron, job) in SCHEDULES.items()),
        ),
        "retention": grid(
            ("table", "kept at least"),
            (
                (guide_link(name), f"{plan.days_kept} days")
                for name, plan in sorted(_plans(catalogue).items(), key=lambda item: item[1].place)
            ),
        ),
    }


def _plans(catalogue: Catalogue) -> dict[str, PartitionPlan]:
    return {table.name: table.plan for table in catalogue.tables.values() if table.plan}


def _first_line(docstring: str | None) -> str:
    return " ".join((docstring or "").split()).partition(";")[0].rstrip(".") + "."


def undated(document: str) -> str:
    """A document without its date, to compare."""
    return DATE.sub(UNDATED, document)


def dated(document: str, day: date) -> str:
    """A document with its date."""
    return document.replace(UNDATED, f"Date: {day.isoformat()}")
