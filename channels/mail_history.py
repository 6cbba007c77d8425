"""Where in a mail's text an older mail begins: what mail programs write above the mail that they quote.

Spanish, English and Portuguese are read here; the other languages' headers by mail-parser-reply, which is given a few
lines at a time only: its patterns take time that grows with the square of a text.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from mailparser_reply.parser import EmailMessage as ReplyParser

ATTRIBUTION_LINES, ATTRIBUTION_LIMIT = 4, 400  # an attribution is wrapped by mail programs
WINDOW_LIMIT = 300  # characters that the library is given at once
BLOCK_LINES = 12
LEAST_KINDS = 3  # of header lines that make a block
LANGUAGES = ("de", "fr", "it", "nl", "pl", "sv", "da", "cs")


class HistoryKind(StrEnum):
    """What begins."""

    ATTRIBUTION = "attribution"  # "On … wrote:"; the quoted mail follows, with marks or without
    BLOCK = "block"  # header lines or a ruled title: the rest is the older mail
    FORWARD = "forward"  # a mail that the writer passes on to us


@dataclass(frozen=True, slots=True)
class History:
    """An older mail's beginning, and how many lines it takes."""

    kind: HistoryKind
    lines: int = 1


_START = re.compile(
    r"[\s*_\u200e\u2068-]*(?:on|el|en|em|a|as|às|no dia|dia|aos|at|\d{4}[-/]\d\d[-/]\d\d"
    r"|[^\s:]{1,40} [^:]{0,120}<[^\s<>]{1,100}@)\b",
    re.IGNORECASE,
)
_WROTE = re.compile(
    r"\b(?:wrote|writes|escribió|escribio|ha escrito|escreveu)\b[^:]{0,60}(?::[0-5]\d[^:]{0,30})?:?[\s*_\u2069-]*$",
    re.IGNORECASE,
)
_GMAIL_OLD = re.compile(r"\d{4}[-/]\d\d[-/]\d\d .{0,200}<[^\s<>]{1,100}@[^\s<>]{1,100}>:\s*$")
_DATED = re.compile(r"\d{1,4}[/.-]\d{1,2}|\d{1,2}[:h.]\d{2}|\b\d{4}\b|@")
_TITLE = re.compile(
    r"[\s*]*[-_=]{2,}[\s*]*(?:original (?:message|appointment)|mensaje original|cita original|mensagem original"
    r"|message d'origine|ursprüngliche nachricht|original-nachricht|messaggio originale)[\s*]*[-_=]{2,}[\s*]*",
    re.IGNORECASE,
)
_ABOVE = re.compile(
    r"[\W_]{0,10}(?:please )?(?:type your reply|reply|escrib[ae] su respuesta|respond[ae]|escreva sua resposta)"
    r"[^.\n]{0,20}(?:above this line|(?:por )?encima de esta línea|acima desta linha)[\W_]{0,10}",
    re.IGNORECASE,
)
_FORWARDED = re.compile(
    r"[\s*]*-{2,}[\s*]*(?:forwarded (?:message|by .{0,80})|mensaje reenviado|mensagem (?:re)?encaminhada)[\s*]*-{2,}[\s*]*"
    r"|[\s*]*(?:begin forwarded message|inicio del mensaje reenviado|início da mensagem (?:re)?encaminhada):[\s*]*",
    re.IGNORECASE,
)
_HEADER_LINE = re.compile(r"[\s*_]{0,10}([A-Za-zÀ-ÿ][A-Za-zÀ-ÿ -]{0,20}?)[\s*_]{0,5}:[\s*_]", re.IGNORECASE)
_KINDS = {
    word: kind
    for kind, words in {
        "from": "from de von da remitente remetente",
        "sent": "sent date enviado enviada fecha data gesendet inviato envoyé",
        "to": "to para an a à destinatario destinatário",
        "subject": "subject asunto assunto betreff oggetto objet",
        "other": "cc cco bcc importance importancia importância prioridad attachments adjuntos anexos",
    }.items()
    for word in words.split()
} | {
    "reply-to": "other",
    "responder a": "other",
    "enviado el": "sent",
    "enviada em": "sent",
    "enviado em": "sent",
}
OTHER_LANGUAGES = ReplyParser(text="", languages=list(LANGUAGES), include_english=False).HEADER_REGEX


def history_at(lines: Sequence[str], index: int) -> History | None:
    """What begins at this line; None where it is only text."""
    line = lines[index].strip()
    if not line or len(line) > ATTRIBUTION_LIMIT:
        return None
    if _FORWARDED.fullmatch(line):
        return History(HistoryKind.FORWARD)
    if _TITLE.fullmatch(line) or _ABOVE.fullmatch(line) or _is_block(lines, index):
        return History(HistoryKind.BLOCK)
    taken = _attribution_lines(lines, index)
    return History(HistoryKind.ATTRIBUTION, taken) if taken else None


def _attribution_lines(lines: Sequence[str], index: int) -> int:
    """How many lines the attribution takes that begins here; 0 where none does."""
    window = lines[index : index + ATTRIBUTION_LINES]
    if _START.match(window[0]):
        for count in range(1, len(window) + 1):
            joined = " ".join(line.strip() for line in window[:count])[: ATTRIBUTION_LIMIT + 1]
            if not window[count - 1].strip() or len(joined) > ATTRIBUTION_LIMIT:
                break
            if _DATED.search(joined) and (_WROTE.search(joined) or _GMAIL_OLD.match(joined)):
                return count
    return _foreign_lines(window)


def _foreign_lines(window: Sequence[str]) -> int:
    given = library_window(window)
    found = OTHER_LANGUAGES.match(given) if given else None
    return found[0].strip("\n").count("\n") + 1 if found else 0


def library_window(window: Sequence[str]) -> str:
    """The lines that the library is asked about; none where they cannot be an attribution."""
    for count, line in enumerate(window[:2], start=1):
        if line.rstrip().endswith(":"):
            text = "\n".join(part.strip() for part in window[:count])
            return text if len(text) <= WINDOW_LIMIT and _DATED.search(text) else ""
    return ""


def _is_block(lines: Sequence[str], index: int) -> bool:
    """Whether header lines begin here: sender first, two other kinds soon after (Outlook, in a text or from HTML)."""
    if _kind_of(lines[index]) != "from":
        return False
    kinds: set[str] = set()
    others = 0
    for line in lines[index : index + BLOCK_LINES]:
        kind = _kind_of(line)
        if kind:
            kinds.add(kind)
        elif line.strip():
            others += 1
        if others > 2:  # noqa: PLR2004 - lines of recipients that were wrapped
            break
    return len(kinds) >= LEAST_KINDS


def _kind_of(line: str) -> str | None:
    found = _HEADER_LINE.match(line[:60] + " ")
    return _KINDS.get(found[1].strip().lower()) if found else None
