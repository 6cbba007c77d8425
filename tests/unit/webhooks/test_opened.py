"""Sealed values that are opened once, and not for ever."""

import pytest

from db.errors import SealBroken
from db.sealing import Sealer
from handlers.webhooks.opened import OpenedSeals
from tests.servers import MASTER_KEY

SEALER = Sealer([MASTER_KEY])


class Reader:
    """Counts how often something was read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def __call__(self, value: str) -> str:
        self.read.append(value)
        return value.upper()


def test_a_value_is_opened_and_read_once():
    reader = Reader()
    opened = OpenedSeals(SEALER, reader)
    sealed = SEALER.seal_json("a", "row 1")

    assert [opened.open(sealed, "row 1") for _ in range(3)] == ["A"] * 3
    assert (
        opened.open(bytes(bytearray(sealed)), "row 1") == "A"
    )  # the same bytes, read from the database again
    assert reader.read == ["a"]


def test_other_bytes_are_another_value():
    reader = Reader()
    opened = OpenedSeals(SEALER, reader)

    assert [opened.open(SEALER.seal_json(text, "row 1"), "row 1") for text in "aab"] == ["A", "A", "B"]
    assert reader.read == ["a", "a", "b"]


def test_what_was_opened_for_its_row_opens_for_no_other():
    opened = OpenedSeals(SEALER, Reader())
    sealed = SEALER.seal_json("a", "row 1")
    opened.open(sealed, "row 1")

    with pytest.raises(SealBroken):
        opened.open(sealed, "row 2")


def test_the_least_recently_used_goes_first():
    reader = Reader()
    opened = OpenedSeals(SEALER, reader, most=2)
    first, second, third = (SEALER.seal_json(text, "row") for text in "abc")

    for sealed in (first, second, first, third, first, second):
        opened.open(sealed, "row")

    assert reader.read == ["a", "b", "c", "b"]


def test_what_cannot_be_read_is_not_kept():
    def read(value: str) -> int:
        return int(value)

    opened = OpenedSeals(SEALER, read)
    sealed = SEALER.seal_json("x", "row")

    for _ in range(2):
        with pytest.raises(ValueError, match="invalid literal"):
            opened.open(sealed, "row")
