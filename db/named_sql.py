"""Reads SQL out of .sql files: blocks that begin with ``-- name: word`` and run to the next one."""

import re
from collections.abc import Iterator, Mapping
from importlib import resources

_NAME = re.compile(r"^-- name: (?P<name>[a-z][a-z0-9_]*)$", re.MULTILINE)


class Statements(Mapping[str, str]):
    """The named statements of one file, in the order of the file; an unknown name raises KeyError with the
    file's.
    """

    def __init__(self, source: str, statements: dict[str, str]) -> None:
        self.source = source
        self._statements = statements

    def __getitem__(self, name: str) -> str:
        try:
            return self._statements[name]
        except KeyError:
            raise KeyError(f"{self.source}.sql has no statement named {name}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)

    def __len__(self) -> int:
        return len(self._statements)


def parse_statements(source: str, text: str) -> Statements:
    """Splits a file's text into its named statements; raises ValueError for a name given twice or an empty
    block.
    """
    pieces = _NAME.split(text)[1:]
    statements: dict[str, str] = {}
    for name, body in zip(pieces[::2], pieces[1::2], strict=True):
        if name in statements:
            raise ValueError(f"{source}.sql names {name} twice")
        if not body.strip():
            raise ValueError(f"{source}.sql: {name} is empty")
        # The name goes along, so that pg_stat_activity and logs say which statement runs.
        statements[name] = f"/* {source}.{name} */ {body.strip().rstrip(';')}"
    return Statements(source, statements)


def load_statements(source: str) -> Statements:
    """The statements of ``db/queries/<source>.sql``."""
    text = resources.files("db").joinpath("queries", f"{source}.sql").read_text(encoding="utf-8")
    return parse_statements(source, text)


def statement_files() -> tuple[str, ...]:
    """The names of all files of statements, for the tests that prepare every one."""
    folder = resources.files("db").joinpath("queries")
    return tuple(
        sorted(entry.name.removesuffix(".sql") for entry in folder.iterdir() if entry.name.endswith(".sql"))
    )
