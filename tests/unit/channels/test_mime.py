"""Mails from bytes: charsets, parts, files and names as mail programs really write them."""

import pytest

from channels.errors import MalformedPayload
from channels.mail_parts import mail_part
from channels.mail_reading import bare_subject, is_reply
from channels.mime import clean_filename, read_mail
from tests.unit.channels.mime_cases import OUR_ID, TOKEN, fixture, mail_of, names

PDF = b"%PDF-1.7\n%lista de pedidos\n"
TEXTS = {
    "attached_mail_with_its_own_file": "Te paso el correo",
    "boundary_missing": "5 cajas de pan",
    "boundary_never_closed": "5 cajas de pan",
    "broken_base64": "5 cajas de panHX�",
    "calendar_invitation": "Entrega el martes",
    "charset_iso_8859_1": "3 cajas de jabón y 2 de piña en lata",
    "charset_said_ascii_is_windows_1252": "5 cajas de “piña”",
    "charset_said_utf8_is_latin_1": "2 cajas de pi�a",
    "charset_unknown": "4 cajas de atún",
    "encoded_words_cut_in_a_character": "Hola",
    "filename_rfc2231_continued": "",
    "filename_with_path_and_controls": "",
    "headers_raw_utf8": "Hola",
    "html_table_list_and_hidden": "Pedido\n\n* 3 cajas de leche\n* 2 panes\n* de caja\n\nSKU\tCant.\nPAN\t5\nSAL\n\n"
    "Mira la lista <https://tienda.example.com/lista?a=1&b=2>, ana@tienda.example.com o tienda.example.com.\nGracias\n\na\n  b",
    "inline_image": "Esto:",
    "no_message_id": "5 cajas",
    "outlook_tnef": "Va",
    "pdf_beside_alternative": "Va el pedido en PDF",
    "plain_is_empty": "Solo en HTML",
    "references_with_comments_and_junk": f"Listo\n[ref:{TOKEN}]",
    "text_around_a_file": "Antes\n\nDespués",
    "two_from_and_group": "Hola",
}
FILES = {  # (type, name, content id)
    "attached_mail_with_its_own_file": [("message/rfc822", "message.eml", None)],
    "boundary_never_closed": [("text/csv", "pedido.csv", None)],
    "calendar_invitation": [("text/calendar", None, None)],
    "filename_rfc2231_continued": [
        ("application/pdf", "lista de piña y mas.pdf", None),
        ("application/pdf", "café.pdf", None),
    ],
    "filename_with_path_and_controls": [
        ("application/pdf", "passwd.pdf", None),
        ("application/pdf", "a X-Evil: b.pdf", None),
    ],
    "inline_image": [("image/png", "image001.png", "foto1@tienda")],
    "outlook_tnef": [("application/ms-tnef", "winmail.dat", None)],
    "pdf_beside_alternative": [("application/pdf", "pedido.pdf", None)],
    "text_around_a_file": [("application/pdf", "lista.pdf", None)],
}


def test_every_fixture_is_in_the_table() -> None:
    assert names("mime") == sorted(f"mime__{name}" for name in TEXTS)


@pytest.mark.parametrize("name", TEXTS)
def test_the_text_and_the_files(name: str) -> None:
    mail = mail_of(f"mime__{name}")

    assert mail.text == TEXTS[name]
    assert [(part.content_type, part.filename, part.content_id) for part in mail.parts] == FILES.get(name, [])
    assert [part.number for part in mail.parts] == list(range(len(mail.parts)))
    assert not mail.truncated


@pytest.mark.parametrize("name", TEXTS)
def test_line_ends_make_no_difference(name: str) -> None:
    raw = fixture(f"mime__{name}")
    unix, network = read_mail(raw), read_mail(raw.replace(b"\n", b"\r\n"))

    assert (network.text, network.sender, network.headers) == (unix.text, unix.sender, unix.headers)
    assert [part.filename for part in network.parts] == [part.filename for part in unix.parts]


def test_the_bytes_of_a_file() -> None:
    mail = mail_of("mime__pdf_beside_alternative")

    assert mail_part(mail, "part:0").content == PDF


@pytest.mark.parametrize("url", ["part:1", "part:", "0", "https://example.com/0"])
def test_a_file_that_is_not_there(url: str) -> None:
    with pytest.raises(MalformedPayload):
        mail_part(mail_of("mime__pdf_beside_alternative"), url)


def test_an_attached_mail_is_one_file_with_all_that_is_in_it() -> None:
    [part] = mail_of("mime__attached_mail_with_its_own_file").parts

    assert b"dentro.pdf" in part.content
    assert read_mail(part.content).parts[0].content == PDF


def test_names_and_addresses() -> None:
    cut = mail_of("mime__encoded_words_cut_in_a_character")
    raw = mail_of("mime__headers_raw_utf8")
    group = mail_of("mime__two_from_and_group")

    assert (cut.sender, cut.sender_name) == ("jose@tienda.example.com", "José Nuñez")
    assert cut.thread.subject == "Pedido de piña y piñón (urgente)"
    assert (raw.sender_name, raw.thread.subject) == ("José Núñez", "Señales y más")
    assert group.sender == "a@tienda.example.com"
    assert group.recipients == ("pedidos@dist.example.com", f"pedidos+{TOKEN}@dist.example.com")


def test_the_envelope_comes_first_among_the_recipients() -> None:
    mail = read_mail(fixture("mime__no_message_id"), envelope_to=["<Otra@Dist.example.com>", "junk"])

    assert mail.recipients == ("otra@dist.example.com",)


def test_the_ids_of_the_thread() -> None:
    thread = mail_of("mime__references_with_comments_and_junk").thread

    assert thread.in_reply_to == (OUR_ID,)
    assert thread.references == ("a@b.example", OUR_ID)
    assert thread.body_tokens == (TOKEN,)
    assert thread.root_id == "a@b.example"


def test_many_references_keep_the_oldest_and_the_latest() -> None:
    ids = " ".join(f"<{number}@a.example>" for number in range(300))
    thread = read_mail(f"From: a@b.example\nReferences: {ids}\n\nx".encode()).thread

    assert len(thread.references) == 100
    assert (thread.references[0], thread.references[1], thread.references[-1]) == (
        "0@a.example",
        "201@a.example",
        "299@a.example",
    )


def test_a_mail_without_an_id_has_the_same_one_each_time() -> None:
    one, again = mail_of("mime__no_message_id"), mail_of("mime__no_message_id")
    other = read_mail(fixture("mime__no_message_id") + b"x")

    assert one.thread.message_id == again.thread.message_id
    assert one.thread.message_id != other.thread.message_id
    assert one.thread.message_id.endswith("@synthesised.invalid")


@pytest.mark.parametrize(
    "raw", [b"", b"\n\n", b"Subject: x\n\nHola", b"From: nobody\n\nHola", b"From:\n\n", b"\x00"]
)
def test_a_mail_without_a_sender_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedPayload):
        read_mail(raw)


def test_an_id_without_brackets_is_an_id() -> None:
    assert (
        read_mail(b"From: a@b.example\nMessage-ID: abc@d.example\n\nx").thread.message_id == "abc@d.example"
    )


SUBJECTS = [
    ("Re: Pedido", "Pedido", True),
    ("RE: RV: re[2]: Pedido", "Pedido", True),
    ("Fwd: Re: Pedido", "Pedido", False),
    ("ENC: Pedido", "Pedido", False),
    ("RES: Pedido", "Pedido", True),
    ("Pedido: 5 cajas", "Pedido: 5 cajas", False),
    ("Regalo: 2", "Regalo: 2", False),
    ("Re:", "", True),
    ("", "", False),
]


@pytest.mark.parametrize(("subject", "bare", "reply"), SUBJECTS)
def test_subjects_without_their_prefixes(subject: str, bare: str, reply: bool) -> None:
    assert bare_subject(subject) == bare
    assert is_reply(subject) is reply


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("a/b\\c.pdf", "c.pdf"),
        ("..", ""),
        (".htaccess", "htaccess"),
        ("a\r\nb.pdf", "a b.pdf"),
        ("photo\u202egpj.exe", "photogpj.exe"),
        ("x" * 300 + ".pdf", "x" * 196 + ".pdf"),
    ],
)
def test_a_files_name_is_only_a_name(stated: str, expected: str) -> None:
    assert clean_filename(stated) == expected
