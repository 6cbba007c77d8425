"""Text whose lines a mail program broke softly (RFC 3676, ``format=flowed``)."""

SIGNATURE = "-- "


def unflowed(text: str, *, delete_space: bool = False) -> str:
    """The paragraphs as they were written; signature and depth of quotes are kept."""
    paragraphs: list[list[str]] = []
    open_depth: int | None = None  # of the quote whose last line goes on
    for raw in text.split("\n"):
        content = raw.lstrip(">")
        depth = len(raw) - len(content)
        content = content.removeprefix(" ")
        flows = content.endswith(" ") and content != SIGNATURE
        if open_depth != depth or content == SIGNATURE:
            paragraphs.append([">" * depth + " "] if depth else [])
        paragraphs[-1].append(content[:-1] if flows and delete_space else content)
        open_depth = depth if flows else None
    return "\n".join("".join(paragraph) for paragraph in paragraphs)
