"""Sealed values that are opened once, and not for ever."""

from uuid import uuid4

import pytest

from db.endpoints import secrets_context
from db.errors import SealBroken
from db.sealing import Sealer
from handlers.webhooks.opened import OpenedSeals
from tests.servers import MASTER_KEY

SEALER = Sealer([MASTER_KEY])
ROW = (uuid4(), uuid4())


def seal(value: str) -> bytes:
    return SEALER.seal_json(value, secrets_context(*ROW))


class Reader:
    """Counts how often something was read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def __call__(self, value: str) -> str:
        self.read.append(value)
        return value.upper()


def test_a_value_is_opened_and_read_once():
    reader = Reader()
    opened = OpenedSeals(SEALER, secrets_context, reader)
    sealed = seal("a")

    assert [opened.open(sealed, *ROW) for _ in range(3)] == ["A"] * 3
    assert opened.open(bytes(bytearray(sealed)), *ROW) == "A"  # the same bytes, read from the database again
    assert reader.read == ["a"]


def test_other_bytes_are_another_value():
    reader = Reader()
    opened = OpenedSeals(SEALER, secrets_context, reader)

    assert [opened.open(seal(text), *ROW) for text in "aab"] == ["A", "A", "B"]
    assert reader.read == ["a", "a", "b"]


@pytest.mark.parametrize("row", [(ROW[0], uuid4()), (uuid4(), ROW[1]), ROW[::-1]])
def test_what_was_opened_for_its_row_opens_for_no_other(row):
    opened = OpenedSeals(SEALER, secrets_context, Reader())
    sealed = seal("a")
    opened.open(sealed, *ROW)

    with pytest.raises(SealBroken):
        opened.open(sealed, *row)


def test_the_least_recently_used_goes_first():
    reader = Reader()
    opened = OpenedSeals(SEALER, secrets_context, reader, most=2)
    first, second, third = (seal(text) for text in "abc")

    for sealed in (first, second, first, third, first, second):
        opened.open(sealed, *ROW)

    assert reader.read == ["a", "b", "c", "b"]


def test_what_cannot_be_read_is_not_kept():
    opened = OpenedSeals(SEALER, secrets_context, int)
    sealed = seal("x")

    for _ in range(2):
        with pytest.raises(ValueError, match="invalid literal"):
            opened.open(sealed, *ROW)
