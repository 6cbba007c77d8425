"""Our mails: what is written can be read again, and nothing that a stranger chose becomes a header."""

from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.base import Attachment, Channel, MailHeaders, OutboundMessage
from channels.errors import ContentRefused, InvalidRecipient
from channels.mail_tokens import plus_address
from channels.mail_words import clean, one_line
from channels.mail_writing import build_mime, header_fields, sender_field
from channels.mime import read_mail
from tests.unit.channels.mime_cases import ADDRESS, OUR_ID, OUR_UUID, TOKEN, account

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
HEADERS = MailHeaders(
    subject="Re: Pedido de piña",
    message_id=OUR_ID,
    reply_to=plus_address(ADDRESS, TOKEN),
    in_reply_to="b@tienda.example.com",
    references=("a@tienda.example.com", "b@tienda.example.com"),
)


def message(text="Anotado.", headers=HEADERS, attachments=(), recipient="ana@tienda.example.com"):
    return OutboundMessage(
        OUR_UUID, Channel.EMAIL, recipient, text, "", attachments=attachments, mail=headers
    )


def headers_of(raw):
    return message_from_bytes(raw, policy=default)


def test_every_header_of_a_reply():
    mail = headers_of(build_mime(account(sender_name="Distribuidora Núñez"), message(), at=NOW))

    assert {name: str(value) for name, value in mail.items()} == {
        "From": f"Distribuidora Núñez <{ADDRESS}>",
        "To": "ana@tienda.example.com",
        "Subject": "Re: Pedido de piña",
        "Date": "Wed, 04 Mar 2026 05:06:07 +0000",
        "Reply-To": f"Distribuidora Núñez <pedidos+{TOKEN}@dist.example.com>",
        "Message-ID": f"<{OUR_ID}>",
        "In-Reply-To": "<b@tienda.example.com>",
        "References": "<a@tienda.example.com> <b@tienda.example.com>",
        "Auto-Submitted": "auto-replied",
        "X-Auto-Response-Suppress": "OOF, AutoReply",
        "MIME-Version": "1.0",
        "Content-Type": 'text/plain; charset="utf-8"',
        "Content-Transfer-Encoding": mail["Content-Transfer-Encoding"],
    }


def test_a_persons_mail_is_not_marked():
    fields = header_fields(message(headers=MailHeaders("Hola", OUR_ID, automatic=False)))

    assert fields == {"Message-ID": f"<{OUR_ID}>"}


def test_the_fields_for_apis_are_those_of_the_mail():
    mail = headers_of(build_mime(account(), message()))

    assert header_fields(message()) == {name: mail[name] for name in header_fields(message())}
    assert {"Reply-To", "Subject", "From", "To", "Date"}.isdisjoint(header_fields(message()))


def test_a_message_without_mail_headers_still_has_an_id():
    mail = headers_of(build_mime(account(), message(headers=None)))

    assert mail["Message-ID"] == f"<{OUR_UUID.hex}@dist.example.com>"
    assert header_fields(message(headers=None)) == {}


def test_many_references_keep_the_first_and_the_latest():
    ids = tuple(f"{number}@a.example" for number in range(50))
    references = header_fields(message(headers=MailHeaders("x", OUR_ID, references=ids)))[
        "References"
    ].split()

    assert (len(references), references[0], references[1], references[-1]) == (
        20,
        "<0@a.example>",
        "<31@a.example>",
        "<49@a.example>",
    )


def test_the_bytes_are_the_same_each_time_and_pass_any_server():
    files = (Attachment("", "application/pdf", "lista ñ.pdf", content=b"\x00%PDF"),)
    raw = build_mime(account(), message("Señal\n" + "ñ" * 2000, attachments=files), at=NOW)

    assert raw == build_mime(account(), message("Señal\n" + "ñ" * 2000, attachments=files), at=NOW)
    assert raw.isascii()
    assert raw.count(b"\n") == raw.count(b"\r\n")
    assert max(map(len, raw.split(b"\r\n"))) <= 998  # RFC 5322 section 2.1.1


@pytest.mark.parametrize("length", [10, 75, 124])
def test_a_long_id_stays_in_one_piece(length):
    """However long a line gets: a folded or encoded id is no id any more (RFC 5322 section 2.1.1 allows 998)."""
    identifier = "a" * length + "@" + "b" * length
    raw = build_mime(
        account(),
        message(headers=MailHeaders("x", OUR_ID, in_reply_to=identifier, references=(identifier,) * 3)),
    )

    many = build_mime(account(), message(headers=MailHeaders("x", OUR_ID, references=(identifier,) * 20)))

    assert max(map(len, many.split(b"\r\n"))) <= 998
    assert raw.count(f"<{identifier}>".encode()) == 4
    assert read_mail(raw).thread.references == (identifier,)


@pytest.mark.parametrize(
    "identifier", ["", "a b@c", "a@b>\r\nX-Evil: 1", "a@b\n", "ñ@b", "=?utf-8?Q?a?=@b", "a" * 251]
)
def test_an_id_of_another_form_is_left_out(identifier):
    headers = MailHeaders("x", OUR_ID, in_reply_to=identifier, references=("a@b", identifier))

    assert header_fields(message(headers=headers))["References"] == "<a@b>"
    assert "In-Reply-To" not in header_fields(message(headers=headers))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, ADDRESS),
        ("Distribuidora Núñez", f'"Distribuidora Núñez" <{ADDRESS}>'),
        ('Juan "Rey" \\ Cía', f'"Juan \\"Rey\\" \\\\ Cía" <{ADDRESS}>'),
        ("a\r\nBcc: x@y.example", f'"a Bcc: x@y.example" <{ADDRESS}>'),
        (5, ADDRESS),
    ],
)
def test_the_sender(name, expected):
    assert sender_field(account(sender_name=name)) == expected


@pytest.mark.parametrize(
    "recipient",
    ["", "x", "a b@c.example", "a@b.example\r\nBcc: x@y.example", "a@b.example, c@d.example", "ñ@b.example"],
)
def test_what_is_no_address_is_refused(recipient):
    with pytest.raises(InvalidRecipient):
        build_mime(account(), message(recipient=recipient))


def test_a_file_by_its_address_only_is_refused():
    with pytest.raises(ContentRefused):
        build_mime(
            account(), message(attachments=(Attachment("https://a.example/x.pdf", "application/pdf"),))
        )


@pytest.mark.parametrize(
    "kind",
    ["", "x", "text/plain; charset=x", "a/b\r\nX-Evil: c", "multipart/mixed", "message/rfc822", "image/png"],
)
def test_files_of_every_stated_type(kind):
    raw = build_mime(
        account(), message(attachments=(Attachment("", kind, "a.bin", content=b"From: x\n\n--x"),))
    )

    [part] = read_mail(raw).parts
    assert (part.filename, part.content) == ("a.bin", b"From: x\n\n--x")
    assert b"X-Evil: c" not in raw.replace(b"a/b", b"").split(b"\r\n")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
EVIL = st.sampled_from(
    [
        "\r\nBcc: x@y.example",
        "\nX-Evil: 1",
        "\r\n\r\n--x",
        "\u2028X-Evil: 1",
        "\x0bX-Evil: 1",
        "=?utf-8?Q?=0D=0AX-Evil:_1?=",
    ]
)
NAME = st.one_of(TEXT, st.tuples(TEXT, EVIL).map("".join))


@settings(max_examples=300, deadline=None)
@given(
    NAME,
    NAME,
    NAME,
    TEXT,
    st.lists(NAME, max_size=3),
    st.lists(st.tuples(NAME, st.binary(max_size=200)), max_size=3),
)
def test_what_is_written_is_read_again(subject, sender_name, identifier, text, references, files):
    headers = MailHeaders(subject, OUR_ID, in_reply_to=identifier, references=tuple(references))
    attachments = tuple(Attachment("", "application/pdf", name, content=content) for name, content in files)
    raw = build_mime(account(sender_name=sender_name), message(text, headers, attachments), at=NOW)

    written, mail = headers_of(raw), read_mail(raw)
    assert {name.lower() for name in written.keys()} <= KNOWN  # noqa: SIM118 - a message is no mapping
    assert [len(written.get_all(name)) for name in ("From", "To", "Subject", "Message-ID")] == [1, 1, 1, 1]
    assert mail.sender == ADDRESS
    assert mail.text == clean(text.replace("\x85", "\n")).strip() or not text.isprintable()
    assert [part.content for part in mail.parts] == [content for _, content in files]


KNOWN = {
    "from", "to", "subject", "date", "message-id", "in-reply-to", "references", "auto-submitted",
    "x-auto-response-suppress", "mime-version", "content-type", "content-transfer-encoding",
}  # fmt: skip


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=150))
def test_subjects_and_texts_come_back(text):
    mail = read_mail(build_mime(account(), message(text, MailHeaders(text, OUR_ID))))

    assert mail.thread.subject == one_line(text)
    assert mail.text == text.strip()
    assert mail.thread.message_id == OUR_ID


def test_our_id_names_our_message():
    assert UUID(hex=OUR_ID.split(".")[1].split("@")[0]) == OUR_UUID
