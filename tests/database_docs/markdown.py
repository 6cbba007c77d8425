"""Markdown as GitHub renders it: tables, anchors, and templates with ``{{ value }}`` in them."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

_PLACE = re.compile(r"\{\{ (?P<name>[a-z_]+)(?: (?P<argument>[^}]+?))? \}\}")
_HEADING = re.compile(r"^#{1,6} +(?P<title>.+?) *$", re.MULTILINE)
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)

Value = str | Callable[[str], str]


def grid(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells may hold anything."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines)


def cell(text: str) -> str:
    """A text as it can stand in one cell."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", "<br>")


def code(text: str) -> str:
    """A short text as code."""
    return f"`{text}`"


def codes(names: Iterable[str], joiner: str = ", ") -> str:
    """Names as code, in a row."""
    return joiner.join(map(code, names))


def fill(template: str, values: Mapping[str, Value]) -> str:
    """The template with every ``{{ name }}`` and ``{{ name argument }}`` replaced; raises KeyError for an unknown one."""

    def value_of(match: re.Match[str]) -> str:
        value = values[match["name"]]
        return value(match["argument"]) if callable(value) else value

    return _PLACE.sub(value_of, template)


def anchors(document: str) -> tuple[str, ...]:
    """The anchors that GitHub gives to a document's headings."""
    return tuple(_slug(match["title"]) for match in _HEADING.finditer(_FENCED.sub("", document)))


def _slug(title: str) -> str:
    kept = re.sub(r"[^\w\- ]", "", title.lower().replace("`", ""))
    return kept.replace(" ", "-")
