"""What was stored of events, held against what is promised of them: whatever flow a test played, its bodies fit."""

from datetime import datetime
from functools import cache
from typing import Any

import jsonschema

from db.tenant import Database
from handlers.webhooks.event_types import EventType
from handlers.webhooks.events import json_schema, thin_body

# Rows that tests and the documents' story write by hand have shorter bodies; their times end in +00:00, the program's in Z.
_STORED = """
    select type, body, sequence, conversation_id
    from webhook_events
    where body ->> 'timestamp' like '%Z'
    order by id
    limit 1000
"""


@cache
def _validator(event_type: EventType, *, thin: bool) -> Any:
    formats = jsonschema.FormatChecker()
    formats.checks("date-time", ValueError)(
        _is_time
    )  # else known with a library only that is not needed for more
    return jsonschema.Draft202012Validator(json_schema(event_type, thin=thin), format_checker=formats)


def _is_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


async def check_stored_bodies(database: Database) -> None:
    """Every stored body is of its type's schema, full and thin, and has its number where it is of a conversation:
    also those that SQL laid ids over, after the program had checked them.
    """
    async with database.worker_statements() as connection:
        rows = await connection.fetch(_STORED)
    for row in rows:
        event_type, body = EventType(row["type"]), row["body"]
        assert body["type"] == event_type
        _validator(event_type, thin=False).validate(body)
        _validator(event_type, thin=True).validate(thin_body(body))
        assert body.get("sequence") == row["sequence"]
        assert ("sequence" in body) == (row["conversation_id"] is not None)
        assert body["data"].keys() == fields_of(event_type), event_type


@cache
def fields_of(event_type: EventType) -> frozenset[str]:
    """All of them are there, null or not: neither more than is published, nor fewer."""
    return frozenset(json_schema(event_type)["properties"]["data"]["properties"])
