"""Which mails a machine must have written: each sign alone, and what only looks like one."""

import pytest

from channels.mail_reading import inbound_mail
from channels.mime import read_mail
from tests.unit.channels.mime_cases import OUR_ID, account

CASES = [  # (header lines, the reason)
    ("Auto-Submitted: auto-replied", "auto_submitted"),
    ('Auto-Submitted: auto-generated; owner-email="a@b.example"', "auto_submitted"),
    ("Auto-Submitted: AUTO-NOTIFIED", "auto_submitted"),
    ("Auto-Submitted: no", None),
    ("Auto-Submitted: No (a person)", None),
    ("Precedence: bulk", "precedence"),
    ("Precedence: Junk", "precedence"),
    ("Precedence: list", "precedence"),
    ("Precedence: auto_reply", "precedence"),
    ("Precedence: first-class", None),
    ("X-Autoreply: yes", "x_autoreply"),
    ("X-Autorespond: Fuera de la oficina", "x_autorespond"),
    ("X-Auto-Response-Suppress: All", "auto_response_suppress"),
    ("X-Failed-Recipients: a@b.example", "failed_recipients"),
    ("List-Id: <ofertas.example.com>", "mailing_list"),
    ("List-Unsubscribe: <mailto:baja@example.com>", "mailing_list"),
    ("List-Post: <mailto:todos@example.com>", "mailing_list"),
    ("Content-Type: multipart/report; report-type=delivery-status; boundary=x", "report"),
    ("Content-Type: multipart/report; report-type=disposition-notification; boundary=x", "report"),
    ("Return-Path: <>", "empty_return_path"),
    ("Return-Path: < >", "empty_return_path"),
    ("Return-Path: <ana@tienda.example.com>", None),
    (f"Message-ID: <{OUR_ID}>", "own_message_id"),
    (f"In-Reply-To: <{OUR_ID}>", None),
    ("X-Priority: 1", None),
]
SENDERS = [
    ("MAILER-DAEMON@mx.example.com", "machine_sender"),
    ("postmaster@example.com", "machine_sender"),
    ("no-reply@example.com", "machine_sender"),
    ("NoReply@example.com", "machine_sender"),
    ("do_not_reply@example.com", "machine_sender"),
    ("noreply+ventas@example.com", "machine_sender"),
    ("naoresponda@example.com", "machine_sender"),
    ("no-responder@example.com", "machine_sender"),
    ("bounces+123@example.com", "machine_sender"),
    ("noreply.ana@example.com", "machine_sender"),
    ("noe.reply@example.com", None),
    ("replies@example.com", None),
    ("PEDIDOS@dist.example.com", "own_address"),
    ("pedidos+0123456789abcdef0123456789abcdef@dist.example.com", "own_address"),
    ("pedidos@otra.example.com", None),
]


@pytest.mark.parametrize(("lines", "reason"), CASES)
def test_each_sign_of_a_machine(lines: str, reason: str | None) -> None:
    mail = read_mail(f"From: ana@tienda.example.com\n{lines}\n\nHola".encode())

    assert inbound_mail(account(), mail, "key").automated == reason


@pytest.mark.parametrize(("sender", "reason"), SENDERS)
def test_senders_who_are_machines(sender: str, reason: str | None) -> None:
    mail = read_mail(f"From: {sender}\n\nHola".encode())

    assert inbound_mail(account(), mail, "key").automated == reason


def test_an_ordering_system_says_so_and_is_stored_for_a_person() -> None:
    """A shop's own system orders with a header that also says 'do not answer': the header is believed."""
    mail = read_mail(b"From: erp@tienda.example.com\nAuto-Submitted: auto-generated\n\nPAN;5")
    message = inbound_mail(account(), mail, "key")

    assert (message.automated, message.text) == ("auto_submitted", "PAN;5")
