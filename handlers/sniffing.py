"""What a file is by its bytes. What its sender says it is decides nothing: a program may call itself a picture."""

import io
import re
import zipfile
from collections.abc import Callable, Sequence
from types import MappingProxyType

import puremagic

UNKNOWN = "application/octet-stream"
PLAIN = "text/plain"
# What a browser may show by itself: it runs nothing. All else is only handed over as a file; PDFs too, since browsers do not
# show a PDF that is sandboxed (Chromium issue 41131921).
SHOWN_INLINE = frozenset(
    {
        "image/jpeg",
        "image/png",
        "image/gif",
        "image/webp",
        "audio/mpeg",
        "audio/ogg",
        "audio/mp4",
        "audio/aac",
        "audio/amr",
        "audio/wav",
    }
)
_HEAD = 2048
# Offset and bytes; the more telling ones first. Sources: the formats' own specifications, and RFC 6713, RFC 4867.
_SIGNATURES: Sequence[tuple[int, bytes, str]] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"#!AMR", "audio/amr"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"MZ", "application/vnd.microsoft.portable-executable"),
    (0, b"\x7fELF", "application/x-elf"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    (0, b"\x1f\x8b", "application/gzip"),
    (0, b"Rar!\x1a\x07", "application/vnd.rar"),
    (0, b"7z\xbc\xaf'\x1c", "application/x-7z-compressed"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),  # old Office, Outlook's .msg
    (0, b"wOFF", "font/woff"),
    (0, b"wOF2", "font/woff2"),
)
_RIFF = MappingProxyType({b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"})
_BRANDS: Sequence[tuple[bytes, str]] = (
    (b"M4A", "audio/mp4"),
    (b"M4B", "audio/mp4"),
    (b"qt", "video/quicktime"),
    (b"3g", "video/3gpp"),
    (b"hei", "image/heic"),
    (b"hev", "image/heic"),
    (b"mif1", "image/heif"),
    (b"avif", "image/avif"),
)
_OFFICE: Sequence[tuple[str, str]] = (
    ("word/", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xl/", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("ppt/", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
)
_OFFICE_MARK = "[Content_Types].xml"
_LONGEST_MIMETYPE = 128
# The first byte of every frame is 255, the second holds the version and the layer (ISO 11172-3, ISO 13818-7).
_MPEG_FRAME = re.compile(rb"\xff[\xe2-\xe7\xf2-\xf7\xfa\xfb]")
_ADTS_FRAME = re.compile(rb"\xff[\xf0\xf1\xf8\xf9]")
_MARKUP: Sequence[tuple[re.Pattern[str], str]] = (
    (re.compile(r"<svg[\s>]", re.IGNORECASE), "image/svg+xml"),
    (
        re.compile(
            r"^\s*(<!doctype html|<(html|head|body|script|iframe|meta|style|title|table|div|p|a|b)[\s>])",
            re.IGNORECASE,
        ),
        "text/html",
    ),
    (re.compile(r"^\s*<\?xml"), "application/xml"),
    (re.compile(r"^\s*begin:vcard\s", re.IGNORECASE), "text/vcard"),
    (re.compile(r"^\s*begin:vcalendar\s", re.IGNORECASE), "text/calendar"),
)
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_MIME = re.compile(r"[a-z0-9.+-]+/[a-z0-9.+-]+")


def sniff(content: bytes) -> str:
    """The media type by content; ``application/octet-stream`` where nothing tells it."""
    readers: Sequence[Callable[[bytes], str | None]] = (
        _by_signature,
        _in_riff,
        _in_ogg,
        _in_mp4,
        _in_zip,
        _by_frame,
        _as_text,
        _by_library,
    )
    return next((found for read in readers if (found := read(content))), UNKNOWN)


def _by_signature(content: bytes) -> str | None:
    return next((kind for at, mark, kind in _SIGNATURES if content.startswith(mark, at)), None)


def _in_riff(content: bytes) -> str | None:
    return _RIFF.get(content[8:12]) if content.startswith(b"RIFF") else None


def _in_ogg(content: bytes) -> str | None:
    if not content.startswith(b"OggS"):
        return None
    head = content[:128]
    return "audio/ogg" if b"OpusHead" in head or b"\x01vorbis" in head else "application/ogg"


def _in_mp4(content: bytes) -> str | None:
    if content[4:8] != b"ftyp":
        return None
    return next((kind for brand, kind in _BRANDS if content.startswith(brand, 8)), "video/mp4")


def _in_zip(content: bytes) -> str | None:
    """Only names are read, nothing is unpacked but a short ``mimetype`` (OpenDocument, part 2, section 3.3)."""
    if not content.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return "application/zip"
    if names[:1] == ["mimetype"]:
        return _stated_type(content) or "application/zip"
    if _OFFICE_MARK not in names:
        return "application/zip"
    return next(
        (kind for folder, kind in _OFFICE if any(n.startswith(folder) for n in names)), "application/zip"
    )


def _stated_type(content: bytes) -> str | None:
    """The stored, not packed, text of a first member ``mimetype``: it begins at byte 38."""
    stated = content[38 : 38 + _LONGEST_MIMETYPE].partition(b"PK")[0].decode("ascii", "replace")
    return stated if _MIME.fullmatch(stated) and stated.startswith("application/") else None


def _by_frame(content: bytes) -> str | None:
    if _ADTS_FRAME.match(content):
        return "audio/aac"
    return "audio/mpeg" if _MPEG_FRAME.match(content) else None


def _as_text(content: bytes) -> str | None:
    """Text has no control characters but those of lines; its encoding is told by its bytes, or is an old 8-bit one."""
    text = _decoded(content)
    if text is None or _CONTROLS.search(text):
        return None
    return next((kind for pattern, kind in _MARKUP if pattern.search(text[:_HEAD])), PLAIN)


def _decoded(content: bytes) -> str | None:
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return None if encoding == "utf-16" else content.decode("latin-1")


def _by_library(content: bytes) -> str | None:
    """Everything else; the library guesses widely, so that it may name nothing that is shown inline."""
    try:
        guesses = puremagic.magic_string(content)
    except (puremagic.PureError, ValueError):
        return None
    named = (str(guess.mime_type) for guess in guesses)
    return next((kind for kind in named if _MIME.fullmatch(kind) and kind not in SHOWN_INLINE), None)
