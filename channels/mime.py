"""Mails as values from their bytes (RFC 5322, 2045 to 2049, 2183, 2231, 3676).

The stdlib reads header fields; the parts are found here, as slices of the one input. Its own parser makes several copies
of the mail in lines of text, takes time times nesting, and recurses as deep as a stranger likes.
"""

import binascii
import contextlib
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import compat32

from channels.mail import Headers, Mail, MailPart
from channels.mail_flowed import unflowed
from channels.mail_html import text_of_html
from channels.mail_reading import mail_of_fields
from channels.mail_words import clean, decode_base64, decoded, header_text, one_line

_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,100}/[a-z0-9!#$&^_.+-]{1,100}", re.ASCII)
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_PATH = re.compile(r"[/\\]")
_TURNING = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")  # Unicode UAX 9
_FILENAME_LIMIT = 200
_PARAMETERS_LIMIT = 4096  # of a Content-Type or -Disposition: the stdlib reads their quotes in square time
_DELIMITERS = 10_000  # lines of one multipart that may begin as its boundary does
_MAIL = "message/rfc822"


@dataclass(frozen=True, slots=True)
class MimeLimits:
    """What of a mail is read: bytes, bytes of one header block, multiparts within each other, entities, decoded bytes of
    all files, and decoded bytes of text.
    """

    size: int = 40 * 1024 * 1024
    headers: int = 128 * 1024
    depth: int = 20
    parts: int = 200
    decoded: int = 40 * 1024 * 1024
    text: int = 2 * 1024 * 1024


def read_mail(raw: bytes, *, envelope_to: Sequence[str] = (), limits: MimeLimits = MimeLimits()) -> Mail:
    """The mail in ``raw``, however broken: what is over a limit is left out and ``truncated`` says so.

    Text in a charset that it is not in has replacement characters. A mail without a Message-ID gets one from its digest.
    Python's memory beside ``raw`` stays under three times its size and 56 MiB (tests/unit/channels/test_mime_limits.py).
    Raises MalformedPayload only, where the mail names no sender.
    """
    reader = _Reader(raw[: limits.size], limits)
    reader.truncated = len(raw) > limits.size
    top = reader.entity(0, len(reader.raw))
    text = reader.text_of(top, 0)
    mail = mail_of_fields(
        headers=top.headers, text=text, html="", envelope_to=envelope_to, parts=reader.parts
    )
    thread = mail.thread
    if thread.message_id.endswith("@synthesised.invalid"):
        digest = hashlib.sha256(raw).hexdigest()[:40]
        thread = replace(thread, message_id=f"{digest}@synthesised.invalid")
    return replace(mail, thread=thread, truncated=mail.truncated or reader.truncated)


@dataclass(frozen=True, slots=True)
class _Entity:
    """A part of the mail: its header fields, and where its body is."""

    headers: Headers
    message: "Message[str, str]"
    content_type: str
    start: int
    end: int

    def parameter(self, name: str, header: str = "Content-Type") -> str:
        with contextlib.suppress(ValueError, IndexError, TypeError, AttributeError, LookupError):
            value = self.message.get_param(name, "", header)
            if isinstance(value, tuple):  # RFC 2231: charset, language, text
                return decoded(value[2].encode("latin-1", "replace"), value[0])
            return header_text(value or "")
        return ""


@dataclass(slots=True)
class _Reader:
    raw: bytes = field(repr=False)
    limits: MimeLimits
    parts: list[MailPart] = field(default_factory=list)
    truncated: bool = False
    entities: int = 0
    file_bytes: int = 0
    text_bytes: int = 0

    def entity(self, start: int, end: int) -> _Entity:
        self.entities += 1
        if self.raw.startswith((b"\r\n", b"\n"), start, end):
            head, body = b"", start
        else:
            found = _HEADER_END.search(self.raw, start, min(end, start + self.limits.headers))
            stop = found.start() if found else min(end, start + self.limits.headers)
            head, body = self.raw[start:stop], found.end() if found else stop
        message = BytesHeaderParser(policy=compat32).parsebytes(head)
        headers = tuple((name, str(value)) for name, value in message.raw_items())
        for name in ("Content-Type", "Content-Disposition"):
            value = str(message.get(name, ""))
            if len(value) > _PARAMETERS_LIMIT:
                message.replace_header(name, value[:_PARAMETERS_LIMIT])
        return _Entity(headers, message, _content_type(message), body, end)

    def text_of(self, entity: _Entity, depth: int) -> str:
        if entity.content_type.startswith("multipart/"):
            children = self._children(entity, depth)
            if children is not None:
                return self._text_of_all(entity, children, depth)
        if self._is_text(entity, depth):
            return self._body_text(entity)
        self._add_file(entity)
        return ""

    def _text_of_all(self, entity: _Entity, children: Iterator[_Entity], depth: int) -> str:
        texts = [self.text_of(child, depth + 1) for child in children]
        if entity.content_type == "multipart/alternative":
            return next((text for text in texts if text.strip()), "")
        return "\n\n".join(text.strip("\n") for text in texts if text.strip())

    def _children(self, entity: _Entity, depth: int) -> Iterator[_Entity] | None:
        boundary = entity.parameter("boundary")
        if not boundary:
            return None
        if depth >= self.limits.depth:
            self.truncated = True
            return iter(())
        slices = self._slices(entity, b"--" + boundary.encode("utf-8", "replace"))
        return (self.entity(start, end) for start, end in slices) if slices else None

    def _slices(self, entity: _Entity, delimiter: bytes) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        begun: int | None = None
        position = entity.start
        for _ in range(_DELIMITERS):
            at = self.raw.find(delimiter, position, entity.end)
            if at < 0:
                break
            line_end = self.raw.find(b"\n", at, entity.end)
            line_end = entity.end if line_end < 0 else line_end
            rest = self.raw[at + len(delimiter) : min(line_end, at + len(delimiter) + 100)].strip()
            position = line_end
            if (at > entity.start and self.raw[at - 1] != 10) or rest not in {b"", b"--"}:  # noqa: PLR2004 - a line feed
                continue
            if begun is not None:
                found.append((begun, _before_line_end(self.raw, begun, at)))
            begun = min(line_end + 1, entity.end)
            if rest == b"--" or self.entities + len(found) >= self.limits.parts:
                self.truncated = self.truncated or rest != b"--"
                return found
        if begun is not None:
            found.append((begun, entity.end))
        return found

    def _is_text(self, entity: _Entity, depth: int) -> bool:
        readable = entity.content_type in {"text/plain", "text/html"} or entity.content_type.startswith(
            "multipart/"
        )
        return readable and (depth == 0 or not (_disposition(entity) == "attachment" or _filename(entity)))

    def _body_text(self, entity: _Entity) -> str:
        content = self._decoded(entity, self.limits.text - self.text_bytes)
        self.text_bytes += len(content)
        text = clean(decoded(content, entity.parameter("charset")))
        if entity.content_type == "text/html":
            shown, is_cut = text_of_html(text)
            self.truncated = self.truncated or is_cut
            return shown
        if entity.parameter("format").lower() == "flowed":
            return unflowed(text, delete_space=entity.parameter("delsp").lower() == "yes")
        return text

    def _add_file(self, entity: _Entity) -> None:
        content = self._decoded(entity, self.limits.decoded - self.file_bytes)
        self.file_bytes += len(content)
        content_id = one_line(str(entity.message.get("Content-ID", ""))[:300]).strip("<> ") or None
        self.parts.append(
            MailPart(len(self.parts), entity.content_type, _filename(entity) or None, content_id, content)
        )

    def _decoded(self, entity: _Entity, room: int) -> bytes:
        encoding = one_line(str(entity.message.get("Content-Transfer-Encoding", ""))[:100]).lower()
        size = {"base64": 3 / 4}.get(encoding, 1.0)
        wanted = entity.end - entity.start
        if wanted * size > room + wanted * 0.05:
            self.truncated = True
        raw = self.raw[entity.start : min(entity.end, entity.start + int(max(room, 0) / size) + 4)]
        if encoding == "base64":
            raw = decode_base64(raw)
        elif encoding == "quoted-printable":
            raw = binascii.a2b_qp(raw)
        return raw[: max(room, 0)]


def _before_line_end(raw: bytes, start: int, at: int) -> int:
    """A delimiter's line end belongs to the delimiter (RFC 2046 section 5.1.1)."""
    end = at
    if end > start and raw[end - 1 : end] == b"\n":
        end -= 1
    if end > start and raw[end - 1 : end] == b"\r":
        end -= 1
    return end


def _content_type(message: "Message[str, str]") -> str:
    stated = str(message.get("Content-Type", "text/plain")).partition(";")[0].strip().lower()
    return stated if _TYPE.fullmatch(stated) else "text/plain"


def _disposition(entity: _Entity) -> str:
    return str(entity.message.get("Content-Disposition", "")).partition(";")[0].strip().lower()


def _filename(entity: _Entity) -> str:
    stated = entity.parameter("filename", "Content-Disposition") or entity.parameter("name")
    if not stated and entity.content_type == _MAIL:
        return "message.eml"
    return clean_filename(stated)


def clean_filename(stated: str) -> str:
    """A file's name without path, line ends, control characters and those that turn the order of what is shown, so that
    no program looks like a picture; empty where nothing is left.
    """
    last = _PATH.split(_TURNING.sub("", one_line(stated)))[-1].strip(". ")
    return last[-_FILENAME_LIMIT:]
