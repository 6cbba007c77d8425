"""What a mail's writer added, as mail programs really quote: the table of fixtures, and texts made to be slow."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels import mail_history
from channels.mail_replies import MOST_LINES, TEXT_LIMIT, reply_of
from channels.mime import read_mail

FIXTURES = Path(__file__).parents[2] / "fixtures" / "channels" / "mime"
REPLIES = {
    "reply__apple_html_only": "Que sean 9 garrafones",
    "reply__apple_iphone_es": "Mándame 6 garrafones",
    "reply__apple_mail_en": "Two more boxes of sugar.",
    "reply__bottom_posted": "Sí, confirmo. Agrega 1 caja de jabón.",
    "reply__disclaimer_en": "Please ship 5 bags of flour.",
    "reply__forward_marker": "Por favor surtir lo de abajo\n\n---------- Forwarded message ---------\nDe: Sucursal 2 <suc2@tienda.example.com>\nDate: lun, 3 mar 2025 a las 9:00\nSubject: Lista de la sucursal\nTo: Ana Ruiz <ana.ruiz@tienda.example.com>\n\n12 cajas de galletas",
    "reply__forward_outlook_es": "Para surtir hoy.\n\nDe: Bodega <bodega@salas.example.com>\nEnviado: lunes, 3 de marzo de 2025 8:00\nPara: Pedro Salas <pedro@salas.example.com>\nAsunto: Faltantes\n\n6 cajas de sal",
    "reply__french_unquoted": "Ajoutez 2 cartons de lait.",
    "reply__german": "Bitte noch 3 Kisten Apfelsaft.",
    "reply__gmail_en": "Make it 12 cases of still water, please.",
    "reply__gmail_es": "5 cajas de Coca-Cola 600 ml y 2 de agua",
    "reply__gmail_html_only": "Mejor 7 cajas\ny 3 bolsas de hielo",
    "reply__gmail_inline_answers": "Te contesto:\n\n5 cajas\n\n2 paquetes",
    "reply__gmail_pt": "Bom dia! Quero 8 fardos de guaraná.",
    "reply__list_with_dashes": "Hola, quiero:\n\n- 3 cajas de leche\n- 2 panes\n--\n- 4 cajas de huevo\n\nGracias\n\n5 bolsas de arroz también",
    "reply__long_thread_es": "Ok, entonces 15.",
    "reply__new_mail_with_angle_marks": "Quiero:\n> 5 cajas de Coca\n> 2 de agua",
    "reply__only_quote": "> 5 cajas de Coca\n> 2 de agua",
    "reply__outlook_answers_in_red": "Mis respuestas abajo en rojo.\n\nDe: Distribuidora Norte <pedidos@dist.example.com>\nEnviado: lunes, 3 de marzo de 2025 9:58\nPara: Pedro Salas <pedro@salas.example.com>\nAsunto: Tu pedido\n\n¿Cuántas cajas? 20 cajas",
    "reply__outlook_en_block": "Please add 4 cases of cola.",
    "reply__outlook_es_block": "Buenos días:\n\nFavor de enviar 10 cajas de leche entera 1 L.",
    "reply__outlook_es_original_message": "Van 3 cajas de aceite.",
    "reply__outlook_html_block": "Agrega por favor:\n\nLeche 1 L\t10 cajas\nPan blanco\t4 piezas",
    "reply__outlook_mobile_es": "30 piezas de pan",
    "reply__outlook_pt_block": "Pode mandar 6 caixas de cerveja.",
    "reply__outlook_web_html": "Sí, 20 cajas.",
    "reply__samsung_es": "Solo 2 costales de azúcar",
    "reply__signature_and_disclaimer_es": "Confirmamos 40 kg de harina.",
    "reply__thunderbird_en": "24 bottles of vinegar\nBy Friday.",
    "reply__thunderbird_flowed_pt": "Quero 4 caixas de azeite e também 15 pacotes de arroz agulha, se faz favor.",
    "reply__yahoo_es": "Sí, las mismas 5 cajas.",
    "reply__zoho_en": "Six pallets, thank you",
}


@pytest.mark.parametrize(("name", "expected"), REPLIES.items(), ids=REPLIES)
def test_the_reply_is_what_the_writer_added(name: str, expected: str) -> None:
    mail = read_mail((FIXTURES / f"{name}.eml").read_bytes())

    assert mail.reply == expected
    assert expected.split("\n", maxsplit=1)[0] in mail.text  # the original is kept


def test_every_fixture_of_a_reply_is_in_the_table() -> None:
    assert sorted(REPLIES) == sorted(path.stem for path in FIXTURES.glob("reply__*.eml"))


TEXTS = [  # (what is special, the text, the reply)
    ("a closing with an order under it", "Hola\nGracias\n5 cajas más", "Hola\nGracias\n5 cajas más"),
    (
        "a closing and an order with a size",
        "Hola\nGracias\n2 cajas coca 600",
        "Hola\nGracias\n2 cajas coca 600",
    ),
    (
        "a closing and an order by product",
        "Hola\nGracias\nCoca 600: 3 cajas",
        "Hola\nGracias\nCoca 600: 3 cajas",
    ),
    ("a closing and a table's row", "Hola\nGracias\nCoca\t3", "Hola\nGracias\nCoca\t3"),
    ("a closing and a product with a count", "Hola\nObrigada\nGuaraná x2", "Hola\nObrigada\nGuaraná x2"),
    ("a rule between orders", "2 panes\n--\nLeche 3 l", "2 panes\n--\nLeche 3 l"),
    ("thanks and a product", "5 cajas\nGracias\nCoca light también", "5 cajas\nGracias\nCoca light también"),
    ("thanks and a firm", "5 cajas\nMuchas gracias,\nJuan de la Cruz\nGerente de compras", "5 cajas"),
    ("a closing and a telephone", "5 cajas\n\nSaludos\nAna\nTel. 55 1234 5678", "5 cajas"),
    ("a closing and an address", "5 cajas\nSaludos\nAna\n12 de Octubre 345", "5 cajas"),
    ("only a closing", "Gracias", "Gracias"),
    (
        "a question under a closing",
        "5 cajas\nGracias\n¿A qué hora llegan?",
        "5 cajas\nGracias\n¿A qué hora llegan?",
    ),
    ("a postscript", "5 cajas\nSaludos\nAna\nPD: y 2 panes", "5 cajas\nSaludos\nAna\nPD: y 2 panes"),
    ("our own mark", "5 cajas\n[ref:0123456789abcdef0123456789abcdef]", "5 cajas"),
    (
        "a line that asks to write above it",
        "5 cajas\n--- Responda por encima de esta línea ---\nHola",
        "5 cajas",
    ),
    ("'De:' that is no header", "De: 3 cajas\nPara: mañana", "De: 3 cajas\nPara: mañana"),
    ("what somebody wrote, told", "El jefe escribió: 3 cajas", "El jefe escribió: 3 cajas"),
    ("sent, but from no telephone", "Enviado desde mi bodega: 3 cajas", "Enviado desde mi bodega: 3 cajas"),
    ("a new mail's signature", "3 cajas\n-- \nAna Ruiz\n12 High Street", "3 cajas"),
    ("nothing", "", ""),
]


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in TEXTS], ids=[case[0] for case in TEXTS])
def test_texts_without_quotes(text: str, expected: str) -> None:
    assert reply_of(text) == expected


HOSTILE = [
    "On " * 60_000,
    "On On wrote:\n" * 20_000,
    ("El " + "a " * 140 + "1:00\n") * 700,
    "From: a\n" * 25_000,
    "De: " * 50_000,
    "> " * 100_000,
    "----- Original Message " * 9_000,
    ("Am 1. " + "x " * 140 + ":\n") * 700,
    "\n" * 200_000,
    "Disclaimer: mail " * 12_000,
    "Enviado desde mi " * 12_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_the_library_is_given_little_text_at_a_time(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its patterns take time with the square of the text: what counts is how much they are given."""
    given: list[int] = []
    patterns = mail_history.OTHER_LANGUAGES

    class Counting:
        def match(self, window: str):
            given.append(len(window))
            return patterns.match(window)

    monkeypatch.setattr(mail_history, "OTHER_LANGUAGES", Counting())

    reply_of(text)

    assert max(given, default=0) <= mail_history.WINDOW_LIMIT
    assert len(given) <= MOST_LINES
    assert sum(given) <= 2 * TEXT_LIMIT


PIECES = st.sampled_from(
    ["5 cajas", "> cita", ">> cita", "", "-- ", "--", "Saludos", "Ana", "El 3/3/25 a las 9:58, X escribió:", "escribió:",
     "De: a@b.example", "Para: c@d.example", "Asunto: x", "________________________________", "Enviado desde mi iPhone",
     "---------- Forwarded message ---------", "Am 3.3.25 schrieb X:", "AVISO DE CONFIDENCIALIDAD: destinatario", "\x85", "\u2028"]
)  # fmt: skip


@given(st.lists(st.one_of(PIECES, st.text(max_size=30)), max_size=25), st.booleans(), st.booleans())
def test_a_reply_is_of_the_text_and_never_lost(lines: list[str], replying: bool, forwarding: bool) -> None:
    text = "\n".join(lines)
    reply = reply_of(text, replying=replying, forwarding=forwarding)

    assert bool(reply) == bool(text.strip())
    assert {line.strip() for line in reply.split("\n")} <= {line.strip() for line in text.split("\n")} | {""}


def test_a_text_over_the_limit_is_cut_in_the_reply_only() -> None:
    assert len(reply_of("a" * (TEXT_LIMIT + 5))) == TEXT_LIMIT
