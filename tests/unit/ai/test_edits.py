"""Changes to an open draft: more, less, other, double, half, and corrections within a burst."""

import pytest

from tests.unit.ai.shop import ask, said

EDITS = [
    ("agrega 2 kg de tomate", "CIL=3", "add TOM=2"),
    ("súmale 2 kg de tomate", "TOM=3", "set TOM=5"),
    ("ponle otros 2 kg de tomate", "TOM=3", "set TOM=5"),
    ("add 2 more kg of tomatoes", "TOM=3", "set TOM=5"),
    ("mais 2 kg de tomate por favor", "TOM=3", "set TOM=5"),
    ("coloca mais 5 coentro", "TOM=3", "add CIL=5"),
    ("quita el cilantro", "TOM=3 CIL=2", "remove CIL"),
    ("tira o coentro", "TOM=3 CIL=2", "remove CIL"),
    ("please remove the coriander", "TOM=3 CIL=2", "remove CIL"),
    ("ya no quiero cilantro", "TOM=3 CIL=2", "remove CIL"),
    ("sin cilantro por favor", "TOM=3 CIL=2", "remove CIL"),
    ("no coriander please", "TOM=3 CIL=2", "remove CIL"),
    ("quita 1 manojo de cilantro", "TOM=3 CIL=3", "set CIL=2"),
    ("take two off the coriander", "TOM=3 CIL=3", "set CIL=1"),
    ("lose a case of lime soda", "SODA=2", "set SODA=1"),
    ("el doble de tomate", "TOM=3 CIL=2", "set TOM=6"),
    ("double the tomatoes", "TOM=3 CIL=2", "set TOM=6"),
    ("o dobro de tomate", "TOM=3 CIL=2", "set TOM=6"),
    ("la mitad del tomate", "TOM=3 CIL=2", "set TOM=1.5"),
    ("metade do tomate", "TOM=4 CIL=2", "set TOM=2"),
    ("halve the tomatoes", "TOM=4 CIL=2", "set TOM=2"),
    ("del tomate mejor 5 kg", "TOM=3 CIL=2", "set TOM=5"),
    ("make the tomatoes 15 instead of 10", "TOM=10 CIL=2", "set TOM=15"),
    ("o tomate pode ser 6 em vez de 4", "TOM=4 CIL=2", "set TOM=6"),
    ("en vez de 5 kg de tomate que sean 8", "TOM=5 CIL=2", "set TOM=8"),
    ("que sean 12 kg de tomate, no 8", "TOM=8 CIL=2", "set TOM=12"),
    ("change the tomatoes to 4 kg", "TOM=8 CIL=2", "set TOM=4"),
    ("muda o tomate pra 4 kg", "TOM=8 CIL=2", "set TOM=4"),
    ("aumenta el tomate a 9 kg", "TOM=8 CIL=2", "set TOM=9"),
    ("bump the tomatoes up by 3", "TOM=8 CIL=2", "set TOM=11"),
    ("baja el tomate a 2 kg", "TOM=8 CIL=2", "set TOM=2"),
    ("12 kg instead please", "TOM=8", "set TOM=12"),
    ("cambia la cebolla blanca por morada", "ONW=4 CIL=2", "remove ONW; add ONR=4"),
    ("swap the white onion for red onion", "ONW=4 CIL=2", "remove ONW; add ONR=4"),
    ("troca a cebola branca pela roxa", "ONW=4 CIL=2", "remove ONW; add ONR=4"),
    ("red onion instead of white onion", "ONW=4 CIL=2", "remove ONW; add ONR=4"),
    ("cambia la cebolla blanca por morada", "ONW=4 ONR=1", "remove ONW; set ONR=5"),
    ("cambia la cola lata por la zero", "COLC=4", "remove COLC; add COLZ=4"),
    ("sí, pero agrega 2 kg de tomate", "CIL=2", "add TOM=2"),
    ("confirmo todo menos el cilantro", "TOM=3 CIL=2", "remove CIL"),
]

BURSTS = [
    (("3 kg de tomate", "perdón, 4"), "add TOM=4"),
    (("2 cajas de cola sol", "de lata", "mejor 3"), "add COLC=3"),
    (("napkins", "10 packs"), "add NAP=10"),
    (("manda tomate", "3 kg"), "add TOM=3"),
    (("10 kg de cebolla", "no, morada"), "add ONR=10"),
    (("5 cajas de cola lata y 2 de la 600",), "add COLC=5; add COL6=2"),
    (("3 kg de tomate y otros 2 kg de tomate",), "add TOM=5"),
    (("tomatoes and white onion, 5 kg each",), "add TOM=5; add ONW=5"),
    (("we need 3 kg tomatoes, not the red onion, just 2 kg white onion",), "add TOM=3; add ONW=2"),
    (("cebolla pero no la morada, 6 kg",), "add ONW=6"),
]


@pytest.mark.parametrize(("text", "draft", "expected"), EDITS)
def test_edit(text: str, draft: str, expected: str) -> None:
    """One message changes the draft as people mean it."""
    extraction = ask(text, draft=draft, language="es")

    assert said(extraction) == expected
    assert extraction.intent == "MODIFY"


@pytest.mark.parametrize(("texts", "expected"), BURSTS)
def test_burst(texts: tuple[str, ...], expected: str) -> None:
    """Lines may be spread over messages, corrected and carried on."""
    assert said(ask(*texts)) == expected


def test_quoted_mail_and_signature_order_nothing() -> None:
    """Quoted text, signature, telephone and street numbers are no lines."""
    text = "Hola:\n\n3 kg de tomate\n\nSaludos,\nAna\nCalle Luna 25\nTel. 55 1234 5678\n\nEl lun, 3 mar 2026, Ventas escribió:\n> 5 kg cebolla blanca"

    extraction = ask(text)

    assert said(extraction) == "add TOM=3"
    assert extraction.unmatched == ()


def test_unmatched_is_word_for_word() -> None:
    """What was asked for and is not known comes back as it was written."""
    extraction = ask("2 kg de tomate y 3 kg de Quinoa Real")

    assert extraction.unmatched == ("3 kg de Quinoa Real",)


def test_list_numbers_count_nothing() -> None:
    """The number of a line in a list is no quantity."""
    assert (
        said(ask("1. 10 kg tomate\n2. 5 manojos cilantro\n3. 8 piñas")) == "add TOM=10; add CIL=5; add PIN=8"
    )


def test_a_size_is_not_taken_off() -> None:
    """Removing "the 600" removes the line, not six hundred pieces."""
    assert said(ask("quita la cola de 600", draft="COL6=5 CIL=2")) == "remove COL6"
