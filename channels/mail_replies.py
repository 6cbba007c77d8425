"""What the writer of a mail added: its text without quoted mails, signature and disclaimer (first version)."""


def reply_of(text: str, *, replying: bool = True, forwarding: bool = False) -> str:
    """The new part of a mail's text; the whole text where nothing else would be left."""
    kept = [line for line in text.split("\n") if forwarding or not (replying and line.startswith(">"))]
    return "\n".join(kept).strip() or text.strip()
