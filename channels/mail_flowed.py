"""Text whose lines a mail program broke softly (RFC 3676, ``format=flowed``)."""


def unflowed(text: str, *, delete_space: bool = False) -> str:
    """The paragraphs as they were written; signature and depth of quotes are kept."""
    lines: list[str] = []
    open_depth: int | None = None  # of the quote whose last line goes on
    for raw in text.split("\n"):
        depth = len(raw) - len(raw.lstrip(">"))
        content = raw[depth:].removeprefix(" ")
        flows = content.endswith(" ") and content != "-- "
        if flows and delete_space:
            content = content[:-1]
        if open_depth == depth and content != "-- ":
            lines[-1] += content
        else:
            lines.append((">" * depth + " " if depth else "") + content)
        open_depth = depth if flows else None
    return "\n".join(lines)
