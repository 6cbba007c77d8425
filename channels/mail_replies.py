"""What the writer of a mail added: its text without quoted mails, signature and disclaimer."""

import re
from collections.abc import Sequence

from channels.mail_history import HistoryKind, history_at
from channels.mail_signatures import without_signature

TEXT_LIMIT, MOST_LINES = 200_000, 5_000  # characters and lines that are looked at; what is behind is kept out
_RULE = re.compile(r"[\s*]*[-_=*]{5,}[\s*]*")
_BLANK_LINES = re.compile(r"\n{3,}")
# Answers written into an older mail that bears no marks ("my answers below in red"): only the whole text has them.
_ANSWERS_BELOW = re.compile(
    r"\b(?:respuestas?|respondo|contesto|comentarios?|respostas?|answers?|comments?|repl(?:y|ies))\b[^\n]{0,60}"
    r"\b(?:abajo|debajo|rojo|azul|abaixo|vermelho|below|inline|red|blue)\b",
    re.IGNORECASE,
)


def reply_of(text: str, *, replying: bool = True, forwarding: bool = False) -> str:
    """The new part of a mail's text: answers between quotes are kept, the quotes are not; the whole text where nothing
    else would be left.

    ``replying``: the mail says that it answers another, so that lines marked with ">" are quotes even without an
    attribution above them. ``forwarding``: its subject says that it passes an older mail on, which then is the message.
    """
    lines = text[:TEXT_LIMIT].split("\n")[:MOST_LINES]
    own = _own_lines(lines, replying=replying, forwarding=forwarding)
    reply = _joined(without_signature(own))
    return reply or _joined(own) or text.strip()


def _own_lines(lines: Sequence[str], *, replying: bool, forwarding: bool) -> list[str]:
    kept: list[str] = []
    index, quoting = 0, replying
    while index < len(lines):
        if quoting and _is_quoted(lines[index]):
            index += 1
            continue
        begun = history_at(lines, index)
        if begun is None:
            kept.append(lines[index])
            index += 1
            continue
        if begun.kind is HistoryKind.FORWARD or (forwarding and begun.kind is HistoryKind.BLOCK):
            return [*kept, *lines[index:]]
        if begun.kind is HistoryKind.ATTRIBUTION and _quote_follows(lines, index + begun.lines):
            quoting = True
            index += begun.lines
            continue
        return list(lines) if _ANSWERS_BELOW.search("\n".join(kept)) else _without_rule(kept)
    return kept


def _is_quoted(line: str) -> bool:
    return line.startswith((">", " >"))


def _quote_follows(lines: Sequence[str], index: int) -> bool:
    following = next((line for line in lines[index : index + 5] if line.strip()), "")
    return _is_quoted(following)


def _without_rule(lines: list[str]) -> list[str]:
    """The lines without the rule that stands above an older mail."""
    end = len(lines)
    while end and (not lines[end - 1].strip() or _RULE.fullmatch(lines[end - 1][:100])):
        end -= 1
    return lines[:end]


def _joined(lines: Sequence[str]) -> str:
    return _BLANK_LINES.sub("\n\n", "\n".join(line.rstrip() for line in lines)).strip()
