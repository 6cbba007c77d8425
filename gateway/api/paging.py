"""Pages of lists by keyset: a cursor names the last row seen, so that a page costs the same wherever it is.

A cursor is sealed, bound to the tenant and the list: it tells nothing and cannot be made or moved elsewhere.
"""

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, TypeVar
from uuid import UUID

from db.errors import SealBroken
from db.rows import LAST_ID
from gateway.api.operations import Call
from gateway.api.problems import invalid
from gateway.api.schemas import Page, PageQuery

ItemT = TypeVar("ItemT")
FIRST_ID = UUID(int=0)
FIRST_MOMENT = datetime.min.replace(tzinfo=UTC)
LAST_MOMENT = datetime.max.replace(tzinfo=UTC)
INVALID_CURSOR = "invalid_cursor"


@dataclass(frozen=True, slots=True)
class Keyset:
    """What a list is ordered by: a row's fields, how each is read, where a list begins."""

    fields: tuple[str, ...]
    readers: tuple[Callable[[str], Any], ...]
    start: tuple[Any, ...]

    def position_of(self, row: object) -> tuple[str, ...]:
        return tuple(str(attrgetter(field)(row)) for field in self.fields)


BY_ID = Keyset(("id",), (UUID,), (LAST_ID,))
FROM_OLDEST = Keyset(("id",), (UUID,), (FIRST_ID,))
BY_LAST_ORDER = Keyset(("last_ordered_at", "id"), (datetime.fromisoformat, UUID), (FIRST_MOMENT, FIRST_ID))
BY_LAST_MESSAGE = Keyset(("last_message_at", "id"), (datetime.fromisoformat, UUID), (LAST_MOMENT, LAST_ID))
BY_NAME = Keyset(("name",), (str,), ("",))
BY_ATTEMPT = Keyset(("event_id", "number"), (UUID, int), (LAST_ID, 0))
BY_EVENT = Keyset(("event_id", "id"), (UUID, UUID), (LAST_ID, LAST_ID))


def read_position(call: Call[Any, Any], keyset: Keyset) -> tuple[Any, ...]:
    """Where the asked page begins; raises ApiError 422 for a cursor that is not ours, or another list's."""
    query: PageQuery = call.query
    if query.cursor is None:
        return keyset.start
    try:
        sealed = base64.urlsafe_b64decode(query.cursor.encode() + b"=" * (-len(query.cursor) % 4))
        parts = call.runtime.sealer.open_json(sealed, _context(call))
    except (SealBroken, binascii.Error, ValueError):
        raise invalid("query", "cursor", "This is no cursor of this list.", INVALID_CURSOR) from None
    return tuple(read(part) for read, part in zip(keyset.readers, parts, strict=True))


def make_page(
    call: Call[Any, Any],
    keyset: Keyset,
    rows: Sequence[Any],
    items: Iterable[ItemT],
    model: type[Page[ItemT]],
    *,
    resume: object | None = None,
) -> Page[ItemT]:
    """A page of at most the asked limit; ``rows`` and ``items`` hold one more where there is a next page. ``resume`` is the
    last row looked at where there may be more although the page is not full.
    """
    limit = call.query.limit
    last = rows[limit - 1] if len(rows) > limit else resume
    cursor = None if last is None else _make_cursor(call, keyset.position_of(last))
    return model(data=list(items)[:limit], next_cursor=cursor)


def grouped(rows: Iterable[ItemT], key: str) -> Mapping[Any, list[ItemT]]:
    """Rows by one of their fields, each group in the rows' order."""
    groups: dict[Any, list[ItemT]] = {}
    for row in rows:
        groups.setdefault(getattr(row, key), []).append(row)
    return groups


def _make_cursor(call: Call[Any, Any], position: Sequence[str]) -> str:
    sealed = call.runtime.sealer.seal_json(list(position), _context(call))
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def _context(call: Call[Any, Any]) -> str:
    return f"cursor:{call.distributor_id}:{call.operation.path}:{call.id}"
