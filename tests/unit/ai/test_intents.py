"""One intent per burst, by the first rule that fits; and the language of the reply."""

import pytest

from tests.unit.ai.shop import ask

INTENTS = [
    ("", "3 kg de tomate", "BUY"),
    ("", "¿me mandas 3 kg de tomate?", "BUY"),
    ("", "can I get 3 kg tomatoes?", "BUY"),
    ("", "me vê 3 kg de tomate?", "BUY"),
    ("", "2 kg de quinoa", "BUY"),
    ("", "el tomate de ayer llegó podrido. Mándame 3 kg de tomate", "BUY"),
    ("TOM=3", "agrega 2 kg de tomate", "MODIFY"),
    ("TOM=3", "sí, pero para el viernes mejor", "MODIFY"),
    ("TOM=3", "muda a entrega pra quinta", "MODIFY"),
    ("TOM=3", "cancela todo", "CANCEL"),
    ("TOM=3", "cancel the order please", "CANCEL"),
    ("TOM=3", "não quero mais o pedido", "CANCEL"),
    ("TOM=3", "ya no quiero nada", "CANCEL"),
    ("", "cancela mi pedido por favor", "CANCEL"),
    ("", "quiero cancelar", "CANCEL"),
    ("", "¿puedo cancelar mi pedido?", "CANCEL"),
    ("", "ya no quiero, cancelen el pedido", "CANCEL"),
    ("", "can you cancel my last order?", "CANCEL"),
    ("", "don't want it anymore, cancel it", "CANCEL"),
    ("", "I no longer want the order", "CANCEL"),
    ("", "não quero mais, pode cancelar", "CANCEL"),
    ("", "desisto do pedido", "CANCEL"),
    ("TOM=3", "sí, confirmo", "CONFIRM"),
    ("TOM=3", "👍", "CONFIRM"),
    ("TOM=3", "looks good, send it tomorrow", "CONFIRM"),
    ("TOM=3", "pode mandar", "CONFIRM"),
    ("TOM=3", "¿cuánto es en total?", "QUESTION"),
    ("", "¿cuánto cuesta el tomate?", "QUESTION"),
    ("", "¿por qué cancelaron mi pedido?", "QUESTION"),
    ("", "¿puedo cancelar con tarjeta?", "QUESTION"),
    ("", "cancelar suscripción", "OPT_OUT"),
    ("", "llegó todo podrido, cancelen mi pedido", "COMPLAINT"),
    ("", "do you deliver on Sundays?", "QUESTION"),
    ("", "vocês têm quinoa?", "QUESTION"),
    ("", "llegaron 3 cajas rotas", "COMPLAINT"),
    ("", "you charged us twice for the eggs", "COMPLAINT"),
    ("", "o leite veio vazando", "COMPLAINT"),
    ("", "¿dónde está mi pedido?", "FOLLOW_UP"),
    ("", "where is my order?", "FOLLOW_UP"),
    ("", "cadê meu pedido?", "FOLLOW_UP"),
    ("", "buenas tardes", "GREETING"),
    ("", "thanks a lot!", "GREETING"),
    ("", "bom dia, tudo bem?", "GREETING"),
    ("", "STOP", "OPT_OUT"),
    ("", "no me escriban más", "OPT_OUT"),
    ("", "quero sair dessa lista", "OPT_OUT"),
    ("", "não quero mais receber", "OPT_OUT"),
    ("", "ya no quiero seguir recibiendo mensajes", "OPT_OUT"),
    ("", "quiero hablar con una persona", "HANDOFF"),
    ("", "can I speak to a human", "HANDOFF"),
    ("", "me passa pra um atendente", "HANDOFF"),
    ("", "no cancelen mi pedido", "OTHER"),
    ("", "I don't want to cancel", "OTHER"),
    ("", "não cancele", "OTHER"),
    ("", "never mind", "OTHER"),
    ("", "jajaja qué partidazo el de anoche", "OTHER"),
    ("", "Automatic reply: I am out of the office", "OTHER"),
]


@pytest.mark.parametrize(("draft", "text", "intent"), INTENTS)
def test_intent(draft: str, text: str, intent: str) -> None:
    """The burst wants what the table says."""
    assert ask(text, draft=draft).intent == intent


@pytest.mark.parametrize(
    ("draft", "text", "intent"), [row for row in INTENTS if row[2] not in {"BUY", "MODIFY", "CANCEL"}]
)
def test_only_orders_change_lines(draft: str, text: str, intent: str) -> None:
    """Whatever orders nothing leaves the lines alone."""
    assert ask(text, draft=draft).operations == ()


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("buenas, mándame 3 kg de tomate por favor", "es"),
        ("hi, please send 3 kg of tomatoes", "en"),
        ("oi, me manda 3 kg de tomate, obrigado", "pt"),
        ("não vou querer", "pt"),
        ("¿cuánto cuesta?", "es"),
        ("3 kg", "es"),
    ],
)
def test_language(text: str, language: str) -> None:
    """The reply is in the customer's language; the tenant's hint decides where nothing tells."""
    assert ask(text, language="es").language == language


def test_the_confidence_is_the_least_of_the_lines() -> None:
    """The extraction is as sure as its least sure line."""
    extraction = ask("3 kg de tomate y 2 manojos de silantro")

    assert extraction.confidence == min(o.confidence for o in extraction.operations)
