"""What the hooks of mail providers share: the envelope's sender put where readers of mail look for it, the files of a
form, and what stays the same when a mail is posted again.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

from channels.errors import MalformedPayload
from channels.json_posts import read_json
from channels.mail import Headers, MailPart
from channels.mail_words import one_line
from channels.mime import clean_filename
from channels.multipart import Form, FormPart

MOST_FILES = 200  # as many as are read of a mail as MIME
_JSON_LIMIT = 1024 * 1024  # bytes
_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,80}/[a-z0-9!#$&^_.+-]{1,80}", re.ASCII)
_FOLD = re.compile(r"\r?\n(?=[ \t])")
_LINE_ENDS = re.compile(r"\r?\n")


def posted_files(form: Form, name: re.Pattern[str]) -> list[FormPart]:
    """The files of a form in the order of their numbers, the first group of ``name``; at most ``MOST_FILES``."""
    numbered = ((found, part) for part in form.parts if (found := name.fullmatch(part.name)))
    ordered = sorted(((int(found[1]), part) for found, part in numbered), key=lambda pair: pair[0])
    return [part for _, part in ordered[:MOST_FILES]]


def json_field(form: Form, name: str) -> Any:
    """The JSON in a field; None where it is not there, is none or is larger than any that describes a mail."""
    part = form.part(name)
    if part is None or len(part.content) > _JSON_LIMIT:
        return None
    try:
        return read_json(part.content)
    except MalformedPayload:
        return None


def posted_part(number: int, file: FormPart, kind: str, filename: str, content_id: str) -> MailPart:
    """A posted file as a part of the mail; what was said of it is brought into the form that stored files have."""
    return MailPart(
        number, content_type(kind), clean_filename(filename) or None, bare_id(content_id), file.content
    )


def content_type(kind: str) -> str:
    """A media type without parameters; what is none is a file of an unknown kind."""
    bare = kind.partition(";")[0].strip().lower()
    return bare if _TYPE.fullmatch(bare) else "application/octet-stream"


def bare_id(content_id: str) -> str | None:
    """A Content-ID without angle brackets."""
    return one_line(content_id[:300]).strip("<> ") or None


def with_empty_return_path(raw: bytes, envelope_from: str | None) -> bytes:
    """The mail, said to be from nobody where its envelope says so: that marks bounces (RFC 5321 section 4.5.5), and
    the header for it is written at delivery only. ``envelope_from`` is None where the envelope is not known.
    """
    return b"Return-Path: <>\r\n" + raw if envelope_from in {"", "<>"} and raw.strip() else raw


def header_lines(block: str) -> Headers:
    """The names and values of a block of headers as it stood in the mail; folded lines are joined."""
    lines = _LINE_ENDS.split(_FOLD.sub("", block))
    named = (line.partition(":") for line in lines)
    return tuple((name.strip(), value.strip()) for name, colon, value in named if colon and name.strip())


def digest_key(words: Iterable[str], contents: Iterable[bytes] = ()) -> str:
    """A key of the dedupe made of what stays the same when a provider posts a mail again."""
    digests = [hashlib.sha256(content).hexdigest() for content in contents]
    return hashlib.sha256(json.dumps([list(words), digests]).encode()).hexdigest()
