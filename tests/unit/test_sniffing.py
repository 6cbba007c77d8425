"""Files by their bytes: what each is taken for, and that no other content is ever shown inline."""

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.sniffing import PLAIN, SHOWN_INLINE, UNKNOWN, sniff

EXE = b"MZ\x90\0\3\0\0\0\4\0\0\0\xff\xff\0\0" + b"\0" * 44 + b"\x80\0\0\0" + b"\0" * 64 + b"PE\0\0"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
OFFICE = "application/vnd.openxmlformats-officedocument."


def zipped(*names: str, first: bytes = b"x") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), first)  # of one date: processes agree on the case
    return packed.getvalue()


CASES = [
    (PNG, "image/png"),
    (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "image/jpeg"),
    (b"\xff\xd8\xff\xe1\0\x10Exif\0\0", "image/jpeg"),
    (b"GIF89a\1\0\1\0", "image/gif"),
    (b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp"),
    (b"RIFF\x24\0\0\0WAVEfmt ", "audio/wav"),
    (b"RIFF\x24\0\0\0AVI LIST", "video/x-msvideo"),
    (b"OggS\0\2" + b"\0" * 22 + b"\1\x13OpusHead", "audio/ogg"),
    (b"OggS\0\2" + b"\0" * 22 + b"\1\x2a\x80theora", "application/ogg"),
    (b"ID3\4\0\0\0\0\0\0", "audio/mpeg"),
    (b"\xff\xfb\x90\x44" + b"\0" * 20, "audio/mpeg"),
    (b"\xff\xf1\x50\x80" + b"\0" * 20, "audio/aac"),
    (b"#!AMR\n" + b"\0" * 9, "audio/amr"),
    (b"\0\0\0\x20ftypM4A \0\0\0\0", "audio/mp4"),
    (b"\0\0\0\x20ftypisom\0\0\2\0", "video/mp4"),
    (b"\0\0\0\x20ftyp3gp4\0\0\2\0", "video/3gpp"),
    (b"\0\0\0\x20ftypheic\0\0\2\0", "image/heic"),
    (b"%PDF-1.7\n%\xe2\xe3", "application/pdf"),
    (EXE, "application/vnd.microsoft.portable-executable"),
    (b"\x7fELF\2\1\1" + b"\0" * 9, "application/x-elf"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "application/x-ole-storage"),
    (zipped("a.txt"), "application/zip"),
    (zipped("a.txt")[:40], "application/zip"),
    (zipped("[Content_Types].xml", "word/document.xml"), OFFICE + "wordprocessingml.document"),
    (zipped("[Content_Types].xml", "xl/workbook.xml"), OFFICE + "spreadsheetml.sheet"),
    (zipped("[Content_Types].xml", "ppt/presentation.xml"), OFFICE + "presentationml.presentation"),
    (
        zipped("mimetype", "content.xml", first=b"application/vnd.oasis.opendocument.text"),
        "application/vnd.oasis.opendocument.text",
    ),
    (zipped("mimetype", first=b"image/png"), "application/zip"),
    (b"\x1f\x8b\x08\0", "application/gzip"),
    (b"dos cajas de coca, por favor", PLAIN),
    ("mañana, señor".encode(), PLAIN),
    ("mañana, señor".encode("latin-1"), PLAIN),
    ("mañana, señor".encode("utf-16"), PLAIN),
    (b"sku,cantidad\r\nCC600,2\r\n", PLAIN),
    (b"\xef\xbb\xbfsku;cantidad\n", PLAIN),
    (b"", PLAIN),
    (b"<!DOCTYPE html><script>alert(1)</script>", "text/html"),
    (b"  <HTML>", "text/html"),
    (b"<script >x</script>", "text/html"),
    (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg' onload='x'/>", "image/svg+xml"),
    (b"<?xml version='1.0'?><pedido/>", "application/xml"),
    (b"BEGIN:VCARD\r\nVERSION:3.0\r\n", "text/vcard"),
    (b"BEGIN:VCALENDAR\r\n", "text/calendar"),
    (bytes(range(256)), UNKNOWN),
    (b"\0", UNKNOWN),
]


@pytest.mark.parametrize(("content", "kind"), CASES, ids=lambda value: str(value)[:40])
def test_a_file_is_what_its_bytes_say(content: bytes, kind: str):
    assert sniff(content) == kind


@given(
    st.binary(max_size=200)
    | st.sampled_from([content for content, _ in CASES]).flatmap(
        lambda known: st.binary(max_size=50).map(lambda more: known[: len(known) // 2] + more)
    )
)
def test_any_bytes_have_a_type(content: bytes):
    kind = sniff(content)

    assert kind.count("/") == 1
    assert kind == kind.lower()


@pytest.mark.parametrize(
    "kind", ["text/html", "image/svg+xml", "application/xml", "text/xml", PLAIN, UNKNOWN]
)
def test_nothing_that_can_run_is_shown_inline(kind: str):
    assert kind not in SHOWN_INLINE
