"""Whatever bytes come: nothing but MalformedPayload is raised, caps hold, and memory stays within a multiple of the mail."""

import base64
import gc
import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.errors import MalformedPayload
from channels.mail import Mail
from channels.mail_bounces import bounce_of
from channels.mail_html import TAG_LIMIT, bounded_html, text_of_html
from channels.mail_reading import inbound_mail, mail_key
from channels.mail_words import decode_base64, decoded, header_text
from channels.mime import MimeLimits, read_mail
from tests.unit.channels.mime_cases import FIXTURES, account

REAL = [path.read_bytes() for path in sorted(FIXTURES.glob("*.eml"))]
FROM = b"From: a@b.example\n"
MIB = 1024 * 1024
# The promise: Python's memory beside the post itself. The constant is what texts and headers at their caps take.
MULTIPLE, CONSTANT = 3, 56 * MIB
DEFAULT = MimeLimits()


def read(raw: bytes, limits: MimeLimits = DEFAULT) -> Mail | None:
    try:
        mail = read_mail(raw, limits=limits)
    except MalformedPayload:
        return None
    _check(mail, limits)
    return mail


def _check(mail: Mail, limits: MimeLimits) -> None:
    """What every mail that was read keeps to: it can be stored, and is within the caps."""
    message = inbound_mail(account(), mail, mail_key(mail))
    told = [mail.thread, mail.headers, mail.text, message.text, message.metadata, mail.sender_name]
    told += [(part.filename, part.content_id, part.content_type) for part in mail.parts]
    assert "\\x00" not in repr(told).replace("\\\\", "")  # a backslash of the mail's own is doubled
    assert not any(0xD800 <= ord(sign) <= 0xDFFF for sign in mail.text + message.text + str(mail.headers))
    assert "@" in mail.sender
    assert mail.thread.message_id
    assert len(mail.parts) <= limits.parts
    assert sum(len(part.content) for part in mail.parts) <= limits.decoded
    assert all("/" not in (part.filename or "") and "\n" not in (part.filename or "") for part in mail.parts)
    bounce_of(mail)


HEADER_NAMES = [
    b"Content-Type",
    b"Content-Transfer-Encoding",
    b"Content-Disposition",
    b"Subject",
    b"References",
    b"To",
]
HEADER_VALUES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"multipart/mixed; boundary=x",
            b'multipart/alternative; boundary="x"',
            b"message/rfc822",
            b"text/html; charset=utf-16",
            b"text/plain; charset=unicode_escape; format=flowed",
            b"text/plain; charset*=''%FF; name*0*=a'b'%C3; name*2=c",
            b"base64",
            b"quoted-printable",
            b"attachment; filename*=utf-8''%00%0D%0A..%2F..%2Fx",
            b'inline; filename="=?utf-8?B?////?="',
            b"=?utf-8?B?w6=?= =?idna?Q?=FF?= =?punycode?B?w7E?=",
            b"<a@b> <" + b"c" * 300 + b"> <d@e>",
        ]
    ),
)
LINES = st.one_of(
    st.binary(max_size=40),
    st.tuples(st.sampled_from(HEADER_NAMES), HEADER_VALUES).map(lambda pair: pair[0] + b": " + pair[1]),
    st.sampled_from(
        [
            b"",
            b"--x",
            b"--x--",
            b"> cita",
            b"-- ",
            b"<table><tr><td>",
            b"</p><blockquote>",
            b"De: a",
            b"=",
            b"====",
        ]
    ),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(LINES, max_size=40), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_random_mails(lines: list[bytes], line_end: bytes) -> None:
    read(FROM + line_end.join(lines))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=2000))
def test_random_bytes(raw: bytes) -> None:
    read(raw)
    read(FROM + b"\n" + raw)


@settings(max_examples=400, deadline=None)
@given(st.integers(min_value=0), st.integers(min_value=1, max_value=30))
def test_real_mails_with_bytes_changed(seed: int, changes: int) -> None:
    chance = random.Random(seed)
    raw = bytearray(chance.choice(REAL))
    for _ in range(changes):
        at = chance.randrange(len(raw))
        kind = chance.randrange(4)
        if kind == 0:
            raw[at] = chance.randrange(256)
        elif kind == 1:
            del raw[at : at + chance.randrange(1, 40)]
        elif kind == 2:
            raw[at:at] = raw[at : at + chance.randrange(1, 200)]
        else:
            raw[at:at] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 8)))
        raw = raw or bytearray(b"x")
    read(bytes(raw))


@settings(max_examples=100, deadline=None)
@given(st.integers(min_value=0))
def test_real_mails_put_together(seed: int) -> None:
    chance = random.Random(seed)
    one, other = chance.choice(REAL), chance.choice(REAL)
    read(one[: chance.randrange(len(one))] + other[chance.randrange(len(other)) :])


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300))
def test_random_header_texts_and_html(text: str) -> None:
    header_text(text)
    text_of_html(text)


@given(st.binary(max_size=300))
def test_base64_is_read_as_it_was_written(content: bytes) -> None:
    encoded = base64.encodebytes(content)

    assert decode_base64(encoded) == content
    assert decode_base64(encoded.rstrip(b"=\n")) == content


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=100),
    st.sampled_from(["utf-8", "UTF8", "utf-16", '"utf-8"']),
)
def test_a_charset_that_is_right(text: str, charset: str) -> None:
    assert decoded(text.encode(charset.strip('"')), charset) == text


@pytest.mark.parametrize(
    "charset", ["idna", "punycode", "unicode_escape", "hex", "zip", "undefined", "rot13", "\0", "x" * 999]
)
def test_what_is_no_charset_is_read_as_utf8(charset: str) -> None:
    assert decoded("piña".encode(), charset) == "piña"


# caps


def nested(depth: int) -> bytes:
    opened = (
        b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (level, level) for level in range(depth)
    )
    return FROM + b"".join(opened) + b"\nHola\n"


def parts(count: int, each: bytes = b"Content-Type: application/pdf\n\nx\n") -> bytes:
    return FROM + b"Content-Type: multipart/mixed; boundary=x\n\n" + (b"--x\n" + each) * count + b"--x--\n"


def test_nesting_up_to_the_cap_is_read() -> None:
    inside, beyond = read(nested(20)), read(nested(21))

    assert inside is not None
    assert (inside.text, inside.truncated) == ("Hola", False)
    assert beyond is not None
    assert (beyond.text, beyond.truncated) == ("", True)


def test_parts_up_to_the_cap_are_read() -> None:
    limits = MimeLimits(parts=10)
    inside, beyond = read(parts(9), limits), read(parts(30), limits)

    assert inside is not None
    assert (len(inside.parts), inside.truncated) == (9, False)
    assert beyond is not None
    assert (len(beyond.parts), beyond.truncated) == (9, True)


def test_decoded_bytes_are_cut_at_the_cap() -> None:
    limits = MimeLimits(decoded=100)
    whole = read(
        parts(
            2,
            b"Content-Type: application/pdf\nContent-Transfer-Encoding: base64\n\n"
            + base64.encodebytes(b"a" * 50),
        ),
        limits,
    )
    cut = read(parts(2, b"Content-Type: application/pdf\n\n" + b"a" * 60 + b"\n"), limits)

    assert whole is not None
    assert ([len(part.content) for part in whole.parts], whole.truncated) == (
        [50, 50],
        False,
    )
    assert cut is not None
    assert ([len(part.content) for part in cut.parts], cut.truncated) == ([60, 40], True)


def test_the_mail_is_cut_at_its_cap() -> None:
    cut = read(FROM + b"\n" + b"a" * 1000, MimeLimits(size=118))

    assert cut is not None
    assert (cut.text, cut.truncated) == ("a" * 99, True)


def test_html_is_cut_where_it_nests_or_counts_too_much() -> None:
    assert not bounded_html("<div>a</div>" * (TAG_LIMIT // 2))[1]
    assert bounded_html("<div>a</div>" * TAG_LIMIT)[1]
    assert bounded_html("<div>" * 1000)[1]
    assert bounded_html("<li><dd>" * 5000)[1]
    assert not bounded_html("<p>a<br>" * 2000)[1]


HOSTILE = {
    "a large file": FROM
    + b"Content-Type: application/pdf\nContent-Transfer-Encoding: base64\n\n"
    + (b"QUFB" * 19 + b"\n") * (12 * MIB // 77),
    "a large quoted file": FROM
    + b"Content-Type: application/pdf\nContent-Transfer-Encoding: quoted-printable\n\n"
    + b"=41" * (4 * MIB),
    "a large file in a part": parts(
        1,
        b"Content-Type: application/pdf\nContent-Transfer-Encoding: base64\n\n"
        + (b"QUFB" * 19 + b"\n") * (12 * MIB // 77),
    ),
    "empty lines": FROM + b"\n" + b"\n" * (12 * MIB),
    "soft lines": FROM + b"Content-Type: text/plain; format=flowed\n\n" + b"a \n" * MIB,
    "wide characters": FROM + b"Content-Type: text/plain; charset=utf-8\n\n" + "😀\n".encode() * (2 * MIB),
    "attributes": FROM + b"Content-Type: text/html\n\n<div " + b"a=b " * (MIB // 2) + b">",
    "signs that open nothing": FROM + b"Content-Type: text/html\n\n" + b"<" * 2 * MIB,
    "headers": FROM + b"a:b\n" * MIB + b"\n",
    "one header": FROM + b"X: " + b"a" * 8 * MIB + b"\n\n",
    "parts": parts(MIB, b"\na\n"),
    "boundaries that are none": FROM + b"Content-Type: multipart/mixed; boundary=x\n\n" + b"--xy\n" * MIB,
    "comments in an address": b"From: " + b"(" * 100_000 + b"\n\n",
    "encoded words": FROM + b"Subject: " + b"=?utf-8?q?" * 50_000 + b"\n\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_memory_stays_within_a_multiple_of_the_mail(name: str) -> None:
    raw = HOSTILE[name]
    gc.collect()
    tracemalloc.start()
    try:
        read(raw)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak <= MULTIPLE * len(raw) + CONSTANT
