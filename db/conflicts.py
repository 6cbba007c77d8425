"""Tells a row that exists already from every other failure."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from db.errors import Conflict


@contextmanager
def unique_or_conflict(message: str) -> Iterator[None]:
    """Turns a breach of a unique rule into Conflict(``message``), since the driver's text names values."""
    try:
        yield
    except asyncpg.UniqueViolationError:
        raise Conflict(message) from None
