"""What customers are answered, in their language: templates filled by code with the catalogue's names and the order's numbers."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

from db.orders import LineRow, OrderRow
from handlers.ai.types import Language

# Twilio takes 1,600 characters; what is longer than this is cut to a count of lines.
LONGEST_REPLY = 1500
_LONGEST_SPAN = 60


class Reply(StrEnum):
    """The kinds of answers."""

    SUMMARY = "summary"
    REVIEW = "review"
    NOT_FOUND = "not_found"
    CONFIRMED = "confirmed"
    CONFIRMED_REVIEW = "confirmed_review"
    CANCELLED = "cancelled"
    GREETING = "greeting"
    QUESTION = "question"
    HANDOFF = "handoff"
    TEXT_ONLY = "text_only"
    NO_ORDER = "no_order"


_TEXTS: Mapping[Language, Mapping[str, str]] = MappingProxyType(
    {
        Language.ES: {
            Reply.SUMMARY: "Tu pedido:\n{lines}\n{total}{delivery}\n¿Lo confirmas? Responde SÍ, o dinos qué cambiar.",
            Reply.REVIEW: "Esto tengo hasta ahora:\n{lines}\n{total}{delivery}\n{doubts}\nUna persona revisará tu pedido.",
            Reply.NOT_FOUND: "{doubts}\n¿Nos das el nombre, la presentación y la cantidad?",
            Reply.CONFIRMED: "¡Listo! Tu pedido está confirmado:\n{lines}\n{total}{delivery}\n¡Gracias!",
            Reply.CONFIRMED_REVIEW: "¡Gracias! Una persona revisará los detalles y te confirmará el pedido.",
            Reply.CANCELLED: "Tu pedido quedó cancelado. Aquí estamos para cuando lo necesites.",
            Reply.GREETING: "¡Hola! Escríbenos tu pedido con cantidades, por ejemplo: 2 cajas de …",
            Reply.QUESTION: "Gracias por tu mensaje. Te respondemos en breve.",
            Reply.HANDOFF: "Te pasamos con una persona de nuestro equipo; te escribirá en breve.",
            Reply.TEXT_ONLY: "Recibimos tu archivo. Por ahora solo puedo leer texto: ¿nos escribes tu pedido?",
            Reply.NO_ORDER: "No hay un pedido abierto. Escríbenos qué necesitas y lo preparamos.",
            "doubts": "No pude identificar: {spans}.",
            "unsure": "Por confirmar: {names}.",
            "total": "Total: {amount}",
            "more": "… y {count} más",
            "delivery": "\nEntrega: {day}",
        },
        Language.EN: {
            Reply.SUMMARY: "Your order:\n{lines}\n{total}{delivery}\nShall we confirm it? Reply YES, or tell us what to change.",
            Reply.REVIEW: "Here is what I have so far:\n{lines}\n{total}{delivery}\n{doubts}\nA person will check your order.",
            Reply.NOT_FOUND: "{doubts}\nCould you tell us the name, the size and the quantity?",
            Reply.CONFIRMED: "Done! Your order is confirmed:\n{lines}\n{total}{delivery}\nThank you!",
            Reply.CONFIRMED_REVIEW: "Thank you! A person will check the details and confirm your order.",
            Reply.CANCELLED: "Your order is cancelled. We are here whenever you need us.",
            Reply.GREETING: "Hello! Send us your order with quantities, for example: 2 cases of …",
            Reply.QUESTION: "Thank you for your message. We will get back to you shortly.",
            Reply.HANDOFF: "We are passing you on to a person of our team, who will write to you shortly.",
            Reply.TEXT_ONLY: "We got your file. For now I can only read text: could you write your order?",
            Reply.NO_ORDER: "There is no open order. Tell us what you need and we will prepare it.",
            "doubts": "I could not identify: {spans}.",
            "unsure": "To be confirmed: {names}.",
            "total": "Total: {amount}",
            "more": "… and {count} more",
            "delivery": "\nDelivery: {day}",
        },
        Language.PT: {
            Reply.SUMMARY: "Seu pedido:\n{lines}\n{total}{delivery}\nPodemos confirmar? Responda SIM, ou diga o que mudar.",
            Reply.REVIEW: "Até agora tenho isto:\n{lines}\n{total}{delivery}\n{doubts}\nUma pessoa vai revisar o seu pedido.",
            Reply.NOT_FOUND: "{doubts}\nPode nos dizer o nome, o tamanho e a quantidade?",
            Reply.CONFIRMED: "Pronto! Seu pedido está confirmado:\n{lines}\n{total}{delivery}\nObrigado!",
            Reply.CONFIRMED_REVIEW: "Obrigado! Uma pessoa vai revisar os detalhes e confirmar o seu pedido.",
            Reply.CANCELLED: "Seu pedido foi cancelado. Estamos aqui quando precisar.",
            Reply.GREETING: "Olá! Escreva o seu pedido com as quantidades, por exemplo: 2 caixas de …",
            Reply.QUESTION: "Obrigado pela mensagem. Respondemos em breve.",
            Reply.HANDOFF: "Vamos passar você para uma pessoa da nossa equipe, que escreverá em breve.",
            Reply.TEXT_ONLY: "Recebemos o seu arquivo. Por enquanto só consigo ler texto: pode escrever o pedido?",
            Reply.NO_ORDER: "Não há pedido aberto. Diga o que precisa e preparamos.",
            "doubts": "Não consegui identificar: {spans}.",
            "unsure": "A confirmar: {names}.",
            "total": "Total: {amount}",
            "more": "… e mais {count}",
            "delivery": "\nEntrega: {day}",
        },
    }
)


def render_reply(kind: Reply, language: Language, order: OrderRow | None = None, lines: Sequence[LineRow] = (), unmatched: Sequence[str] = ()) -> str:
    """The text of an answer. Names and prices are the order's own; ``unmatched`` quotes the customer."""
    texts = _TEXTS[language]
    filled = texts[kind].format(
        lines=_line_list(texts, lines),
        total=_total(texts, order, lines),
        delivery=_delivery(texts, order),
        doubts=_doubts(texts, lines, unmatched),
    )
    return "\n".join(line for line in filled.splitlines() if line.strip())


def _line_list(texts: Mapping[str, str], lines: Sequence[LineRow]) -> str:
    rendered = [f"• {format_number(line.quantity)} {line.unit} – {line.product_name}" for line in lines]
    kept = _fitting(rendered, LONGEST_REPLY - 500)
    rest = len(rendered) - len(kept)
    return "\n".join([*kept, texts["more"].format(count=rest)] if rest else kept)


def _fitting(rendered: Sequence[str], room: int) -> list[str]:
    kept: list[str] = []
    for line in rendered:
        room -= len(line) + 1
        if room < 0:
            break
        kept.append(line)
    return kept


def _total(texts: Mapping[str, str], order: OrderRow | None, lines: Sequence[LineRow]) -> str:
    """The total, only if every line has a price: a sum that leaves something out would be a promise."""
    if order is None or any(line.unit_price is None for line in lines):
        return ""
    return texts["total"].format(amount=f"{order.total_amount:,.2f} {order.currency}")


def _delivery(texts: Mapping[str, str], order: OrderRow | None) -> str:
    if order is None or order.delivery_date is None:
        return ""
    return texts["delivery"].format(day=format_day(order.delivery_date))


def _doubts(texts: Mapping[str, str], lines: Sequence[LineRow], unmatched: Sequence[str]) -> str:
    unsure = [line.product_name for line in lines if line.band == "confirm"]
    spans = "; ".join(f"“{_shortened(span)}”" for span in unmatched[:5])
    return "\n".join(
        [
            *([texts["doubts"].format(spans=spans)] if unmatched else []),
            *([texts["unsure"].format(names=", ".join(unsure[:5]))] if unsure else []),
        ]
    )


def _shortened(span: str) -> str:
    one_line = " ".join(span.split())
    return one_line if len(one_line) <= _LONGEST_SPAN else f"{one_line[: _LONGEST_SPAN - 1]}…"


def format_number(value: Decimal) -> str:
    """A quantity without trailing zeros: 2, 0.5, 1200."""
    return f"{value.normalize():f}"


def format_day(day: date) -> str:
    """A day that es, en and pt readers take for the same: 2026-07-10 as 10/07/2026 would not be."""
    return day.isoformat()
