"""Form posts of both kinds, read from the raw bytes: what providers of mail put into the fields of a form.

Source: RFC 7578 (multipart/form-data), RFC 2046 section 5.1 (boundaries); how browsers and libraries escape names is in
the HTML Standard, "Multipart form data". The standard library's mail parser would take several times the memory of
a post with files, and mends what is not of the form.
"""

import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from channels.base import InboundRequest
from channels.errors import MalformedPayload
from channels.forms import FORM_TYPE
from channels.mail_words import decoded

MULTIPART_TYPE = "multipart/form-data"
PART_LIMIT = (
    300  # fields and files: 200 files are read of a mail, and posts have some twenty fields beside them
)
_HEADER_LIMIT = 4 * 1024  # bytes of one part's headers
_BOUNDARY = re.compile(
    r'(?i)(?:^|;)\s*boundary=(?:"([^"]{1,70})"|([^\s";,]{1,70}))'
)  # RFC 2046: 1 to 70 characters
_PARAMETER = re.compile(r'\s*;\s*([a-zA-Z*-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))', re.DOTALL)
# Browsers escape these three by percent, libraries a quote by a backslash.
_ESCAPES = {'\\"': '"', "\\\\": "\\", "%22": '"', "%0D": "\r", "%0A": "\n"}
_NO_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class FormPart:
    """One field or file of a form. ``charset`` is that of its own header, empty where it names none."""

    name: str
    content: bytes = field(repr=False)
    filename: str | None = None
    content_type: str = ""
    charset: str = ""

    @property
    def text(self) -> str:
        """The content as its own charset says, else UTF-8 or Windows-1252; what cannot be decoded is replaced."""
        return decoded(self.content, self.charset)


class Form:
    """The parts of a form in their order. Of repeated names the last one counts."""

    def __init__(self, parts: Sequence[FormPart]) -> None:
        self.parts = tuple(parts)
        self._last = {part.name: part for part in parts}

    def part(self, name: str) -> FormPart | None:
        """The last part of that name."""
        return self._last.get(name)

    def text(self, name: str) -> str:
        """The text of a field; empty where it is not there."""
        part = self._last.get(name)
        return part.text if part else ""

    def __contains__(self, name: str) -> bool:
        return name in self._last


def read_form(request: InboundRequest) -> Form:
    """The form of a request, of whichever kind; raises MalformedPayload where its body is none."""
    kind = _media_type(request.headers)
    if kind == FORM_TYPE:
        return Form(_urlencoded(request.body))
    if kind != MULTIPART_TYPE:
        raise MalformedPayload("The body is not a form.")
    found = _BOUNDARY.search(request.headers.get("Content-Type", ""))
    if found is None:
        raise MalformedPayload("The form has no boundary.")
    boundary = (found[1] or found[2]).encode("utf-8", "replace")
    return Form([_part(*place) for place in _places(request.body, boundary)])


def _media_type(headers: Mapping[str, str]) -> str:
    return headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _urlencoded(body: bytes) -> list[FormPart]:
    if body.count(b"&") >= PART_LIMIT:
        raise MalformedPayload("The form has too many fields.")
    if _NO_ESCAPE.search(body):
        raise MalformedPayload("The form has a percent sign that escapes nothing.")
    named = (segment.partition(b"=") for segment in body.replace(b"+", b" ").split(b"&") if segment)
    return [FormPart(decoded(_unquoted(name), ""), _unquoted(content)) for name, _, content in named]


def _unquoted(raw: bytes) -> bytes:
    """The bytes of valid percent-escapes. They are those of quoted-printable but for their sign, and for that there is a
    decoder in C: urllib's takes ten seconds and a gigabyte for the largest post, before anybody knows who sent it.
    """
    return binascii.a2b_qp(raw.replace(b"=", b"=3D").replace(b"%", b"=")) if b"%" in raw else raw


def _places(body: bytes, boundary: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The headers and the content between each two delimiters; what stands before the first is no part."""
    mark = b"--" + boundary
    at = 0 if body.startswith(mark) else body.find(b"\r\n" + mark) + 2
    if at == 1:
        raise MalformedPayload("The form does not begin with its boundary.")
    at += len(mark)
    for _ in range(PART_LIMIT):
        if body.startswith(b"--", at):
            return
        begin = _end_of_line(body, at)
        end = body.find(b"\r\n" + mark, begin - 2)
        if end < 0:
            raise MalformedPayload("The form does not end with its boundary.")
        yield _split(body, begin, end)
        at = end + 2 + len(mark)
    raise MalformedPayload("The form has too many parts.")


def _end_of_line(body: bytes, at: int) -> int:
    line = body.find(b"\r\n", at)
    if line < 0 or body[at:line].strip(b" \t"):
        raise MalformedPayload("A boundary of the form is not alone in its line.")
    return line + 2


def _split(body: bytes, begin: int, end: int) -> tuple[bytes, bytes]:
    blank = body.find(b"\r\n\r\n", begin, end)
    if blank < 0 or blank - begin > _HEADER_LIMIT:
        raise MalformedPayload("A part of the form has no headers.")
    return body[begin:blank], body[blank + 4 : end]


def _part(head: bytes, content: bytes) -> FormPart:
    headers = _headers(head)
    disposition = headers.get("content-disposition", "")
    parameters = _parameters(disposition)
    if not disposition.lower().startswith("form-data") or "name" not in parameters:
        raise MalformedPayload("A part of the form has no name.")
    kind = headers.get("content-type", "")
    return FormPart(
        name=parameters["name"],
        content=content,
        filename=_filename(parameters),
        content_type=kind.partition(";")[0].strip().lower(),
        charset=_parameters(kind).get("charset", ""),
    )


def _headers(head: bytes) -> dict[str, str]:
    lines = re.sub(r"\r\n[ \t]+", " ", decoded(head, "")).split("\r\n")
    named = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in named}


def _parameters(value: str) -> dict[str, str]:
    """Read one after the other up to the first that is of no known form: nothing is looked through twice."""
    at, found = len(value.partition(";")[0]), {}
    while parameter := _PARAMETER.match(value, at):
        name, quoted, bare = parameter.groups()
        found[name.lower()] = _unescaped(quoted) if bare is None else bare
        at = parameter.end()
    return found


def _unescaped(quoted: str) -> str:
    plain = quoted
    for escape, character in _ESCAPES.items():
        plain = plain.replace(escape, character)
    return plain


def _filename(parameters: Mapping[str, str]) -> str | None:
    extended = parameters.get("filename*")  # RFC 7578 forbids it, and it is met
    if extended and extended.count("'") >= 2:  # noqa: PLR2004 - charset'language'value, RFC 8187
        charset, _, rest = extended.partition("'")
        encoded = rest.partition("'")[2]
        try:
            return unquote(encoded, charset or "utf-8", "replace")
        except (LookupError, ValueError):
            return unquote(encoded)
    return parameters.get("filename")
